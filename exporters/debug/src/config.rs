//! What the user writes.

use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of `debug`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How much to print for each batch. Default `normal`.
    pub verbosity: Verbosity,
}

/// How much `debug` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verbosity {
    /// One line a batch: the signal and how many items.
    Basic,
    /// One line an item: its name and attributes.
    #[default]
    Normal,
    /// The whole batch as OTLP/JSON on one line.
    Detailed,
}
