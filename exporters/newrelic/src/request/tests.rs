//! Headers, ids and the size on the wire.

use super::*;
use muxbridge_core::Signal;
use muxbridge_testkit::{batch, corpus};

fn route(api: Api, compression: Compression) -> Route {
    let mut key = HeaderValue::from_static("canary-key");
    key.set_sensitive(true);
    let uri = Uri::from_static("http://h/trace/v1");
    Route { uri, api, compression, options: Options::default(), key }
}

fn spans() -> Batch {
    batch(Signal::Traces, corpus("scenario/traces.otlp.pb").into())
}

fn header<'a>(request: &'a Request<Bytes>, name: &str) -> &'a str {
    request.headers().get(name).map_or("-", |v| v.to_str().unwrap())
}

#[test]
fn the_headers_are_those_that_each_format_needs() {
    let otlp = route(Api::Otlp, Compression::Zstd)
        .request(&spans(), &mut Watch::default(), &mut Counts::default())
        .unwrap()
        .unwrap();
    for (name, value) in [
        ("api-key", "canary-key"),
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "zstd"),
        ("data-format", "-"),
        ("x-request-id", "-"),
    ] {
        assert_eq!(header(&otlp, name), value, "{name}");
    }
    for (format, name, version) in
        [(TraceFormat::Newrelic, "newrelic", "1"), (TraceFormat::Zipkin, "zipkin", "2")]
    {
        let route = route(Api::Trace(format), Compression::Gzip);
        let request =
            route.request(&spans(), &mut Watch::default(), &mut Counts::default()).unwrap().unwrap();
        assert_eq!(header(&request, "api-key"), "canary-key");
        assert_eq!(header(&request, "content-type"), "application/json");
        assert_eq!(header(&request, "content-encoding"), "gzip");
        assert_eq!(
            (header(&request, "data-format"), header(&request, "data-format-version")),
            (name, version)
        );
        assert_eq!(header(&request, "x-request-id"), request_id(spans().otlp()));
    }
}

#[test]
fn a_request_cannot_be_printed_with_its_key() {
    let request = route(Api::Otlp, Compression::None)
        .request(&spans(), &mut Watch::default(), &mut Counts::default())
        .unwrap()
        .unwrap();
    assert!(!format!("{request:?}").contains("canary"));
}

#[test]
fn the_request_id_is_a_version_4_uuid_that_depends_on_the_bytes_alone() {
    let (a, b) = (request_id(b"one"), request_id(b"two"));
    assert_ne!(a, b);
    assert_eq!(a, request_id(b"one"));
    assert_eq!((a.len(), &a[14..15]), (36, "4"));
    assert!("89ab".contains(&a[19..20]), "{a}");
}

#[test]
fn a_request_of_a_million_bytes_on_the_wire_is_too_large_and_not_sent() {
    let joined: Bytes = spans().otlp().repeat(1_200_000 / spans().otlp().len()).into();
    let large = batch(Signal::Traces, joined);
    let result =
        route(Api::Otlp, Compression::None).request(&large, &mut Watch::default(), &mut Counts::default());
    assert!(matches!(result, Err(ExportError::TooLarge { .. })));
    // The same spans fit when they are compressed.
    assert!(
        route(Api::Otlp, Compression::Gzip)
            .request(&large, &mut Watch::default(), &mut Counts::default())
            .is_ok()
    );
}

#[test]
fn the_room_that_is_kept_remembers_nothing_of_the_request_before() {
    let long: Bytes = spans().otlp().repeat(30).into();
    let unchanged = encode::otlp(&spans(), &Options::default(), &mut Counts::default());
    let batches = [batch(Signal::Traces, long), spans(), batch(Signal::Traces, unchanged)];
    for batch in batches.iter().chain(&batches) {
        let route = route(Api::Otlp, Compression::Zstd);
        let request = route.request(batch, &mut Watch::default(), &mut Counts::default()).unwrap().unwrap();
        let plain = encode::otlp(batch, &Options::default(), &mut Counts::default());
        assert!(*request.body() == Compression::Zstd.encode(&plain).unwrap());
    }
}
