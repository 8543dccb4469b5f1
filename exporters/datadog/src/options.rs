//! What the encoders are told, from what the user wrote.

use crate::Config;
use crate::encode::Options;
use crate::encode::llmobs::{Format, LlmOptions};
use crate::encode::logs::LogOptions;
use muxbridge_exporter_statsd::encode::{Dialect, Options as LineOptions};
use muxbridge_exporter_statsd::transport::Endpoint;

impl Config {
    /// How spans become those of an Agent.
    pub(crate) fn span_options(&self) -> Options {
        Options {
            operation_name: self.operation_name,
            env: self.env.clone(),
            hostname: self.hostname.clone(),
            max_payload: self.max_payload_size,
            content: self.content,
            ..Options::default()
        }
    }

    /// How spans of models become those of LLM Observability.
    pub(crate) fn llm_options(&self, format: Format) -> LlmOptions {
        LlmOptions {
            format,
            ml_app: self.llm_observability.ml_app.clone(),
            env: self.env.clone(),
            content: self.content,
        }
    }

    /// How metrics become lines for an Agent.
    ///
    /// # Errors
    /// What is wrong with `dogstatsd_url`.
    pub(crate) fn line_options(&self, cgroup: impl FnOnce() -> String) -> Result<LineOptions, String> {
        let endpoint = Endpoint::parse(&self.dogstatsd_url)?;
        let max_packet = self.max_packet_size.unwrap_or(endpoint.default_packet_size());
        Ok(self.tagged(max_packet, &self.metrics.container(cgroup)))
    }

    /// How metrics become series and distributions for Datadog's own intakes, where there are no packets.
    pub(crate) fn series_options(&self) -> LineOptions {
        self.tagged(usize::MAX, "")
    }

    fn tagged(&self, max_packet: usize, container: &str) -> LineOptions {
        let mut options = self.metrics.options(Dialect::Dogstatsd, max_packet, container);
        if !self.env.is_empty() {
            // Tags of the points and of the resource come first, so that this is what it says: a default.
            options.constant_tags.push(("env".to_owned(), self.env.clone()));
        }
        options
    }

    /// How records become items of the log intake.
    pub(crate) fn log_options(&self) -> LogOptions {
        LogOptions {
            tags: self.series_options(),
            hostname: self.hostname.clone(),
            source: self.logs.source.clone(),
        }
    }
}
