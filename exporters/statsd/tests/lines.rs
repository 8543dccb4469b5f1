//! Counters, gauges, summaries, names, tags and the traps of each dialect.

use crate::build::*;
use muxbridge_exporter_statsd::encode::{Counts, Dialect, HostPolicy, Options, encode, pack, rate};
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{Summary, SummaryDataPoint, metric::Data};

fn dogstatsd() -> muxbridge_exporter_statsd::encode::Options {
    options(Dialect::Dogstatsd)
}

#[test]
fn a_counter_has_clean_tags_and_then_the_constant_ones() {
    let mut options = dogstatsd();
    options.constant_tags = vec![("env".into(), "test".into()), ("service".into(), "mm".into())];
    let point = int(3, &[("model", "gpt-4o"), ("note", "a,b|c#d e")]);
    let (lines, _) = lines(&options, vec![counter("modelmuxer.requests", point)]);
    assert_eq!(lines, ["modelmuxer.requests:3|c|#model:gpt-4o,note:a_b_c_d_e,env:test,service:mm"]);
}

#[test]
fn a_counter_may_be_a_fraction() {
    let (lines, _) = lines(&dogstatsd(), vec![counter("modelmuxer.cost.usd", double(0.00123, &[]))]);
    assert_eq!(lines, ["modelmuxer.cost.usd:0.00123|c"]);
}

#[test]
fn values_that_are_no_numbers_are_left_out_and_counted() {
    let metrics = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(|v| gauge("g", double(v, &[])));
    let (lines, counts) = lines(&dogstatsd(), metrics.to_vec());
    assert!(lines.is_empty());
    assert_eq!(counts, Counts { non_finite: 3, ..Counts::default() });
}

#[test]
fn names_are_made_to_fit_and_counted() {
    let long = "x".repeat(300);
    let metrics = ["bad name:x|y", "1st", "a--b", &long, "é|", ""].map(|n| gauge(n, int(1, &[])));
    let (lines, counts) = lines(&dogstatsd(), metrics.to_vec());
    let long = format!("{}:1|g", "x".repeat(190));
    assert_eq!(lines, ["bad_name_x_y:1|g", "mm.1st:1|g", "a_b:1|g", &long]);
    assert_eq!((counts.adjusted_names, counts.malformed), (4, 2));
}

#[test]
fn numbers_are_short_and_exact() {
    let values = [5.0, -0.0, 0.1, 1e15, 1e16, 1e300, 1e-5, 1e-6, f64::MIN_POSITIVE, -2.5];
    let options = Options { aggregate: false, ..dogstatsd() };
    let (lines, _) = lines(&options, values.map(|v| gauge("g", double(v, &[]))).to_vec());
    let text: Vec<_> = lines.iter().map(|l| l.trim_start_matches("g:").trim_end_matches("|g")).collect();
    assert_eq!(
        text,
        [
            "5",
            "0",
            "0.1",
            "1000000000000000",
            "1e16",
            "1e300",
            "0.00001",
            "1e-6",
            "2.2250738585072014e-308",
            "-2.5"
        ]
    );
    let (exact, _) = crate::build::lines(&dogstatsd(), vec![counter("c", int(i64::MAX, &[]))]);
    assert_eq!(exact, ["c:9223372036854775807|c"]);
}

#[test]
fn totals_that_also_fall_are_levels_and_other_totals_are_left_out() {
    let metrics = vec![
        sum("queue", CUMULATIVE, false, int(-4, &[])),
        sum("change", DELTA, false, int(-4, &[])),
        sum("total", CUMULATIVE, true, int(4, &[])),
        sum("unknown", 0, true, int(4, &[])),
    ];
    let (lines, counts) = lines(&dogstatsd(), metrics);
    assert_eq!(lines, ["queue:-4|g", "change:-4|c"]);
    assert_eq!((counts.not_delta, counts.encoded), (2, 2));
}

#[test]
fn a_point_without_a_value_is_counted() {
    let mut gone = int(1, &[]);
    gone.flags = 1;
    let (lines, counts) = lines(&dogstatsd(), vec![gauge("a", gone), gauge("b", Default::default())]);
    assert!(lines.is_empty());
    assert_eq!(counts.no_value, 2);
}

#[test]
fn a_negative_gauge_is_set_by_a_zero_and_a_change_in_one_packet() {
    let messages = |dialect| lines(&options(dialect), vec![gauge("mm.neg", int(-5, &[("a", "b")]))]).0;
    assert_eq!(messages(Dialect::Etsy), ["mm.neg:0|g|#a:b\nmm.neg:-5|g|#a:b"]);
    assert_eq!(messages(Dialect::Graphite), ["mm.neg;a=b:0|g\nmm.neg;a=b:-5|g"]);
    assert_eq!(messages(Dialect::Influx), ["mm.neg,a=b:0|g\nmm.neg,a=b:-5|g"]);
    assert_eq!(messages(Dialect::Dogstatsd), ["mm.neg:-5|g|#a:b"]);
}

