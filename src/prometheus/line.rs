//! Takes one sample line of a Prometheus page apart.

use super::page::PageLimits;
use std::borrow::Cow;

/// A label with its value.
pub(super) type Label<'a> = (Cow<'a, str>, Cow<'a, str>);

/// One line: a series and its value.
#[derive(Clone, Debug)]
pub(super) struct Sample<'a> {
    pub(super) name: Cow<'a, str>,
    /// Sorted by name, each name once.
    pub(super) labels: Vec<Label<'a>>,
    pub(super) value: f64,
    /// Nanoseconds since 1970.
    pub(super) time: Option<u64>,
    pub(super) exemplar: Option<Exemplar<'a>>,
}

/// What OpenMetrics hangs behind a sample.
#[derive(Clone, Debug)]
pub(super) struct Exemplar<'a> {
    pub(super) labels: Vec<Label<'a>>,
    pub(super) value: f64,
    pub(super) time: Option<u64>,
}

/// Why a line cannot be read.
#[derive(Debug)]
pub(super) enum Bad {
    Syntax(String),
    TooLarge(String),
}

fn syntax<T>(text: impl Into<String>) -> Result<T, Bad> {
    Err(Bad::Syntax(text.into()))
}

/// Reads a sample line.
pub(super) fn sample<'a>(line: &'a str, open_metrics: bool, limits: &PageLimits) -> Result<Sample<'a>, Bad> {
    let mut cursor = Cursor { rest: line.trim_start_matches([' ', '\t']), limits };
    let mut name = cursor.bare_name(true)?;
    let mut labels = Vec::new();
    cursor.blanks();
    if cursor.take('{') {
        labels = cursor.labels(&mut name)?;
    }
    let Some(name) = name else { return syntax("a metric name is missing") };
    let value = number(cursor.word("a value")?)?;
    let mut time = None;
    let mut exemplar = None;
    cursor.blanks();
    if !cursor.rest.is_empty() && !cursor.rest.starts_with('#') {
        time = Some(timestamp(cursor.word("a timestamp")?, open_metrics)?);
        cursor.blanks();
    }
    if cursor.rest.starts_with('#') && open_metrics {
        cursor.rest = &cursor.rest[1..];
        exemplar = Some(cursor.exemplar()?);
    }
    cursor.blanks();
    if !cursor.rest.is_empty() {
        return syntax(format!("unexpected {:?} after the sample", shorten(cursor.rest)));
    }
    Ok(Sample { name, labels, value, time, exemplar })
}

struct Cursor<'a, 'l> {
    rest: &'a str,
    limits: &'l PageLimits,
}

impl<'a> Cursor<'a, '_> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn take(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn word(&mut self, what: &str) -> Result<&'a str, Bad> {
        self.blanks();
        let end = self.rest.find([' ', '\t']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.is_empty() { syntax(format!("{what} is missing")) } else { Ok(word) }
    }

