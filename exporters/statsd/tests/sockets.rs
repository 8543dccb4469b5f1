//! Packets arrive over UDP and both kinds of unix socket, and what became of them is counted.

use crate::build::*;
use muxbridge_core::config::Problems;
use muxbridge_core::{
    BuildContext, Clock, Counters, DynExporter, ExportError, Exporter, Needs, TemporalityNeed, names,
};
use muxbridge_exporter_statsd::transport::{Endpoint, Transport};
use muxbridge_exporter_statsd::{FACTORY, Statsd, StatsdExporter};
use std::io::Read;
use std::net::UdpSocket;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::Arc;
use std::time::Duration;

fn context() -> BuildContext {
    BuildContext::new("statsd", Counters::new(), Clock::fixed(0))
}

fn exporter(config: serde_json::Value, cx: &BuildContext) -> Arc<dyn DynExporter> {
    let mut problems = Problems::new();
    let parsed = (FACTORY.parse)(&config, &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    parsed.unwrap().build(cx).unwrap()
}

fn problems(config: serde_json::Value) -> Vec<String> {
    let mut problems = Problems::new();
    let _ = (FACTORY.parse)(&config, &mut problems);
    problems.into_vec().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn it_keeps_the_contract_of_exporters() {
    muxbridge_testkit::contract::exporter_contract::<Statsd>(serde_json::json!({})).await;
}

#[tokio::test]
async fn packets_arrive_over_udp_and_are_counted() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let cx = context();
    let endpoint = server.local_addr().unwrap().to_string();
    let exporter = exporter(serde_json::json!({ "endpoint": endpoint }), &cx);
    let metrics = vec![counter("a", int(1, &[])), gauge("b", double(f64::NAN, &[])), gauge("c", int(2, &[]))];
    let delivered = exporter.export_dyn(&batch(&[], metrics)).await.unwrap();
    assert_eq!((delivered.omitted, delivered.rejected), (1, 0));
    let mut buffer = [0; 2000];
    let n = server.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..n], b"a:1|c\nc:2|g\n");
    exporter.shutdown_dyn().await;
    assert_eq!(cx.counters.sum(names::REQUESTS, &[("outcome", "sent")]), 1);
    assert_eq!(cx.counters.sum(names::BYTES, &[("outcome", "sent")]), 12);
    assert_eq!(cx.counters.sum(names::DROPPED, &[("reason", "non_finite")]), 1);
}

#[tokio::test]
async fn every_ten_seconds_the_agent_is_told_what_was_sent() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let now = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let clock = now.clone();
    let clock = Clock::from_fn(move || clock.load(std::sync::atomic::Ordering::SeqCst));
    let cx = BuildContext::new("statsd", Counters::new(), clock);
    let config = |telemetry: bool| {
        serde_json::json!({
            "endpoint": server.local_addr().unwrap().to_string(), "metrics": { "client_telemetry": telemetry },
        })
    };
    let told = exporter(config(true), &cx);
    let one = batch(&[], vec![counter("a", int(1, &[]))]);
    let receive = || {
        let mut buffer = [0; 2000];
        let n = server.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..n].to_vec()).unwrap()
    };
    let second = 1_000_000_000;
    now.store(9 * second, std::sync::atomic::Ordering::SeqCst);
    told.export_dyn(&one).await.unwrap();
    assert_eq!(receive(), "a:1|c\n");
    told.shutdown_dyn().await;
    now.store(10 * second, std::sync::atomic::Ordering::SeqCst);
    told.export_dyn(&one).await.unwrap();
    assert_eq!(receive(), "a:1|c\n");
    let packet = receive();
    let lines = crate::parser::packet(&packet).unwrap();
    assert_eq!(lines.len(), 11);
    let value = |name: &str| {
        let name = format!("datadog.dogstatsd.client.{name}");
        lines.iter().find(|l| l.name == name).unwrap().values[0]
    };
    // The second metric may or may not be on its way already.
    assert_eq!((value("metrics"), value("packets_dropped")), (2.0, 0.0));
    assert!([1.0, 2.0].contains(&value("packets_sent")) && [6.0, 12.0].contains(&value("bytes_sent")));
    assert!(
        packet.contains("|#client:muxbridge,client_version:") && packet.contains("client_transport:udp\n")
    );
    // Told is told: nothing more within the next ten seconds, and nothing at all if it is switched off.
    told.export_dyn(&one).await.unwrap();
    assert_eq!(receive(), "a:1|c\n");
    let silent = exporter(config(false), &cx);
    now.store(100 * second, std::sync::atomic::Ordering::SeqCst);
    silent.export_dyn(&one).await.unwrap();
    silent.export_dyn(&one).await.unwrap();
    assert_eq!((receive(), receive()), ("a:1|c\n".to_owned(), "a:1|c\n".to_owned()));
}

