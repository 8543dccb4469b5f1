//! Senders that are slow, many or hostile: each is cut off after its time, and the others are served meanwhile.
//!
//! The clock of these tests stands still while anything can run and jumps to the next timer when nothing can, so that
//! minutes pass at once.

use super::kit::Rig;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

fn open() -> Rig {
    Rig::start(&json!({}), json!({}))
}

/// How long until the other side closes, and what it says until then.
async fn until_closed(stream: &mut TcpStream) -> (Duration, Vec<u8>) {
    let began = Instant::now();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await;
    (began.elapsed(), said)
}

/// Writes a byte every second until the other side closes.
async fn drip(mut stream: TcpStream, byte: u8) -> Duration {
    let began = Instant::now();
    let mut answer = Vec::new();
    loop {
        tokio::select! {
            read = stream.read_buf(&mut answer) => match read {
                Ok(n) if n > 0 => {}
                _ => return began.elapsed(),
            },
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                if stream.write_all(&[byte]).await.is_err() {
                    return began.elapsed();
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn m6_whoever_says_nothing_or_says_it_too_slowly_is_cut_off_within_35_seconds() {
    let rig = open();
    let head = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n";
    for (what, grpc, start) in [
        ("nothing", false, &b""[..]),
        ("nothing", true, b""),
        ("half a head", false, head),
        ("a head and no body", false, &[head, &b"content-length: 1000\r\n\r\n"[..]].concat()),
        ("a preface alone", true, PREFACE),
        ("a preface and settings", true, &[PREFACE, SETTINGS].concat()),
        ("a preface alone over the port of HTTP", false, PREFACE),
    ] {
        let mut stream = if grpc { rig.connect_grpc().await } else { rig.connect_http().await };
        stream.write_all(start).await.expect("sent");
        let (after, _) = until_closed(&mut stream).await;
        assert!(after < Duration::from_secs(36), "{what}: {after:?}");
        assert!(after > Duration::from_secs(4), "{what}: {after:?}, too strict");
    }
    assert_eq!(rig.send(&json!({})).await, ["taken", "taken"]);
}

#[tokio::test(start_paused = true)]
async fn m6_a_byte_a_second_buys_no_time() {
    let rig = open();
    let head = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n";
    let mut stream = rig.connect_http().await;
    stream.write_all(head).await.expect("sent");
    assert!(drip(stream, b'a').await < Duration::from_secs(36));
    let mut stream = rig.connect_http().await;
    stream.write_all(head).await.expect("sent");
    stream.write_all(b"content-length: 100000\r\n\r\n").await.expect("sent");
    assert!(drip(stream, 0).await < Duration::from_secs(36));
    assert_eq!(rig.bad("too_slow"), 1);
}

#[tokio::test(start_paused = true)]
async fn m6_a_handshake_that_does_not_come_is_given_up() {
    let authority = muxbridge_testkit::tls::Authority::new();
    let (cert, key) = authority.server_files("localhost", 2040);
    let rig = Rig::start(&json!({ "tls": { "cert_file": cert, "key_file": key } }), json!({}));
    let mut stream = rig.connect_http().await;
    let (after, _) = until_closed(&mut stream).await;
    assert!((9..12).contains(&after.as_secs()), "{after:?}");
    assert_eq!(rig.bad("tls"), 1);
}

#[tokio::test]
async fn m6_one_address_has_no_more_connections_than_it_may() {
    let rig = Rig::start(&json!({}), json!({ "max_connections_per_ip": 3 }));
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(rig.connect_http().await);
    }
    let mut more = rig.connect_http().await;
    assert_eq!(until_closed(&mut more).await.1, b"");
    assert_eq!(rig.bad("too_many_connections"), 1);
    // Whoever leaves makes room.
    drop(held.pop());
    loop {
        let said = rig.send(&json!({})).await;
        if said == ["taken", "taken"] {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn m5_a_connection_ends_when_it_is_as_old_as_it_may_get() {
    for (age, oldest) in [(json!({ "max_connection_age": "20s" }), 23), (json!({}), 3960)] {
        let rig = Rig::start(&json!({}), age);
        let mut stream = rig.connect_http().await;
        let began = Instant::now();
        let request = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        // Busy enough never to be idle.
        let mut buffer = [0; 1024];
        while began.elapsed() < Duration::from_secs(7200) {
            if stream.write_all(request).await.is_err() {
                break;
            }
            match stream.read(&mut buffer).await {
                Ok(n) if n > 0 => {}
                _ => break,
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        let lived = began.elapsed().as_secs();
        assert!((oldest * 9 / 11..=oldest + 10).contains(&lived), "{lived} s");
    }
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// `:method POST`, `:scheme http`, `:path /`, in the static table.
const HEAD: &[u8] = &[0x83, 0x86, 0x84];

/// Whether there is a GOAWAY among the frames, or the connection broke.
fn was_sent_away(mut said: &[u8]) -> bool {
    while said.len() >= 9 {
        let length = u32::from_be_bytes([0, said[0], said[1], said[2]]) as usize;
        if said[3] == 7 {
            return true;
        }
        said = &said[(9 + length).min(said.len())..];
    }
    false
}

#[tokio::test]
async fn m5_floods_of_resets_headers_settings_and_empty_frames_end_the_connection_and_harm_nobody() {
    let rig = open();
    let resets: Vec<u8> = (0..10_000u32)
        .flat_map(|i| {
            let stream = 2 * i + 1;
            [frame(1, 4, stream, HEAD), frame(3, 0, stream, &8u32.to_be_bytes())].concat()
        })
        .collect();
    // A head without an end, in pieces of 10 KB: never indexed, name and value of this length.
    let piece = [&[0x10, 1, b'x', 0x7f, 0x91, 0x4d][..], &[b'v'; 10_000]].concat();
    let mut continuation = frame(1, 0, 1, HEAD);
    (0..1000).for_each(|_| continuation.extend(frame(9, 0, 1, &piece)));
    let mut empty = frame(1, 4, 1, HEAD);
    (0..100_000).for_each(|_| empty.extend(frame(0, 0, 1, &[])));
    for (what, flood) in [("resets", resets), ("continuations", continuation), ("empty data", empty)] {
        let mut stream = rig.connect_grpc().await;
        let (mut read, mut write) = stream.split();
        let mut said = Vec::new();
        let sending = async {
            write.write_all(PREFACE).await?;
            write.write_all(SETTINGS).await?;
            write.write_all(&flood).await?;
            write.shutdown().await
        };
        let (sent, received) = tokio::join!(sending, read.read_to_end(&mut said));
        let broke = sent.is_err() || received.is_err();
        assert!(broke || was_sent_away(&said), "{what}: the connection was not ended");
        assert_eq!(rig.send(&json!({})).await, ["taken", "taken"], "after {what}");
    }
}

#[tokio::test]
async fn m5_a_head_that_is_too_long_or_has_too_many_lines_is_refused() {
    let rig = open();
    let headers: Value = (0..20).map(|i| (format!("x-{i}"), json!("v".repeat(1000)))).collect();
    let said = rig.send(&json!({ "headers": headers })).await;
    assert!(said[0].contains("HTTP 431"), "{said:?}");
    let start = "POST /v1/traces HTTP/1.1\r\nhost: x\r\n";
    for more in ["a: b\r\n".repeat(64), format!("a: {}\r\n", "v".repeat(130 << 10))] {
        let mut stream = rig.connect_http().await;
        // It may be cut off before it has said everything.
        let _ = stream.write_all(format!("{start}{more}content-length: 0\r\n\r\n").as_bytes()).await;
        let said = until_closed(&mut stream).await.1;
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&said));
    }
    assert_eq!(rig.send(&json!({})).await, ["taken", "taken"]);
}

#[tokio::test]
async fn m33_a_panic_ends_one_request_and_is_counted() {
    let rig = open();
    rig.count.panics.store(2, Ordering::Relaxed);
    let said = rig.send(&json!({})).await;
    assert!(said[0].contains("gRPC Internal") && said[1].contains("HTTP 500"), "{said:?}");
    assert_eq!(rig.bad("panic"), 2);
    assert_eq!(rig.send(&json!({})).await, ["taken", "taken"]);
}