    fn bare_name(&mut self, colons: bool) -> Result<Option<Cow<'a, str>>, Bad> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
        let end = self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() {
            return Ok(None);
        }
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            return syntax(format!("the name {:?} starts with a digit", shorten(name)));
        }
        if name.len() > self.limits.name {
            return Err(Bad::TooLarge(format!("a name is longer than {} bytes", self.limits.name)));
        }
        self.rest = rest;
        Ok(Some(Cow::Borrowed(name)))
    }

    /// A quoted string, after its opening quote.
    fn quoted(&mut self, limit: usize) -> Result<Cow<'a, str>, Bad> {
        let bytes = self.rest.as_bytes();
        let mut at = 0;
        let mut escaped = false;
        loop {
            match bytes.get(at) {
                None => return syntax("a quote is not closed"),
                Some(b'\\') => {
                    escaped = true;
                    at += 2;
                }
                Some(b'"') => break,
                Some(_) => at += 1,
            }
        }
        // A backslash before the quote moved `at` past it, so both ends are character boundaries.
        let (text, rest) = (&self.rest[..at], &self.rest[at + 1..]);
        if text.len() > limit {
            return Err(Bad::TooLarge(format!("a quoted text is longer than {limit} bytes")));
        }
        self.rest = rest;
        Ok(if escaped { Cow::Owned(unescape(text, true)) } else { Cow::Borrowed(text) })
    }

    /// The labels after `{`. A quoted text without `=` is the name of the metric, as in text format 1.0.0.
    fn labels(&mut self, name: &mut Option<Cow<'a, str>>) -> Result<Vec<Label<'a>>, Bad> {
        let mut labels: Vec<Label<'a>> = Vec::new();
        loop {
            self.blanks();
            if self.take('}') {
                break;
            }
            let quoted = self.take('"');
            let key = if quoted { Some(self.quoted(self.limits.name)?) } else { self.bare_name(false)? };
            let Some(key) = key else {
                return syntax(format!("a label name is missing before {:?}", shorten(self.rest)));
            };
            self.blanks();
            if self.take('=') {
                self.blanks();
                if !self.take('"') {
                    return syntax(format!("the value of label {:?} is not quoted", shorten(&key)));
                }
                let value = self.quoted(self.limits.value)?;
                if labels.len() >= self.limits.labels {
                    return Err(Bad::TooLarge(format!("more than {} labels", self.limits.labels)));
                }
                labels.push((key, value));
            } else if quoted && name.is_none() && labels.is_empty() && !key.is_empty() {
                *name = Some(key);
            } else {
                return syntax(format!("label {:?} has no value", shorten(&key)));
            }
            self.blanks();
            if !self.take(',') && !self.rest.starts_with('}') {
                return syntax("a comma or } is missing after a label");
            }
        }
        labels.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(twice) = labels.windows(2).find(|w| w[0].0 == w[1].0) {
            return syntax(format!("label {:?} is there twice", shorten(&twice[0].0)));
        }
        Ok(labels)
    }

    fn exemplar(&mut self) -> Result<Exemplar<'a>, Bad> {
        self.blanks();
        if !self.take('{') {
            return syntax("an exemplar does not start with {");
        }
        let labels = self.labels(&mut Some(Cow::Borrowed("exemplar")))?;
        let value = number(self.word("the value of an exemplar")?)?;
        self.blanks();
        let time = if self.rest.is_empty() {
            None
        } else {
            Some(timestamp(self.word("the time of an exemplar")?, true)?)
        };
        Ok(Exemplar { labels, value, time })
    }
}

/// Replaces `\\`, `\n` and, in quoted text, `\"`; any other escape stays as it is.
pub(super) fn unescape(text: &str, quoted: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('\\') => out.push('\\'),
            Some('"') if quoted => out.push('"'),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

fn number(word: &str) -> Result<f64, Bad> {
    // Rust also reads "infinity" and "nan" in any case, as Go does.
    word.parse().map_err(|_| Bad::Syntax(format!("{:?} is not a number", shorten(word))))
}

/// Milliseconds as an integer in the text format, seconds with a fraction in OpenMetrics.
fn timestamp(word: &str, open_metrics: bool) -> Result<u64, Bad> {
    let bad = || Bad::Syntax(format!("{:?} is not a timestamp", shorten(word)));
    if open_metrics {
        return seconds_to_nanos(word.parse().map_err(|_| bad())?).ok_or_else(bad);
    }
    let ms: i64 = word.parse().map_err(|_| bad())?;
    // A time before 1970 cannot be said in OTLP.
    Ok(u64::try_from(ms).unwrap_or(0).saturating_mul(1_000_000))
}

/// Unix seconds to nanoseconds; `None` unless the result is a time after 1970 that fits.
pub(super) fn seconds_to_nanos(seconds: f64) -> Option<u64> {
    // Whole seconds apart: a double has no room for nanoseconds of today.
    let whole = seconds.trunc();
    if !(0.0..1e10).contains(&whole) {
        return None;
    }
    Some(whole as u64 * 1_000_000_000 + ((seconds - whole) * 1e9).round() as u64)
}

/// The head of foreign text, for an error.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}
