//! `${env:VAR}`, `${env:VAR:-default}` and `${file:PATH}` in scalars of a configuration that is already parsed.

use muxbridge_core::config::Problems;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A secret is shorter.
const FILE_BYTES: u64 = 64 << 10;

/// Replaces every reference in every text of `tree`. A variable that is not set and has no default is a problem; one
/// that is set but empty counts as set, as in the Collector. `$$` is one dollar sign. Returns the files it has read.
pub(super) fn substitute(
    tree: &mut Value,
    variables: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems,
) -> Vec<PathBuf> {
    let mut references = References { variables, files: Vec::new() };
    references.node(tree, "", problems);
    references.files
}

struct References<'v> {
    variables: &'v dyn Fn(&str) -> Option<String>,
    files: Vec<PathBuf>,
}

impl References<'_> {
    fn node(&mut self, value: &mut Value, path: &str, problems: &mut Problems) {
        match value {
            Value::String(text) if text.contains('$') => match self.expand(text) {
                Ok(expanded) => *text = expanded,
                Err(problem) => problems.add(path, problem),
            },
            Value::Array(list) => {
                for (i, item) in list.iter_mut().enumerate() {
                    self.node(item, &format!("{path}[{i}]"), problems);
                }
            }
            Value::Object(map) => {
                for (key, item) in map {
                    let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    self.node(item, &below, problems);
                }
            }
            _ => {}
        }
    }

    fn expand(&mut self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some(inside) = rest.strip_prefix('{') {
                let end = inside
                    .find('}')
                    .ok_or("has a ${ without a }; a dollar sign before a brace is written $$")?;
                out.push_str(&self.reference(&inside[..end])?);
                rest = &inside[end + 1..];
            } else {
                // A lone dollar sign is itself: passwords have them.
                out.push('$');
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn file(&mut self, path: &str) -> Result<String, String> {
        let file = Path::new(path);
        if !file.is_absolute() {
            return Err("has a ${file:...} that is not an absolute path; write ${file:/path}".to_owned());
        }
        self.files.push(file.to_owned());
        read(file).map_err(|problem| format!("${{file:{path}}}: {problem}"))
    }

    fn reference(&mut self, inside: &str) -> Result<String, String> {
        // `${VAR}` is the older spelling of `${env:VAR}`.
        let (scheme, body) = match inside.split_once(':') {
            Some(("env", body)) => ("env", body),
            Some((_, after)) if after.starts_with('-') => ("env", inside),
            Some((scheme, body)) => (scheme, body),
            None => ("env", inside),
        };
        if scheme == "file" {
            return self.file(body);
        }
        // What is between the braces may be part of a password; names that the Collector knows are not.
        if ["yaml", "http", "https"].contains(&scheme) {
            return Err(format!(
                "${{{scheme}:...}}: only environment variables and files can be substituted; write ${{env:NAME}} or \
                 ${{file:/path}}"
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
        match ((self.variables)(name), default) {
            (Some(value), _) => Ok(value),
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(format!(
                "the environment variable {name} is not set; set it, or write ${{env:{name}:-default}}"
            )),
        }
    }
}

const NO_NAME: &str = "has a ${...} with no name of an environment variable in it; write ${env:NAME}, or $$ for a dollar sign before a brace";

/// The text of a file without the line break at its end, which editors and `echo` add.
fn read(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    file.take(FILE_BYTES + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > FILE_BYTES {
        return Err(format!("has more than {FILE_BYTES} bytes"));
    }
    let end = text.strip_suffix('\n').map_or(text.len(), |t| t.strip_suffix('\r').unwrap_or(t).len());
    text.truncate(end);
    Ok(text)
}
