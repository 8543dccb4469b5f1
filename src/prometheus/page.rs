//! Splits a Prometheus page into families and samples.

use super::line::{self, Bad, Sample};
use std::borrow::Cow;
use std::collections::HashMap;
use thiserror::Error;

/// What a page may hold at most. One more of anything and the page is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimits {
    /// Bytes of the decompressed body.
    pub body: usize,
    /// Bytes of one line.
    pub line: usize,
    /// Sample lines.
    pub samples: usize,
    /// Labels of one sample.
    pub labels: usize,
    /// Bytes of a metric or label name.
    pub name: usize,
    /// Bytes of a label value.
    pub value: usize,
}

impl Default for PageLimits {
    fn default() -> Self {
        PageLimits { body: 32 << 20, line: 64 << 10, samples: 50_000, labels: 64, name: 256, value: 2048 }
    }
}

/// A page that cannot be used. The whole page is refused, as Prometheus does: half a page would look like a reset.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct PageError {
    /// From 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
    /// Whether a limit was exceeded; otherwise the page is malformed.
    pub too_large: bool,
}

impl PageError {
    pub(super) fn malformed(line: usize, problem: impl Into<String>) -> Self {
        PageError { line, problem: problem.into(), too_large: false }
    }

    pub(super) fn too_large(line: usize, problem: impl Into<String>) -> Self {
        PageError { line, problem: problem.into(), too_large: true }
    }
}

/// The type of a family, from its `# TYPE` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
    Unknown,
}

impl Kind {
    fn read(word: &str) -> Option<Kind> {
        Some(match word {
            "counter" => Kind::Counter,
            "gauge" => Kind::Gauge,
            "histogram" => Kind::Histogram,
            "gaugehistogram" => Kind::GaugeHistogram,
            "summary" => Kind::Summary,
            "info" => Kind::Info,
            "stateset" => Kind::StateSet,
            "unknown" | "untyped" => Kind::Unknown,
            _ => return None,
        })
    }

    /// The value of `prometheus.type` in the metadata of a metric.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::GaugeHistogram => "gaugehistogram",
            Kind::Summary => "summary",
            Kind::Info => "info",
            Kind::StateSet => "stateset",
            Kind::Unknown => "unknown",
        }
    }

    /// What a sample name of this family may end in, after the name of the family.
    fn suffixes(self) -> &'static [&'static str] {
        match self {
            Kind::Counter => &["", "_total", "_created"],
            Kind::Gauge | Kind::StateSet | Kind::Unknown => &[""],
            Kind::Histogram => &["_bucket", "_count", "_sum", "_created"],
            Kind::GaugeHistogram => &["_bucket", "_gcount", "_gsum", "_created"],
            Kind::Summary => &["", "_count", "_sum", "_created"],
            Kind::Info => &["", "_info"],
        }
    }
}

/// A metric with its samples.
#[derive(Debug)]
pub(super) struct Family<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) kind: Kind,
    pub(super) help: Cow<'a, str>,
    pub(super) unit: &'a str,
    pub(super) samples: Vec<Sample<'a>>,
    typed: bool,
}

/// The families of a page in their order.
#[derive(Debug, Default)]
pub(super) struct Page<'a> {
    pub(super) families: Vec<Family<'a>>,
    pub(super) samples: usize,
    index: HashMap<Cow<'a, str>, usize>,
    current: Option<usize>,
}

/// Reads a page.
pub(super) fn parse<'a>(
    text: &'a str,
    open_metrics: bool,
    limits: &PageLimits,
) -> Result<Page<'a>, PageError> {
    let mut page = Page::default();
    let mut ended = false;
    let mut last = 0;
    // A last line without its newline was cut off: its number may lack digits. Only `# EOF` may end so.
    let whole = text.strip_suffix('\n');
    for (at, line) in whole.unwrap_or(text).split('\n').enumerate() {
        let number = at + 1;
        last = number;
        if line.len() > limits.line {
            return Err(PageError::too_large(number, format!("longer than {} bytes", limits.line)));
        }
        if ended {
            return Err(PageError::malformed(number, "text after # EOF"));
        }
        if open_metrics && line == "# EOF" {
            ended = true;
        } else if let Some(comment) = line.trim_start_matches([' ', '\t']).strip_prefix('#') {
            page.comment(comment).map_err(|problem| PageError::malformed(number, problem))?;
        } else if !line.trim_matches([' ', '\t']).is_empty() {
            if page.samples >= limits.samples {
                return Err(PageError::too_large(number, format!("more than {} samples", limits.samples)));
            }
            let sample = line::sample(line, open_metrics, limits).map_err(|bad| match bad {
                Bad::Syntax(problem) => PageError::malformed(number, problem),
                Bad::TooLarge(problem) => PageError::too_large(number, problem),
            })?;
            page.add(sample);
        }
    }
    if open_metrics && !ended {
        return Err(PageError::malformed(last, "the page is cut off: # EOF is missing"));
    }
    if !ended && whole.is_none() && !text.is_empty() {
        return Err(PageError::malformed(last, "the page is cut off: its last line does not end"));
    }
    Ok(page)
}