#[test]
fn no_tag_breaks_the_syntax_of_its_dialect() {
    let tags =
        [("k;e=y", "a:b,c;d=e|f g"), ("~x", "~"), ("1", "no letter"), ("e", ""), ("dd.internal.x", "y")];
    let one = |dialect| lines(&options(dialect), vec![gauge("g", int(1, &tags))]).0.remove(0);
    assert_eq!(one(Dialect::Dogstatsd), "g:1|g|#k_e_y:a:b_c_d_e_f_g,x:_,e:n/a");
    assert_eq!(one(Dialect::Graphite), "g;k_e_y=a_b_c_d_e_f_g;x=_;e=n/a:1|g");
    assert_eq!(one(Dialect::Influx), "g,k_e_y=a_b_c_d_e_f_g,x=_,e=n/a:1|g");
    let (_, counts) = lines(&options(Dialect::Dogstatsd), vec![gauge("g", int(1, &tags))]);
    assert_eq!(counts.adjusted_tags, 5);
}

#[test]
fn resource_attributes_with_a_standard_tag_become_tags_and_the_environment_only_once() {
    let resource = [
        ("deployment.environment", "old"),
        ("service.name", "mm"),
        ("deployment.environment.name", "prod"),
        ("k8s.pod.name", "p1"),
        ("telemetry.sdk.name", "x"),
        ("datadog.container.tag.team", "blue"),
    ];
    let encoded = |options: &_, point| {
        let mut counts = Counts::default();
        list(&encode(&batch(&resource, vec![counter("c", point)]), options, &mut counts)).remove(0)
    };
    let mut options = dogstatsd();
    assert_eq!(encoded(&options, int(1, &[])), "c:1|c|#service:mm,env:prod,pod_name:p1,team:blue");
    assert_eq!(
        encoded(&options, int(1, &[("env", "point")])),
        "c:1|c|#env:point,service:mm,pod_name:p1,team:blue"
    );
    // A tag of a point that begins like one of the resource is another one.
    assert_eq!(
        encoded(&options, int(1, &[("end", "x")])),
        "c:1|c|#end:x,service:mm,env:prod,pod_name:p1,team:blue"
    );
    options.constant_tags = vec![("team".into(), "red".into()), ("zone".into(), "a".into())];
    assert_eq!(
        encoded(&options, int(1, &[("zone", "b"), ("zone", "c")])),
        "c:1|c|#zone:b,service:mm,env:prod,pod_name:p1,team:blue"
    );
    options.dialect = Dialect::Graphite;
    assert_eq!(
        encoded(&options, int(1, &[("m", "x")])),
        "c;m=x;service=mm;env=prod;pod_name=p1;team=blue;zone=a:1|c"
    );
    assert_eq!(encoded(&options, int(1, &[])), "c;service=mm;env=prod;pod_name=p1;team=blue;zone=a:1|c");
    options.dialect = Dialect::Dogstatsd;
    options.resource_attributes_as_tags = true;
    assert!(encoded(&options, int(1, &[])).contains("telemetry.sdk.name:x"));
}

#[test]
fn the_host_is_the_agents_or_none_or_the_resources() {
    let encoded = |resource: &[(&str, &str)], host| {
        let mut options = dogstatsd();
        options.host = host;
        let mut counts = Counts::default();
        list(&encode(&batch(resource, vec![counter("c", int(1, &[]))]), &options, &mut counts)).remove(0)
    };
    let named = [("host.name", "h1")];
    assert_eq!(encoded(&named, HostPolicy::Agent), "c:1|c");
    assert_eq!(encoded(&named, HostPolicy::None), "c:1|c|#host:");
    assert_eq!(encoded(&named, HostPolicy::Resource), "c:1|c|#host:h1");
    assert_eq!(encoded(&[("host.name", "localhost")], HostPolicy::Resource), "c:1|c");
    let node = [("host.name", "h1"), ("k8s.node.name", "n"), ("k8s.cluster.name", "c")];
    assert!(encoded(&node, HostPolicy::Resource).contains("host:n-c"));
}

#[test]
fn attributes_that_are_new_for_each_request_are_no_tags_unless_asked_for() {
    let point = || int(1, &[("model", "m"), ("user_id", "u1"), ("session.id", "s")]);
    let (default, _) = lines(&dogstatsd(), vec![counter("c", point())]);
    assert_eq!(default, ["c:1|c|#model:m"]);
    let mut options = dogstatsd();
    options.tags_deny.clear();
    options.tags_allow = vec!["user_id".into()];
    assert_eq!(lines(&options, vec![counter("c", point())]).0, ["c:1|c|#user_id:u1"]);
}

#[test]
fn a_summary_is_sent_as_levels() {
    let quantiles = vec![
        ValueAtQuantile { quantile: 0.99, value: 7.5 },
        ValueAtQuantile { quantile: 1.0, value: f64::NAN },
    ];
    let point = SummaryDataPoint { count: 10, sum: 42.5, quantile_values: quantiles, ..Default::default() };
    let summary = metric("s", Data::Summary(Summary { data_points: vec![point] }));
    let (lines, _) = lines(&dogstatsd(), vec![summary]);
    assert_eq!(lines, ["s.count:10|g", "s.sum:42.5|g", "s.quantile:7.5|g|#quantile:0.99"]);
}

