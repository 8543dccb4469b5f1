//! Turns the labels of one point into the attributes of its target.

use super::table::{Convert, Target};
use crate::translate::profile::Profile;
use crate::translate::providers::{gen_ai_provider_name, operation_name};
use crate::translate::routes::{UNMATCHED, known_method, known_route};
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{KeyValue, Repeated, text};
use muxbridge_pdata::{AnyValue, Writer};

/// Types of personal data whose patterns match ordinary words, as in the spans of the policy.
const LOW_CONFIDENCE: [&str; 3] = ["nationalid", "address", "jwt"];

/// Attributes as encoded `KeyValue` messages, sorted by key: equal lists are the same series.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Attributes(Vec<(Vec<u8>, Vec<u8>)>);

impl Attributes {
    fn set(&mut self, key: &str, value: AnyValue<'_>) {
        let mut body = Writer::new();
        body.bytes(field::key_value::KEY, key.as_bytes());
        body.any_value(field::key_value::VALUE, value);
        self.put(key.as_bytes(), body.into_vec());
    }

    fn text(&mut self, key: &str, value: &str) {
        self.set(key, AnyValue::string(value));
    }

    fn put(&mut self, key: &[u8], body: Vec<u8>) {
        match self.0.binary_search_by(|(k, _)| k.as_slice().cmp(key)) {
            Ok(at) => self.0[at].1 = body,
            Err(at) => self.0.insert(at, (key.to_vec(), body)),
        }
    }

    /// Adds text from the configuration.
    pub(super) fn constant(&mut self, key: &str, value: &str) {
        self.text(key, value);
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = KeyValue<'_>> {
        self.0.iter().map(|(_, body)| KeyValue::read(body))
    }

    /// The same bytes for the same series, and for no other: each with its length.
    pub(super) fn identity(&self, out: &mut Vec<u8>) {
        for (_, body) in &self.0 {
            out.extend_from_slice(&(body.len() as u64).to_le_bytes());
            out.extend_from_slice(body);
        }
    }

    /// Writes them in the field `number` of a point.
    pub(super) fn write(&self, w: &mut Writer, number: u32) {
        self.0.iter().for_each(|(_, body)| w.bytes(number, body));
    }
}

/// A series as an operator knows it: `http_requests_total{method="GET",status="200"}`.
pub(super) fn series_name(family: &[u8], labels: Repeated<'_, KeyValue<'_>>) -> String {
    let labels: Vec<String> =
        labels.map(|l| format!("{}={:?}", text(l.key), l.value.as_str().unwrap_or_default())).collect();
    format!("{}{{{}}}", text(family), labels.join(","))
}

/// The attributes of a target's point.
pub(super) fn convert(labels: Repeated<'_, KeyValue<'_>>, target: &Target, profile: Profile) -> Attributes {
    let mut out = Attributes::default();
    for label in labels {
        let conversion = target.attributes.iter().find(|c| source(c).as_bytes() == label.key);
        match (conversion, label.value.as_str()) {
            (Some(conversion), Some(text)) => apply(&mut out, conversion, text, profile),
            (Some(Convert::Drop(_)), None) => {}
            _ => out.put(label.key, label.raw().to_vec()),
        }
    }
    for (key, value) in target.constants {
        out.text(key, value);
    }
    out
}

/// The label that a conversion takes.
fn source(conversion: &Convert) -> &'static str {
    match conversion {
        Convert::As(from, _) | Convert::Drop(from) | Convert::Bool(from, _) | Convert::Int(from, _) => from,
        Convert::Split(from, _, _) => from,
        Convert::Method => "method",
        Convert::Route => "route",
        Convert::Status => "status",
        Convert::Provider | Convert::ProviderOperation => "provider",
        Convert::Outcome => "outcome",
        Convert::Violation => "type",
        Convert::Pii => "pii_type",
    }
}

fn apply(out: &mut Attributes, conversion: &Convert, text: &str, profile: Profile) {
    match *conversion {
        Convert::As(_, to) => out.text(to, text),
        Convert::Drop(_) => {}
        Convert::Method => out.text("http.request.method", known_method(text)),
        Convert::Route => out.text("http.route", known_route(text).unwrap_or(UNMATCHED)),
        Convert::Status => status(out, text),
        Convert::Provider => provider(out, "gen_ai.provider.name", text, profile),
        Convert::ProviderOperation => {
            provider(out, "gen_ai.provider.name", text, profile);
            out.text("gen_ai.operation.name", operation_name(text));
        }
        Convert::Split(_, provider_key, model_key) => match text.split_once(':') {
            Some((name, model)) => {
                provider(out, provider_key, name, profile);
                out.text(model_key, model);
            }
            None => out.text(model_key, text),
        },
        Convert::Bool(_, to) => match text {
            "true" => out.set(to, AnyValue::Bool(true)),
            "false" => out.set(to, AnyValue::Bool(false)),
            other => out.text(to, other),
        },
        Convert::Int(_, to) => match text.parse() {
            Ok(number) => out.set(to, AnyValue::Int(number)),
            Err(_) => out.text(to, text),
        },
        Convert::Outcome => outcome(out, text),
        Convert::Violation => out.text(
            "modelmuxer.policy.reason",
            match text {
                "modeldenied" => "model_denied",
                "regiondenied" => "region_denied",
                other => other,
            },
        ),
        Convert::Pii => {
            out.text("modelmuxer.policy.pii_type", text);
            let low = LOW_CONFIDENCE.contains(&text);
            out.text("modelmuxer.policy.confidence", if low { "low" } else { "high" });
        }
    }
}

fn provider(out: &mut Attributes, key: &'static str, name: &str, profile: Profile) {
    let old = key == "gen_ai.provider.name" && profile == Profile::Genai1_36;
    out.text(if old { "gen_ai.system" } else { key }, &gen_ai_provider_name(name));
}

fn status(out: &mut Attributes, text: &str) {
    match text.parse::<u16>() {
        Ok(code) => {
            out.set("http.response.status_code", AnyValue::Int(code.into()));
            if code >= 500 {
                out.text("error.type", text);
            }
        }
        Err(_) => out.text("status", text),
    }
}

fn outcome(out: &mut Attributes, text: &str) {
    out.text("modelmuxer.outcome", text);
    match text {
        "success" => {}
        "circuit_open" => out.text("error.type", "circuit_open"),
        // The page knows that a call failed, not why.
        _ => out.text("error.type", "_OTHER"),
    }
}
