//! Edits an OTLP request so that New Relic stores all of it: counts, lengths, types, reserved names.
//!
//! New Relic answers 200 before it looks at the contents; what breaks a limit is lost later and without a word. So
//! every limit is applied here, and every change is counted.

pub(crate) mod attributes;
mod items;
mod metrics;

use crate::encode::watch::Watch;
use crate::encode::{Counts, Options};
use attributes::{Fitted, Metrics, Rules};
use bytes::Bytes;
use items::{Check, check_item, item_fits, write_item};
pub(crate) use items::{Copies, error_message, has_ids, is_id, start};
pub(crate) use metrics::times;
use muxbridge_core::Batch;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{AnyValue, Resource, ResourceItems, Scope, ScopeItems};
use muxbridge_pdata::wire::{Field, Fields};
use muxbridge_pdata::{Signal, Writer};

/// How long a string may be on the OTLP path.
pub(crate) const VALUE_CHARS: usize = 4095;
pub(crate) const RESOURCE_ATTRIBUTES: usize = 64;
pub(crate) const SCOPE_ATTRIBUTES: usize = 8;
pub(crate) const ITEM_ATTRIBUTES: usize = 128;
const POINT_ATTRIBUTES: usize = 64;
/// Attributes of a data point, its scope and its resource together.
const METRIC_ROW_ATTRIBUTES: usize = 100;

/// At most `chars` characters from the start.
pub(crate) fn cut(text: &str, chars: usize) -> &str {
    if text.len() <= chars {
        return text;
    }
    text.char_indices().nth(chars).map_or(text, |(end, _)| &text[..end])
}

/// What holds for the items of one scope.
#[derive(Clone, Copy)]
pub(crate) struct Cx {
    pub(crate) signal: Signal,
    /// Whether older names of `gen_ai` attributes are added.
    pub(crate) ai: bool,
    /// How many attributes an item may have.
    pub(crate) max: usize,
    /// Whether cumulative sums can stand for a summary.
    pub(crate) cumulative: bool,
}

impl Cx {
    pub(crate) fn new(signal: Signal, options: &Options, resource: usize, scope: usize) -> Self {
        let max = match signal {
            Signal::Metrics => POINT_ATTRIBUTES.min(METRIC_ROW_ATTRIBUTES.saturating_sub(resource + scope)),
            Signal::Traces | Signal::Logs => ITEM_ATTRIBUTES,
        };
        Cx { signal, ai: options.ai_monitoring, max, cumulative: false }
    }

    pub(crate) fn rules<'a>(&self, metrics: Metrics<'a>) -> Rules<'a> {
        Rules { signal: self.signal, max: self.max, value_chars: VALUE_CHARS, metrics }
    }
}

pub(crate) fn resource_rules<'a>(signal: Signal, items: ResourceItems<'a>) -> Rules<'a> {
    let metrics = if signal == Signal::Metrics { Metrics::OfResource(items) } else { Metrics::None };
    Rules { signal, max: RESOURCE_ATTRIBUTES, value_chars: VALUE_CHARS, metrics }
}

pub(crate) fn scope_rules<'a>(signal: Signal, items: ScopeItems<'a>) -> Rules<'a> {
    let metrics = if signal == Signal::Metrics { Metrics::OfScope(items) } else { Metrics::None };
    Rules { signal, max: SCOPE_ATTRIBUTES, value_chars: VALUE_CHARS, metrics }
}

/// The tag that lists a service in AI Monitoring, if it has to be added. It must be a string.
fn ai_tag(resource: Resource<'_>, options: &Options) -> Option<(&'static str, AnyValue<'static>)> {
    let tag = |value| Some(("aiEnabledApp", AnyValue::string(value)));
    match resource.attribute(b"aiEnabledApp") {
        _ if !options.ai_monitoring => None,
        Some(AnyValue::String(_)) => None,
        Some(AnyValue::Bool(false)) => tag("false"),
        _ => tag("true"),
    }
}

/// `service.instance.id` of a resource that has none: what the user set, else one made of the place where it runs. A
/// service behind one id would look like one instance, so without a place there is none.
pub(crate) fn instance_id(resource: Resource<'_>, options: &Options) -> Option<String> {
    let text = |key: &str| match resource.attribute(key.as_bytes()) {
        Some(AnyValue::String(s)) => s,
        _ => &[],
    };
    if resource.attribute(b"service.instance.id").is_some() {
        return None;
    }
    if let Some(id) = options.service_instance_id.as_ref().filter(|id| !id.is_empty()) {
        return Some(id.clone());
    }
    let place = PLACES.into_iter().find(|key| !text(key).is_empty())?;
    let parts = [text("service.namespace"), text("service.name"), place.as_bytes(), text(place)];
    Some(super::id::uuid(&parts))
}

