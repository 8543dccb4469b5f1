//! Fits one list of attributes: keys, values, reserved names and how many there may be.

mod rank;

use super::cut;
use crate::encode::{Counts, reason};
use muxbridge_pdata::view::{AnyValue, ArrayValue, KeyValue, ResourceItems, ScopeItems, text};
use muxbridge_pdata::{Signal, Writer, schema::field};
use rank::rank;
use std::borrow::Cow;
use std::collections::HashSet;

const KEY_CHARS: usize = 255;
const METRIC_NAME_CHARS: usize = 254;
const ARRAY_ENTRIES: usize = 64;

/// What holds for one list.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) signal: Signal,
    /// How many attributes there may be.
    pub(crate) max: usize,
    /// How many characters a string may have.
    pub(crate) value_chars: usize,
    /// Which metrics the attributes belong to: New Relic stores name and attributes in one row.
    pub(crate) metrics: Metrics<'a>,
}

/// The metrics that a list of attributes belongs to.
#[derive(Clone, Copy)]
pub(crate) enum Metrics<'a> {
    None,
    One(&'a [u8]),
    OfResource(ResourceItems<'a>),
    OfScope(ScopeItems<'a>),
}

impl Metrics<'_> {
    fn contain(&self, key: &[u8]) -> bool {
        let is = |name: &[u8]| metric_name(text(name)).as_bytes() == key;
        match self {
            Metrics::None => false,
            Metrics::One(name) => is(name),
            Metrics::OfResource(items) => items.scopes().flat_map(|s| s.metrics()).any(|m| is(m.name)),
            Metrics::OfScope(items) => items.metrics().any(|m| is(m.name)),
        }
    }
}

/// A metric name within its limit.
pub(crate) fn metric_name(name: &str) -> &str {
    cut(name, METRIC_NAME_CHARS)
}

/// One attribute as it may be sent.
pub(crate) struct Attribute<'a> {
    pub(crate) key: Cow<'a, str>,
    pub(crate) value: Fit<'a>,
    /// The whole `KeyValue`, if nothing was changed.
    raw: Option<&'a [u8]>,
}

/// A value as it may be sent.
pub(crate) enum Fit<'a> {
    /// A string, bool, int or double, or an array that needs no change.
    Plain(AnyValue<'a>),
    Text(String),
    List(Vec<Fit<'a>>),
}

/// What became of a list.
pub(crate) struct Fitted<'a> {
    pub(crate) list: Vec<Attribute<'a>>,
    /// How many attributes of the original list are gone.
    pub(crate) removed: u64,
}

impl<'a> Fitted<'a> {
    /// The value of a string attribute; empty if there is none.
    pub(crate) fn text(&self, key: &str) -> &'a [u8] {
        match self.list.iter().find(|a| a.key == key).map(|a| &a.value) {
            Some(Fit::Plain(AnyValue::String(value))) => value,
            _ => &[],
        }
    }

    pub(crate) fn write(&self, w: &mut Writer, number: u32) {
        for attribute in &self.list {
            match attribute.raw {
                Some(raw) => w.bytes(number, raw),
                None => w.message(number, |w| {
                    w.bytes(field::key_value::KEY, attribute.key.as_bytes());
                    attribute.value.write(w, field::key_value::VALUE);
                }),
            }
        }
    }
}

impl Fit<'_> {
    fn write(&self, w: &mut Writer, number: u32) {
        match self {
            Fit::Plain(value) => w.any_value(number, *value),
            Fit::Text(value) => w.any_value(number, AnyValue::string(value)),
            Fit::List(values) => w.message(number, |w| {
                w.message(field::any_value::ARRAY, |w| {
                    values.iter().for_each(|v| v.write(w, field::any_value::VALUES));
                });
            }),
        }
    }
}

pub(super) enum Reserved {
    No,
    Renamed,
    Removed,
}