#[test]
fn packets_hold_whole_messages_and_none_is_longer_than_the_limit() {
    let mut options = dogstatsd();
    options.max_packet = 600;
    let tag = "v".repeat(150);
    let metrics: Vec<_> = (0..50).map(|i| counter(&format!("c{i}"), int(i, &[("k", &tag)]))).collect();
    let mut counts = Counts::default();
    let messages = encode(&batch(&[], metrics), &options, &mut counts);
    let packets = pack(&messages, 600);
    assert!(packets.iter().all(|p| p.len() <= 600 && p.ends_with('\n')));
    assert_eq!(packets.concat(), list(&messages).join("\n") + "\n");
    assert!(packets.len() < 20, "{} packets for 50 short messages", packets.len());
}

#[test]
fn a_message_longer_than_a_packet_is_dropped_and_counted() {
    let mut options = dogstatsd();
    let tags: Vec<_> = (0..10).map(|i| (format!("k{i}"), "v".repeat(180))).collect();
    let tags: Vec<_> = tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let metrics = || vec![counter("c", int(1, &tags)), counter("d", int(1, &[]))];
    let (kept, counts) = lines(&options, metrics());
    assert_eq!(kept, ["d:1|c"]);
    assert_eq!((counts.too_large, counts.encoded), (1, 1));
    options.max_packet = 8192;
    assert_eq!(lines(&options, metrics()).0.len(), 2);
}

#[test]
fn a_rate_gives_back_its_exact_weight_when_the_agent_truncates() {
    assert_eq!(rate(2).to_string(), "0.5");
    assert_eq!(rate(3).to_string(), "0.3333333333333333");
    assert_eq!(rate(49).to_string(), "0.02040816326530612");
    assert_eq!(rate(12345).to_string(), "0.00008100445524503847");
    for weight in 1..=200_000u64 {
        let text = rate(weight).to_string();
        assert_eq!((1.0 / text.parse::<f64>().unwrap()).trunc() as u64, weight, "{text}");
    }
}

#[test]
fn numbers_of_one_series_become_one_line_and_other_series_keep_theirs() {
    let metrics = || {
        vec![
            counter("c", int(1, &[("user_id", "a"), ("m", "x")])),
            gauge("g", int(4, &[])),
            counter("c", int(2, &[("user_id", "b"), ("m", "x")])),
            counter("c", double(0.5, &[("m", "x")])),
            counter("c", int(7, &[("m", "y")])),
            gauge("g", int(3, &[])),
        ]
    };
    let (merged, counts) = lines(&dogstatsd(), metrics());
    assert_eq!(merged, ["c:3.5|c|#m:x", "g:3|g", "c:7|c|#m:y"]);
    assert_eq!(counts.encoded, 6);
    let apart = Options { aggregate: false, ..dogstatsd() };
    assert_eq!(lines(&apart, metrics()).0.len(), 6);
    // What has a time of its own is final for the Agent.
    let dated = Options { timestamps: true, ..dogstatsd() };
    let at = |value, time| {
        let mut point = int(value, &[]);
        point.time_unix_nano = time;
        counter("c", point)
    };
    let (lines, _) = lines(&dated, vec![at(1, 5_000_000_000), at(2, 5_000_000_001), at(3, 0), at(4, 0)]);
    assert_eq!(lines, ["c:1|c|T5", "c:2|c|T5", "c:7|c"]);
}

#[test]
fn sums_that_leave_the_integers_or_the_doubles_stay_numbers() {
    let two = |a, b| lines(&dogstatsd(), vec![counter("c", a), counter("c", b)]).0;
    assert_eq!(two(int(i64::MAX, &[]), int(1, &[])), ["c:9.223372036854776e18|c"]);
    assert_eq!(two(double(1e308, &[]), double(1e308, &[])), ["c:1.7976931348623157e308|c"]);
}

#[test]
fn every_line_says_who_sends_it() {
    let mut options = dogstatsd();
    options.origin = "|c:ci-1|e:it-false|card:low".into();
    options.timestamps = true;
    let mut point = int(1, &[("a", "b")]);
    point.time_unix_nano = 1_656_581_400_000_000_000;
    let samples = histogram(
        "h",
        opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint {
            count: 4,
            sum: Some(10.0),
            time_unix_nano: 1_656_581_400_000_000_000,
            ..Default::default()
        },
    );
    let (lines, _) = lines(&options, vec![counter("c", point), samples]);
    // Distributions have no time: the Agent knows `T` for counts and gauges alone.
    assert_eq!(
        lines,
        ["c:1|c|#a:b|c:ci-1|e:it-false|card:low|T1656581400", "h:2.5|d|@0.25|c:ci-1|e:it-false|card:low"]
    );
}