#[tokio::test]
async fn packets_arrive_over_a_unix_datagram_socket_of_either_spelling() {
    for scheme in ["unixgram", "unix"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dsd.sock");
        let server = UnixDatagram::bind(&path).unwrap();
        let exporter =
            exporter(serde_json::json!({ "endpoint": format!("{scheme}://{}", path.display()) }), &context());
        exporter.export_dyn(&batch(&[], vec![gauge("a", int(1, &[]))])).await.unwrap();
        let mut buffer = [0; 100];
        let n = server.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"a:1|g\n");
    }
}

#[tokio::test]
async fn packets_arrive_over_a_unix_stream_after_their_length_and_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dsd.sock");
    let server = UnixListener::bind(&path).unwrap();
    let cx = context();
    let exporter =
        exporter(serde_json::json!({ "endpoint": format!("unixstream://{}", path.display()) }), &cx);
    let one = batch(&[], vec![gauge("a", int(1, &[]))]);
    let frame = [0x06, 0, 0, 0, 0x61, 0x3a, 0x31, 0x7c, 0x67, 0x0a];
    for _ in 0..2 {
        exporter.export_dyn(&one).await.unwrap();
        let (mut stream, _) = server.accept().unwrap();
        let mut buffer = [0; 10];
        stream.read_exact(&mut buffer).unwrap();
        assert_eq!(buffer, frame);
    }
    exporter.shutdown_dyn().await;
    assert_eq!(cx.counters.sum(names::REQUESTS, &[("outcome", "sent")]), 2);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_counted_and_no_error() {
    let directory = tempfile::tempdir().unwrap();
    for scheme in ["unixgram", "unixstream"] {
        let cx = context();
        let path = directory.path().join("nobody.sock");
        let exporter =
            exporter(serde_json::json!({ "endpoint": format!("{scheme}://{}", path.display()) }), &cx);
        exporter.export_dyn(&batch(&[], vec![gauge("a", int(1, &[]))])).await.unwrap();
        exporter.shutdown_dyn().await;
        assert_eq!(cx.counters.sum(names::REQUESTS, &[("outcome", "failed")]), 1);
        assert_eq!(cx.counters.sum(names::BYTES, &[("outcome", "failed")]), 6);
    }
}

#[tokio::test]
async fn a_full_queue_takes_all_packets_of_a_batch_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("slow.sock");
    // A server that reads nothing yet: the first packets fill its buffer, the next ones wait.
    let server = UnixDatagram::bind(&path).unwrap();
    let cx = context();
    let endpoint = Endpoint::UnixDatagram(path.clone());
    let transport = Transport::connect(&endpoint, 64, Duration::ZERO, &cx).unwrap();
    let packets = vec!["a:1|c\n".to_owned(); 40];
    let mut accepted = 0;
    let error = loop {
        match transport.send(&packets) {
            Ok(()) => accepted += 40,
            Err(error) => break error,
        }
        assert!(accepted < 100_000, "the queue has no bound");
    };
    assert!(matches!(error, ExportError::Retryable { .. }));
    let too_many = vec!["a:1|c\n".to_owned(); 65];
    assert!(matches!(transport.send(&too_many), Err(ExportError::TooLarge { .. })));
    let mut options = options(Default::default());
    options.max_packet = 6;
    options.aggregate = false;
    let exporter = StatsdExporter::new(options, transport, false, &cx);
    let metrics = (0..60).map(|_| counter("a", int(1, &[]))).chain([gauge("b", double(f64::NAN, &[]))]);
    let refused = exporter.export_dyn(&batch(&[], metrics.collect())).await;
    assert!(matches!(refused, Err(ExportError::Retryable { .. })));
    assert_eq!(cx.counters.sum(names::DROPPED, &[]), 0, "counted although it is tried again");
    let end = UnixDatagram::unbound().unwrap();
    end.connect(&path).unwrap();
    let reader = std::thread::spawn(move || {
        let mut arrived = 0;
        while server.recv(&mut [0; 10]).unwrap() > 1 {
            arrived += 1;
        }
        arrived
    });
    exporter.shutdown().await;
    end.send(b".").unwrap();
    // The exporter waited a second for room, after which a packet that cannot be written is given up: there may be one.
    let [sent, failed] = ["sent", "failed"].map(|o| cx.counters.sum(names::REQUESTS, &[("outcome", o)]));
    assert_eq!(sent + failed, accepted, "part of a refused batch was taken");
    assert!(failed <= 1, "{failed}");
    assert_eq!(reader.join().unwrap(), sent);
}

