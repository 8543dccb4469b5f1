//! Translates ModelMuxer's logs.
//!
//! ModelMuxer writes one JSON object a line, with the keys `level`, `logger`, `message`, `time`, `trace_id` and
//! `span_id`. A collector sends such a line as the body, as a map in the body or as attributes; all three become a
//! record with its severity, its time, its ids and the message as its body. Other records pass as they are, byte for
//! byte; of a service `modelmuxer` ids of only zeros are taken out, as they mean that there is none.

mod line;
#[cfg(test)]
mod tests;

use super::explain::{Change, Counts, Explain, Rule, RuleCounters};
use line::{KEYS, Line, id};
use muxbridge_core::{Batch, BuildContext, Processor, Signal};
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{KeyValue, LogRecord, ResourceItems, ScopeItems};
use muxbridge_pdata::wire::Fields;
use muxbridge_pdata::{AnyValue, Writer};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Instant;

/// How ModelMuxer's logs are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogOptions {
    /// Whether the warning about an attribute named `attributes`, which ModelMuxer provokes with every chat request, is
    /// left out. Default `true`.
    pub drop_noise: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions { drop_noise: true }
    }
}

/// Translates logs. It remembers nothing.
pub struct LogTranslator {
    options: LogOptions,
    explain: Option<Box<dyn Explain + Send>>,
    rules: RuleCounters,
}

/// What becomes of a record.
enum Fate<'a> {
    Same,
    /// Its ids are taken out.
    WithoutIds,
    Line(Line<'a>),
    Noise(Line<'a>),
}

#[derive(Default)]
struct Report<'x> {
    counts: Counts,
    explain: Option<&'x mut (dyn Explain + 'x)>,
}

impl Report<'_> {
    /// Tells the listener, if there is one.
    fn tell(
        &mut self,
        (record, logger): (&LogRecord<'_>, &str),
        rule: Rule,
        target: &str,
        before: AnyValue<'_>,
        after: AnyValue<'_>,
    ) {
        if let Some(explain) = self.explain.as_mut() {
            explain.change(&Change {
                signal: Signal::Logs,
                trace_id: record.trace_id,
                span_id: record.span_id,
                span: logger,
                rule: rule.as_str(),
                target,
                before,
                after,
            });
        }
    }
}

impl LogTranslator {
    /// Builds one for one worker.
    pub fn new(options: &LogOptions, cx: &BuildContext) -> Self {
        LogTranslator { options: *options, explain: None, rules: RuleCounters::new(cx, Signal::Logs) }
    }

    /// Has every change told to `explain`.
    pub fn explain(&mut self, explain: Box<dyn Explain + Send>) {
        self.explain = Some(explain);
    }

    fn fate<'a>(&self, record: &LogRecord<'a>, ours: bool) -> Fate<'a> {
        match Line::of(record) {
            Some(line) if self.options.drop_noise && is_noise(&line) => Fate::Noise(line),
            Some(line) => Fate::Line(line),
            None if ours && (is_zero(record.trace_id) || is_zero(record.span_id)) => Fate::WithoutIds,
            None => Fate::Same,
        }
    }

    /// What becomes of a batch; `None` if all of it was left out.
    fn translate(&self, batch: Batch, report: &mut Report<'_>) -> Option<Batch> {
        let same = batch.resources().all(|resource| {
            let ours = is_ours(&resource);
            let mut records = resource.scopes().flat_map(|scope| scope.logs());
            records.all(|record| matches!(self.fate(&record, ours), Fate::Same))
        });
        if same {
            return Some(batch);
        }
        let mut w = Writer::with_capacity(batch.otlp().len());
        for f in Fields::new(batch.otlp()) {
            if f.number != field::REQUEST_RESOURCE {
                w.raw(f.raw);
                continue;
            }
            let resource = ResourceItems::read(f.value.as_bytes());
            let ours = is_ours(&resource);
            nested(
                &mut w,
                field::REQUEST_RESOURCE,
                resource.raw(),
                field::resource_items::SCOPES,
                |w, scope| {
                    let scope = ScopeItems::read(scope);
                    nested(
                        w,
                        field::resource_items::SCOPES,
                        scope.raw(),
                        field::scope_items::ITEMS,
                        |w, record| self.record(w, &LogRecord::read(record), ours, report),
                    )
                },
            );
        }
        let translated = Batch::from_valid(Signal::Logs, w.into_bytes(), batch.origin().clone());
        (translated.items() > 0).then_some(translated)
    }

    /// Writes one record; whether there is any.
    fn record(&self, w: &mut Writer, record: &LogRecord<'_>, ours: bool, report: &mut Report<'_>) -> bool {
        const ITEMS: u32 = field::scope_items::ITEMS;
        match self.fate(record, ours) {
            Fate::Same => w.bytes(ITEMS, record.raw()),
            Fate::WithoutIds => {
                zero_ids((record, ""), report);
                w.message(ITEMS, |w| copy(w, record, &[field::log::TRACE_ID, field::log::SPAN_ID]));
            }
            Fate::Line(line) => w.message(ITEMS, |w| write(w, record, &line, report)),
            Fate::Noise(line) => {
                report.counts.add(Rule::Noise);
                let item = (record, &*line.logger);
                report.tell(item, Rule::Noise, "item", AnyValue::string(&line.message), AnyValue::Empty);
                return false;
            }
        }
        true
    }
}

impl Processor for LogTranslator {
    fn process(&mut self, batch: Batch, _: Instant, emit: &mut dyn FnMut(Batch)) {
        if batch.signal() != Signal::Logs {
            emit(batch);
            return;
        }
        let mut explain = self.explain.take();
        let listener = explain.as_deref_mut().map(|explain| explain as &mut dyn Explain);
        let mut report = Report { explain: listener, ..Report::default() };
        let translated = self.translate(batch, &mut report);
        self.rules.add(&mut report.counts);
        self.explain = explain;
        if let Some(translated) = translated {
            emit(translated);
        }
    }
}