/// What tells one running copy of a service from another, the most exact first.
const PLACES: [&str; 4] = ["k8s.pod.uid", "container.id", "host.id", "host.name"];

/// What is added to a resource.
pub(crate) struct Added {
    tag: Option<(&'static str, AnyValue<'static>)>,
    instance: Option<String>,
}

impl Added {
    pub(crate) fn to(resource: Resource<'_>, options: &Options) -> Self {
        Added { tag: ai_tag(resource, options), instance: instance_id(resource, options) }
    }

    fn is_empty(&self) -> bool {
        self.tag.is_none() && self.instance.is_none()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, AnyValue<'_>)> {
        let instance = self.instance.as_ref().map(|id| ("service.instance.id", AnyValue::string(id)));
        self.tag.into_iter().chain(instance)
    }
}

/// `cumulative` says whether what reads the result knows cumulative sums.
pub(super) fn apply(batch: &Batch, options: &Options, cumulative: bool, counts: &mut Counts) -> Bytes {
    let Some(edit) = Edit::of(batch, options, cumulative, &mut Watch::default()) else {
        return batch.otlp().clone();
    };
    // Room for what is added to the resource, and for an older name in every fourth item.
    let mut w = Writer::with_capacity(batch.otlp().len() + batch.items() * 12 + 256);
    edit.write(&mut w, &mut Watch::default(), counts);
    w.into_bytes()
}

/// A request that has to be changed.
pub(super) struct Edit<'a, 'o> {
    batch: &'a Batch,
    options: &'o Options,
    cumulative: bool,
    /// How many items at the beginning need no change.
    known: usize,
}

impl<'a, 'o> Edit<'a, 'o> {
    /// `None` if the request needs no change. `watch` sees the items before the first change; the others when they are
    /// written.
    pub(super) fn of(
        batch: &'a Batch,
        options: &'o Options,
        cumulative: bool,
        watch: &mut Watch<'a>,
    ) -> Option<Self> {
        let known = known_to_fit(batch, options, watch)?;
        Some(Edit { batch, options, cumulative, known })
    }

    /// Writes the request as it may be sent.
    pub(super) fn write(self, w: &mut Writer, watch: &mut Watch<'a>, counts: &mut Counts) {
        let mut rewriting = Rewriting {
            signal: self.batch.signal(),
            options: self.options,
            cumulative: self.cumulative,
            known: self.known,
            watch,
            counts,
        };
        for f in Fields::new(self.batch.otlp()) {
            if f.number == field::REQUEST_RESOURCE {
                let raw = f.value.as_bytes();
                w.message_of(f.number, raw.len(), |w| rewriting.resource(w, raw));
            } else {
                w.raw(f.raw);
            }
        }
    }
}

/// How many items at the beginning need no change; `None` if nothing does.
fn known_to_fit<'a>(batch: &'a Batch, options: &Options, watch: &mut Watch<'a>) -> Option<usize> {
    let signal = batch.signal();
    let mut known = 0;
    for items in batch.resources() {
        let attributes = items.resource.attributes();
        if !Added::to(items.resource, options).is_empty()
            || !attributes::fits(attributes, &resource_rules(signal, items))
        {
            return Some(known);
        }
        watch.resource(items.resource.raw());
        for scopes in Fields::new(items.raw()).filter(|f| f.number == field::resource_items::SCOPES) {
            let raw = scopes.value.as_bytes();
            // Of metrics it is asked how many attributes the scope has and which names there are.
            let all =
                if signal == Signal::Metrics { ScopeItems::read_to_end(raw) } else { ScopeItems::default() };
            let cx = Cx::new(signal, options, attributes.count(), all.scope.attributes().count());
            for f in Fields::new(raw) {
                let raw = f.value.as_bytes();
                let fits = match f.number {
                    field::scope_items::SCOPE => {
                        attributes::fits(Scope::read(raw).attributes(), &scope_rules(signal, all))
                    }
                    field::scope_items::ITEMS => item_fits(raw, &cx, watch),
                    _ => continue,
                };
                if !fits {
                    return Some(known);
                }
                known += usize::from(f.number == field::scope_items::ITEMS);
            }
        }
    }
    None
}

/// A request on its way into another one.
struct Rewriting<'a, 'w> {
    signal: Signal,
    options: &'w Options,
    cumulative: bool,
    /// How many of the items to come have been checked and need no change.
    known: usize,
    watch: &'w mut Watch<'a>,
    counts: &'w mut Counts,
}

