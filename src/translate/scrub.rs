//! Replaces credentials in every signal before anything leaves, and counts them by kind.
//!
//! A batch without a credential is recognised by one scan over its bytes and goes on as it is. Otherwise only the
//! strings concerned are written anew; every other byte is copied.

mod detect;
mod names;
mod prefilter;

#[cfg(test)]
mod tests;

use detect::{Found, find, suspicious};
use muxbridge_core::{Batch, BuildContext, Counter, Signal, names as counters};
use muxbridge_pdata::schema::{Kind as FieldKind, Message, field};
use muxbridge_pdata::wire::{Fields, Value};
use muxbridge_pdata::{AnyValue, Writer};
use std::borrow::Cow;

/// What stands where a credential was. What announces it (`?key=`, `Bearer`, `sk-`) stays.
pub const SCRUBBED: &str = "[scrubbed]";

/// What kind of credential was found: the label `kind` of the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A parameter of a URL: `?key=`, `&sig=`.
    UrlQuery,
    /// The user and password of a URL: `://user:password@`.
    UrlUserinfo,
    /// `Authorization: ...` or `Bearer ...`.
    Authorization,
    /// A named value in text: `x-api-key: ...`, `OPENAI_API_KEY=...`, `password=...`.
    Named,
    /// The whole value of an attribute whose key names a credential.
    Attribute,
    /// `sk-...`.
    OpenAi,
    /// `sk-ant-...`.
    Anthropic,
    /// `AIza...` and `ya29....`.
    Google,
    /// `gsk_...`.
    Groq,
    /// `hf_...`.
    HuggingFace,
    /// An access key id: `AKIA...`.
    Aws,
    /// `ghp_...` and its relatives.
    GitHub,
    /// `xoxb-...` and its relatives.
    Slack,
    /// `NRAK-...` and licence keys that end in `NRAL`.
    NewRelic,
    /// A signed token: `eyJ...`.
    Jwt,
    /// The body of a PEM private key.
    PrivateKey,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Kind; 16] = [
        Kind::UrlQuery,
        Kind::UrlUserinfo,
        Kind::Authorization,
        Kind::Named,
        Kind::Attribute,
        Kind::OpenAi,
        Kind::Anthropic,
        Kind::Google,
        Kind::Groq,
        Kind::HuggingFace,
        Kind::Aws,
        Kind::GitHub,
        Kind::Slack,
        Kind::NewRelic,
        Kind::Jwt,
        Kind::PrivateKey,
    ];

    /// The value of the label `kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::UrlQuery => "url_query",
            Kind::UrlUserinfo => "url_userinfo",
            Kind::Authorization => "authorization",
            Kind::Named => "named",
            Kind::Attribute => "attribute",
            Kind::OpenAi => "openai",
            Kind::Anthropic => "anthropic",
            Kind::Google => "google",
            Kind::Groq => "groq",
            Kind::HuggingFace => "hugging_face",
            Kind::Aws => "aws",
            Kind::GitHub => "github",
            Kind::Slack => "slack",
            Kind::NewRelic => "new_relic",
            Kind::Jwt => "jwt",
            Kind::PrivateKey => "private_key",
        }
    }
}

/// How many credentials were replaced, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubCounts([u64; Kind::ALL.len()]);

impl ScrubCounts {
    /// How many of one kind.
    pub fn get(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// How many altogether.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    fn add(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }
}

/// The counters of one component: `muxbridge_scrubbed_secrets_total` for one signal, by kind.
#[derive(Clone, Debug)]
pub struct ScrubCounters(Vec<Counter>);

impl ScrubCounters {
    /// Registers them; all start at 0, so that "nothing found" can be told from "not looked".
    pub fn new(cx: &BuildContext, signal: Signal) -> Self {
        let counter = |kind: &Kind| {
            cx.counter(counters::SCRUBBED, &[("signal", signal.as_str()), ("kind", kind.as_str())])
        };
        ScrubCounters(Kind::ALL.iter().map(counter).collect())
    }

    /// Adds what one batch had.
    pub fn add(&self, counts: &ScrubCounts) {
        for (counter, n) in self.0.iter().zip(counts.0) {
            if n > 0 {
                counter.add(n);
            }
        }
    }
}

/// Replaces credentials in batches. It holds no state: the patterns are constants.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scrubber;

impl Scrubber {
    /// One for all batches of all signals.
    pub fn new() -> Self {
        Scrubber
    }

