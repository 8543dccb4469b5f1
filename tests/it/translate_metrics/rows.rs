//! The rows of the table for router, providers, tokens, policy and process.

use super::kit::*;
use muxbridge::translate::metrics::MetricOptions;
use muxbridge::translate::profile::Profile;
use serde_json::{Value as Json, json};

const CHAT: &str = "modelmuxer.route.name";

#[test]
fn router_counters_get_the_names_of_the_table() {
    let items = by_default(RUN1_END);
    let expected = expect([(json!({CHAT: "chat", "modelmuxer.route.kind": "auto"}), 326.0)]);
    assert_eq!(values(&items, "modelmuxer.router.decisions", "counter", "{decision}"), expected);

    let expected = expect([(json!({CHAT: "chat", "error.type": "no_affordable_available"}), 45.0)]);
    assert_eq!(values(&items, "modelmuxer.router.rejections", "counter", "{request}"), expected);

    let intent = |label: &str| json!({"modelmuxer.route.intent.label": label});
    let expected = expect([
        (intent("chat_lite"), 340.0),
        (intent("deep_reason"), 74.0),
        (intent("code_gen"), 72.0),
        (intent("translation"), 23.0),
        (intent("safety_risk"), 29.0),
        (intent("vision"), 17.0),
        (intent("json_extract"), 11.0),
    ]);
    assert_eq!(values(&items, "modelmuxer.router.intents", "counter", "{request}"), expected);

    let downroute = |from: [&str; 2], to: [&str; 2]| {
        json!({
            CHAT: "chat",
            "modelmuxer.route.from.provider": from[0], "modelmuxer.route.from.model": from[1],
            "modelmuxer.route.to.provider": to[0], "modelmuxer.route.to.model": to[1],
        })
    };
    let expected = expect([
        (downroute(["openai", "gpt-3.5-turbo"], ["openai", "gpt-4o-mini"]), 239.0),
        (downroute(["anthropic", "claude-3-5-sonnet-latest"], ["openai", "gpt-4o"]), 30.0),
        (downroute(["anthropic", "claude-3-opus-20240229"], ["openai", "gpt-4o"]), 12.0),
    ]);
    assert_eq!(values(&items, "modelmuxer.router.downroutes", "counter", "{request}"), expected);

    // The other reasons count the same requests twice and are left out.
    let expected = expect([(json!({CHAT: "chat"}), 230.0)]);
    assert_eq!(values(&items, "modelmuxer.router.candidates.rejected", "counter", "{model}"), expected);
}

#[test]
fn models_without_a_price_are_counted_as_candidates() {
    let items = by_default("workers2/prom_w2_03_text.txt");
    let expected = expect([(json!({CHAT: "chat"}), 42.0)]);
    assert_eq!(values(&items, "modelmuxer.router.candidates.unpriced", "counter", "{model}"), expected);
}

