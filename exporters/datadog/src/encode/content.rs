//! Which attributes hold what people and models wrote. They leave only if the operator asked for it.

/// Attributes of spans and of their events with prompts, answers, and the input and output of tools.
const CONTENT: [&str; 12] = [
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
    "gen_ai.tool.definitions",
    "gen_ai.prompt",
    "gen_ai.completion",
    "gen_ai.event.content",
    "input.value",
    "output.value",
    "traceloop.entity.input",
];
/// Attributes that were numbered once: `gen_ai.prompt.0.content` and so on.
const PREFIXES: [&str; 5] = [
    "gen_ai.prompt.",
    "gen_ai.completion.",
    "llm.input_messages.",
    "llm.output_messages.",
    "traceloop.entity.output",
];

/// What the names above begin with: most attributes begin otherwise, and this says so at once.
const LETTERS: &[u8] = b"giotl";

/// Whether an attribute of this name holds content.
#[inline]
pub fn is_content(key: &[u8]) -> bool {
    key.first().is_some_and(|letter| LETTERS.contains(letter)) && is_one_of_them(key)
}

fn is_one_of_them(key: &[u8]) -> bool {
    CONTENT.iter().any(|name| name.as_bytes() == key)
        || PREFIXES.iter().any(|prefix| key.starts_with(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found() {
        for name in CONTENT {
            assert!(is_content(name.as_bytes()), "{name}");
        }
        for prefix in PREFIXES {
            assert!(is_content(format!("{prefix}0.content").as_bytes()), "{prefix}");
        }
        for other in ["", "gen_ai.request.model", "input", "http.method"] {
            assert!(!is_content(other.as_bytes()), "{other}");
        }
    }
}
