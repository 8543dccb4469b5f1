//! Recordings and random requests with bytes changed, cut out, inserted and repeated.

use crate::bodies;
use crate::random::request;
use fastrand::Rng;
use muxbridge_pdata::{Limits, Signal, count_items, json, validate};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use prost::Message;

fn recorded() -> Vec<Vec<u8>> {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus");
    let mut requests = vec![std::fs::read(format!("{corpus}/scenario/traces.otlp.pb")).unwrap()];
    for run in ["run1", "workers2"] {
        for file in std::fs::read_dir(format!("{corpus}/{run}")).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|e| e == "pb") {
                requests.push(std::fs::read(path).unwrap());
            }
        }
    }
    requests
}

/// A few changes anywhere.
fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.usize(1..4) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.usize(..bytes.len());
        match rng.u8(..7) {
            0 => bytes.truncate(at),
            1 => bytes[at] = rng.u8(..),
            2 => bytes[at] ^= 1 << rng.u8(..8),
            3 => bytes.insert(at, rng.u8(..)),
            4 => drop(bytes.remove(at)),
            5 => bytes[at] = 0xff,
            _ => {
                let end = (at + rng.usize(1..32)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

fn prost_accepts(signal: Signal, bytes: &[u8]) -> bool {
    match signal {
        Signal::Traces => ExportTraceServiceRequest::decode(bytes).is_ok(),
        Signal::Metrics => ExportMetricsServiceRequest::decode(bytes).is_ok(),
        Signal::Logs => ExportLogsServiceRequest::decode(bytes).is_ok(),
    }
}

fn check(signal: Signal, bytes: &[u8]) -> bool {
    let valid = bodies::validate_and_read(signal, bytes);
    assert!(!valid || prost_accepts(signal, bytes), "accepted what protobuf refuses: {bytes:x?}");
    if valid {
        let counted = validate(signal, bytes, Limits::default());
        assert_eq!(counted, Ok(count_items(signal, bytes)), "{bytes:x?}");
    }
    valid
}

#[test]
fn mutated_requests_are_accepted_only_if_protobuf_accepts_them_and_never_panic() {
    let mut rng = Rng::with_seed(1);
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..4_000 {
        for signal in Signal::ALL {
            let original = request(signal, seed);
            for _ in 0..10 {
                let mut bytes = original.clone();
                mutate(&mut rng, &mut bytes);
                match check(signal, &bytes) {
                    true => accepted += 1,
                    false => refused += 1,
                }
                if seed % 8 == 1 {
                    bodies::json_encode(signal, &bytes);
                    bodies::split(signal, &bytes, rng.usize(1..5), rng.usize(64..2000));
                }
            }
        }
    }
    assert!(accepted > 10_000 && refused > 10_000, "{accepted} accepted, {refused} refused");
}

#[test]
fn mutated_recordings_never_panic() {
    let mut rng = Rng::with_seed(2);
    for original in recorded() {
        assert!(bodies::validate_and_read(Signal::Traces, &original));
        for i in 0..40 {
            let mut bytes = original.clone();
            mutate(&mut rng, &mut bytes);
            check(Signal::Traces, &bytes);
            bodies::validate_and_read(Signal::ALL[i % 3], &bytes);
            if i % 10 == 0 {
                bodies::json_encode(Signal::Traces, &bytes);
                bodies::split(Signal::Traces, &bytes, 7, 5000);
            }
        }
    }
}

#[test]
fn a_request_cut_off_inside_a_field_is_refused() {
    let mut rng = Rng::with_seed(4);
    for seed in 0..60 {
        for signal in Signal::ALL {
            let bytes = request(signal, seed);
            for _ in 0..100 {
                let cut = rng.usize(..=bytes.len());
                assert_eq!(
                    check(signal, &bytes[..cut]),
                    prost_accepts(signal, &bytes[..cut]),
                    "seed {seed} at {cut}"
                );
            }
        }
    }
}

#[test]
fn mutated_json_never_panics_and_what_decodes_is_valid() {
    let mut rng = Rng::with_seed(3);
    let mut decoded = 0;
    for seed in 0..1_500 {
        for signal in Signal::ALL {
            let original = json::encode(signal, &request(signal, seed)).into_bytes();
            for _ in 0..4 {
                let mut text = original.clone();
                mutate(&mut rng, &mut text);
                decoded += usize::from(bodies::json_decode(signal, &text));
            }
        }
    }
    assert!(decoded > 500, "{decoded} decoded");
}
