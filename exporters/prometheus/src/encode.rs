//! OTLP metrics to a page that Prometheus reads. Pure: batches, the time and the format are arguments.
//!
//! A [`Registry`] keeps the latest value of every series. The rules are those of OpenTelemetry's compatibility
//! specification for Prometheus; the crate's README lists them.

mod exemplar;
mod exponential;
mod family;
mod format;
mod labels;
mod names;
mod number;
mod page;
mod registry;
mod value;

pub use format::Format;
pub use names::is_label as is_label_name;
pub use page::{Head, Kind, Page};
pub use registry::{Ingested, MAX_HELP_BYTES, MAX_LABEL_BYTES, MAX_TARGETS, Registry};

/// How metrics become a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Before every metric name; empty for none.
    pub namespace: String,
    /// On every series, by legal names.
    pub const_labels: Vec<(String, String)>,
    /// Writes the time of each point behind its value.
    pub send_timestamps: bool,
    /// Nanoseconds after which a series without new points is forgotten.
    pub expiration: u64,
    /// Adds units and `_total` to names.
    pub add_suffixes: bool,
    /// Adds labels that name the instrumentation scope.
    pub scope_labels: bool,
    /// Makes attributes of the resource labels of every series.
    pub resource_labels: bool,
    /// The most series that are kept.
    pub max_series: usize,
    /// Names that start so belong to somebody else on the same page: such metrics are dropped as `name_conflict`.
    pub reserved_prefix: Option<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        crate::Config::default().options()
    }
}

/// Appends `name="value"` to labels as they stand between the braces. `name` must be a legal one.
pub fn push_label(labels: &mut String, name: &str, value: &str) {
    labels::push_label(labels, name, value);
}
