//! Which version of the GenAI conventions the names come from.

use schemars::JsonSchema;
use serde::Deserialize;

/// A version of the GenAI semantic conventions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Up to 1.36: the provider is `gen_ai.system`.
    #[serde(rename = "genai_1_36")]
    Genai1_36,
    /// 1.37 to 1.41: the provider is `gen_ai.provider.name`. The default.
    #[default]
    #[serde(rename = "genai_1_41")]
    Genai1_41,
    /// The drafts after 1.41. Spans look like those of 1.41; metrics have other names.
    GenaiNext,
}

impl Profile {
    /// All profiles.
    pub const ALL: [Profile; 3] = [Profile::Genai1_36, Profile::Genai1_41, Profile::GenaiNext];

    /// Its name in a configuration file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Profile::Genai1_36 => "genai_1_36",
            Profile::Genai1_41 => "genai_1_41",
            Profile::GenaiNext => "genai_next",
        }
    }
}

/// The profiles that a name belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum In {
    /// Every profile.
    All,
    /// Only 1.36.
    Old,
    /// All after 1.36.
    New,
}

impl In {
    /// Whether `profile` is one of them.
    pub const fn has(self, profile: Profile) -> bool {
        match self {
            In::All => true,
            In::Old => matches!(profile, Profile::Genai1_36),
            In::New => !matches!(profile, Profile::Genai1_36),
        }
    }
}
