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

/// Whether an attribute of this name holds content.
pub fn is_content(key: &str) -> bool {
    CONTENT.contains(&key) || PREFIXES.iter().any(|p| key.starts_with(p))
}
