//! The configuration without a file: what the environment of the operator already says.

use serde_json::{Map, Value, json};

/// A configuration tree and, for the start-up message, what was chosen and why.
pub(crate) struct FromEnvironment {
    pub(crate) tree: Value,
    pub(crate) chosen: Vec<String>,
}

/// Where ModelMuxer listens unless it is told otherwise, and its page.
const MODELMUXER: &str = "http://127.0.0.1:8000";
const MODELMUXER_PATH: &str = "/metrics/prometheus";

type Variables<'v> = &'v dyn Fn(&str) -> Option<String>;

/// Where our own receivers listen: an exporter that sends there would send to itself.
const OWN_PORTS: [&str; 2] = ["4317", "4318"];

/// Builds the same tree that a file would hold.
pub(crate) fn configuration(variables: Variables<'_>) -> FromEnvironment {
    configuration_on(&OWN_PORTS, variables)
}

/// As [`configuration`], for a bridge whose own receivers listen on other ports.
pub(crate) fn configuration_on(own_ports: &[&str], variables: Variables<'_>) -> FromEnvironment {
    let mut chosen = Vec::new();
    let set = |name: &str| variables(name).filter(|v| !v.is_empty());
    chosen.push("otlp: listens on 127.0.0.1:4317 (gRPC) and 127.0.0.1:4318 (HTTP)".to_owned());
    let (target, why) = modelmuxer(&set);
    chosen.push(why);
    let mut exporters = Exporters { map: Map::new(), names: Default::default(), chosen };
    datadog(&set, &mut exporters);
    new_relic(&set, &mut exporters);
    otlp(own_ports, &set, &mut exporters);
    if exporters.map.is_empty() {
        exporters.add(
            "debug",
            json!({}),
            [true; 3],
            "no destination is set (DD_API_KEY, DD_AGENT_HOST, NEW_RELIC_LICENSE_KEY or OTEL_EXPORTER_OTLP_ENDPOINT), so \
             it prints what it would send",
        );
    }

    let [traces, metrics, logs] = exporters.names;
    let mut pipelines = Map::new();
    let mut pipeline = |signal: &str, receivers: &[&str], names: Vec<String>| {
        if !names.is_empty() {
            let body = json!({ "receivers": receivers, "processors": ["modelmuxer"], "exporters": names });
            pipelines.insert(signal.to_owned(), body);
        }
    };
    pipeline("traces", &["otlp"], traces);
    pipeline("metrics", &["otlp", "prometheus"], metrics);
    pipeline("logs", &["otlp"], logs);
    let tree = json!({
        "receivers": { "otlp": {}, "prometheus": { "targets": [target] } },
        "processors": { "modelmuxer": {} },
        "exporters": exporters.map,
        "service": { "pipelines": pipelines },
    });
    FromEnvironment { tree, chosen: exporters.chosen }
}

/// The target of the scrape, and why it is that one.
fn modelmuxer(set: Variables<'_>) -> (Value, String) {
    let Some(url) = set("MODELMUXER_URL") else {
        let target = json!({ "endpoint": format!("{MODELMUXER}{MODELMUXER_PATH}"), "optional": true });
        let why = format!(
            "prometheus: scrapes {MODELMUXER}{MODELMUXER_PATH}, where ModelMuxer usually is (set MODELMUXER_URL to another address)"
        );
        return (target, why);
    };
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", &url));
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (user, host) =
        authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let path = if ["", "/"].contains(&path) { MODELMUXER_PATH } else { path };
    let mut target = json!({ "endpoint": format!("{scheme}://{host}{path}{query}") });
    if let Some(user) = user {
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        target["basic_auth"] =
            json!({ "username": percent_decode(name), "password": percent_decode(password) });
    }
    // An @ this late is a password that should have been percent-encoded.
    let shown = if path.contains('@') { String::new() } else { format!("{scheme}://{host}{path} ") };
    (target, format!("prometheus: scrapes {shown}(MODELMUXER_URL)"))
}

struct Exporters {
    map: Map<String, Value>,
    /// The ids by signal: traces, metrics, logs.
    names: [Vec<String>; 3],
    chosen: Vec<String>,
}

impl Exporters {
    fn add(&mut self, id: &str, config: Value, signals: [bool; 3], why: &str) {
        self.map.insert(id.to_owned(), config);
        for (names, wanted) in self.names.iter_mut().zip(signals) {
            if wanted {
                names.push(id.to_owned());
            }
        }
        self.chosen.push(format!("{id}: {why}"));
    }
}