pub(super) fn reserved(key: &[u8], rules: &Rules<'_>) -> Reserved {
    // New Relic computes the entity; these would overrule it or are refused.
    if key.is_empty()
        || key.starts_with(b"entity.")
        || matches!(key, b"entityGuid" | b"newrelic.entity.type" | b"trace_role")
    {
        return Reserved::Removed;
    }
    if taken(key, rules) { Reserved::Renamed } else { Reserved::No }
}

/// Whether New Relic uses the name itself.
fn taken(key: &[u8], rules: &Rules<'_>) -> bool {
    match rules.signal {
        // Columns of the row that the item becomes: an attribute of that name would be lost.
        Signal::Traces => {
            matches!(
                key,
                b"name" | b"timestamp" | b"duration.ms" | b"trace.id" | b"id" | b"parent.id" | b"guid"
            )
        }
        Signal::Logs => matches!(key, b"timestamp" | b"duration.ms" | b"trace.id"),
        Signal::Metrics => {
            matches!(
                key,
                b"interval.ms"
                    | b"timestamp"
                    | b"value"
                    | b"common"
                    | b"min"
                    | b"max"
                    | b"count"
                    | b"sum"
                    | b"metrics"
                    | b"newrelic.source"
                    | b"metricName"
                    | b"endTimestamp"
                    | b"accountId"
                    | b"appId"
                    | b"eventType"
            ) || rules.metrics.contain(key)
        }
    }
}

/// Whether the key of a record may be sent as it is. What [`reserved`] says, but for most keys their length is enough: this
/// runs for every attribute.
fn free(key: &[u8], rules: &Rules<'_>) -> bool {
    match key.len() {
        0 => false,
        8 | 9 | 10 | 11 | 20 => matches!(reserved(key, rules), Reserved::No),
        _ => !key.starts_with(b"entity."),
    }
}

/// The same for spans, which are most of what is sent and have most attributes.
#[inline]
pub(crate) fn free_in_spans(key: &[u8]) -> bool {
    let column = match key.len() {
        0 => true,
        2 => key == b"id",
        4 => key == b"name" || key == b"guid",
        8 => key == b"trace.id",
        9 => key == b"timestamp" || key == b"parent.id",
        10 => key == b"entityGuid" || key == b"trace_role",
        11 => key == b"duration.ms",
        20 => key == b"newrelic.entity.type",
        _ => false,
    };
    !column && !key.starts_with(b"entity.")
}

/// The key of an attribute that is within all limits, unless its key is reserved: the key comes first, then a string, boolean,
/// small integer or double, and all of it is shorter than 128 bytes. Nearly all attributes of spans are like that, and for
/// them this is a third of what reading the value takes.
#[inline]
pub(crate) fn plain_key(raw: &[u8]) -> Option<&[u8]> {
    let [0x0a, length, rest @ ..] = raw else { return None };
    if raw.len() > 127 {
        return None;
    }
    let (key, value) = rest.split_at_checked(usize::from(*length))?;
    let [0x12, length, tag, first, ..] = value else { return None };
    if usize::from(*length) + 2 != value.len() {
        return None;
    }
    let plain = match tag {
        0x0a => usize::from(*first) + 4 == value.len(),
        0x10 | 0x18 => match value {
            [_, _, _, last] => *last < 0x80,
            [_, _, _, low, last] => *low >= 0x80 && *last < 0x80,
            _ => false,
        },
        0x21 => value.len() == 11,
        _ => false,
    };
    plain.then_some(key)
}

fn metric_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':')
}

/// Whether the list may be sent as it is.
pub(crate) fn fits<'a>(attributes: impl Iterator<Item = KeyValue<'a>>, rules: &Rules<'_>) -> bool {
    let mut count = 0;
    for kv in attributes {
        count += 1;
        if count > rules.max || !attribute_fits(kv, rules) {
            return false;
        }
    }
    true
}

