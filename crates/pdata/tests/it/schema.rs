//! The tables of the schema against the descriptors that `opentelemetry-proto` was generated from.

use crate::random::Random;
use muxbridge_pdata::schema::{Field, Kind, Message, Presence};
use muxbridge_pdata::wire::Fields;
use muxbridge_pdata::{Signal, view};
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet};

/// One field as the descriptor tells it.
#[derive(Debug, PartialEq)]
struct Declared {
    json: String,
    kind: u64,
    type_name: String,
    repeated: bool,
    presence: Presence,
}

fn nested(body: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    Fields::new(body).filter(move |f| f.number == number).map(|f| f.value.as_bytes())
}

fn string(body: &[u8], number: u32) -> String {
    nested(body, number).last().map(|b| view::text(b).to_owned()).unwrap_or_default()
}

fn number(body: &[u8], number: u32) -> Option<u64> {
    Fields::new(body).filter(|f| f.number == number).last().map(|f| f.value.as_u64())
}

type Messages = BTreeMap<String, BTreeMap<u32, Declared>>;

fn collect(prefix: &str, message: &[u8], into: &mut Messages) {
    let name = format!("{prefix}.{}", string(message, 1));
    let mut fields = BTreeMap::new();
    for field in nested(message, 2) {
        let proto3_optional = number(field, 17) == Some(1);
        let presence = match number(field, 9) {
            _ if proto3_optional => Presence::Optional,
            Some(_) => Presence::Oneof,
            None => Presence::Implicit,
        };
        let declared = Declared {
            json: string(field, 10),
            kind: number(field, 5).unwrap_or_default(),
            type_name: string(field, 6),
            repeated: number(field, 4) == Some(3),
            presence,
        };
        fields.insert(number(field, 3).unwrap_or_default() as u32, declared);
    }
    nested(message, 3).for_each(|inner| collect(&name, inner, into));
    into.insert(name, fields);
}

fn declared() -> Messages {
    let mut messages = Messages::new();
    for file in nested(opentelemetry_proto::DESCRIPTORS, 1) {
        let package = format!(".{}", string(file, 2));
        nested(file, 4).for_each(|message| collect(&package, message, &mut messages));
    }
    messages
}

/// `FieldDescriptorProto.Type` of our kind.
fn type_number(kind: Kind) -> u64 {
    match kind {
        Kind::Double => 1,
        Kind::Int64 => 3,
        Kind::Uint64 => 4,
        Kind::Int32 => 5,
        Kind::Fixed64 => 6,
        Kind::Fixed32 => 7,
        Kind::Bool => 8,
        Kind::String => 9,
        Kind::Message(_) => 11,
        Kind::Bytes | Kind::TraceId | Kind::SpanId => 12,
        Kind::Uint32 => 13,
        Kind::Enum => 14,
        Kind::Sfixed64 => 16,
        Kind::Sint32 => 17,
    }
}

fn compare(name: &str, message: &'static Message, declared: &Messages, seen: &mut BTreeSet<String>) {
    if !seen.insert(name.to_owned()) {
        return;
    }
    assert!(name.ends_with(&format!(".{}", message.name)), "{name} is called {}", message.name);
    let fields = &declared[name];
    let ours: Vec<u32> =
        message.fields.iter().map(|f| f.number).collect::<BTreeSet<_>>().into_iter().collect();
    let theirs: Vec<u32> = fields.keys().copied().collect();
    assert_eq!(ours, theirs, "fields of {name}");
    for field in message.fields {
        let found = &fields[&field.number];
        let expected = Declared {
            json: field.json.to_owned(),
            kind: type_number(field.kind),
            type_name: found.type_name.clone(),
            repeated: field.repeated,
            presence: field.presence,
        };
        assert_eq!(&expected, found, "{name}.{}", field.json);
        assert_eq!(message.field(field.number).map(|f| f.json), Some(field.json), "index of {name}");
        let is_id = |id: &str| field.json == id || field.json.ends_with("SpanId") && id == "spanId";
        assert_eq!(matches!(field.kind, Kind::TraceId), is_id("traceId"), "{name}.{}", field.json);
        assert_eq!(matches!(field.kind, Kind::SpanId), is_id("spanId"), "{name}.{}", field.json);
        if let Kind::Message(inner) = field.kind {
            compare(&found.type_name, inner, declared, seen);
        }
    }
}

#[test]
fn the_tables_have_every_field_with_the_number_name_and_kind_of_the_proto_files() {
    let declared = declared();
    let mut seen = BTreeSet::new();
    for (package, signal) in [("trace", Signal::Traces), ("metrics", Signal::Metrics), ("logs", Signal::Logs)]
    {
        let message = signal.request();
        let name = format!(".opentelemetry.proto.collector.{package}.v1.{}", message.name);
        compare(&name, message, &declared, &mut seen);
    }
    assert_eq!(seen.len(), 34, "{seen:?}");
}

fn known(message: &'static Message, body: &[u8], seen: &mut BTreeSet<(&'static str, u32)>) {
    for found in Fields::new(body) {
        let field: &Field = message
            .field(found.number)
            .unwrap_or_else(|| panic!("{} does not know field {}", message.name, found.number));
        seen.insert((message.name, field.number));
        if let Kind::Message(inner) = field.kind {
            known(inner, found.value.as_bytes(), seen);
        }
    }
}

#[test]
fn every_field_that_a_full_request_has_is_known() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let mut random = Random::new(seed, true);
        known(Signal::Traces.request(), &random.traces().encode_to_vec(), &mut seen);
        known(Signal::Metrics.request(), &random.metrics().encode_to_vec(), &mut seen);
        known(Signal::Logs.request(), &random.logs().encode_to_vec(), &mut seen);
    }
    // The random requests of all other tests leave no field out either.
    let declared = declared();
    let total: usize = declared
        .iter()
        .filter(|(name, _)| seen.iter().any(|(message, _)| name.ends_with(&format!(".{message}"))))
        .filter(|(name, _)| !name.contains("profiles") && !name.contains("TracesData"))
        .map(|(_, fields)| fields.len())
        .sum();
    assert_eq!(seen.len(), total);
}
