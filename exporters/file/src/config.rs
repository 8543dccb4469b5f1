//! What the user writes, with the keys of the Collector's file exporter, and its check.

use muxbridge_core::config::{GoDuration, Problems};
use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of `file`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The file to write. Required. Its directory must exist; no other exporter may write to it.
    pub path: String,
    /// When to begin a new file and how many old ones to keep. Default: one file that grows.
    pub rotation: Option<Rotation>,
    /// How often what was written is synced to the disk; `0s` syncs each request before it counts as sent.
    /// Default `1s`.
    pub flush_interval: GoDuration,
    /// Whether to continue a file that is there already. If false it is emptied at start. Default true.
    pub append: bool,
    /// The form of a request in the file. Default `json`, and there is no other.
    pub format: Format,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            path: String::new(),
            rotation: None,
            flush_interval: GoDuration::from_secs(1),
            append: true,
            format: Format::Json,
        }
    }
}

/// When to begin a new file, and how many old ones to keep.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rotation {
    /// A file is closed before it would grow over this size, in units of 1048576 bytes. Default 100.
    pub max_megabytes: u64,
    /// How many closed files to keep; 0 keeps all. Default 100.
    pub max_backups: usize,
    /// For how many days to keep closed files. Default 0: for ever.
    pub max_days: u64,
}

impl Default for Rotation {
    fn default() -> Self {
        Rotation { max_megabytes: 100, max_backups: 100, max_days: 0 }
    }
}

/// The form of a request in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// OTLP/JSON, one request a line.
    #[default]
    Json,
}

impl Config {
    /// Adds every mistake to `problems`.
    pub(crate) fn check(&self, problems: &mut Problems) {
        if self.path.is_empty() {
            problems.add("path", "is required; write for example /var/log/muxbridge/otlp.json");
        } else if self.path.ends_with('/') {
            problems.add(
                "path",
                format!(
                    "{:?} is a directory; write the name of a file in it, for example otlp.json",
                    self.path
                ),
            );
        } else if self.path.contains('\0') {
            problems.add("path", "contains a zero byte, which no file name can");
        }
        let Some(rotation) = &self.rotation else { return };
        if !(1..=1_000_000).contains(&rotation.max_megabytes) {
            problems.add(
                "rotation.max_megabytes",
                format!("{} is not between 1 and 1000000", rotation.max_megabytes),
            );
        }
        if !self.append {
            problems.add(
                "append",
                "false has no meaning with rotation: what is there already is continued, and closed when it is full",
            );
        }
    }
}
