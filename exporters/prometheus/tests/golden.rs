//! Pages as they must be, written by hand from the format descriptions and the compatibility specification.

use crate::build::*;
use muxbridge_core::Batch;
use muxbridge_exporter_prometheus::encode::{Format, Options};
use opentelemetry_proto::tonic::metrics::v1::NumberDataPoint;

/// One of everything.
fn everything() -> Batch {
    let mut tokens =
        during(0, 60, int(9_007_199_254_740_993, &[("gen_ai.request.model", "gpt-4o"), ("error.type", "")]));
    tokens.exemplars = vec![exemplar(
        3.0,
        T0 + 5 * SECOND,
        &[0xab; 16],
        &[0xcd; 8],
        &[("user", "u\"1"), ("long", &"x".repeat(100))],
    )];
    let mut latency = buckets(&[0.1, 2.5, 10.0], &[1, 2, 0, 1], Some(17.25));
    latency.attributes = attributes(&[("le", "mine"), ("route", "/v1\\chat\n")]);
    latency.exemplars = vec![
        exemplar(0.5, T0 + SECOND / 2, &[1; 16], &[], &[]),
        exemplar(0.7, T0 + SECOND, &[2; 16], &[], &[]),
    ];
    let tokens = metric(
        "llm.tokens",
        "{token}",
        "Tokens \"used\"\nby \\ model",
        sum_data(CUMULATIVE, true, vec![tokens]),
    );
    let latency = opentelemetry_proto::tonic::metrics::v1::Metric {
        unit: "s".to_owned(),
        description: "How long".to_owned(),
        ..histogram("llm.latency", CUMULATIVE, latency)
    };
    let load = opentelemetry_proto::tonic::metrics::v1::Metric {
        unit: "1".to_owned(),
        ..gauge("system.load", vec![double(0.1, &[]), double(f64::NAN, &[("cpu", "1")])])
    };
    let queue = metric("queue.size", "", "", sum_data(CUMULATIVE, false, vec![int(-3, &[])]));
    let rpc = summary("rpc", 4, 2.5, &[(0.99, 1e7), (0.5, f64::NAN)]);
    scoped(
        &[
            ("service.namespace", "router"),
            ("service.name", "modelmuxer"),
            ("service.instance.id", "pod-1"),
            ("deployment.environment", "prod"),
        ],
        Some(scope("meter", "1.2")),
        vec![tokens, latency, load, queue, rpc],
    )
}

const TEXT: &str = r#"# HELP target_info Target metadata
# TYPE target_info gauge
target_info{deployment_environment="prod",instance="pod-1",job="router/modelmuxer"} 1
# HELP llm_latency_seconds How long
# TYPE llm_latency_seconds histogram
llm_latency_seconds_bucket{exported_le="mine",instance="pod-1",job="router/modelmuxer",otel_scope_name="meter",otel_scope_version="1.2",route="/v1\\chat\n",le="0.1"} 1
llm_latency_seconds_bucket{exported_le="mine",instance="pod-1",job="router/modelmuxer",otel_scope_name="meter",otel_scope_version="1.2",route="/v1\\chat\n",le="2.5"} 3
llm_latency_seconds_bucket{exported_le="mine",instance="pod-1",job="router/modelmuxer",otel_scope_name="meter",otel_scope_version="1.2",route="/v1\\chat\n",le="10.0"} 3
llm_latency_seconds_bucket{exported_le="mine",instance="pod-1",job="router/modelmuxer",otel_scope_name="meter",otel_scope_version="1.2",route="/v1\\chat\n",le="+Inf"} 4
llm_latency_seconds_sum{exported_le="mine",instance="pod-1",job="router/modelmuxer",otel_scope_name="meter",otel_scope_version="1.2",route="/v1\\chat\n"} 17.25
llm_latency_seconds_count{exported_le="mine",instance="pod-1",job="router/modelmuxer",otel_scope_name="meter",otel_scope_version="1.2",route="/v1\\chat\n"} 4
# HELP llm_tokens_total Tokens "used"\nby \\ model
# TYPE llm_tokens_total counter
llm_tokens_total{gen_ai_request_model="gpt-4o",instance="pod-1",job="router/modelmuxer",otel_scope_name="meter",otel_scope_version="1.2"} 9007199254740993
# TYPE queue_size gauge
queue_size{instance="pod-1",job="router/modelmuxer",otel_scope_name="meter",otel_scope_version="1.2"} -3
# TYPE rpc summary
rpc{instance="pod-1",job="router/modelmuxer",otel_scope_name="meter",otel_scope_version="1.2",quantile="0.5"} NaN
rpc{instance="pod-1",job="router/modelmuxer",otel_scope_name="meter",otel_scope_version="1.2",quantile="0.99"} 10000000
rpc_sum{instance="pod-1",job="router/modelmuxer",otel_scope_name="meter",otel_scope_version="1.2"} 2.5
rpc_count{instance="pod-1",job="router/modelmuxer",otel_scope_name="meter",otel_scope_version="1.2"} 4
# TYPE system_load_ratio gauge
system_load_ratio{cpu="1",instance="pod-1",job="router/modelmuxer",otel_scope_name="meter",otel_scope_version="1.2"} NaN
system_load_ratio{instance="pod-1",job="router/modelmuxer",otel_scope_name="meter",otel_scope_version="1.2"} 0.1
"#;

