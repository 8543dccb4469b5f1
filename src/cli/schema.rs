//! `muxbridge config schema`: the JSON Schema of the whole configuration file, for editors and for reading.

use super::{Failure, print};
use crate::config::{BATCH, BatchProcessor, RawPipeline, Service};
use crate::pipeline::settings::{RetryOnFailure, SendingQueue};
use crate::registry::Registry;
use muxbridge_core::config::schema;
use serde_json::{Map, Value, json};

pub(crate) fn run(registry: &Registry) -> Result<(), Failure> {
    print(&format!("{:#}\n", whole(registry)))
}

/// The schema: one pattern of ids for each component.
pub(crate) fn whole(registry: &Registry) -> Value {
    let mut exporters = Map::new();
    for factory in registry.exporters() {
        let mut own = nested((factory.schema)());
        if let Some(properties) = own.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert("sending_queue".to_owned(), nested(schema::<SendingQueue>()));
            properties.insert("retry_on_failure".to_owned(), nested(schema::<RetryOnFailure>()));
        }
        exporters.insert(pattern(factory.name), nullable(own));
    }
    let receivers = registry.receivers().iter().map(|f| (pattern(f.name), nullable(nested((f.schema)()))));
    let processors = registry.processors().iter().map(|f| (pattern(f.name), nullable(nested((f.schema)()))));
    let batch = (pattern(BATCH), nullable(nested(schema::<BatchProcessor>())));
    let mut service = nested(schema::<Service>());
    if let Some(properties) = service.get_mut("properties").and_then(Value::as_object_mut) {
        let pipelines = [("^(traces|metrics|logs)(/[^/]+)?$".to_owned(), nested(schema::<RawPipeline>()))];
        properties.insert("pipelines".to_owned(), components(pipelines.into_iter().collect()));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Muxbridge configuration",
        "type": "object",
        "additionalProperties": false,
        "required": ["receivers", "exporters", "service"],
        "properties": {
            "receivers": components(receivers.collect()),
            "processors": components(processors.chain([batch]).collect()),
            "exporters": components(exporters),
            "service": service,
        },
    })
}

fn pattern(name: &str) -> String {
    format!("^{name}(/[^/]+)?$")
}

fn components(patterns: Map<String, Value>) -> Value {
    json!({ "type": "object", "additionalProperties": false, "patternProperties": patterns })
}

/// A component without a body has its defaults.
fn nullable(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

/// A schema that stands inside another one: its definitions are put where they are used.
fn nested(mut schema: Value) -> Value {
    let definitions = schema.as_object_mut().and_then(|s| s.remove("$defs")).unwrap_or(Value::Null);
    if let Some(map) = schema.as_object_mut() {
        map.remove("$schema");
    }
    inline(&mut schema, &definitions, 8);
    schema
}

fn inline(schema: &mut Value, definitions: &Value, depth: u8) {
    if depth == 0 {
        return;
    }
    match schema {
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/"));
            if let Some(Value::Object(definition)) = name.and_then(|name| definitions.get(name)).cloned() {
                map.remove("$ref");
                for (key, value) in definition {
                    map.entry(key).or_insert(value);
                }
            }
            map.values_mut().for_each(|value| inline(value, definitions, depth - 1));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| inline(value, definitions, depth - 1)),
        _ => {}
    }
}
