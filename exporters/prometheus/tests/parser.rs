//! A strict reader of both formats, written from their descriptions and without the exporter's code.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// Reads a page; an error names the line.
pub(crate) fn page(text: &str, open: bool) -> Result<Vec<Sample>, String> {
    let text = if open { text.strip_suffix("# EOF\n").ok_or("no # EOF")? } else { text };
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line does not end".to_owned());
    }
    let mut reader = Reader { open, ..Reader::default() };
    for line in text.split_terminator('\n') {
        reader.line(line).map_err(|e| format!("{e}: {line:?}"))?;
    }
    reader.close()?;
    Ok(reader.samples)
}

#[derive(Default)]
struct Reader {
    open: bool,
    family: Option<(String, String)>,
    helped: bool,
    /// Families, and in OpenMetrics all names that they reserve.
    taken: BTreeSet<String>,
    seen: BTreeSet<(String, String)>,
    samples: Vec<Sample>,
    /// Where the samples of the current family start.
    start: usize,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (keyword, name) = (words.next().unwrap_or(""), words.next().ok_or("no name")?);
            let text = words.next().ok_or("no text")?;
            return self.metadata(keyword, name, text);
        }
        let sample = self.sample(line)?;
        let (family, kind) = self.family.clone().ok_or("a sample without a family")?;
        let suffix = sample.name.strip_prefix(&family).ok_or("a sample of another family")?;
        let allowed: &[&str] = match (kind.as_str(), self.open) {
            ("counter", true) => &["_total", "_created"],
            ("histogram", true) => &["_bucket", "_count", "_sum", "_created"],
            ("histogram", false) => &["_bucket", "_count", "_sum"],
            ("summary", true) => &["", "_count", "_sum", "_created"],
            ("summary", false) => &["", "_count", "_sum"],
            ("info", true) => &["_info"],
            _ => &[""],
        };
        if !allowed.contains(&suffix) {
            return Err(format!("{suffix:?} does not belong to a {kind}"));
        }
        let counts = ["_total", "_count", "_sum", "_bucket"].contains(&suffix);
        if self.open && counts && (sample.value < 0.0 || sample.value.is_nan()) {
            return Err("a count below zero".to_owned());
        }
        if !self.seen.insert((sample.name.clone(), format!("{:?}", sample.labels))) {
            return Err("the same series twice".to_owned());
        }
        self.samples.push(sample);
        Ok(())
    }

    fn metadata(&mut self, keyword: &str, name: &str, text: &str) -> Result<(), String> {
        if !legal(name, true) {
            return Err("an illegal metric name".to_owned());
        }
        match keyword {
            "HELP" if text.is_empty() || self.helped => return Err("a wrong HELP".to_owned()),
            "HELP" => {
                unescape(text, if self.open { "\\n\"" } else { "\\n" })?;
                self.close()?;
                self.helped = true;
                self.family = Some((name.to_owned(), String::new()));
            }
            "TYPE" => {
                let same = self.helped && self.family.as_ref().is_some_and(|f| f.0 == name);
                if !same {
                    self.close()?;
                }
                self.helped = false;
                let kinds = ["counter", "gauge", "histogram", "summary"];
                let more = if self.open { ["unknown", "info"] } else { ["untyped", "untyped"] };
                if !kinds.contains(&text) && !more.contains(&text) {
                    return Err("an unknown type".to_owned());
                }
                let reserved: &[&str] = match (text, self.open) {
                    ("counter", true) => &["", "_total", "_created"],
                    ("histogram", true) => &["", "_bucket", "_count", "_sum", "_created"],
                    ("summary", true) => &["", "_count", "_sum", "_created"],
                    ("info", true) => &["", "_info"],
                    _ => &[""],
                };
                for suffix in reserved {
                    if !self.taken.insert(format!("{name}{suffix}")) {
                        return Err(format!("{name}{suffix} is taken"));
                    }
                }
                self.family = Some((name.to_owned(), text.to_owned()));
                self.start = self.samples.len();
            }
            "UNIT" if self.open && name.ends_with(&format!("_{text}")) => {}
            _ => return Err("a wrong comment".to_owned()),
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let Some((name, kind)) = self.family.take() else { return Ok(()) };
        let samples = &self.samples[self.start..];
        if samples.is_empty() {
            return Err(format!("{name} has no samples"));
        }
        let mut groups: Vec<(BTreeMap<String, String>, Vec<&Sample>)> = Vec::new();
        for sample in samples {
            let mut key = sample.labels.clone();
            key.remove("le");
            if groups.last().is_none_or(|(last, _)| *last != key) {
                if groups.iter().any(|(k, _)| *k == key) {
                    return Err(format!("{name}: a series is torn"));
                }
                groups.push((key, Vec::new()));
            }
            if let Some((_, group)) = groups.last_mut() {
                group.push(sample);
            }
        }
        if kind != "histogram" {
            return Ok(());
        }
        for (_, group) in groups {
            let (mut bound, mut count) = (f64::NEG_INFINITY, 0.0);
            let mut own = None;
            for sample in group {
                if sample.name == format!("{name}_bucket") {
                    let le: f64 = sample.labels.get("le").ok_or("no le")?.parse().map_err(|_| "le")?;
                    if le <= bound || le.is_nan() || sample.value < count {
                        return Err(format!("{name}: buckets out of order"));
                    }
                    (bound, count) = (le, sample.value);
                } else if sample.name == format!("{name}_count") {
                    own = Some(sample.value);
                }
            }
            if bound != f64::INFINITY || own.is_some_and(|own| own != count) {
                return Err(format!("{name}: no +Inf, or another count"));
            }
        }
        Ok(())
    }

    fn sample(&self, line: &str) -> Result<Sample, String> {
        let end = line.find(['{', ' ']).ok_or("no value")?;
        let (name, mut rest) = line.split_at(end);
        if !legal(name, true) {
            return Err("an illegal metric name".to_owned());
        }
        let mut all = BTreeMap::new();
        if let Some(inner) = rest.strip_prefix('{') {
            (all, rest) = labels(inner)?;
        }
        let rest = rest.strip_prefix(' ').ok_or("no space before the value")?;
        let (number, exemplar) = match rest.split_once(" # ") {
            Some((number, exemplar)) => (number, Some(exemplar)),
            None => (rest, None),
        };
        let (number, time) = number.split_once(' ').unwrap_or((number, "0"));
        let value = number.parse().map_err(|_| "not a number")?;
        if time.parse::<f64>().is_err() || (!self.open && time.parse::<i64>().is_err()) {
            return Err("a wrong time".to_owned());
        }
        if let Some(exemplar) = exemplar {
            let inner = exemplar.strip_prefix('{').filter(|_| self.open).ok_or("a wrong exemplar")?;
            let (labels, rest) = labels(inner)?;
            let size: usize = labels.iter().map(|(k, v)| k.chars().count() + v.chars().count()).sum();
            let numbers: Vec<_> = rest.strip_prefix(' ').ok_or("no value")?.split(' ').collect();
            if size > 128 || numbers.len() > 2 || numbers.iter().any(|n| n.parse::<f64>().is_err()) {
                return Err("a wrong exemplar".to_owned());
            }
        }
        Ok(Sample { name: name.to_owned(), labels: all, value })
    }
}

fn labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str), String> {
    let mut all = BTreeMap::new();
    if let Some(rest) = rest.strip_prefix('}') {
        return Ok((all, rest));
    }
    loop {
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        let mut escaped = false;
        let end = after
            .find(|c| {
                let closes = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                closes
            })
            .ok_or("an open quote")?;
        let value = unescape(&after[..end], "\\n\"")?;
        if !legal(name, false) || value.is_empty() || all.insert(name.to_owned(), value).is_some() {
            return Err(format!("a wrong label {name:?}"));
        }
        rest = &after[end + 1..];
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((all, rest));
        }
        rest = rest.strip_prefix(',').ok_or("no comma")?;
    }
}

fn unescape(text: &str, known: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next().filter(|c| known.contains(*c)).ok_or("a wrong escape")? {
                'n' => '\n',
                c => c,
            },
            c => c,
        });
    }
    Ok(out)
}

fn legal(name: &str, colon: bool) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':');
    !name.is_empty()
        && name.chars().all(fits)
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && (colon || !name.starts_with("__"))
}