/// Writes a message whose fields `inner` are written by `each`, which says whether it wrote anything. A message that
/// loses all of them is not written at all; its own fields are copied otherwise.
fn nested(
    w: &mut Writer,
    number: u32,
    raw: &[u8],
    inner: u32,
    mut each: impl FnMut(&mut Writer, &[u8]) -> bool,
) -> bool {
    let before = w.len();
    let (mut any, mut none) = (false, true);
    w.message(number, |w| {
        for f in Fields::new(raw) {
            if f.number == inner {
                none = false;
                any |= each(w, f.value.as_bytes());
            } else {
                w.raw(f.raw);
            }
        }
    });
    let kept = any || none;
    if !kept {
        w.truncate(before);
    }
    kept
}

fn is_ours(resource: &ResourceItems<'_>) -> bool {
    resource.resource.attribute(b"service.name").and_then(|v| v.as_str()) == Some("modelmuxer")
}

/// The warning of the SDK that a map is no value of an attribute, for the one map that ModelMuxer passes.
fn is_noise(line: &Line<'_>) -> bool {
    line.logger == "opentelemetry.attributes"
        && line.message.starts_with("Invalid type dict for attribute 'attributes' value")
}

/// A rejection because of the budget: what the client did, not a failure. The request has its own status.
fn is_budget_rejection(line: &Line<'_>) -> bool {
    line.logger == "app.router" && line.message.starts_with("About to raise BudgetExceededError")
}

fn is_zero(id: &[u8]) -> bool {
    !id.is_empty() && id.iter().all(|b| *b == 0)
}

fn zero_ids(item: (&LogRecord<'_>, &str), report: &mut Report<'_>) {
    report.counts.add(Rule::ZeroIds);
    report.tell(item, Rule::ZeroIds, "trace_id", AnyValue::string("0"), AnyValue::Empty);
}

/// Copies a record but for some fields.
fn copy(w: &mut Writer, record: &LogRecord<'_>, but: &[u32]) {
    for f in Fields::new(record.raw()) {
        if !but.contains(&f.number) {
            w.raw(f.raw);
        }
    }
}

/// Writes the record of a line. What the sender already knew, but for ids of only zeros, stays.
fn write(w: &mut Writer, record: &LogRecord<'_>, line: &Line<'_>, report: &mut Report<'_>) {
    use field::log as l;
    let item = (record, &*line.logger);
    report.counts.add(Rule::JsonLine);
    copy(
        w,
        record,
        &[l::TIME, l::SEVERITY_NUMBER, l::SEVERITY_TEXT, l::BODY, l::ATTRIBUTES, l::TRACE_ID, l::SPAN_ID],
    );
    let time = if record.time > 0 { Some(record.time) } else { line.unix_nanos() };
    w.fixed64_nonzero(l::TIME, time.unwrap_or(0));

    let known = u64::try_from(record.severity_number).unwrap_or(0);
    let mut number = if known > 0 { known } else { line.severity() };
    let mut text = if record.severity_text.is_empty() { line.level.as_bytes() } else { record.severity_text };
    if is_budget_rejection(line) && number > WARNING {
        report.counts.add(Rule::BudgetSeverity);
        report.tell(
            item,
            Rule::BudgetSeverity,
            "severity",
            AnyValue::String(text),
            AnyValue::string("WARNING"),
        );
        (number, text) = (WARNING, b"WARNING");
    }
    w.varint_nonzero(l::SEVERITY_NUMBER, number);
    w.bytes_nonempty(l::SEVERITY_TEXT, text);

    w.any_value(l::BODY, AnyValue::string(&line.message));
    let before = if record.body.as_str().is_some() { record.body } else { AnyValue::Empty };
    report.tell(item, Rule::JsonLine, "body", before, AnyValue::string(&line.message));
    attributes(w, record, line);

    let trace = ours_or(record.trace_id, id::<16>(&line.trace_id));
    let span = ours_or(record.span_id, id::<8>(&line.span_id));
    w.bytes_nonempty(l::TRACE_ID, trace.as_ref().map_or(&[], |id| id.as_slice()));
    // A span id says nothing without its trace.
    w.bytes_nonempty(l::SPAN_ID, span.as_ref().filter(|_| trace.is_some()).map_or(&[], |id| id.as_slice()));
    if trace.is_none() {
        zero_ids(item, report);
    } else {
        report.tell(item, Rule::JsonLine, "trace_id", AnyValue::Empty, AnyValue::string(&line.trace_id));
    }
}

const WARNING: u64 = 13;

/// The id that the record has, or that of its line.
fn ours_or<const N: usize>(record: &[u8], line: Option<[u8; N]>) -> Option<[u8; N]> {
    record.try_into().ok().filter(|id: &[u8; N]| !is_zero(id)).or(line)
}

/// The logger, and the attributes but for those that repeat the line.
fn attributes(w: &mut Writer, record: &LogRecord<'_>, line: &Line<'_>) {
    let number = field::log::ATTRIBUTES;
    w.attribute_str(number, LOGGER, &line.logger);
    let repeats = |a: &KeyValue<'_>| {
        a.key == LOGGER.as_bytes()
            || (KEYS.iter().any(|k| k.as_bytes() == a.key) && a.value.as_str() == line.get(a.key))
    };
    record.attributes().filter(|a| !repeats(a)).for_each(|a| w.bytes(number, a.raw()));
}

/// The attribute that holds the name of the logger.
const LOGGER: &str = "modelmuxer.logger";
