//! `${env:VAR}` and `${env:VAR:-default}` in scalars of a configuration that is already parsed.

use muxbridge_core::config::Problems;
use serde_json::Value;

/// Replaces every reference in every text of `tree`. A variable that is not set and has no default is a problem; one
/// that is set but empty counts as set, as in the Collector. `$$` is one dollar sign.
pub(super) fn substitute(
    tree: &mut Value,
    variables: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems,
) {
    node(tree, "", variables, problems);
}

fn node(value: &mut Value, path: &str, variables: &dyn Fn(&str) -> Option<String>, problems: &mut Problems) {
    match value {
        Value::String(text) if text.contains('$') => match expand(text, variables) {
            Ok(expanded) => *text = expanded,
            Err(problem) => problems.add(path, problem),
        },
        Value::Array(list) => {
            for (i, item) in list.iter_mut().enumerate() {
                node(item, &format!("{path}[{i}]"), variables, problems);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                node(item, &below, variables, problems);
            }
        }
        _ => {}
    }
}

fn expand(text: &str, variables: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(inside) = rest.strip_prefix('{') {
            let end =
                inside.find('}').ok_or("has a ${ without a }; a dollar sign before a brace is written $$")?;
            out.push_str(&reference(&inside[..end], variables)?);
            rest = &inside[end + 1..];
        } else {
            // A lone dollar sign is itself: passwords have them.
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok(out)
}

const NO_NAME: &str = "has a ${...} with no name of an environment variable in it; write ${env:NAME}, or $$ for a dollar sign before a brace";

fn reference(inside: &str, variables: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    // `${VAR}` is the older spelling of `${env:VAR}`.
    let (scheme, body) = match inside.split_once(':') {
        Some(("env", body)) => ("env", body),
        Some((_, after)) if after.starts_with('-') => ("env", inside),
        Some((scheme, body)) => (scheme, body),
        None => ("env", inside),
    };
    // What is between the braces may be part of a password; names that the Collector knows are not.
    if ["file", "yaml", "http", "https"].contains(&scheme) {
        return Err(format!(
            "${{{scheme}:...}}: only environment variables can be substituted; write ${{env:NAME}}"
        ));
    }
    if scheme != "env" {
        return Err(NO_NAME.to_owned());
    }
    let (name, default) = match body.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (body, None),
    };
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(NO_NAME.to_owned());
    }
    match (variables(name), default) {
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "the environment variable {name} is not set; set it, or write ${{env:{name}:-default}}"
        )),
    }
}
