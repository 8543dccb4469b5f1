//! OTLP as bytes: a wire cursor, shallow views, writers, validation, splitting and OTLP/JSON.
//!
//! A telemetry request stays in its protobuf wire form from the receiver to the exporter. [`validate`] walks it once;
//! after that the views in [`view`] read it in place without allocating and without error paths, and [`Writer`] edits
//! it by copying unchanged sub-messages through, so fields this version does not know survive.
//!
//! This crate knows bytes. It knows nothing of async, configuration or ModelMuxer.

mod batch_ops;
pub mod json;
pub mod schema;
mod validate;
pub mod view;
pub mod wire;
mod write;

pub use batch_ops::{concat, split};
pub use validate::{Limits, MAX_DEPTH, count_items, validate};
pub use view::AnyValue;
pub use wire::WireError;
pub use write::{Key, Writer};

/// The three kinds of telemetry. One request holds exactly one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Data points.
    Metrics,
    /// Log records.
    Logs,
}

impl Signal {
    /// All signals, in the order in which they are listed everywhere.
    pub const ALL: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

    /// `traces`, `metrics` or `logs`: the key in a configuration file and the last part of an OTLP/HTTP path.
    pub const fn as_str(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
            Signal::Logs => "logs",
        }
    }

    /// What one item of this signal is called in counters: `spans`, `metric_points` or `log_records`.
    pub const fn items(self) -> &'static str {
        match self {
            Signal::Traces => "spans",
            Signal::Metrics => "metric_points",
            Signal::Logs => "log_records",
        }
    }

    /// The message that a request of this signal consists of (`ExportTraceServiceRequest` and so on; the same layout
    /// as `TracesData`).
    pub const fn request(self) -> &'static schema::Message {
        match self {
            Signal::Traces => &schema::TRACES,
            Signal::Metrics => &schema::METRICS,
            Signal::Logs => &schema::LOGS,
        }
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
