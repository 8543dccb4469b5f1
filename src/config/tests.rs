//! What an operator reads when a configuration is wrong, and what a right one becomes.

use super::*;
use muxbridge_core::config::GoDuration;
use std::collections::HashMap;

fn load_with(yaml: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let variables: HashMap<&str, &str> = variables.iter().copied().collect();
    load(yaml, &|name| variables.get(name).map(|v| (*v).to_owned()), &Registry::builtin())
        .map_err(|problems| problems.into_vec().iter().map(ToString::to_string).collect())
}

fn problems(yaml: &str) -> Vec<String> {
    load_with(yaml, &[]).err().unwrap_or_default()
}

/// A configuration around an exporter.
fn with_exporter(body: &str) -> String {
    format!(
        "receivers: {{otlp: }}\nexporters:\n  {body}\nservice: {{pipelines: {{traces: {{receivers: [otlp], exporters: [{}]}}}}}}\n",
        body.split(':').next().unwrap_or_default()
    )
}

#[test]
fn ten_mistakes_are_ten_problems_each_with_path_value_and_what_to_write() {
    let yaml = include_str!("../../tests/config/ten_mistakes.yaml");
    let found = problems(yaml);
    let expected: Vec<&str> = include_str!("../../tests/config/ten_mistakes.txt").lines().collect();
    assert_eq!(found, expected);
}

#[test]
fn a_variable_cannot_change_the_structure_of_the_file() {
    let yaml = with_exporter("otlp: {endpoint: \"${env:TARGET}\"}");
    let found = load_with(&yaml, &[("TARGET", "x:1\nheaders: {a: b}")]).err().unwrap_or_default();
    assert!(found.iter().all(|p| p.starts_with("exporters.otlp.endpoint")), "{found:?}");
}

#[test]
fn a_variable_that_is_not_set_is_a_problem_at_its_place() {
    let found = problems(&with_exporter("otlp: {endpoint: \"${env:NO_SUCH}\"}"));
    assert_eq!(
        found,
        [
            "exporters.otlp.endpoint: the environment variable NO_SUCH is not set; set it, or write ${env:NO_SUCH:-default}"
        ]
    );
}

#[test]
fn a_default_stands_in_for_a_variable_and_two_dollars_are_one() {
    let mut tree = serde_json::json!({ "a": "${env:NONE:-x}", "b": "$$5", "c": "${SET}", "d": "p$ss" });
    let mut problems = Problems::new();
    substitute::substitute(&mut tree, &|name| (name == "SET").then(|| "v".to_owned()), &mut problems);
    assert_eq!(tree, serde_json::json!({ "a": "x", "b": "$5", "c": "v", "d": "p$ss" }));
    assert!(problems.is_empty());
}

#[test]
fn a_number_may_be_quoted_and_may_come_from_a_variable() {
    let yaml = with_exporter("debug: {sending_queue: {num_consumers: \"3\", queue_size: \"${env:SIZE}\"}}");
    let config = load_with(&yaml, &[("SIZE", "77")]).unwrap_or_else(|p| panic!("{p:?}"));
    let queue = &config.exporters["debug"].queue;
    assert_eq!((queue.num_consumers, queue.queue_size), (3, 77));
}

#[test]
fn a_secret_of_the_wrong_type_is_not_printed() {
    let found = problems(&with_exporter("newrelic: {license_key: [canary-key]}"));
    assert!(!found.is_empty() && !found.concat().contains("canary"), "{found:?}");
}

#[test]
fn a_component_that_no_pipeline_uses_is_a_warning() {
    let yaml = with_exporter("debug:\n  debug/spare:");
    let config = load_with(&yaml, &[]).unwrap_or_else(|p| panic!("{p:?}"));
    assert_eq!(config.warnings, ["exporters.debug/spare: no pipeline uses it, so it is not started"]);
}

