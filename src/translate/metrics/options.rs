//! What the operator can choose for metrics.

use schemars::JsonSchema;
use serde::Deserialize;

/// How ModelMuxer's metrics are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricOptions {
    /// Whether metrics about candidates that were considered and not chosen are sent: `modelmuxer.router.candidate_cost`,
    /// which is no spend, and `modelmuxer.router.candidate_eta`. Default `false`.
    pub candidates: bool,
    /// What `modelmuxer_provider_latency_seconds` holds: `milliseconds`, as in every known version, `seconds`, or
    /// `auto`, which takes a series for seconds if its sum is no whole number and its mean is at most 50. Default `auto`.
    pub provider_latency_unit: LatencyUnit,
    /// Whether the token counters are also sent as the histogram `gen_ai.client.token.usage` of the profiles up to
    /// `genai_1_41`. Its sum is exact; its count is that of all successful calls, streams included, which report no
    /// tokens. Default `true`.
    pub token_usage: bool,
    /// Whether ModelMuxer's `process_*` and `python_gc_*` get the names of the conventions, for example
    /// `process.memory.usage`. They pass as they are otherwise. Default `false`.
    pub process: bool,
}

/// The unit of `modelmuxer_provider_latency_seconds`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LatencyUnit {
    /// Found from the values.
    #[default]
    Auto,
    /// Milliseconds.
    Milliseconds,
    /// Seconds: what the name says.
    Seconds,
}

impl Default for MetricOptions {
    fn default() -> Self {
        MetricOptions {
            candidates: false,
            provider_latency_unit: LatencyUnit::Auto,
            token_usage: true,
            process: false,
        }
    }
}
