//! Holds a value against the JSON Schema of its configuration type and reports every mistake, not only the first.
//!
//! Serde stops at the first error. An operator wants all of them at once, so unknown keys, wrong types and unknown
//! choices are found here, by one walk that works for every configuration type. What is wrong is taken out, so that
//! the rest can still be parsed and checked for its meaning.

use super::{GoDuration, Problems};
use serde_json::{Map, Value};

/// Reports what does not fit, takes it out, and turns quoted numbers and booleans into what the schema wants.
pub(super) fn check(schema: &Value, value: &mut Value, problems: &mut Problems) {
    let _ = Walk { root: schema }.node(schema, value, "", problems);
}

struct Walk<'s> {
    root: &'s Value,
}

/// The value cannot be kept.
struct Remove;

impl<'s> Walk<'s> {
    fn resolve(&self, mut schema: &'s Value) -> &'s Value {
        // A chain of references longer than this would be a loop.
        for _ in 0..8 {
            let Some(name) =
                schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/"))
            else {
                break;
            };
            schema = &self.root["$defs"][name];
        }
        schema
    }

    fn node(
        &self,
        schema: &'s Value,
        value: &mut Value,
        path: &str,
        problems: &mut Problems,
    ) -> Result<(), Remove> {
        let schema = self.resolve(schema);
        if let Some(choices) = choices(schema) {
            return choice(&choices, value, path, problems);
        }
        if let Some(alternatives) =
            schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array)
        {
            if value.is_null() {
                return Ok(());
            }
            let others = alternatives.iter().filter(|a| a["type"] != "null").map(|a| self.resolve(a));
            let mut others: Vec<&Value> = others.collect();
            if others.len() > 1 {
                others.retain(|a| a["type"] == type_name(value));
            }
            // Several of the type of the value, or none: only serde can tell what is meant.
            return match others[..] {
                [only] => self.node(only, value, path, problems),
                _ => Ok(()),
            };
        }
        let (kind, nullable) = kind(schema);
        if value.is_null() && nullable {
            return Ok(());
        }
        match kind {
            "object" => self.object(schema, value, path, problems),
            "array" => self.array(schema, value, path, problems),
            _ => scalar(kind, schema, value, path, problems),
        }
    }

    fn object(
        &self,
        schema: &'s Value,
        value: &mut Value,
        path: &str,
        problems: &mut Problems,
    ) -> Result<(), Remove> {
        if value.is_null() {
            *value = Value::Object(Map::new());
        }
        let Value::Object(map) = value else {
            problems.add(path, format!("{} is not a map of keys and values", show(value)));
            return Err(Remove);
        };
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let others = schema.get("additionalProperties");
        let keys: Vec<String> = map.keys().cloned().collect();
        for key in keys {
            let below = join(path, &key);
            let inner = match (properties.get(&key), others) {
                (Some(known), _) => known,
                (None, Some(Value::Bool(false))) => {
                    problems.add(&below, unknown_key(&key, properties.keys().map(String::as_str)));
                    map.remove(&key);
                    continue;
                }
                (None, Some(inner)) if inner.is_object() => inner,
                _ => continue,
            };
            if let Some(entry) = map.get_mut(&key)
                && self.node(inner, entry, &below, problems).is_err()
            {
                map.remove(&key);
            }
        }
        for key in
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        {
            if !map.contains_key(key) {
                problems.add(&join(path, key), "is missing");
            }
        }
        Ok(())
    }