/// A Datadog Agent if one is named, else Datadog itself with the key.
fn datadog(set: Variables<'_>, exporters: &mut Exporters) {
    let host = set("DD_AGENT_HOST");
    let trace_url = set("DD_TRACE_AGENT_URL");
    let statsd_url = set("DD_DOGSTATSD_URL");
    if host.is_some() || trace_url.is_some() || statsd_url.is_some() {
        let host = host.unwrap_or_else(|| "127.0.0.1".to_owned());
        let port = set("DD_TRACE_AGENT_PORT").unwrap_or_else(|| "8126".to_owned());
        let trace_url = trace_url.unwrap_or_else(|| format!("http://{host}:{port}"));
        let port = set("DD_DOGSTATSD_PORT").unwrap_or_else(|| "8125".to_owned());
        let statsd_url = statsd_url.unwrap_or_else(|| format!("udp://{host}:{port}"));
        let why = format!(
            "traces to {}, metrics to {statsd_url} (DD_AGENT_HOST and its like)",
            without_userinfo(&trace_url)
        );
        let config = json!({ "trace_agent_url": trace_url, "dogstatsd_url": statsd_url });
        exporters.add("datadog", config, [true, true, false], &why);
    } else if let Some(key) = set("DD_API_KEY") {
        let site = set("DD_SITE").unwrap_or_else(|| "datadoghq.com".to_owned());
        let why = format!(
            "straight to Datadog at {site}: traces over OTLP, metrics as series and distributions, logs (DD_API_KEY; set \
             DD_AGENT_HOST to send to an Agent instead)"
        );
        let mut config = json!({ "mode": "agentless", "api_key": key, "site": site });
        // Nobody else knows them here: with an Agent they are the Agent's.
        for (variable, option) in [("DD_ENV", "env"), ("DD_HOSTNAME", "hostname")] {
            if let Some(value) = set(variable) {
                config[option] = json!(value);
            }
        }
        exporters.add("datadog", config, [true; 3], &why);
    }
}

fn new_relic(set: Variables<'_>, exporters: &mut Exporters) {
    if let Some(key) = set("NEW_RELIC_LICENSE_KEY") {
        exporters.add("newrelic", json!({ "license_key": key }), [true; 3], "NEW_RELIC_LICENSE_KEY is set");
    }
}

/// `OTEL_EXPORTER_OTLP_*` as the OTLP exporter specification defines them.
fn otlp(own_ports: &[&str], set: Variables<'_>, exporters: &mut Exporters) {
    let signals = ["TRACES", "METRICS", "LOGS"];
    let of = |signal: &str, key: &str| set(&format!("OTEL_EXPORTER_OTLP_{signal}_{key}"));
    let general = set("OTEL_EXPORTER_OTLP_ENDPOINT");
    for (position, signal) in signals.into_iter().enumerate() {
        let own = of(signal, "ENDPOINT");
        let Some(endpoint) = own.clone().or_else(|| general.clone()) else { continue };
        let value = |key: &str| of(signal, key).or_else(|| set(&format!("OTEL_EXPORTER_OTLP_{key}")));
        if is_own(own_ports, &endpoint) {
            let text = format!(
                "otlp: OTEL_EXPORTER_OTLP_ENDPOINT is {endpoint}, which is this bridge itself, so it is not used"
            );
            if !exporters.chosen.contains(&text) {
                exporters.chosen.push(text);
            }
            continue;
        }
        let protocol = value("PROTOCOL").unwrap_or_else(|| "http/protobuf".to_owned());
        let mut config = Map::new();
        let kind = if protocol == "grpc" {
            config.insert("endpoint".to_owned(), json!(endpoint));
            "otlp"
        } else {
            // The general endpoint gets the path of the signal, an own endpoint is used as it is.
            let key = if own.is_some() {
                format!("{}_endpoint", signal.to_lowercase())
            } else {
                "endpoint".to_owned()
            };
            config.insert(key, json!(endpoint));
            if protocol == "http/json" {
                config.insert("encoding".to_owned(), json!("json"));
            }
            "otlphttp"
        };
        if let Some(compression) = value("COMPRESSION") {
            config.insert("compression".to_owned(), json!(compression));
        }
        if let Some(ms) = value("TIMEOUT").and_then(|t| t.parse::<u64>().ok()) {
            config.insert("timeout".to_owned(), json!(format!("{ms}ms")));
        }
        if let Some(headers) = value("HEADERS") {
            config.insert("headers".to_owned(), Value::Object(header_list(&headers)));
        }
        let tls: Map<String, Value> =
            [("CERTIFICATE", "ca_file"), ("CLIENT_KEY", "key_file"), ("CLIENT_CERTIFICATE", "cert_file")]
                .into_iter()
                .filter_map(|(from, to)| value(from).map(|v| (to.to_owned(), json!(v))))
                .collect();
        if !tls.is_empty() {
            config.insert("tls".to_owned(), Value::Object(tls));
        }
        add_otlp(exporters, kind, position, Value::Object(config), &endpoint);
    }
}

/// Adds one signal, joined with an earlier one that has the same settings.
fn add_otlp(exporters: &mut Exporters, kind: &str, position: usize, config: Value, endpoint: &str) {
    let same = exporters
        .map
        .iter()
        .find(|(id, c)| id.starts_with("otlp") && **c == config)
        .map(|(id, _)| id.clone());
    if let Some(id) = same {
        exporters.names[position].push(id);
        return;
    }
    let id = if exporters.map.contains_key(kind) { format!("{kind}/{position}") } else { kind.to_owned() };
    let mut signals = [false; 3];
    signals[position] = true;
    let why = format!("sends to {} (OTEL_EXPORTER_OTLP_ENDPOINT)", without_userinfo(endpoint));
    exporters.add(&id, config, signals, &why);
}

fn is_own(own_ports: &[&str], endpoint: &str) -> bool {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
    ["localhost", "127.0.0.1", "[::1]"].contains(&host) && own_ports.contains(&port)
}

/// `key=value,key2=value2`, with percent-encoded values (W3C baggage, as the specification says).
fn header_list(text: &str) -> Map<String, Value> {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), json!(percent_decode(value.trim()))))
        .collect()
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn without_userinfo(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => match rest.split_once('@') {
            Some((user, host)) if !user.contains('/') => format!("{scheme}://{host}"),
            _ => url.to_owned(),
        },
        None => url.to_owned(),
    }
}