#[test]
fn the_duration_of_decisions_is_in_seconds() {
    let items = by_default(RUN1_END);
    let item = one(&items, "modelmuxer.router.decision.duration", &json!({CHAT: "chat"}));
    assert_eq!((item.kind, item.unit.as_str()), ("histogram", "s"));
    assert!(close(item.value.unwrap(), 0.304_332_080_997_255_6));
    let bounds = vec![0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
    // The differences of 251, 263, 273, 281, 281, ...
    assert_eq!(item.histogram, Some((281, bounds, vec![251, 12, 10, 8, 0, 0, 0, 0, 0, 0])));
}

#[test]
fn the_cost_of_chosen_models_is_a_thousandth_of_what_is_reported() {
    let items = by_default(RUN1_END);
    let model = |name: &str| {
        json!({
            CHAT: "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": name,
            "modelmuxer.cost.source": "estimate",
        })
    };
    let costs = values(&items, "modelmuxer.cost.estimated", "counter", "{USD}");
    assert_eq!(costs.len(), 2);
    assert!(close(costs[&model("gpt-4o-mini").to_string()], 0.015_897_299_999_999_987));
    assert!(close(costs[&model("gpt-4o").to_string()], 0.058_370_000_000_000_026));
}

#[test]
fn candidates_come_out_only_if_asked_for() {
    let items = by_default(RUN1_END);
    assert!(of(&items, "modelmuxer.router.candidate_cost").is_empty());
    assert!(of(&items, "modelmuxer.router.candidate_eta").is_empty());

    let options = MetricOptions { candidates: true, ..MetricOptions::default() };
    let items = translated(RUN1_END, options, Profile::default());
    let opus = json!({
        CHAT: "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-3-opus-20240229",
    });
    let mut cost = opus.clone();
    cost["modelmuxer.budget.within"] = json!(false);
    cost["modelmuxer.cost.source"] = json!("estimate");
    let item = one(&items, "modelmuxer.router.candidate_cost", &cost);
    assert_eq!((item.kind, item.unit.as_str()), ("counter", "{USD}"));
    assert!(close(item.value.unwrap(), 0.0801));
    cost["modelmuxer.budget.within"] = json!(true);
    assert!(close(one(&items, "modelmuxer.router.candidate_cost", &cost).value.unwrap(), 0.1098));

    let item = one(&items, "modelmuxer.router.candidate_eta", &opus);
    assert_eq!((item.unit.as_str(), item.value), ("s", Some(18.0)));
    let bounds = vec![0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0];
    assert_eq!(item.histogram, Some((12, bounds, vec![0, 0, 0, 0, 0, 12, 0, 0, 0])));
}

#[test]
fn calls_are_counted_by_provider_model_and_outcome() {
    let items = by_default(RUN1_END);
    let calls = values(&items, "modelmuxer.provider.requests", "counter", "{request}");
    assert_eq!(calls.len(), 25);
    assert_eq!(calls.values().sum::<f64>(), 497.0);
    let row = |provider: &str, model: &str, outcome: &str, error: Option<&str>| {
        let mut all = json!({
            "gen_ai.provider.name": provider, "gen_ai.request.model": model, "modelmuxer.outcome": outcome,
        });
        if let Some(error) = error {
            all["error.type"] = json!(error);
        }
        all.to_string()
    };
    assert_eq!(calls[&row("openai", "gpt-4o-mini", "success", None)], 254.0);
    assert_eq!(calls[&row("mistral_ai", "mistral-small-latest", "error", Some("_OTHER"))], 5.0);
    assert_eq!(calls[&row("gcp.gemini", "gemini-1.5-flash", "success", None)], 2.0);
    assert_eq!(calls[&row("together_ai", "llama-2-7b-chat", "error", Some("_OTHER"))], 9.0);
    assert_eq!(calls[&row("cohere", "command-r", "circuit_open", Some("circuit_open"))], 2.0);
    assert_eq!(calls[&row("ollama", "llama3.2", "success", None)], 9.0);
}

fn call(provider: &str, model: &str) -> Json {
    json!({
        "gen_ai.operation.name": if provider == "gcp.gemini" { "generate_content" } else { "chat" },
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
    })
}

#[test]
fn the_duration_of_calls_is_milliseconds_made_seconds_without_buckets() {
    let items = by_default(RUN1_END);
    let name = "gen_ai.client.operation.duration";
    assert_eq!(of(&items, name).len(), 11);
    for (provider, model, count, seconds) in [
        ("openai", "gpt-4o-mini", 254, 46.196),
        ("cohere", "command-r", 23, 8.840),
        ("gcp.gemini", "gemini-1.5-flash", 6, 0.471),
        ("groq", "llama-3.1-8b-instant", 18, 2.732),
    ] {
        let item = one(&items, name, &call(provider, model));
        assert_eq!((item.kind, item.unit.as_str(), item.temporality), ("histogram", "s", 2));
        assert_eq!(item.value, Some(seconds), "{model}");
        assert_eq!(item.histogram, Some((count, vec![], vec![])), "{model}");
    }
    assert!(of(&items, "modelmuxer_provider_latency_seconds").is_empty());
}

#[test]
fn a_fast_provider_is_not_taken_for_one_that_reports_seconds() {
    // One call of 15 ms: it is in the bucket up to 25 "seconds", and its mean is far below a minute.
    let items = by_default("scenario/metrics_prometheus.txt");
    let item = one(&items, "gen_ai.client.operation.duration", &call("gcp.gemini", "gemini-1.5-flash"));
    assert_eq!(item.value, Some(0.015));
}

#[test]
fn tokens_are_counted_by_type_and_as_the_histogram_of_the_conventions() {
    let items = by_default(RUN1_END);
    let tokens = values(&items, "modelmuxer.tokens", "counter", "{token}");
    assert_eq!(tokens.len(), 20);
    let mut key = json!({
        "gen_ai.provider.name": "gcp.gemini", "gen_ai.request.model": "gemini-1.5-flash", "gen_ai.token.type": "input",
    });
    assert_eq!(tokens[&key.to_string()], 69.0);
    key["gen_ai.token.type"] = json!("output");
    assert_eq!(tokens[&key.to_string()], 79.0);

    let name = "gen_ai.client.token.usage";
    assert_eq!(of(&items, name).len(), 20);
    let mut usage = call("openai", "gpt-4o-mini");
    usage["gen_ai.token.type"] = json!("output");
    let item = one(&items, name, &usage);
    assert_eq!((item.kind, item.unit.as_str(), item.value), ("histogram", "{token}", Some(11587.0)));
    assert_eq!(item.histogram, Some((254, vec![], vec![])));

    let options = MetricOptions { token_usage: false, ..MetricOptions::default() };
    let items = translated(RUN1_END, options, Profile::default());
    assert!(of(&items, name).is_empty());
    assert_eq!(of(&items, "modelmuxer.tokens").len(), 20);
}

#[test]
fn profiles_change_the_names_that_the_conventions_changed() {
    let old = translated(RUN1_END, MetricOptions::default(), Profile::Genai1_36);
    let mut usage = json!({
        "gen_ai.operation.name": "chat", "gen_ai.system": "mistral_ai",
        "gen_ai.request.model": "mistral-small-latest", "gen_ai.token.type": "input",
    });
    let item = one(&old, "gen_ai.client.token.usage", &usage);
    assert_eq!((item.value, item.histogram.as_ref().unwrap().0), (Some(780.0), 20));
    assert_eq!(of(&old, "gen_ai.client.operation.duration").len(), 11);
    assert!(old.iter().all(|i| i.attributes.get("gen_ai.provider.name").is_none()));

    let next = translated(RUN1_END, MetricOptions::default(), Profile::GenaiNext);
    usage = call("mistral_ai", "mistral-small-latest");
    usage["gen_ai.token.modality"] = json!("unknown");
    let name = "gen_ai.client.inference.usage.input_tokens";
    let item = one(&next, name, &usage);
    assert_eq!((item.kind, item.unit.as_str(), item.value), ("counter", "{token}", Some(780.0)));
    let name = "gen_ai.client.inference.usage.output_tokens";
    assert_eq!(one(&next, name, &usage).value, Some(1089.0));
    assert!(of(&next, "gen_ai.client.token.usage").is_empty());
    assert_eq!(of(&next, "gen_ai.client.inference.duration").len(), 11);
    assert!(of(&next, "gen_ai.client.operation.duration").is_empty());
    assert_eq!(of(&next, "modelmuxer.tokens").len(), 20);
}

#[test]
fn policy_counters_say_why_and_how_sure_the_pattern_is() {
    let items = by_default(RUN1_END);
    let reason = |reason: &str| json!({"modelmuxer.policy.reason": reason});
    let expected =
        expect([(reason("jailbreak"), 8.0), (reason("model_denied"), 13.0), (reason("region_denied"), 3.0)]);
    assert_eq!(values(&items, "modelmuxer.policy.violations", "counter", "{violation}"), expected);

    let pii = |kind: &str, confidence: &str| json!({"modelmuxer.policy.pii_type": kind, "modelmuxer.policy.confidence": confidence});
    let expected = expect([
        (pii("nationalid", "low"), 458.0),
        (pii("phone", "high"), 24.0),
        (pii("ssn", "high"), 12.0),
        (pii("email", "high"), 9.0),
        (pii("creditcard", "high"), 9.0),
        (pii("ipv4", "high"), 12.0),
    ]);
    assert_eq!(values(&items, "modelmuxer.policy.redactions", "counter", "{redaction}"), expected);
}

#[test]
fn process_metrics_get_the_names_of_the_conventions_if_asked_for() {
    let items = by_default(RUN1_END);
    assert_eq!(one(&items, "process_resident_memory_bytes", &json!({})).value, Some(166_207_488.0));
    assert_eq!(of(&items, "python_gc_collections_total").len(), 3);

    let options = MetricOptions { process: true, ..MetricOptions::default() };
    let items = translated(RUN1_END, options, Profile::default());
    for (name, kind, unit, value) in [
        ("process.memory.usage", "sum", "By", 166_207_488.0),
        ("process.memory.virtual", "sum", "By", 1_267_707_904.0),
        ("process.cpu.time", "counter", "s", 7.97),
        ("process.unix.file_descriptor.count", "sum", "{file_descriptor}", 32.0),
        ("modelmuxer.process.file_descriptor.limit", "sum", "{file_descriptor}", 20_000.0),
        // Scraped at 1795462500, started at 1795461450.52.
        ("process.uptime", "gauge", "s", 1_049.48),
        ("process_start_time_seconds", "gauge", "", 1_795_461_450.52),
    ] {
        let item = one(&items, name, &json!({}));
        assert_eq!((item.kind, item.unit.as_str()), (kind, unit), "{name}");
        assert!((item.value.unwrap() - value).abs() < 1e-5, "{name}: {:?}", item.value);
    }
    let generation = |n: u64| json!({"cpython.gc.generation": n});
    let expected = expect([(generation(0), 830.0), (generation(1), 75.0), (generation(2), 6.0)]);
    assert_eq!(values(&items, "cpython.gc.collections", "counter", "{collection}"), expected);
    let expected = expect([(generation(0), 80_055.0), (generation(1), 22_518.0), (generation(2), 6_864.0)]);
    assert_eq!(values(&items, "cpython.gc.collected_objects", "counter", "{object}"), expected);
    let expected = expect([(generation(0), 0.0), (generation(1), 0.0), (generation(2), 0.0)]);
    assert_eq!(values(&items, "cpython.gc.uncollectable_objects", "counter", "{object}"), expected);
    assert!(items.iter().all(|i| !i.name.starts_with("python_gc") && !i.name.starts_with("process_open")));
    assert_eq!(of(&items, "python_info").len(), 1);
}