/// Whether one attribute may be sent as it is.
#[inline]
pub(crate) fn attribute_fits(kv: KeyValue<'_>, rules: &Rules<'_>) -> bool {
    let key = kv.key;
    (key.len() <= KEY_CHARS || cut(text(key), KEY_CHARS).len() == key.len())
        && match rules.signal {
            Signal::Metrics => {
                key.iter().all(|b| metric_key_char(char::from(*b)))
                    && matches!(reserved(key, rules), Reserved::No)
            }
            Signal::Traces => free_in_spans(key),
            Signal::Logs => free(key, rules),
        }
        && value_fits(kv.value, rules.value_chars)
}

fn value_fits(value: AnyValue<'_>, chars: usize) -> bool {
    match value {
        AnyValue::String(s) => s.len() <= chars || cut(text(s), chars).len() == s.len(),
        AnyValue::Bool(_) | AnyValue::Int(_) | AnyValue::Double(_) => true,
        AnyValue::Array(array) => array_fits(array, chars),
        AnyValue::Empty | AnyValue::KvList(_) | AnyValue::Bytes(_) => false,
    }
}

fn array_fits(array: ArrayValue<'_>, chars: usize) -> bool {
    array.values().count() <= ARRAY_ENTRIES
        && homogeneous(array)
        && array.values().all(|v| !matches!(v, AnyValue::Array(_)) && value_fits(v, chars))
}

fn homogeneous(array: ArrayValue<'_>) -> bool {
    let mut kinds = array
        .values()
        .filter(|v| !matches!(v, AnyValue::Empty | AnyValue::Bytes(_)))
        .map(|v| (std::mem::discriminant(&v), matches!(v, AnyValue::Array(_) | AnyValue::KvList(_))));
    let Some((first, complex)) = kinds.next() else { return true };
    !complex && kinds.all(|(kind, _)| kind == first)
}

/// Makes the list fit. `added` are attributes that the caller wants in it; they are pruned last.
pub(crate) fn fit<'a>(
    attributes: impl Iterator<Item = KeyValue<'a>>,
    added: impl IntoIterator<Item = (&'static str, AnyValue<'a>)>,
    rules: &Rules<'_>,
    counts: &mut Counts,
) -> Fitted<'a> {
    let mut fitting = Fitting { rules, counts, seen: HashSet::new(), list: Vec::new(), removed: 0 };
    for kv in attributes {
        let before = fitting.list.len();
        let key = text(kv.key);
        fitting.attribute(Cow::Borrowed(key), kv.value);
        // Untouched attributes are copied, so that fields of a newer version survive.
        if let [only] = &mut fitting.list[before..]
            && only.key == key
            && value_fits(kv.value, rules.value_chars)
        {
            only.raw = Some(kv.raw());
        }
    }
    for (key, value) in added {
        fitting.seen.remove(key);
        fitting.list.retain(|a| a.key != key);
        fitting.attribute(Cow::Borrowed(key), value);
    }
    let Fitting { mut list, removed, counts, .. } = fitting;
    let pruned = prune(&mut list, rules.max);
    counts.adjust(reason::ATTRIBUTE_PRUNED, pruned);
    Fitted { list, removed: removed + pruned }
}

struct Fitting<'a, 'r> {
    rules: &'r Rules<'r>,
    counts: &'r mut Counts,
    seen: HashSet<Cow<'a, str>>,
    list: Vec<Attribute<'a>>,
    removed: u64,
}

