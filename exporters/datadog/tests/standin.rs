//! Stands in for Datadog's intakes: checks keys, types, encodings and limits as they do, decodes with a foreign reader,
//! fails as told, and keeps what it took.

use muxbridge_testkit::{Recorded, Reply, Server};
use prost::Message;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// The messages of Datadog's `agent_payload.proto`, `tracer_payload.proto` and `span.proto`, as far as they are sent.
pub(crate) mod pb {
    use prost::Message;
    use std::collections::HashMap;

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct MetricPayload {
        #[prost(message, repeated, tag = "1")]
        pub(crate) series: Vec<MetricSeries>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct MetricSeries {
        #[prost(message, repeated, tag = "1")]
        pub(crate) resources: Vec<Resource>,
        #[prost(string, tag = "2")]
        pub(crate) metric: String,
        #[prost(string, repeated, tag = "3")]
        pub(crate) tags: Vec<String>,
        #[prost(message, repeated, tag = "4")]
        pub(crate) points: Vec<MetricPoint>,
        #[prost(int32, tag = "5")]
        pub(crate) kind: i32,
        #[prost(string, tag = "6")]
        pub(crate) unit: String,
        #[prost(int64, tag = "8")]
        pub(crate) interval: i64,
    }
    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Resource {
        #[prost(string, tag = "1")]
        pub(crate) kind: String,
        #[prost(string, tag = "2")]
        pub(crate) name: String,
    }
    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct MetricPoint {
        #[prost(double, tag = "1")]
        pub(crate) value: f64,
        #[prost(int64, tag = "2")]
        pub(crate) timestamp: i64,
    }
    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct SketchPayload {
        #[prost(message, repeated, tag = "1")]
        pub(crate) sketches: Vec<Sketch>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Sketch {
        #[prost(string, tag = "1")]
        pub(crate) metric: String,
        #[prost(string, tag = "2")]
        pub(crate) host: String,
        #[prost(string, repeated, tag = "4")]
        pub(crate) tags: Vec<String>,
        #[prost(message, repeated, tag = "7")]
        pub(crate) dogsketches: Vec<Dogsketch>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Dogsketch {
        #[prost(int64, tag = "1")]
        pub(crate) ts: i64,
        #[prost(int64, tag = "2")]
        pub(crate) cnt: i64,
        #[prost(double, tag = "3")]
        pub(crate) min: f64,
        #[prost(double, tag = "4")]
        pub(crate) max: f64,
        #[prost(double, tag = "5")]
        pub(crate) avg: f64,
        #[prost(double, tag = "6")]
        pub(crate) sum: f64,
        #[prost(sint32, repeated, tag = "7")]
        pub(crate) k: Vec<i32>,
        #[prost(uint32, repeated, tag = "8")]
        pub(crate) n: Vec<u32>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct AgentPayload {
        #[prost(string, tag = "1")]
        pub(crate) host_name: String,
        #[prost(string, tag = "2")]
        pub(crate) env: String,
        #[prost(message, repeated, tag = "5")]
        pub(crate) tracer_payloads: Vec<TracerPayload>,
        #[prost(string, tag = "7")]
        pub(crate) agent_version: String,
    }
    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct TracerPayload {
        #[prost(string, tag = "2")]
        pub(crate) language_name: String,
        #[prost(message, repeated, tag = "6")]
        pub(crate) chunks: Vec<TraceChunk>,
        #[prost(string, tag = "8")]
        pub(crate) env: String,
    }
    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct TraceChunk {
        #[prost(int32, tag = "1")]
        pub(crate) priority: i32,
        #[prost(message, repeated, tag = "3")]
        pub(crate) spans: Vec<Span>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Span {
        #[prost(string, tag = "1")]
        pub(crate) service: String,
        #[prost(string, tag = "2")]
        pub(crate) name: String,
        #[prost(string, tag = "3")]
        pub(crate) resource: String,
        #[prost(uint64, tag = "4")]
        pub(crate) trace_id: u64,
        #[prost(uint64, tag = "5")]
        pub(crate) span_id: u64,
        #[prost(uint64, tag = "6")]
        pub(crate) parent_id: u64,
        #[prost(int64, tag = "7")]
        pub(crate) start: i64,
        #[prost(int64, tag = "8")]
        pub(crate) duration: i64,
        #[prost(int32, tag = "9")]
        pub(crate) error: i32,
        #[prost(map = "string, string", tag = "10")]
        pub(crate) meta: HashMap<String, String>,
        #[prost(map = "string, double", tag = "11")]
        pub(crate) metrics: HashMap<String, f64>,
        #[prost(string, tag = "12")]
        pub(crate) kind: String,
    }
    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct DdSketch {
        #[prost(message, optional, tag = "1")]
        pub(crate) mapping: Option<Mapping>,
        #[prost(message, optional, tag = "2")]
        pub(crate) positive: Option<Store>,
        #[prost(double, tag = "4")]
        pub(crate) zero_count: f64,
    }
    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Mapping {
        #[prost(double, tag = "1")]
        pub(crate) gamma: f64,
        #[prost(double, tag = "2")]
        pub(crate) index_offset: f64,
    }
    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Store {
        #[prost(double, repeated, tag = "2")]
        pub(crate) counts: Vec<f64>,
        #[prost(sint32, tag = "3")]
        pub(crate) offset: i32,
    }
}

/// What the intakes took.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) series: Vec<pb::MetricSeries>,
    pub(crate) sketches: Vec<pb::Sketch>,
    pub(crate) points: Vec<Value>,
    pub(crate) logs: Vec<Value>,
    pub(crate) events: Vec<Value>,
    pub(crate) checks: Vec<Value>,
    pub(crate) chunks: Vec<pb::TraceChunk>,
    pub(crate) stats: Vec<rmpv::Value>,
    pub(crate) llm: Vec<Value>,
    pub(crate) otlp: Vec<Recorded>,
    /// Requests that broke a rule.
    pub(crate) broken: Vec<String>,
}

/// Datadog, on this machine.
pub(crate) struct Datadog {
    pub(crate) server: Server,
    pub(crate) taken: Arc<Mutex<Taken>>,
}

/// A path, its content type, its encodings, and its limits: compressed, uncompressed.
type Rule = (&'static str, &'static str, &'static [&'static str], usize, usize);

const RULES: [Rule; 9] = [
    ("/api/v2/series", "application/x-protobuf", &["gzip", "deflate", "zstd", ""], 512_000, 5_242_880),
    ("/api/v1/distribution_points", "application/json", &["deflate", ""], 3_200_000, 62_914_560),
    ("/api/beta/sketches", "application/x-protobuf", &["deflate", "zstd", ""], 3_200_000, 62_914_560),
    ("/api/v2/logs", "application/json", &["gzip", "deflate", ""], 5_000_000, 5_000_000),
    ("/api/v1/events", "application/json", &[""], 500_000, 500_000),
    ("/api/v1/check_run", "application/json", &[""], 5_000_000, 5_000_000),
    ("/api/v0.2/traces", "application/x-protobuf", &["gzip", "zstd", ""], 3_200_000, 3_200_000),
    ("/api/v0.2/stats", "application/msgpack", &["gzip"], 3_200_000, 62_914_560),
    ("/api/intake/llm-obs/v1/trace/spans", "application/json", &[""], 5_000_000, 5_000_000),
];

impl Datadog {
    /// Answers the first requests with these statuses and takes what comes after.
    pub(crate) async fn start(failures: &[u16]) -> Datadog {
        let taken = Arc::new(Mutex::new(Taken::default()));
        let failures = Mutex::new(failures.iter().copied().collect::<VecDeque<_>>());
        let into = taken.clone();
        let server = Server::start(move |request| {
            if let Some(status) = failures.lock().unwrap().pop_front().filter(|s| *s != 200) {
                return Reply::status(status);
            }
            answer(request, &mut into.lock().unwrap())
        })
        .await;
        Datadog { server, taken }
    }

    pub(crate) fn config(&self, more: Value) -> Value {
        let url = self.server.url();
        let mut config = serde_json::json!({ "mode": "agentless", "api_key": "secret", "agentless": {
            "api_url": url, "logs_url": url, "otlp_url": url, "traces_url": url, "validate_key": false } });
        merge(&mut config, more);
        config
    }

    /// What was taken, if no request broke a rule.
    pub(crate) fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        let taken = self.taken.lock().unwrap();
        assert!(taken.broken.is_empty(), "{:?}", taken.broken);
        taken
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn answer(request: &Recorded, taken: &mut Taken) -> Reply {
    if request.header("dd-api-key") != "secret" {
        return Reply::status(403);
    }
    if request.path == "/v1/traces" {
        if request.body.len() > 3_200_000 {
            return Reply::status(413);
        }
        taken.otlp.push(request.clone());
        return Reply::status(202);
    }
    let Some((path, kind, encodings, compressed, whole)) = RULES.iter().find(|r| r.0 == request.path) else {
        taken.broken.push(format!("no such path: {}", request.path));
        return Reply::status(404);
    };
    if request.wire_len > *compressed || request.body.len() > *whole {
        return Reply::status(413);
    }
    let encoding = request.header("content-encoding");
    if request.method != "POST" || request.header("content-type") != *kind || !encodings.contains(&encoding) {
        taken.broken.push(format!("{path}: {} {:?}", request.method, request.headers));
        return Reply::status(415);
    }
    if let Err(problem) = take(path, &request.body, taken) {
        taken.broken.push(format!("{path}: {problem}"));
        return Reply::status(400);
    }
    Reply::status(202)
}

fn take(path: &str, body: &[u8], taken: &mut Taken) -> Result<(), String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let json = || serde_json::from_slice::<Value>(body).map_err(|e| text(&e));
    let list = |value: Value| value.as_array().cloned().ok_or("not a list".to_owned());
    match path {
        "/api/v2/series" => {
            let payload = pb::MetricPayload::decode(body).map_err(|e| text(&e))?;
            if payload.series.is_empty() {
                return Err("no series".to_owned());
            }
            taken.series.extend(payload.series);
        }
        "/api/beta/sketches" => {
            taken.sketches.extend(pb::SketchPayload::decode(body).map_err(|e| text(&e))?.sketches);
        }
        "/api/v1/distribution_points" => taken.points.extend(list(json()?["series"].take())?),
        "/api/v2/logs" => {
            let items = list(json()?)?;
            if items.len() > 1000 {
                return Err("more than 1000 logs".to_owned());
            }
            taken.logs.extend(items);
        }
        "/api/v1/events" => taken.events.push(json()?),
        "/api/v1/check_run" => taken.checks.extend(list(json()?)?),
        "/api/v0.2/traces" => {
            let payload = pb::AgentPayload::decode(body).map_err(|e| text(&e))?;
            for tracer in payload.tracer_payloads {
                assert_eq!(tracer.language_name, "rust");
                taken.chunks.extend(tracer.chunks);
            }
        }
        "/api/v0.2/stats" => {
            taken.stats.push(rmpv::decode::read_value(&mut &body[..]).map_err(|e| text(&e))?)
        }
        _ => {
            let attributes = json()?["data"]["attributes"].take();
            for mut span in list(attributes["spans"].clone())? {
                span["ml_app"] = attributes["ml_app"].clone();
                taken.llm.push(span);
            }
        }
    }
    Ok(())
}