#[test]
fn an_exporter_in_a_pipeline_of_a_signal_it_cannot_send_is_a_problem() {
    let found = problems(&with_exporter("statsd: {endpoint: 127.0.0.1:8125}"));
    assert_eq!(
        found,
        ["service.pipelines.traces.exporters[0]: \"statsd\" cannot send traces; it sends metrics"]
    );
}

#[test]
fn the_batch_processor_of_the_collector_sets_the_batching_of_the_exporters_behind_it() {
    let yaml = "
receivers: {otlp: }
processors: {batch: {timeout: 3s, send_batch_size: 100}}
exporters: {debug: }
service: {pipelines: {traces: {receivers: [otlp], processors: [batch], exporters: [debug]}}}";
    let config = load_with(yaml, &[]).unwrap_or_else(|p| panic!("{p:?}"));
    let batch = &config.exporters["debug"].queue.batch;
    assert_eq!((batch.flush_timeout, batch.min_size, batch.max_size), (GoDuration::from_secs(3), 100, 100));
    assert!(config.pipelines[0].processors.is_empty());
}

#[test]
fn what_the_collector_has_and_we_do_not_is_explained() {
    let yaml = "
receivers: {otlp: }
processors: {memory_limiter: {limit_mib: 100}}
exporters: {logging: }
extensions: {health_check: }
service: {pipelines: {traces: {receivers: [otlp], processors: [memory_limiter], exporters: [logging]}}}";
    let found = problems(yaml).join("\n");
    for expected in ["there are no extensions", "there is no memory_limiter", "is called \"debug\""] {
        assert!(found.contains(expected), "{expected:?} is not in {found}");
    }
}

#[test]
fn duplicate_keys_and_broken_yaml_name_their_line() {
    let found = problems("receivers: {otlp: }\nreceivers: {otlp: }\n");
    assert!(found[0].contains("not valid YAML") && found[0].contains("line 2"), "{found:?}");
}

mod environment_only {
    use super::super::environment::configuration;
    use super::*;

    fn from(variables: &[(&str, &str)]) -> (Config, Vec<String>) {
        let map: HashMap<&str, &str> = variables.iter().copied().collect();
        let found = configuration(&|name| map.get(name).map(|v| (*v).to_owned()));
        let config = from_tree(found.tree, &Registry::builtin(), Problems::new());
        (config.unwrap_or_else(|p| panic!("{:?}", p.into_vec())), found.chosen)
    }

    fn exporters(variables: &[(&str, &str)]) -> Vec<String> {
        from(variables).0.exporters.into_keys().collect()
    }

    #[test]
    fn without_any_destination_it_prints() {
        let (config, chosen) = from(&[]);
        assert_eq!(config.exporters.keys().collect::<Vec<_>>(), ["debug"]);
        assert_eq!(config.pipelines.len(), 3);
        assert!(chosen.iter().any(|c| c.contains("no destination is set")), "{chosen:?}");
    }

