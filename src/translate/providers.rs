//! The LLM providers that ModelMuxer calls: what the conventions call them, and where they are.

use super::short::same;
use std::borrow::Cow;

/// One provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider {
    /// ModelMuxer's name for it.
    pub name: &'static str,
    /// The value of `gen_ai.provider.name`.
    pub gen_ai_name: &'static str,
    /// The value of `gen_ai.operation.name` of a completion.
    pub operation: &'static str,
    /// The host that ModelMuxer calls unless it is configured otherwise; `None` where there is no such default.
    pub address: Option<&'static str>,
    /// The port there.
    pub port: u16,
}

const fn provider(
    name: &'static str,
    gen_ai_name: &'static str,
    operation: &'static str,
    address: Option<&'static str>,
    port: u16,
) -> Provider {
    Provider { name, gen_ai_name, operation, address, port }
}

/// All providers that ModelMuxer has an adapter for.
pub static PROVIDERS: [Provider; 8] = [
    provider("openai", "openai", "chat", Some("api.openai.com"), 443),
    provider("anthropic", "anthropic", "chat", Some("api.anthropic.com"), 443),
    provider("mistral", "mistral_ai", "chat", Some("api.mistral.ai"), 443),
    provider("google", "gcp.gemini", "generate_content", Some("generativelanguage.googleapis.com"), 443),
    provider("groq", "groq", "chat", Some("api.groq.com"), 443),
    provider("cohere", "cohere", "chat", Some("api.cohere.ai"), 443),
    provider("together", "together_ai", "chat", Some("api.together.xyz"), 443),
    // Ollama runs wherever its user put it: no address is better than a wrong one.
    provider("ollama", "ollama", "chat", None, 11434),
];

/// The provider with ModelMuxer's name `name`, in any case.
pub fn provider_named(name: impl AsRef<[u8]>) -> Option<&'static Provider> {
    let name = name.as_ref();
    // ModelMuxer writes them in lower case.
    let exact = PROVIDERS.iter().find(|p| same(p.name.as_bytes(), name));
    exact.or_else(|| PROVIDERS.iter().find(|p| p.name.as_bytes().eq_ignore_ascii_case(name)))
}

/// The value of `gen_ai.provider.name` for ModelMuxer's `name`. An unknown one is passed through in lower case.
pub fn gen_ai_provider_name(name: &str) -> Cow<'_, str> {
    match provider_named(name) {
        Some(provider) => Cow::Borrowed(provider.gen_ai_name),
        None if name.bytes().any(|b| b.is_ascii_uppercase()) => Cow::Owned(name.to_ascii_lowercase()),
        None => Cow::Borrowed(name),
    }
}

/// The value of `gen_ai.operation.name` for ModelMuxer's `name`.
pub fn operation_name(name: impl AsRef<[u8]>) -> &'static str {
    provider_named(name).map_or("chat", |p| p.operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provider_names_follow_the_conventions_and_unknown_ones_pass_in_lower_case() {
        for (name, expected) in [
            ("openai", "openai"),
            ("mistral", "mistral_ai"),
            ("google", "gcp.gemini"),
            ("together", "together_ai"),
            ("Ollama", "ollama"),
            ("DeepSeek", "deepseek"),
        ] {
            assert_eq!(gen_ai_provider_name(name), expected, "{name}");
        }
        assert_eq!(operation_name("google"), "generate_content");
        assert_eq!(operation_name("deepseek"), "chat");
    }
}