impl<'a> Page<'a> {
    /// Reads what follows `#`. Comments that are none of the three known ones are skipped.
    fn comment(&mut self, comment: &'a str) -> Result<(), String> {
        let comment = comment.trim_start_matches([' ', '\t']);
        let (keyword, rest) = comment.split_once([' ', '\t']).unwrap_or((comment, ""));
        if !matches!(keyword, "HELP" | "TYPE" | "UNIT") {
            return Ok(());
        }
        let (name, text) = family_name(rest.trim_start_matches([' ', '\t']))
            .ok_or_else(|| format!("# {keyword} without a metric name"))?;
        let at = self.family(name);
        self.current = Some(at);
        let family = &mut self.families[at];
        match keyword {
            "TYPE" => {
                let word = text.trim_matches([' ', '\t']);
                let kind = Kind::read(word)
                    .ok_or_else(|| format!("{:?} is not a metric type", line::shorten(word)))?;
                if !family.samples.is_empty() && family.kind != kind {
                    return Err(format!(
                        "# TYPE of {:?} comes after its samples",
                        line::shorten(&family.name)
                    ));
                }
                family.kind = kind;
                family.typed = true;
            }
            "HELP" if text.contains('\\') => family.help = Cow::Owned(line::unescape(text, false)),
            "HELP" => family.help = Cow::Borrowed(text),
            _ => family.unit = text.trim_matches([' ', '\t']),
        }
        Ok(())
    }

    fn family(&mut self, name: Cow<'a, str>) -> usize {
        if let Some(at) = self.index.get(&name) {
            return *at;
        }
        let at = self.families.len();
        self.index.insert(name.clone(), at);
        self.families.push(Family {
            name,
            kind: Kind::Unknown,
            help: Cow::Borrowed(""),
            unit: "",
            samples: Vec::new(),
            typed: false,
        });
        at
    }

    /// Puts a sample into the family that its `# TYPE` line opened. The suffix of a name alone decides nothing:
    /// there are counters called `.._sum_total` and histograms called `.._bucket`.
    fn add(&mut self, sample: Sample<'a>) {
        self.samples += 1;
        let owns = |family: &Family<'_>| {
            sample
                .name
                .strip_prefix(&*family.name)
                .is_some_and(|suffix| family.kind.suffixes().contains(&suffix))
        };
        let of_other_family = || {
            let suffixes = ["", "_bucket", "_count", "_sum", "_total", "_created", "_info"];
            let bases = suffixes.iter().filter_map(|suffix| sample.name.strip_suffix(suffix));
            let mut families = bases.filter_map(|base| self.index.get(base)).copied();
            families.find(|at| self.families[*at].typed && owns(&self.families[*at]))
        };
        let at = self.current.filter(|at| owns(&self.families[*at])).or_else(of_other_family);
        let at = at.unwrap_or_else(|| self.family(sample.name.clone()));
        self.families[at].samples.push(sample);
    }
}

/// A metric name, quoted or not, and what follows it.
fn family_name(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (name, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        return (!name.is_empty()).then(|| (Cow::Borrowed(name), rest.trim_start_matches([' ', '\t'])));
    };
    let mut escaped = false;
    let end = quoted.find(|c| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    })?;
    let name = &quoted[..end];
    let name = if name.contains('\\') { Cow::Owned(line::unescape(name, true)) } else { Cow::Borrowed(name) };
    (!name.is_empty()).then(|| (name, quoted[end + 1..].trim_start_matches([' ', '\t'])))
}
