//! Regions, endpoints, and what is refused.

use super::*;

fn config(key: &str) -> Config {
    Config { license_key: Secret::new(key), ..Config::default() }
}

fn problems(config: &Config) -> Vec<String> {
    let mut problems = Problems::new();
    check(config, &mut problems);
    problems.into_vec().iter().map(ToString::to_string).collect()
}

fn url(config: &Config, signal: Signal) -> String {
    config.uri(Target::Signal(signal)).unwrap().to_string()
}

#[test]
fn the_region_is_what_the_key_names_before_its_first_x() {
    for (key, region) in [
        ("eu01xx0123456789abcdefNRAL", Region::Eu),
        ("jp01xx0123456789abcdefNRAL", Region::Jp),
        ("gov01x0123456789abcdefNRAL", Region::Gov),
        ("0123456789abcdef0123456789abcdefFFFFNRAL", Region::Us),
        ("euro01x", Region::Us),
        ("xeu01x", Region::Us),
        ("x", Region::Us),
        ("", Region::Us),
    ] {
        assert_eq!(Region::of_key(key), region, "{key}");
    }
    let chosen = Config { region: Some(Region::Us), ..config("eu01xx0123") };
    assert_eq!(chosen.region(), Region::Us);
}

#[test]
fn each_region_has_its_addresses() {
    let of = |region, mode| Config { region: Some(region), mode, ..config("k") };
    for (region, otlp, trace_api) in [
        (Region::Us, "https://otlp.nr-data.net/v1/", "https://trace-api.newrelic.com/trace/v1"),
        (Region::Eu, "https://otlp.eu01.nr-data.net/v1/", "https://trace-api.eu.newrelic.com/trace/v1"),
        (Region::Gov, "https://gov-otlp.nr-data.net:4318/v1/", "https://gov-trace-api.newrelic.com/trace/v1"),
    ] {
        for signal in Signal::ALL {
            assert_eq!(url(&of(region, Mode::Otlp), signal), format!("{otlp}{signal}"));
        }
        assert_eq!(url(&of(region, Mode::TraceApi), Signal::Traces), trace_api);
        assert_eq!(url(&of(region, Mode::TraceApi), Signal::Logs), format!("{otlp}logs"));
    }
    assert_eq!(url(&of(Region::Jp, Mode::Otlp), Signal::Logs), "https://otlp.jp.nr-data.net/v1/logs");
    let found = problems(&of(Region::Jp, Mode::TraceApi));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("traces_endpoint: the address of this API in this region"));
}

#[test]
fn a_base_url_gets_the_path_and_a_url_for_one_signal_is_taken_as_it_is() {
    let mut config = config("k");
    config.endpoint = Some("http://127.0.0.1:4318/".into());
    config.metrics_endpoint = Some("https://proxy/own/path".into());
    assert_eq!(url(&config, Signal::Traces), "http://127.0.0.1:4318/v1/traces");
    assert_eq!(url(&config, Signal::Metrics), "https://proxy/own/path");
    config.mode = Mode::TraceApi;
    assert_eq!(url(&config, Signal::Traces), "http://127.0.0.1:4318/trace/v1");
}

#[test]
fn every_mistake_is_reported_at_its_place_and_no_key_is_printed() {
    assert_eq!(problems(&config("k")), [""; 0]);
    let one = |config: Config, start: &str| {
        let found = problems(&config);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(start), "{found:?}");
        assert!(!found[0].contains("canary"), "{found:?}");
    };
    one(config(""), "license_key: is required");
    one(config("NRAK-canary"), "license_key: is a user key");
    one(config("canary\n"), "license_key: has a space");
    one(Config { trace_format: Some(TraceFormat::Zipkin), ..config("k") }, "trace_format: only");
    one(Config { timeout: GoDuration::from_secs(0), ..config("k") }, "timeout: must");
    one(Config { endpoint: Some("otlp.nr-data.net".into()), ..config("k") }, "endpoint: ");
    one(Config { logs_endpoint: Some("ftp://host/x".into()), ..config("k") }, "logs_endpoint: ");
    one(
        Config { traces_endpoint: Some("https://h/trace/v1?Api-Key=canary".into()), ..config("k") },
        "traces_endpoint: a key in the URL",
    );
    let tls = TlsConfig { insecure: true, ..TlsConfig::default() };
    one(Config { tls, ..config("k") }, "tls.insecure: ");
}