    fn array(
        &self,
        schema: &'s Value,
        value: &mut Value,
        path: &str,
        problems: &mut Problems,
    ) -> Result<(), Remove> {
        let Value::Array(list) = value else {
            problems.add(path, format!("{} is not a list; write [ ... ]", show(value)));
            return Err(Remove);
        };
        if let Some(items) = schema.get("items") {
            let mut position = 0;
            list.retain_mut(|item| {
                let keep = self.node(items, item, &format!("{path}[{position}]"), problems).is_ok();
                position += 1;
                keep
            });
        }
        Ok(())
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn kind(schema: &Value) -> (&str, bool) {
    match &schema["type"] {
        Value::String(one) => (one, false),
        Value::Array(several) => {
            let nullable = several.iter().any(|t| t == "null");
            (several.iter().filter_map(Value::as_str).find(|t| *t != "null").unwrap_or("any"), nullable)
        }
        _ => ("any", true),
    }
}

/// The strings that are allowed, if the schema is a list of strings. A documented enum is a list of alternatives.
fn choices(schema: &Value) -> Option<Vec<&str>> {
    if let Some(list) = schema.get("enum").and_then(Value::as_array) {
        return list.iter().map(Value::as_str).collect();
    }
    if let Some(one) = schema.get("const").and_then(Value::as_str) {
        return Some(vec![one]);
    }
    let mut all = Vec::new();
    for alternative in schema.get("oneOf").and_then(Value::as_array)? {
        all.extend(choices(alternative)?);
    }
    Some(all)
}

fn choice(choices: &[&str], value: &mut Value, path: &str, problems: &mut Problems) -> Result<(), Remove> {
    match value.as_str() {
        Some(text) if choices.contains(&text) => Ok(()),
        _ => {
            problems.add(path, format!("{} is not one of {}", show(value), choices.join(", ")));
            Err(Remove)
        }
    }
}

fn scalar(
    kind: &str,
    schema: &Value,
    value: &mut Value,
    path: &str,
    problems: &mut Problems,
) -> Result<(), Remove> {
    let secret = schema["format"] == "password";
    let fits = match kind {
        "string" => {
            // `password: 1234` is a string to the one who wrote it.
            if let Value::Number(n) = value {
                *value = Value::String(n.to_string());
            } else if let Value::Bool(b) = value {
                *value = Value::String(b.to_string());
            }
            if schema["format"] == "go-duration"
                && value.as_str().is_some_and(|t| GoDuration::parse(t).is_none())
            {
                problems.add(
                    path,
                    format!("{} is not a duration; write for example 500ms, 10s or 1m30s", show(value)),
                );
                return Err(Remove);
            }
            value.is_string()
        }
        "boolean" => {
            match value.as_str() {
                Some("true" | "yes" | "on") => *value = Value::Bool(true),
                Some("false" | "no" | "off") => *value = Value::Bool(false),
                _ => {}
            }
            value.is_boolean()
        }
        "integer" | "number" => {
            if let Some(number) = value.as_str().and_then(|t| serde_json::from_str(t.trim()).ok()) {
                *value = Value::Number(number);
            }
            if kind == "integer" { value.is_i64() || value.is_u64() } else { value.is_number() }
        }
        _ => true,
    };
    if !fits {
        let shown = if secret { "the value".to_owned() } else { show(value) };
        problems.add(path, format!("{shown} is not {}", article(kind)));
        return Err(Remove);
    }
    if let (Some(number), Some(least)) = (value.as_f64(), schema["minimum"].as_f64())
        && number < least
    {
        problems.add(path, format!("{} is less than {least}", show(value)));
        return Err(Remove);
    }
    Ok(())
}

fn article(kind: &str) -> String {
    match kind {
        "integer" => "a whole number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "string" => "a text".to_owned(),
        other => format!("a {other}"),
    }
}

/// A value as it can stand in a message: short, on one line.
fn show(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// What to say of a key or name that nobody knows.
pub fn unknown_key<'k>(key: &str, known: impl Iterator<Item = &'k str>) -> String {
    format!("unknown key {key:?}{}", suggest(key, known))
}

/// `; did you mean "x"?`, or the list of what there is if nothing is close.
pub fn suggest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> String {
    let known: Vec<&str> = known.collect();
    let close = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(name, k), *k))
        .min()
        .filter(|(distance, k)| *distance <= 2.max(k.len() / 3));
    match close {
        Some((_, close)) => format!("; did you mean {close:?}?"),
        None if known.is_empty() => "; there are none here".to_owned(),
        None => format!("; known are {}", known.join(", ")),
    }
}