    #[test]
    fn each_variable_that_users_have_picks_its_exporter() {
        assert_eq!(exporters(&[("DD_AGENT_HOST", "agent")]), ["datadog"]);
        assert_eq!(exporters(&[("NEW_RELIC_LICENSE_KEY", "eu01xx1234567890")]), ["newrelic"]);
        let grpc =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        assert_eq!(exporters(&grpc), ["otlp"]);
        assert_eq!(exporters(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")]), ["otlphttp"]);
    }

    #[test]
    fn a_key_alone_sends_straight_to_datadog_and_the_message_says_so() {
        let variables = [
            ("DD_API_KEY", "k"),
            ("DD_SITE", "datadoghq.eu"),
            ("DD_ENV", "prod"),
            ("DD_HOSTNAME", "gateway-1"),
        ];
        let tree = |variables: &[(&str, &str)]| {
            let map: HashMap<&str, &str> = variables.iter().copied().collect();
            configuration(&|name| map.get(name).map(|v| (*v).to_owned())).tree
        };
        let expected = serde_json::json!({
            "datadog": { "mode": "agentless", "api_key": "k", "site": "datadoghq.eu", "env": "prod", "hostname": "gateway-1" }
        });
        assert_eq!(tree(&variables)["exporters"], expected);
        let (config, chosen) = from(&variables);
        assert!(chosen.iter().any(|c| {
            c.starts_with("datadog: straight to Datadog at datadoghq.eu") && c.contains("DD_AGENT_HOST")
        }));
        assert_eq!(config.pipelines.len(), 3);
        assert!(config.pipelines.iter().all(|p| p.exporters == ["datadog"]));
        // An Agent that is named has the key.
        let both = [("DD_API_KEY", "k"), ("DD_AGENT_HOST", "agent")];
        assert_eq!(tree(&both)["exporters"]["datadog"]["trace_agent_url"], "http://agent:8126");
    }

    #[test]
    fn a_key_is_never_part_of_what_is_printed() {
        let (_, chosen) = from(&[
            ("DD_API_KEY", "canary-dd"),
            ("NEW_RELIC_LICENSE_KEY", "eu01xxcanary"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=canary"),
        ]);
        assert!(!chosen.join("\n").contains("canary"), "{chosen:?}");
    }

    #[test]
    fn an_endpoint_that_is_this_bridge_itself_is_not_used() {
        let (config, chosen) = from(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317")]);
        assert_eq!(config.exporters.keys().collect::<Vec<_>>(), ["debug"]);
        assert!(chosen.iter().any(|c| c.contains("this bridge itself")), "{chosen:?}");
    }

    fn scraped(url: Option<&str>) -> (serde_json::Value, String) {
        let found = configuration(&|name| url.filter(|_| name == "MODELMUXER_URL").map(str::to_owned));
        assert_eq!(found.tree["service"]["pipelines"]["metrics"]["receivers"][1], "prometheus");
        let target = found.tree["receivers"]["prometheus"]["targets"][0].clone();
        from_tree(found.tree, &Registry::builtin(), Problems::new())
            .unwrap_or_else(|p| panic!("{:?}", p.into_vec()));
        let why = found.chosen.into_iter().find(|c| c.starts_with("prometheus: "));
        (target, why.unwrap_or_default())
    }

    #[test]
    fn modelmuxer_is_scraped_where_it_usually_is_and_may_be_absent() {
        let (target, why) = scraped(None);
        let expected =
            serde_json::json!({ "endpoint": "http://127.0.0.1:8000/metrics/prometheus", "optional": true });
        assert_eq!(target, expected);
        assert!(why.contains("http://127.0.0.1:8000/metrics/prometheus") && why.contains("MODELMUXER_URL"));
    }

    #[test]
    fn modelmuxer_url_names_the_target_and_gets_the_page_if_it_has_no_path() {
        for (url, endpoint) in [
            ("http://router:8000", "http://router:8000/metrics/prometheus"),
            ("https://router/", "https://router/metrics/prometheus"),
            ("router:8000", "http://router:8000/metrics/prometheus"),
            ("http://router:8000/metrics", "http://router:8000/metrics"),
            ("http://router?x=1", "http://router/metrics/prometheus?x=1"),
        ] {
            let (target, why) = scraped(Some(url));
            assert_eq!(target, serde_json::json!({ "endpoint": endpoint }), "{url}");
            assert!(why.contains("(MODELMUXER_URL)"), "{why}");
        }
    }

    #[test]
    fn a_password_in_modelmuxer_url_is_sent_but_not_shown() {
        let (target, why) = scraped(Some("http://me:canary%40x@router:8000/?key=canary"));
        assert_eq!(target["endpoint"], "http://router:8000/metrics/prometheus?key=canary");
        assert_eq!(target["basic_auth"], serde_json::json!({ "username": "me", "password": "canary@x" }));
        assert_eq!(why, "prometheus: scrapes http://router:8000/metrics/prometheus (MODELMUXER_URL)");
        let found =
            configuration(&|n| (n == "MODELMUXER_URL").then(|| "http://me:ca/nary@router".to_owned()));
        let shown = found.chosen.join("\n");
        assert!(!shown.contains("nary") && !shown.contains("me:ca"), "{shown}");
    }
}

#[test]
fn own_spans_cannot_be_sent_to_the_bridge_itself() {
    let yaml = |endpoint: &str| {
        format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '0.0.0.0:5317'}}}}}}}}\nexporters: {{debug: }}\n\
             service: {{telemetry: {{traces: {{endpoint: '{endpoint}'}}}}, pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}}}\n"
        )
    };
    let found = problems(&yaml("http://localhost:5317"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("service.telemetry.traces.endpoint: \"http://localhost:5317\""),
        "{found:?}"
    );
    assert!(problems(&yaml("http://localhost:5318")).is_empty());
    assert!(problems(&yaml("http://collector:5317")).is_empty());
}