#[test]
fn native_mode_has_an_api_for_each_signal_in_every_region_but_japan() {
    let of = |region| Config { region: Some(region), mode: Mode::Native, ..config("k") };
    for (region, expected) in [
        (
            Region::Us,
            [
                "https://trace-api.newrelic.com/trace/v1",
                "https://metric-api.newrelic.com/metric/v1",
                "https://log-api.newrelic.com/log/v1",
                "https://insights-collector.newrelic.com/v1/accounts/events",
            ],
        ),
        (
            Region::Eu,
            [
                "https://trace-api.eu.newrelic.com/trace/v1",
                "https://metric-api.eu.newrelic.com/metric/v1",
                "https://log-api.eu.newrelic.com/log/v1",
                "https://insights-collector.eu01.nr-data.net/v1/accounts/events",
            ],
        ),
        (
            Region::Gov,
            [
                "https://gov-trace-api.newrelic.com/trace/v1",
                "https://gov-metric-api.newrelic.com/metric/v1",
                "https://gov-log-api.newrelic.com/log/v1",
                "https://gov-insights-collector.newrelic.com/v1/accounts/events",
            ],
        ),
    ] {
        let found: Vec<String> =
            of(region).targets().map(|t| of(region).uri(t).unwrap().to_string()).collect();
        assert_eq!(found, expected);
    }
    let found = problems(&of(Region::Jp));
    let places: Vec<&str> = found.iter().map(|p| p.split(':').next().unwrap()).collect();
    assert_eq!(places, ["traces_endpoint", "metrics_endpoint", "logs_endpoint", "events_endpoint"]);
}

#[test]
fn grpc_goes_to_port_4317_and_metrics_of_fedramp_stay_on_http() {
    let of = |region| Config { region: Some(region), protocol: Protocol::Grpc, ..config("k") };
    assert_eq!(url(&of(Region::Us), Signal::Traces), "https://otlp.nr-data.net:4317/");
    assert_eq!(url(&of(Region::Eu), Signal::Metrics), "https://otlp.eu01.nr-data.net:4317/");
    assert_eq!(url(&of(Region::Gov), Signal::Logs), "https://gov-otlp.nr-data.net:4317/");
    assert_eq!(url(&of(Region::Gov), Signal::Metrics), "https://gov-otlp.nr-data.net:4318/v1/metrics");
    let with_path = Config { endpoint: Some("https://h:4317/v1/traces".into()), ..of(Region::Us) };
    assert!(problems(&with_path)[0].contains("gRPC has no path"));
}

#[test]
fn an_endpoint_that_a_variable_left_empty_is_that_of_the_region() {
    let config = Config {
        endpoint: Some(String::new()),
        logs_endpoint: Some(String::new()),
        service_instance_id: Some(String::new()),
        ..config("eu01xx0123")
    };
    assert_eq!(url(&config, Signal::Logs), "https://otlp.eu01.nr-data.net/v1/logs");
    assert_eq!(problems(&config), [""; 0]);
}

#[test]
fn options_without_a_meaning_are_mistakes() {
    for (config, start) in [
        (Config { protocol: Protocol::Grpc, mode: Mode::Native, ..config("k") }, "protocol: "),
        (Config { events_endpoint: Some("https://h/e".into()), ..config("k") }, "events_endpoint: "),
    ] {
        let found = problems(&config);
        assert!(found.len() == 1 && found[0].starts_with(start), "{found:?}");
    }
}