/// Two exemplars are in the bucket up to 2.5: the later one counts. The attribute `long` does not fit the 128
/// characters that an exemplar may have.
const OPEN: &str = r##"# HELP target Target metadata
# TYPE target info
target_info{deployment_environment="prod",instance="pod-1",job="router/modelmuxer"} 1
# HELP llm_latency_seconds How long
# TYPE llm_latency_seconds histogram
# UNIT llm_latency_seconds seconds
llm_latency_seconds_bucket{exported_le="mine",SAME,route="/v1\\chat\n",le="0.1"} 1
llm_latency_seconds_bucket{exported_le="mine",SAME,route="/v1\\chat\n",le="2.5"} 3 # {trace_id="02020202020202020202020202020202"} 0.7 1767225601
llm_latency_seconds_bucket{exported_le="mine",SAME,route="/v1\\chat\n",le="10.0"} 3
llm_latency_seconds_bucket{exported_le="mine",SAME,route="/v1\\chat\n",le="+Inf"} 4
llm_latency_seconds_sum{exported_le="mine",SAME,route="/v1\\chat\n"} 17.25
llm_latency_seconds_count{exported_le="mine",SAME,route="/v1\\chat\n"} 4
llm_latency_seconds_created{exported_le="mine",SAME,route="/v1\\chat\n"} 1767225600
# HELP llm_tokens Tokens \"used\"\nby \\ model
# TYPE llm_tokens counter
llm_tokens_total{gen_ai_request_model="gpt-4o",SAME} 9007199254740993 # {trace_id="abababababababababababababababab",span_id="cdcdcdcdcdcdcdcd",user="u\"1"} 3 1767225605
llm_tokens_created{gen_ai_request_model="gpt-4o",SAME} 1767225600
# TYPE queue_size gauge
queue_size{SAME} -3
# TYPE rpc summary
rpc{SAME,quantile="0.5"} NaN
rpc{SAME,quantile="0.99"} 10000000
rpc_sum{SAME} 2.5
rpc_count{SAME} 4
# TYPE system_load_ratio gauge
# UNIT system_load_ratio ratio
system_load_ratio{cpu="1",SAME} NaN
system_load_ratio{SAME} 0.1
# EOF
"##;

const SAME: &str =
    r#"instance="pod-1",job="router/modelmuxer",otel_scope_name="meter",otel_scope_version="1.2""#;

#[test]
fn the_text_format_shows_every_kind_of_metric_as_the_specification_says() {
    assert_eq!(page(options(), &everything(), Format::Text), TEXT);
}

#[test]
fn openmetrics_adds_units_start_times_exemplars_and_the_end() {
    assert_eq!(page(options(), &everything(), Format::OpenMetrics), OPEN.replace("SAME", SAME));
}

