//! Statistics of spans as a tracer sends them: hits, errors and durations for each kind of operation in ten seconds.
//!
//! Made of the encoded spans, so that they count exactly what is sent. One batch makes one payload; the Agent adds those
//! of the same ten seconds together.

use super::parts::Parts;
use super::read::{SpanView, spans};
use muxbridge_pdata::Writer;
use std::collections::BTreeMap;

/// The length of a bucket in nanoseconds.
const BUCKET: u64 = 10_000_000_000;
/// More groups than this in one batch are counted as one, under [`OVERFLOW`].
const MAX_GROUPS: usize = 7000;
const OVERFLOW: &str = "tracer_blocked_value";
const GAMMA: f64 = 1.015625;
const OFFSET: f64 = 1338.5;
const MAX_BINS: usize = 2048;

/// A sketch of durations: the logarithmic mapping of DDSketch with a relative accuracy of 1/129.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DurationSketch {
    bins: BTreeMap<i32, f64>,
    zero: f64,
}

impl DurationSketch {
    /// The bin of a duration in nanoseconds.
    pub fn index(nanos: f64) -> i32 {
        (nanos.ln() / GAMMA.ln() + OFFSET).floor() as i32
    }

    /// Adds a duration in nanoseconds.
    pub fn add(&mut self, nanos: f64, weight: f64) {
        if nanos < 1.0 {
            self.zero += weight;
            return;
        }
        *self.bins.entry(Self::index(nanos)).or_default() += weight;
        // From u64 nanoseconds at most 2862 bins could come; the lowest are joined.
        if self.bins.len() > MAX_BINS
            && let (Some((_, lowest)), Some(mut next)) = (self.bins.pop_first(), self.bins.first_entry())
        {
            *next.get_mut() += lowest;
        }
    }

    /// The protobuf of DDSketch, with contiguous bins.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.message(1, |w| {
            w.double(1, GAMMA);
            w.double(2, OFFSET);
        });
        w.message(2, |w| {
            if let (Some((first, _)), Some((last, _))) =
                (self.bins.first_key_value(), self.bins.last_key_value())
            {
                w.packed_double(2, (*first..=*last).map(|i| self.bins.get(&i).copied().unwrap_or(0.0)));
                w.sint(3, i64::from(*first));
            }
        });
        w.message(3, |_| {});
        w.double(4, self.zero);
        w.into_vec()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Group<'a> {
    service: &'a str,
    name: &'a str,
    resource: &'a str,
    kind: &'a str,
    span_kind: &'a str,
    http_status: u32,
    http_method: &'a str,
    http_route: &'a str,
    grpc_status: &'a str,
    peer_tags: Vec<String>,
    root: bool,
}

#[derive(Debug, Default)]
struct Values {
    hits: f64,
    errors: f64,
    duration: f64,
    top_level: f64,
    ok: DurationSketch,
    failed: DurationSketch,
}

/// Who reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Reporter<'a> {
    host: &'a str,
    env: &'a str,
    version: &'a str,
}

type Buckets<'a> = BTreeMap<Reporter<'a>, BTreeMap<u64, BTreeMap<Group<'a>, Values>>>;

/// What else stands in a payload of statistics.
#[derive(Clone, Debug, Default)]
pub struct Context<'o> {
    /// The host of spans that name none.
    pub hostname: &'o str,
    /// The version of the bridge.
    pub version: &'static str,
    /// The attributes that tell what a client called; the Agent names them.
    pub peer_tags: &'o [String],
}

/// The payloads (`ClientStatsPayload`, msgpack) for the chunks of a batch: one for each host, environment and version.
pub fn client_stats(chunks: &Parts, context: &Context<'_>) -> Parts {
    let read: Vec<Vec<SpanView<'_>>> = (0..chunks.len()).map(|i| spans(chunks.piece(i))).collect();
    let mut buckets = Buckets::new();
    let mut groups = 0;
    for chunk in &read {
        let first = |key| chunk.iter().find_map(|s| s.text(key)).unwrap_or_default();
        let host = Some(first("_dd.hostname")).filter(|h| !h.is_empty()).unwrap_or(context.hostname);
        let reporter = Reporter { host, env: first("env"), version: first("version") };
        for span in chunk.iter().filter(|s| eligible(s)) {
            let end = span.start.saturating_add(span.duration);
            let bucket = buckets.entry(reporter).or_default().entry(end - end % BUCKET).or_default();
            let mut group = group(span, context.peer_tags);
            if !bucket.contains_key(&group) {
                groups += 1;
                if groups > MAX_GROUPS {
                    group =
                        Group { service: OVERFLOW, name: OVERFLOW, resource: OVERFLOW, ..Group::default() };
                }
            }
            bucket.entry(group).or_default().add(span);
        }
    }
    let mut parts = Parts::default();
    for (reporter, buckets) in &buckets {
        let mut out = Vec::new();
        payload(&mut out, reporter, buckets, context);
        parts.push(&out, 0);
    }
    parts
}

impl Values {
    fn add(&mut self, span: &SpanView<'_>) {
        let rate = span.number("_sample_rate").filter(|r| *r > 0.0 && *r <= 1.0).unwrap_or(1.0);
        let weight = 1.0 / rate;
        let nanos = span.duration as f64;
        self.hits += weight;
        self.duration += nanos * weight;
        if span.number("_top_level") == Some(1.0) {
            self.top_level += weight;
        }
        if span.error {
            self.errors += weight;
            self.failed.add(nanos, weight);
        } else {
            self.ok.add(nanos, weight);
        }
    }
}

