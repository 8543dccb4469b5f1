//! The status table, row by row.

use super::*;
use bytes::Bytes;

const KEY: &str = "0123456789abcdefNRAL";

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Result<Delivered, ExportError> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    outcome(&response.body(Bytes::from(body.to_owned())).unwrap(), true, KEY, 0)
}

fn row(status: u16) -> String {
    match answer(status, &[], "") {
        Ok(_) => "sent".into(),
        Err(ExportError::Retryable { after, .. }) => format!("retry {after:?}"),
        Err(ExportError::Permanent { reason, .. }) => reason.into(),
        Err(ExportError::TooLarge { .. }) => "split".into(),
    }
}

#[test]
fn every_status_has_the_outcome_of_new_relics_table() {
    let expected: &[(&[u16], &str)] = &[
        (&[200, 202, 204], "sent"),
        (&[400], "invalid"),
        (&[401, 403], "retry Some(60s)"),
        (&[301, 302, 307, 308, 404, 405, 410], "wrong_endpoint"),
        (&[402, 406, 409, 411, 414, 415, 422, 431, 451], "rejected"),
        (&[413], "split"),
        (&[408, 500, 501, 502, 503, 504, 520, 522, 530, 599], "retry None"),
        (&[429], "retry Some(10s)"),
    ];
    for (statuses, outcome) in expected {
        for status in *statuses {
            assert_eq!(row(*status), *outcome, "{status}");
        }
    }
}

#[test]
fn a_rate_limit_waits_as_told_but_never_longer_than_ten_minutes() {
    for (value, seconds) in [("29", 29), ("3599", 600), ("Thu, 01 Jan 1970 00:00:31 GMT", 31), ("soon", 10)] {
        let Err(ExportError::Retryable { after, .. }) = answer(429, &[("retry-after", value)], "") else {
            panic!("429 is retryable")
        };
        assert_eq!(after, Some(Duration::from_secs(seconds)), "{value}");
    }
}

#[test]
fn an_empty_success_without_a_content_type_is_a_success() {
    assert_eq!(answer(200, &[], "").unwrap(), Delivered::default());
}

#[test]
fn a_partial_success_of_an_otlp_proxy_is_passed_on() {
    // partial_success { rejected_spans: 3, error_message: "old" }
    let body = "\x0a\x07\x08\x03\x12\x03old";
    let delivered = answer(200, &[("content-type", "application/x-protobuf")], body).unwrap();
    assert_eq!((delivered.rejected, delivered.message.as_str()), (3, "old"));
    // The same bytes as text are none.
    assert_eq!(answer(200, &[("content-type", "text/plain")], body).unwrap(), Delivered::default());
}

#[test]
fn the_key_is_masked_in_errors_even_if_the_answer_repeats_it() {
    let error = answer(403, &[], &format!("key {KEY} is not valid")).unwrap_err().to_string();
    assert!(error.contains("key *** is not valid") && !error.contains(KEY), "{error}");
    // Wherever the answer is cut, no part of the key is left.
    for before in 0..600 {
        let error =
            answer(403, &[], &format!("{}{KEY} is not valid", "-".repeat(before))).unwrap_err().to_string();
        assert!(!error.contains(&KEY[..4]), "{error}");
    }
}

#[test]
fn the_request_id_is_read_from_an_accepted_answer_only() {
    let body = br#"{"requestId":"abc"}"#;
    assert_eq!(request_id(StatusCode::ACCEPTED, body).as_deref(), Some("abc"));
    assert_eq!(request_id(StatusCode::FORBIDDEN, body), None);
    assert_eq!(request_id(StatusCode::OK, b""), None);
    assert_eq!(request_id(StatusCode::OK, b"<html>"), None);
}
