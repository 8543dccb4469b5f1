//! Tests of the status tables; the OTLP exporter tests them over the wire.

use super::*;

#[test]
fn an_excerpt_is_short_and_cannot_forge_lines() {
    assert_eq!(excerpt(b" ok \n"), "ok");
    assert_eq!(excerpt("a\nb\u{1b}[31m\u{202e}".as_bytes()), "a\\nb\\u{1b}[31m\\u{202e}");
    let long = excerpt("x".repeat(10_000).as_bytes());
    assert_eq!(long, format!("{}...", "x".repeat(512)));
    assert_eq!(excerpt(b"\xff"), "\u{fffd}");
}

#[test]
fn details_beyond_8_kib_are_not_looked_at() {
    let info = muxbridge_testkit::retry_info(14, 2, 0);
    assert_eq!(retry_info(&info), Some(Duration::from_secs(2)));
    let mut long = info.to_vec();
    // An unknown field of 8 KiB: tag 15, length 8192.
    long.extend_from_slice(&[0x7a, 0x80, 0x40]);
    long.resize(long.len() + 8192, 0);
    assert_eq!(retry_info(&long), None);
    assert_eq!(retry_info(b"\xff\xff"), None);
}