fn eligible(span: &SpanView<'_>) -> bool {
    let set = |key| span.number(key) == Some(1.0);
    let kind = matches!(span.text("span.kind"), Some("client" | "producer" | "server" | "consumer"));
    (set("_top_level") || set("_dd.top_level") || set("_dd.measured") || kind)
        && span.number("_dd.partial_version").is_none()
}

fn group<'a>(span: &SpanView<'a>, peer_tags: &[String]) -> Group<'a> {
    let text = |key| span.text(key).unwrap_or_default();
    let span_kind = text("span.kind");
    let calls = matches!(span_kind, "client" | "producer" | "consumer");
    let peers = peer_tags.iter().filter(|_| calls);
    Group {
        service: span.service,
        name: span.name,
        resource: span.resource,
        kind: span.kind,
        span_kind,
        http_status: text("http.status_code").parse().unwrap_or(0),
        http_method: text("http.method"),
        http_route: text("http.route"),
        grpc_status: text("rpc.grpc.status_code"),
        peer_tags: peers.filter_map(|key| Some(format!("{key}:{}", span.text(key)?))).collect(),
        root: span.parent_id == 0,
    }
}

// Writing to memory cannot fail, so that the results of rmp are of no interest here.
fn payload(
    out: &mut Vec<u8>,
    reporter: &Reporter<'_>,
    buckets: &BTreeMap<u64, BTreeMap<Group<'_>, Values>>,
    context: &Context<'_>,
) {
    let _ = rmp::encode::write_map_len(out, 10);
    for (key, value) in [
        ("Hostname", reporter.host),
        ("Env", reporter.env),
        ("Version", reporter.version),
        ("Lang", "rust"),
        ("TracerVersion", context.version),
        ("RuntimeID", ""),
        ("Service", ""),
        ("ContainerID", ""),
    ] {
        text(out, key, value);
    }
    uint(out, "Sequence", 0);
    let _ = rmp::encode::write_str(out, "Stats");
    let _ = rmp::encode::write_array_len(out, buckets.len() as u32);
    for (start, groups) in buckets {
        let _ = rmp::encode::write_map_len(out, 3);
        uint(out, "Start", *start);
        uint(out, "Duration", BUCKET);
        let _ = rmp::encode::write_str(out, "Stats");
        let _ = rmp::encode::write_array_len(out, groups.len() as u32);
        for (group, values) in groups {
            write_group(out, group, values);
        }
    }
}

fn write_group(out: &mut Vec<u8>, group: &Group<'_>, values: &Values) {
    let _ = rmp::encode::write_map_len(out, 19);
    for (key, value) in [
        ("Service", group.service),
        ("Name", group.name),
        ("Resource", group.resource),
        ("Type", group.kind),
        ("DBType", ""),
        ("SpanKind", group.span_kind),
        ("GRPCStatusCode", group.grpc_status),
        ("HTTPMethod", group.http_method),
        ("HTTPEndpoint", group.http_route),
    ] {
        text(out, key, value);
    }
    for (key, value) in [
        ("HTTPStatusCode", u64::from(group.http_status)),
        ("Hits", values.hits.round() as u64),
        ("Errors", values.errors.round() as u64),
        ("Duration", values.duration.round() as u64),
        ("TopLevelHits", values.top_level.round() as u64),
        // 0 is "not said", 1 is true, 2 is false.
        ("IsTraceRoot", if group.root { 1 } else { 2 }),
    ] {
        uint(out, key, value);
    }
    let _ = rmp::encode::write_str(out, "Synthetics");
    let _ = rmp::encode::write_bool(out, false);
    for (key, sketch) in [("OkSummary", &values.ok), ("ErrorSummary", &values.failed)] {
        let _ = rmp::encode::write_str(out, key);
        let _ = rmp::encode::write_bin(out, &sketch.encode());
    }
    let _ = rmp::encode::write_str(out, "PeerTags");
    let _ = rmp::encode::write_array_len(out, group.peer_tags.len() as u32);
    for tag in &group.peer_tags {
        let _ = rmp::encode::write_str(out, tag);
    }
}

/// The body of `/api/v0.2/stats`, around the payloads of [`client_stats`] as `Stats`: for those who have no Agent.
pub fn stats_payload(payload: &[u8], context: &Context<'_>, env: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 128);
    let _ = rmp::encode::write_map_len(&mut out, 5);
    text(&mut out, "AgentHostname", context.hostname);
    text(&mut out, "AgentEnv", env);
    text(&mut out, "AgentVersion", context.version);
    let _ = rmp::encode::write_str(&mut out, "ClientComputed");
    let _ = rmp::encode::write_bool(&mut out, true);
    let _ = rmp::encode::write_str(&mut out, "Stats");
    out.extend_from_slice(payload);
    out
}

fn text(out: &mut Vec<u8>, key: &str, value: &str) {
    let _ = rmp::encode::write_str(out, key);
    let _ = rmp::encode::write_str(out, value);
}

fn uint(out: &mut Vec<u8>, key: &str, value: u64) {
    let _ = rmp::encode::write_str(out, key);
    let _ = rmp::encode::write_uint(out, value);
}
