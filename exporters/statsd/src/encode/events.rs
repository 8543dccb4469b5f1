//! Events and service checks as DogStatsD messages.

use std::fmt::Write;

/// An event of Datadog's event stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Must not be empty.
    pub title: String,
    /// The text; Markdown between `%%%` lines.
    pub text: String,
    /// Seconds since 1970; 0 for now.
    pub time: u64,
    /// The host; empty for the Agent's.
    pub host: String,
    /// Events with the same key are shown as one; empty for none.
    pub aggregation_key: String,
    /// `low`, or empty for normal.
    pub priority: String,
    /// Where it comes from, a name that Datadog knows; may be empty.
    pub source: String,
    /// `error`, `warning`, `success`, or empty for information.
    pub alert: String,
    /// Tags, each `key:value`.
    pub tags: Vec<String>,
}

/// The state of something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceCheck {
    /// The name of the check.
    pub name: String,
    /// 0 ok, 1 warning, 2 critical, 3 unknown.
    pub status: u8,
    /// Seconds since 1970; 0 for now.
    pub time: u64,
    /// The host; empty for the Agent's.
    pub host: String,
    /// Tags, each `key:value`.
    pub tags: Vec<String>,
    /// What a person shall read.
    pub message: String,
}

impl Event {
    /// The message, without a line feed at its end. `origin` is what [`super::origin::fields`] makes.
    pub fn line(&self, origin: &str) -> String {
        let (title, text) = (escape(&self.title), escape(&self.text));
        // Lengths are in bytes, after escaping. Writing to a string cannot fail.
        let mut out = format!("_e{{{},{}}}:{title}|{text}", title.len(), text.len());
        if self.time > 0 {
            let _ = write!(out, "|d:{}", self.time);
        }
        for (key, value) in [
            ("h:", &self.host),
            ("k:", &self.aggregation_key),
            ("p:", &self.priority),
            ("s:", &self.source),
            ("t:", &self.alert),
        ] {
            field(&mut out, key, value);
        }
        tags(&mut out, &self.tags);
        out.push_str(origin);
        out
    }
}

impl ServiceCheck {
    /// The message, without a line feed at its end.
    pub fn line(&self, origin: &str) -> String {
        let mut out = format!("_sc|{}|{}", plain(&self.name), self.status.min(3));
        if self.time > 0 {
            let _ = write!(out, "|d:{}", self.time);
        }
        field(&mut out, "h:", &self.host);
        tags(&mut out, &self.tags);
        if !self.message.is_empty() {
            // The message is the last of its fields: only `m:` inside it could be taken for another.
            let message = escape(&self.message).replace("m:", "m\\:");
            let _ = write!(out, "|m:{message}");
        }
        out.push_str(origin);
        out
    }
}

/// A line feed as two characters, which the Agent turns back; other control characters as spaces.
fn escape(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\n', "\\n").replace(|c: char| c.is_control(), " ")
}

/// Text that cannot end a field.
fn plain(text: &str) -> String {
    text.replace(|c: char| c == '|' || c.is_control(), "_")
}

fn field(out: &mut String, key: &str, value: &str) {
    if !value.is_empty() {
        let _ = write!(out, "|{key}{}", plain(value));
    }
}

fn tags(out: &mut String, tags: &[String]) {
    for (i, tag) in tags.iter().enumerate() {
        out.push_str(if i == 0 { "|#" } else { "," });
        out.push_str(&plain(tag).replace(',', "_"));
    }
}
