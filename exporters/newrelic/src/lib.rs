//! New Relic: OTLP and the Trace API.
