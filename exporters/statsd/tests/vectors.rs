//! The test vectors of DogStatsD, each a test with the number that it has in the reference (T1 to T12 and T14; the others
//! are those of the `datadog` exporter).

use crate::build::*;
use crate::parser::message;
use muxbridge_core::{BuildContext, Clock, Counters, Exporter};
use muxbridge_exporter_statsd::StatsdExporter;
use muxbridge_exporter_statsd::encode::events::{Event, ServiceCheck};
use muxbridge_exporter_statsd::encode::{Dialect, HostPolicy, Options, pack, rate};
use muxbridge_exporter_statsd::transport::{Endpoint, Transport};
use opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::time::Duration;

fn constant() -> Options {
    let constant_tags = vec![("env".into(), "test".into()), ("service".into(), "mm".into())];
    Options { constant_tags, ..options(Dialect::Dogstatsd) }
}

#[test]
fn t1_a_counter_with_tags_that_need_cleaning() {
    let point = int(3, &[("model", "gpt-4o"), ("note", "a,b|c#d e")]);
    let (lines, _) = lines(&constant(), vec![counter("modelmuxer.requests", point)]);
    assert_eq!(lines, ["modelmuxer.requests:3|c|#model:gpt-4o,note:a_b_c_d_e,env:test,service:mm"]);
}

#[test]
fn t2_a_counter_of_money() {
    let (lines, _) =
        lines(&options(Dialect::Dogstatsd), vec![counter("modelmuxer.cost.usd", double(0.00123, &[]))]);
    assert_eq!(lines, ["modelmuxer.cost.usd:0.00123|c"]);
}

#[test]
fn t3_a_count_with_its_time() {
    let options = Options { timestamps: true, ..constant() };
    let mut point = int(15, &[]);
    point.time_unix_nano = 1_656_581_400_000_000_000;
    let (lines, _) = lines(&options, vec![counter("cnt", point)]);
    assert_eq!(lines, ["cnt:15|c|#env:test,service:mm|T1656581400"]);
}

#[test]
fn t4_what_is_no_number_is_not_sent_but_counted() {
    for value in [f64::NAN, f64::INFINITY] {
        let (lines, counts) = lines(&options(Dialect::Dogstatsd), vec![gauge("g", double(value, &[]))]);
        assert!(lines.is_empty());
        assert_eq!(counts.dropped()[0], ("non_finite", 1));
    }
}

#[test]
fn t5_a_bad_name() {
    let (lines, _) = lines(&options(Dialect::Dogstatsd), vec![gauge("bad name:x|y", int(1, &[]))]);
    assert_eq!(lines, ["bad_name_x_y:1|g"]);
}

#[test]
fn t6_an_event() {
    let event = Event {
        title: "Deploy\nX".into(),
        text: "line1\nline2|é".into(),
        time: 1_700_000_000,
        host: "h1".into(),
        aggregation_key: "k".into(),
        priority: "low".into(),
        source: "src".into(),
        alert: "warning".into(),
        tags: vec!["a:b".into()],
    };
    assert_eq!(
        event.line(""),
        "_e{9,15}:Deploy\\nX|line1\\nline2|é|d:1700000000|h:h1|k:k|p:low|s:src|t:warning|#a:b"
    );
}

#[test]
fn t7_a_service_check() {
    let check = ServiceCheck {
        name: "mm.up".into(),
        status: 2,
        time: 1_700_000_000,
        host: "h1".into(),
        tags: vec!["x:y".into()],
        message: "bad\nm:x".into(),
    };
    assert_eq!(check.line(""), "_sc|mm.up|2|d:1700000000|h:h1|#x:y|m:bad\\nm\\:x");
}

#[tokio::test]
async fn t8_a_frame_on_a_stream() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dsd.sock");
    let server = UnixListener::bind(&path).unwrap();
    let cx = BuildContext::new("statsd", Counters::new(), Clock::fixed(0));
    let transport = Transport::connect(&Endpoint::UnixStream(path), 64, Duration::ZERO, &cx).unwrap();
    let exporter = StatsdExporter::new(options(Dialect::Dogstatsd), transport, false, &cx);
    exporter.export(&batch(&[], vec![gauge("a", int(1, &[]))])).await.unwrap();
    let mut frame = [0; 10];
    server.accept().unwrap().0.read_exact(&mut frame).unwrap();
    assert_eq!(frame, [0x06, 0, 0, 0, 0x61, 0x3a, 0x31, 0x7c, 0x67, 0x0a]);
}

#[test]
fn t9_a_negative_level_for_a_server_that_reads_signs_as_changes() {
    let mut counts = Default::default();
    let one = batch(&[], vec![gauge("mm.neg", int(-5, &[]))]);
    let messages = muxbridge_exporter_statsd::encode::encode(&one, &options(Dialect::Etsy), &mut counts);
    assert_eq!(pack(&messages, 1432), ["mm.neg:0|g\nmm.neg:-5|g\n"]);
}

#[test]
fn t10_a_value_for_a_server_without_distributions() {
    let point = HistogramDataPoint { count: 1, min: Some(12.25), max: Some(12.25), ..Default::default() };
    assert_eq!(lines(&options(Dialect::Etsy), vec![histogram("lat", point)]).0, ["lat:12.25|ms"]);
}

#[test]
fn t11_a_metric_that_belongs_to_no_host() {
    let options = Options { host: HostPolicy::None, ..options(Dialect::Dogstatsd) };
    assert_eq!(lines(&options, vec![counter("c", int(1, &[("a", "b")]))]).0, ["c:1|c|#a:b,host:"]);
}

#[test]
fn t12_a_histogram_with_four_values_for_a_bucket() {
    let options = Options { samples_per_bucket: 4, ..options(Dialect::Dogstatsd) };
    let point = HistogramDataPoint {
        explicit_bounds: vec![0.64, 1.28, 2.56],
        bucket_counts: vec![0, 3, 10, 1],
        count: 14,
        min: Some(0.7),
        max: Some(3.1),
        attributes: attributes(&[("service", "mm")]),
        ..Default::default()
    };
    let (lines, _) = lines(&options, vec![histogram("gen_ai.client.operation.duration", point)]);
    let name = "gen_ai.client.operation.duration";
    let expected = [
        format!("{name}:0.774076:0.946573:1.15751|d|#service:mm"),
        format!("{name}:1.39585:1.65995|d|@0.3333333333333333|#service:mm"),
        format!("{name}:1.97403:2.34753|d|@0.5|#service:mm"),
        format!("{name}:2.81709|d|#service:mm"),
    ];
    assert_eq!(lines, expected);
    let parsed = lines.iter().map(|l| message(l).unwrap());
    assert_eq!(parsed.map(|l| l.weight() * l.values.len() as u64).sum::<u64>(), 14);
}

#[test]
fn t14_the_rate_of_a_weight() {
    for (weight, text) in [
        (2, "0.5"),
        (3, "0.3333333333333333"),
        (49, "0.02040816326530612"),
        // Of the two spellings of the reference the encoder writes the one without an exponent above 1e-5.
        (12345, "0.00008100445524503847"),
    ] {
        assert_eq!(rate(weight).to_string(), text);
    }
    for weight in 1..=200_000u64 {
        assert_eq!((1.0 / rate(weight).to_string().parse::<f64>().unwrap()).trunc() as u64, weight);
    }
}