#[test]
fn options_change_names_labels_and_times() {
    let options = Options {
        namespace: "mm".to_owned(),
        const_labels: vec![("region".to_owned(), "eu".to_owned())],
        send_timestamps: true,
        add_suffixes: false,
        scope_labels: false,
        resource_labels: true,
        ..options()
    };
    let point = NumberDataPoint { time_unix_nano: T0 + 1_500_000_000, ..double(2.0, &[("env", "point")]) };
    let up = opentelemetry_proto::tonic::metrics::v1::Metric {
        unit: "s".to_owned(),
        ..counter("up.time", CUMULATIVE, point)
    };
    let batch =
        scoped(&[("service.name", "a"), ("env", "resource"), ("zone", "z")], Some(scope("s", "1")), vec![up]);
    let labels = r#"env="point",job="a",region="eu",zone="z""#;
    let text = format!("# TYPE mm_up_time counter\nmm_up_time{{{labels}}} 2 1767225601500\n");
    let open = format!("# TYPE mm_up_time counter\nmm_up_time_total{{{labels}}} 2 1767225601.5\n# EOF\n");
    assert!(page(options.clone(), &batch, Format::Text).ends_with(&text));
    assert!(page(options, &batch, Format::OpenMetrics).ends_with(&open));
}

#[test]
fn attributes_whose_names_collide_are_joined_in_the_order_of_their_names() {
    let tags = [("a_b", "2"), ("a.b", "1"), ("job", "point"), ("a-b", "0"), ("otel.scope.name", "x")];
    let batch =
        scoped(&[("service.name", "svc")], Some(scope("real", "")), vec![gauge("g", vec![int(1, &tags)])]);
    let expected = r#"g{a_b="0;1;2",exported_job="point",exported_otel_scope_name="x",job="svc",otel_scope_name="real"} 1"#;
    let page = page(options(), &batch, Format::Text);
    assert!(page.lines().any(|l| l == expected), "{page}");
}

/// Scale 1: bounds are powers of the square root of 2, so 2, 2.83, 4, 5.66, 8.
#[test]
fn an_exponential_histogram_becomes_classic_buckets_with_exact_bounds() {
    let mut point = exponential(1, 2, (2, &[3, 0, 1]), (0, &[5]));
    point.zero_threshold = 0.25;
    point.attributes = attributes(&[("k", "v")]);
    let batch = batch(vec![exponential_metric("h", CUMULATIVE, point)]);
    // Index 0 below zero holds -1.41 to -1, indices 2 to 4 above zero hold 2 to 5.66.
    let expected = "# TYPE h histogram\n\
        h_bucket{k=\"v\",le=\"-1.0\"} 5\n\
        h_bucket{k=\"v\",le=\"0.25\"} 7\n\
        h_bucket{k=\"v\",le=\"2.0\"} 7\n\
        h_bucket{k=\"v\",le=\"2.8284271247461903\"} 10\n\
        h_bucket{k=\"v\",le=\"4.0\"} 10\n\
        h_bucket{k=\"v\",le=\"5.656854249492381\"} 11\n\
        h_bucket{k=\"v\",le=\"+Inf\"} 11\n";
    let sums = "h_sum{k=\"v\"} 1.5\nh_count{k=\"v\"} 11\n";
    assert_eq!(page(options(), &batch, Format::Text), format!("{expected}{sums}"));
    // OpenMetrics allows no sum besides buckets below zero, and no count without a sum.
    let created = "h_created{k=\"v\"} 1767225600\n# EOF\n";
    assert_eq!(page(options(), &batch, Format::OpenMetrics), format!("{expected}{created}"));
}

#[test]
fn a_fine_exponential_histogram_is_brought_to_scale_2_without_losing_counts() {
    // At scale 4 indices 0 to 7 are 0 and 1 at scale 2: up to 2^(1/4) and 2^(1/2).
    let point = exponential(4, 0, (0, &[1, 1, 1, 1, 1, 1, 1, 1]), (0, &[]));
    let page = page(options(), &batch(vec![exponential_metric("h", CUMULATIVE, point)]), Format::Text);
    let expected = "# TYPE h histogram\n\
        h_bucket{le=\"0.0\"} 0\n\
        h_bucket{le=\"1.0\"} 0\n\
        h_bucket{le=\"1.189207115002721\"} 4\n\
        h_bucket{le=\"1.4142135623730951\"} 8\n\
        h_bucket{le=\"+Inf\"} 8\nh_sum 1.5\nh_count 8\n";
    assert_eq!(page, expected);
}
