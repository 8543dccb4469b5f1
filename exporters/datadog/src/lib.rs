//! Datadog: traces to the trace agent, metrics to DogStatsD.