#[test]
fn every_mistake_in_the_configuration_is_named() {
    let bad = serde_json::json!({
        "endpoint": "tcp://localhost:1", "max_packet_size": 10, "queue_size": 1,
        "metrics": { "prefix": "1", "constant_tags": ["a:b", "x"], "histograms": { "samples_per_bucket": 0 } },
    });
    assert_eq!(
        problems(bad),
        [
            "endpoint: \"tcp\" is not one of udp, unixgram, unix, unixstream",
            "max_packet_size: 10 is not between 512 and 65000",
            "queue_size: 1 is not between 64 and 1000000",
            "metrics.constant_tags[1]: \"x\" is not of the form key:value",
            "metrics.prefix: \"1\" does not start with a letter",
            "metrics.histograms.samples_per_bucket: 0 is not between 1 and 64",
        ]
    );
    let other = serde_json::json!({ "dialect": "etsy", "metrics": {
        "timestamps": true, "container_id": "auto", "external_data": "x", "cardinality": "low" } });
    let found = problems(other);
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|p| p.contains("dialect dogstatsd")), "{found:?}");
    let broken = serde_json::json!({ "metrics": { "container_id": "x", "external_data": "a|b" } });
    assert_eq!(problems(broken).len(), 2);
    for endpoint in ["localhost", "udp://:8125", "::1:8125", "unixgram://relative", "h:0", "h:99999"] {
        assert_eq!(problems(serde_json::json!({ "endpoint": endpoint })).len(), 1, "{endpoint}");
    }
    for endpoint in ["h:8125", "[::1]:8125", "udp://10.0.0.1:1", "unix:///run/dsd.sock"] {
        assert!(problems(serde_json::json!({ "endpoint": endpoint })).is_empty(), "{endpoint}");
    }
}

#[tokio::test]
async fn a_name_without_an_address_is_an_error_at_start_that_names_it() {
    let mut problems = Problems::new();
    let config = serde_json::json!({ "endpoint": "nowhere.invalid:8125" });
    let parsed = (FACTORY.parse)(&config, &mut problems).unwrap();
    assert_eq!(parsed.needs(), Needs { temporality: TemporalityNeed::Delta, ..Needs::default() });
    let error = parsed.build(&context()).err().unwrap().to_string();
    assert!(error.starts_with("endpoint udp://nowhere.invalid:8125: "), "{error}");
}

#[tokio::test]
async fn batches_wait_for_room_in_a_full_queue_as_long_as_the_socket_is_read() {
    const BATCHES: u64 = 30;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("statsd.sock");
    let server = UnixDatagram::bind(&path).unwrap();
    server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let cx = context();
    let endpoint = format!("unixgram://{}", path.display());
    let exporter =
        exporter(serde_json::json!({ "endpoint": endpoint, "queue_size": 64, "max_packet_size": 512 }), &cx);
    let tag = "x".repeat(150);
    let metrics: Vec<_> = (0..100).map(|n| gauge(&format!("name{n}"), int(n, &[("tag", &tag)]))).collect();
    let metrics = batch(&[], metrics);
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 2000];
        let (mut lines, mut packets) = (0, 0);
        while lines < 100 * BATCHES as usize {
            let n = server.recv(&mut buffer).expect("a packet in time");
            lines += buffer[..n].iter().filter(|byte| **byte == b'\n').count();
            packets += 1;
        }
        packets
    });
    // Each of them takes half of the queue.
    for _ in 0..BATCHES {
        exporter.export_dyn(&metrics).await.unwrap();
    }
    exporter.shutdown_dyn().await;
    let packets: u64 = reader.join().unwrap();
    assert_eq!(cx.counters.sum(names::REQUESTS, &[("outcome", "failed")]), 0);
    assert_eq!(cx.counters.sum(names::REQUESTS, &[("outcome", "sent")]), packets);
}