impl<'a> Rewriting<'a, '_> {
    fn resource(&mut self, w: &mut Writer, raw: &'a [u8]) {
        let items = ResourceItems::read(raw);
        self.watch.resource(items.resource.raw());
        let rules = resource_rules(self.signal, items);
        let added = Added::to(items.resource, self.options);
        let fitted = attributes::fit(items.resource.attributes(), added.iter(), &rules, self.counts);
        w.message(field::resource_items::RESOURCE, |w| {
            use field::resource::{ATTRIBUTES, DROPPED_ATTRIBUTES_COUNT};
            rewrite(w, items.resource.raw(), ATTRIBUTES, Some(DROPPED_ATTRIBUTES_COUNT), &fitted, |_, _| {
                false
            });
        });
        for f in Fields::new(raw) {
            match f.number {
                field::resource_items::RESOURCE => {}
                field::resource_items::SCOPES => {
                    let raw = f.value.as_bytes();
                    w.message_of(f.number, raw.len(), |w| self.scope(w, raw, fitted.list.len()));
                }
                _ => w.raw(f.raw),
            }
        }
    }

    fn scope(&mut self, w: &mut Writer, raw: &'a [u8], resource: usize) {
        // It stands before the items. To look behind them as well, as `ScopeItems::read_to_end` does, is to wait for the memory of
        // each item before the pass that reads it: a tenth of what a span costs to receive, translate and send.
        let (scope, all) = if self.signal == Signal::Metrics {
            let all = ScopeItems::read_to_end(raw);
            (all.scope, all)
        } else {
            let head = Fields::new(raw).take_while(|f| f.number != field::scope_items::ITEMS);
            let scope = head.filter(|f| f.number == field::scope_items::SCOPE).last();
            (scope.map(|f| Scope::read(f.value.as_bytes())).unwrap_or_default(), ScopeItems::default())
        };
        let (start, mut counts) = (w.len(), Counts::default());
        let attributes = self.scope_head(w, scope, all, &mut counts);
        let cx =
            Cx { cumulative: self.cumulative, ..Cx::new(self.signal, self.options, resource, attributes) };
        let items = w.len();
        if self.items(w, raw, &cx) {
            let written = w.as_slice()[items..].to_vec();
            w.truncate(start);
            counts = Counts::default();
            let all = ScopeItems::read_to_end(raw);
            self.scope_head(w, all.scope, all, &mut counts);
            w.raw(&written);
        }
        self.counts.add(counts);
    }

    /// Writes the scope; says how many attributes it has.
    fn scope_head(
        &self,
        w: &mut Writer,
        scope: Scope<'_>,
        all: ScopeItems<'_>,
        counts: &mut Counts,
    ) -> usize {
        use field::scope::{ATTRIBUTES, DROPPED_ATTRIBUTES_COUNT};
        let rules = scope_rules(self.signal, all);
        let fitted = attributes::fit(scope.attributes(), None, &rules, counts);
        if !scope.raw().is_empty() {
            w.message(field::scope_items::SCOPE, |w| {
                rewrite(w, scope.raw(), ATTRIBUTES, Some(DROPPED_ATTRIBUTES_COUNT), &fitted, |_, _| false);
            });
        }
        fitted.list.len()
    }

    /// Writes everything below a scope but for the scope itself; says whether that also stands behind an item.
    fn items(&mut self, w: &mut Writer, raw: &'a [u8], cx: &Cx) -> bool {
        let (mut seen, mut late) = (false, false);
        // What needs no change is copied together, up to what does.
        let mut copied = 0;
        let mut fields = Fields::new(raw);
        while let Some(f) = fields.next() {
            let check = match f.number {
                field::scope_items::SCOPE => {
                    late |= seen;
                    None
                }
                field::scope_items::ITEMS if self.known == 0 => {
                    seen = true;
                    match check_item(f.value.as_bytes(), cx, self.watch) {
                        Check::Fits => continue,
                        check => Some(check),
                    }
                }
                field::scope_items::ITEMS => {
                    seen = true;
                    self.known -= 1;
                    continue;
                }
                _ => continue,
            };
            let end = raw.len() - fields.remaining();
            w.raw(&raw[copied..end - f.raw.len()]);
            copied = end;
            if let Some(check) = check {
                write_item(w, &f, &check, cx, self.counts);
            }
        }
        w.raw(&raw[copied..]);
        late
    }
}

/// Copies a message with other attributes. `change` writes the fields that it takes over and says which those are.
pub(crate) fn rewrite(
    w: &mut Writer,
    raw: &[u8],
    attributes: u32,
    dropped: Option<u32>,
    fitted: &Fitted<'_>,
    mut change: impl FnMut(&mut Writer, &Field<'_>) -> bool,
) {
    let mut already = 0;
    for f in Fields::new(raw) {
        if f.number == attributes {
            continue;
        }
        if Some(f.number) == dropped {
            already = f.value.as_u64();
        } else if !change(w, &f) {
            w.raw(f.raw);
        }
    }
    fitted.write(w, attributes);
    if let Some(number) = dropped {
        w.varint_nonzero(number, (already + fitted.removed).min(u32::MAX.into()));
    }
}
