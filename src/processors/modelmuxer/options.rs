//! What the operator can choose for the processor `modelmuxer`.

use crate::trace::TraceOptions;
use crate::translate::logs::LogOptions;
use crate::translate::metrics::MetricOptions;
use muxbridge_core::config::Problems;
use schemars::JsonSchema;
use serde::Deserialize;

/// How ModelMuxer's telemetry is translated. The keys of the traces stand at the top, next to `metrics` and `logs`;
/// `profile` and `price_correction` are for all signals.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
// What `deny_unknown_fields` says for other types: serde has no such thing next to `flatten`.
#[schemars(extend("additionalProperties" = false))]
pub struct Options {
    /// Assembly and translation of traces, and what all signals share.
    #[serde(flatten)]
    pub traces: TraceOptions,
    /// Translation of metrics.
    pub metrics: MetricOptions,
    /// Translation of logs.
    pub logs: LogOptions,
}

impl Options {
    /// Reports values that make no sense.
    pub fn check(&self, problems: &mut Problems) {
        self.traces.check(problems);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::profile::Profile;
    use serde_json::json;

    fn parse(value: serde_json::Value) -> (Option<Options>, Vec<String>) {
        let mut problems = Problems::new();
        let options = muxbridge_core::config::parse::<Options>(&value, &mut problems);
        if let Some(options) = &options {
            options.check(&mut problems);
        }
        (options, problems.into_vec().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn options_of_all_signals_are_read_and_every_unknown_key_is_reported() {
        let (options, problems) = parse(json!({
            "profile": "genai_next", "quiet": "2s",
            "metrics": {"candidates": true}, "logs": {"drop_noise": false},
        }));
        assert_eq!(problems, Vec::<String>::new());
        let options = options.unwrap();
        assert_eq!(options.traces.profile, Profile::GenaiNext);
        assert_eq!(options.traces.quiet.0.as_secs(), 2);
        assert!(options.metrics.candidates);
        assert!(!options.logs.drop_noise);

        let (_, problems) = parse(json!({
            "profil": 1, "price_correction": 0, "metrics": {"candidate": true}, "logs": {"drop_nose": 1},
        }));
        let paths: Vec<_> = problems.iter().map(|p| p.split(':').next().unwrap_or_default()).collect();
        assert_eq!(
            paths,
            ["logs.drop_nose", "metrics.candidate", "profil", "price_correction"],
            "{problems:?}"
        );
    }
}
