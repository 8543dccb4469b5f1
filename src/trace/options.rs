//! What the operator can choose.

use super::assembler::Limits;
use crate::translate::profile::Profile;
use crate::translate::spans::{Scheme, SpanOptions, Stacktraces};
use muxbridge_core::config::{GoDuration, Problems};
use schemars::JsonSchema;
use serde::Deserialize;

/// How spans of ModelMuxer are assembled into traces and translated.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TraceOptions {
    /// Version of the GenAI conventions that names come from. Default `genai_1_41`.
    pub profile: Profile,
    /// How long a trace that looks complete waits for another span, unless it has all from the policy check or the routing
    /// decision to the request itself: then it leaves at once. Default `1s`.
    pub quiet: GoDuration,
    /// How long a trace with a root, but with a span missing, waits for another one. Default `10s`.
    pub idle: GoDuration,
    /// How long any trace is held. Default `120s`: three attempts of 30 seconds, and the exports.
    pub max_hold: GoDuration,
    /// Most spans of one trace. Default `1000`.
    pub max_trace_spans: usize,
    /// Most spans that are held at the same time, for each worker. Default `100000`.
    pub max_spans: usize,
    /// Most bytes of requests that are kept in memory for the spans that are held, for each worker. Default 64 MiB.
    pub max_bytes: usize,
    /// Value of `url.scheme` of requests. Default `http`.
    pub url_scheme: Scheme,
    /// Whether the request of a streamed response ends when the stream ends; ModelMuxer ends it at the response headers.
    /// That time is then in `modelmuxer.http.time_to_headers`. Default `true`.
    pub extend_stream_root: bool,
    /// Stack traces in `exception` events: `keep` or `drop`. Default `drop`.
    pub stacktraces: Stacktraces,
    /// What estimated costs are multiplied by. Default `0.001`: ModelMuxer divides prices for a million tokens by a
    /// thousand. The number that it reported is kept in `modelmuxer.route.estimate.cost.raw`. Set it to `1` when
    /// `prices.json` holds prices for a thousand tokens.
    pub price_correction: f64,
    /// Whether `modelmuxer.tenant.id` is set, too, next to `user.hash`. Default `false`.
    pub tenant_id: bool,
    /// Whether attributes that got another name are also kept under ModelMuxer's. Default `false`.
    pub keep_source_attributes: bool,
}

impl Default for TraceOptions {
    fn default() -> Self {
        TraceOptions {
            profile: Profile::default(),
            quiet: GoDuration::from_secs(1),
            idle: GoDuration::from_secs(10),
            max_hold: GoDuration::from_secs(120),
            max_trace_spans: 1_000,
            max_spans: 100_000,
            max_bytes: 64 << 20,
            url_scheme: Scheme::default(),
            extend_stream_root: true,
            stacktraces: Stacktraces::default(),
            price_correction: 0.001,
            tenant_id: false,
            keep_source_attributes: false,
        }
    }
}

impl TraceOptions {
    /// Reports values that make no sense.
    pub fn check(&self, problems: &mut Problems) {
        for (key, n) in [
            ("max_trace_spans", self.max_trace_spans),
            ("max_spans", self.max_spans),
            ("max_bytes", self.max_bytes),
        ] {
            if n == 0 {
                problems.add(key, "0 would hold nothing; write at least 1");
            }
        }
        if !(self.price_correction.is_finite() && self.price_correction > 0.0) {
            problems.add(
                "price_correction",
                format!("{} is no factor; write for example 0.001 or 1", self.price_correction),
            );
        }
        for (key, wait) in [("quiet", self.quiet), ("idle", self.idle)] {
            if wait > self.max_hold {
                problems.add(key, format!("{wait:?} is longer than max_hold ({:?})", self.max_hold));
            }
        }
    }

    /// The bounds of the assembler.
    pub fn limits(&self) -> Limits {
        Limits {
            quiet: self.quiet.0,
            idle: self.idle.0,
            max_hold: self.max_hold.0,
            trace_spans: self.max_trace_spans,
            spans: self.max_spans,
            bytes: self.max_bytes,
        }
    }

    /// What the translation needs.
    pub fn spans(&self) -> SpanOptions {
        SpanOptions {
            profile: self.profile,
            url_scheme: self.url_scheme,
            extend_stream_root: self.extend_stream_root,
            stacktraces: self.stacktraces,
            price_correction: self.price_correction,
            tenant_id: self.tenant_id,
            keep_source_attributes: self.keep_source_attributes,
        }
    }
}