/// A hundredth of `MUXBRIDGE_MUTATIONS`: each is a whole file.
#[test]
fn a1_mutated_configurations_never_panic_and_every_problem_has_a_text() {
    let setting = |name: &str, usual| std::env::var(name).map_or(usual, |v| v.parse::<u64>().unwrap());
    let (count, seed) = (setting("MUXBRIDGE_MUTATIONS", 50_000) / 100, setting("MUXBRIDGE_SEED", 1));
    let mut random = fastrand::Rng::with_seed(seed);
    let files = [
        include_str!("../../tests/config/ten_mistakes.yaml").to_owned(),
        with_exporter(
            "otlp: {endpoint: \"${env:TARGET:-x:1}\", headers: {a: b}, sending_queue: {queue_size: 10}}",
        ),
        with_exporter("datadog: {api_key: a, site: datadoghq.eu, mode: agentless}"),
    ];
    let (mut right, mut wrong) = (0, 0);
    for i in 0..count {
        let mut bytes = random.choice(&files).unwrap().clone().into_bytes();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            let end = (at + random.usize(1..30)).min(bytes.len());
            match random.u8(..5) {
                0 => bytes[at] = *random.choice(b"{}[]:,\"'\n #&*!|>%@-0a$").unwrap(),
                1 => bytes.insert(at, random.u8(..128)),
                2 if bytes.len() > 60 => drop(bytes.drain(at..end)),
                3 => {
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => bytes[at] ^= 1 << random.u8(..7),
            }
        }
        match load_with(&String::from_utf8_lossy(&bytes), &[]) {
            Ok(_) => right += 1,
            Err(found) => {
                wrong += 1;
                assert!(
                    !found.is_empty() && found.iter().all(|p| p.len() > 5),
                    "seed {seed}, {i}: {found:?}"
                );
            }
        }
    }
    assert!(right > 0 && wrong > count / 10, "{right} right, {wrong} wrong");
}

#[test]
fn a_secret_comes_from_a_file_without_its_line_break_and_the_file_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let yaml = with_exporter(&format!(
        "otlphttp: {{endpoint: 'http://h', headers: {{a: 'x ${{file:{}}}'}}}}",
        path.display()
    ));
    let missing = load_with(&yaml, &[]).err().unwrap();
    assert!(missing[0].starts_with("exporters.otlphttp.headers.a: ${file:/"), "{missing:?}");
    let mut prints = Vec::new();
    for secret in ["one\n", "one\r\n", "two"] {
        std::fs::write(&path, secret).unwrap();
        let config = load_with(&yaml, &[]).unwrap();
        assert_eq!(config.files, std::slice::from_ref(&path));
        prints.push(config.fingerprints["exporters.otlphttp"]);
    }
    assert_eq!(prints[0], prints[1], "only the end of the line differs");
    assert_ne!(prints[1], prints[2], "a changed secret is a changed exporter");
    std::fs::write(&path, "x".repeat(70_000)).unwrap();
    assert!(load_with(&yaml, &[]).err().unwrap()[0].contains("65536 bytes"));
    let relative = with_exporter("otlphttp: {endpoint: 'http://h', headers: {a: '${file:key}'}}");
    assert!(load_with(&relative, &[]).err().unwrap()[0].contains("not an absolute path"));
}