    /// The batch without credentials: the very same one if it has none.
    pub fn scrub(&self, batch: Batch, counts: &mut ScrubCounts) -> Batch {
        let otlp = batch.otlp();
        let suspects = suspicious(otlp);
        if suspects.is_empty() {
            return batch;
        }
        let mut rewrite = Rewrite {
            base: otlp.as_ptr() as usize,
            suspects,
            counts,
            out: Writer::with_capacity(otlp.len() + 64),
        };
        if !rewrite.message(batch.signal().request(), otlp) {
            return batch;
        }
        let out = rewrite.out.into_bytes();
        Batch::from_valid(batch.signal(), out, batch.origin().clone())
    }
}

/// A text without credentials, for our own log lines and error texts.
pub fn scrub_text(text: &str) -> Cow<'_, str> {
    let found = find(text.as_bytes());
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(String::from_utf8_lossy(&replace(text.as_bytes(), &found)).into_owned())
}

fn replace(text: &[u8], found: &[Found]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + found.len() * SCRUBBED.len());
    let mut copied = 0;
    for f in found {
        out.extend_from_slice(&text[copied..f.start]);
        out.extend_from_slice(SCRUBBED.as_bytes());
        copied = f.end;
    }
    out.extend_from_slice(&text[copied..]);
    out
}

struct Rewrite<'c> {
    /// Address of the first byte of the request.
    base: usize,
    /// Offsets at which something looks like a credential, ascending.
    suspects: Vec<usize>,
    counts: &'c mut ScrubCounts,
    out: Writer,
}

impl Rewrite<'_> {
    fn is_suspect(&self, bytes: &[u8]) -> bool {
        let start = (bytes.as_ptr() as usize).saturating_sub(self.base);
        let first = self.suspects.partition_point(|s| *s < start);
        self.suspects.get(first).is_some_and(|s| *s < start + bytes.len())
    }

    /// Writes the fields of one message; whether any differs. If none does, the caller takes back what was written.
    fn message(&mut self, message: &'static Message, bytes: &[u8]) -> bool {
        let mut changed = false;
        let hide = message.name == "KeyValue" && self.names_credential(bytes);
        for f in Fields::new(bytes) {
            let kind = message.field(f.number).map(|known| known.kind);
            let fresh = match (kind, f.value) {
                (Some(FieldKind::Message(_)), Value::Bytes(b)) if hide => self.hidden(f.number, b),
                (_, Value::Bytes(b)) if !self.is_suspect(b) => false,
                (Some(FieldKind::Message(inner)), Value::Bytes(b)) => self.nested(f.number, inner, b),
                (Some(FieldKind::String | FieldKind::Bytes), Value::Bytes(b)) => self.text(f.number, b),
                _ => false,
            };
            if !fresh {
                self.out.raw(f.raw);
            }
            changed |= fresh;
        }
        changed
    }

    fn nested(&mut self, number: u32, inner: &'static Message, bytes: &[u8]) -> bool {
        let mark = self.out.len();
        // The writer is moved through the closure's argument, so it is taken out of `self` meanwhile.
        let mut out = std::mem::take(&mut self.out);
        let mut changed = false;
        out.message(number, |w| {
            std::mem::swap(w, &mut self.out);
            changed = self.message(inner, bytes);
            std::mem::swap(w, &mut self.out);
        });
        self.out = out;
        if !changed {
            self.out.truncate(mark);
        }
        changed
    }

    fn text(&mut self, number: u32, bytes: &[u8]) -> bool {
        // Opaque bytes that are no text hold no text credentials, and cutting them would corrupt them.
        if std::str::from_utf8(bytes).is_err() {
            return false;
        }
        let found = find(bytes);
        if found.is_empty() {
            return false;
        }
        found.iter().for_each(|f| self.counts.add(f.kind));
        self.out.bytes(number, &replace(bytes, &found));
        true
    }

    fn names_credential(&self, key_value: &[u8]) -> bool {
        self.is_suspect(key_value)
            && Fields::new(key_value)
                .any(|f| f.number == field::key_value::KEY && names::is_credential(f.value.as_bytes()))
    }

    /// Replaces the value of an attribute that is named after a credential. Numbers and booleans stay: they count
    /// or switch something (`password` = true), and cannot hold a key.
    fn hidden(&mut self, number: u32, value: &[u8]) -> bool {
        let secret = match AnyValue::read(value) {
            AnyValue::String(s) => !s.is_empty() && s != SCRUBBED.as_bytes(),
            AnyValue::Bytes(b) => !b.is_empty(),
            AnyValue::Array(_) | AnyValue::KvList(_) => true,
            AnyValue::Empty | AnyValue::Bool(_) | AnyValue::Int(_) | AnyValue::Double(_) => false,
        };
        if secret {
            self.counts.add(Kind::Attribute);
            self.out.any_value(number, AnyValue::string(SCRUBBED));
        }
        secret
    }
}