impl<'a> Fitting<'a, '_> {
    fn attribute(&mut self, key: Cow<'a, str>, value: AnyValue<'a>) {
        let removed = match value {
            AnyValue::KvList(map) => {
                self.counts.adjust(reason::MAP_FLATTENED, 1);
                for kv in map.values() {
                    self.attribute(Cow::Owned(format!("{key}.{}", text(kv.key))), kv.value);
                }
                return;
            }
            AnyValue::Empty => reason::NULL_REMOVED,
            AnyValue::Bytes(_) => reason::BYTES_REMOVED,
            value => match self.key(key) {
                Ok(key) => {
                    let value = value_fit(value, self.rules.value_chars, self.counts);
                    self.list.push(Attribute { key, value, raw: None });
                    return;
                }
                Err(reason) => reason,
            },
        };
        self.removed += 1;
        self.counts.adjust(removed, 1);
    }

    /// The key to send, or the reason not to send the attribute.
    fn key(&mut self, mut key: Cow<'a, str>) -> Result<Cow<'a, str>, &'static str> {
        if self.rules.signal == Signal::Metrics && !key.chars().all(metric_key_char) {
            self.counts.adjust(reason::KEY_CHARACTERS, 1);
            key = Cow::Owned(key.chars().map(|c| if metric_key_char(c) { c } else { '_' }).collect());
        }
        if cut(&key, KEY_CHARS).len() < key.len() {
            self.counts.adjust(reason::KEY_TRUNCATED, 1);
            key = Cow::Owned(cut(&key, KEY_CHARS).to_owned());
        }
        // A loop: the new name may be that of another metric.
        loop {
            match reserved(key.as_bytes(), self.rules) {
                Reserved::No => break,
                Reserved::Removed => return Err(reason::RESERVED_REMOVED),
                Reserved::Renamed => {
                    self.counts.adjust(reason::RESERVED_RENAMED, 1);
                    key = Cow::Owned(cut(&format!("mm.{key}"), KEY_CHARS).to_owned());
                }
            }
        }
        if !self.seen.insert(key.clone()) {
            return Err(reason::DUPLICATE_REMOVED);
        }
        Ok(key)
    }
}

fn value_fit<'a>(value: AnyValue<'a>, chars: usize, counts: &mut Counts) -> Fit<'a> {
    match value {
        AnyValue::String(s) => {
            let short = cut(text(s), chars);
            if short.len() < s.len() {
                counts.adjust(reason::VALUE_TRUNCATED, 1);
            }
            Fit::Plain(AnyValue::String(short.as_bytes()))
        }
        AnyValue::Array(array) if array_fits(array, chars) => Fit::Plain(value),
        AnyValue::Array(array) => array_fit(array, chars, counts),
        value => Fit::Plain(value),
    }
}

fn array_fit<'a>(array: ArrayValue<'a>, chars: usize, counts: &mut Counts) -> Fit<'a> {
    let to_text = !homogeneous(array);
    if to_text {
        counts.adjust(reason::ARRAY_TO_TEXT, 1);
    }
    let total = array.values().count();
    let entries = array.values().filter(|v| !matches!(v, AnyValue::Empty | AnyValue::Bytes(_)));
    let present = entries.clone().count();
    counts.adjust(reason::NULL_REMOVED, (total - present) as u64);
    counts.adjust(reason::ARRAY_TRUNCATED, u64::from(present > ARRAY_ENTRIES));
    let entry = |v: AnyValue<'a>| {
        if !to_text {
            return value_fit(v, chars, counts);
        }
        let mut full = crate::encode::json::text_of(v);
        if cut(&full, chars).len() < full.len() {
            counts.adjust(reason::VALUE_TRUNCATED, 1);
            full.truncate(cut(&full, chars).len());
        }
        Fit::Text(full)
    };
    Fit::List(entries.take(ARRAY_ENTRIES).map(entry).collect())
}

/// Shortens the list to `max`, keeping the order of what stays.
fn prune(list: &mut Vec<Attribute<'_>>, max: usize) -> u64 {
    let before = list.len();
    if before <= max {
        return 0;
    }
    let mut of_rank = [0usize; 4];
    list.iter().for_each(|a| of_rank[rank(&a.key)] += 1);
    let mut room = max;
    for n in &mut of_rank {
        *n = (*n).min(room);
        room -= *n;
    }
    list.retain(|a| {
        let left = &mut of_rank[rank(&a.key)];
        let keep = *left > 0;
        *left -= usize::from(keep);
        keep
    });
    (before - list.len()) as u64
}
