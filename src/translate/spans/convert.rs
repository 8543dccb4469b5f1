//! One attribute value to the value of its target.

use super::{Member, Members, SpanOptions};
use crate::translate::explain::Rule;
use crate::translate::providers::{gen_ai_provider_name, operation_name, provider_named};
use crate::translate::routes::{known_method, known_route};
use crate::translate::table::Convert;
use muxbridge_pdata::AnyValue;
use std::borrow::Cow;

/// What came out.
pub(super) enum Converted<'a> {
    /// The value as it was.
    Same,
    /// A value.
    Value(AnyValue<'a>),
    /// A text that is not in the input.
    Text(String),
    /// A list of strings, as the text with commas that it was.
    List(&'a str),
    /// Nothing, and that is right.
    Nothing,
    /// The value is of another type than the table says: it must be kept as it is.
    Mismatch,
}

/// Kinds of personal data whose patterns match ordinary words.
const LOW_CONFIDENCE: [&str; 3] = ["nationalid", "address", "jwt"];

/// The parts of a text with commas.
pub(super) fn parts(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Whether the value stays as it is.
#[inline(always)]
pub(super) fn is_same(how: Convert, value: &AnyValue<'_>) -> bool {
    matches!(
        (how, value),
        (Convert::Text, AnyValue::String(_))
            | (Convert::Int, AnyValue::Int(_))
            | (Convert::Double, AnyValue::Double(_))
            | (Convert::Bool, AnyValue::Bool(_))
    )
}

pub(super) fn convert<'a>(
    how: Convert,
    value: &AnyValue<'a>,
    (members, member): (&Members<'a>, &Member<'a>),
    options: &SpanOptions,
) -> Converted<'a> {
    let redactions = || members.attribute(member, "num_redactions").and_then(|v| v.as_int()).unwrap_or(0);
    match (how, value) {
        (how, value) if is_same(how, value) => Converted::Same,
        (Convert::Drop(Rule::PolicyMap), AnyValue::KvList(_)) => Converted::Nothing,
        (Convert::Drop(Rule::PolicyMap), _) => Converted::Mismatch,
        (Convert::Drop(_), _) => Converted::Nothing,
        (Convert::Verdict, AnyValue::Bool(blocked)) => verdict(*blocked, redactions(), "deny"),
        (Convert::Action, AnyValue::Bool(blocked)) => verdict(*blocked, redactions(), "block"),
        (_, AnyValue::Int(_) | AnyValue::Double(_)) => number(how, value, options),
        (_, AnyValue::String(raw)) => {
            match how {
                // As bytes: to check once more that it is UTF-8 would cost more than the rest.
                Convert::Method => Converted::Value(AnyValue::string(known_method(raw))),
                Convert::OtherMethod if known_method(raw) == "_OTHER" => Converted::Same,
                Convert::OtherMethod => Converted::Nothing,
                Convert::Route => optional(known_route(raw).map(str::as_bytes)),
                Convert::Address | Convert::Port => address(how, raw),
                Convert::Operation => Converted::Value(AnyValue::string(operation_name(raw))),
                Convert::Provider => match provider_named(raw) {
                    Some(known) => Converted::Value(AnyValue::string(known.gen_ai_name)),
                    None => match gen_ai_provider_name(muxbridge_pdata::view::text(raw)) {
                        Cow::Borrowed(name) => Converted::Value(AnyValue::string(name)),
                        Cow::Owned(name) => Converted::Text(name),
                    },
                },
                Convert::ApiType => {
                    optional((raw == b"o1" || raw.starts_with(b"o1-")).then_some(&b"responses"[..]))
                }
                _ => string(how, muxbridge_pdata::view::text(raw), options).unwrap_or(Converted::Mismatch),
            }
        }
        _ => Converted::Mismatch,
    }
}

fn verdict<'a>(blocked: bool, redactions: i64, negative: &'static str) -> Converted<'a> {
    Converted::Value(AnyValue::string(match (blocked, redactions) {
        (true, _) => negative,
        (false, n) if n > 0 => "modify",
        (false, _) => "allow",
    }))
}

fn number<'a>(how: Convert, value: &AnyValue<'a>, options: &SpanOptions) -> Converted<'a> {
    let double = value.as_f64().unwrap_or_default();
    match (how, value) {
        (Convert::Double, _) => Converted::Value(AnyValue::Double(double)),
        (Convert::MillisToSeconds, _) => Converted::Value(AnyValue::Double(double / 1e3)),
        (Convert::Cost, _) => Converted::Value(AnyValue::Double(double * options.price_correction)),
        (Convert::Resend, AnyValue::Int(n)) if *n > 1 => Converted::Value(AnyValue::Int(n - 1)),
        (Convert::Resend, AnyValue::Int(_)) => Converted::Nothing,
        _ => Converted::Mismatch,
    }
}

fn optional(text: Option<&[u8]>) -> Converted<'_> {
    text.map_or(Converted::Nothing, |text| Converted::Value(AnyValue::String(text)))
}

/// The host of a provider that has a usual one, or the port there.
fn address<'a>(how: Convert, provider: &[u8]) -> Converted<'a> {
    let known = provider_named(provider).and_then(|p| Some((p.address?, p.port)));
    known.map_or(Converted::Nothing, |(host, port)| {
        Converted::Value(if how == Convert::Port {
            AnyValue::Int(port.into())
        } else {
            AnyValue::string(host)
        })
    })
}

/// `None` if `how` is not for texts.
fn string<'a>(how: Convert, value: &'a str, options: &SpanOptions) -> Option<Converted<'a>> {
    let text = |value: &'a str| Some(Converted::Value(AnyValue::string(value)));
    match how {
        Convert::List if parts(value).next().is_none() => Some(Converted::Nothing),
        Convert::List => Some(Converted::List(value)),
        Convert::LowConfidence if parts(value).next().is_none() => Some(Converted::Nothing),
        Convert::LowConfidence => {
            let low = parts(value).all(|kind| LOW_CONFIDENCE.contains(&kind));
            Some(Converted::Value(AnyValue::Bool(low)))
        }
        Convert::TenantId => Some(optional(options.tenant_id.then_some(value.as_bytes()))),
        Convert::BeforeColon => {
            Some(optional(value.split_once(':').map(|(provider, _)| provider.as_bytes())))
        }
        Convert::AfterColon => text(value.split_once(':').map_or(value, |(_, model)| model)),
        _ => None,
    }
}
