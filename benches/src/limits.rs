//! What each figure may be at most, or must be at least. Ratios are of figures of the same run.

use crate::run::Summary;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Everything measured in one run.
#[derive(Default)]
pub(crate) struct Results {
    pub(crate) scenarios: BTreeMap<String, Summary>,
    /// Figures that are no scenario, by name.
    pub(crate) values: BTreeMap<&'static str, f64>,
    /// Yardstick P in microseconds: of a span, of a point.
    pub(crate) prost: [f64; 2],
}

/// A figure.
enum Figure {
    /// CPU time of a scenario in units of P.
    OfProst(&'static str),
    /// CPU time of the first scenario in units of that of the second.
    Cpu(&'static str, &'static str),
    /// Items a second of the first scenario in units of those of the second, each had its workers never waited for a core: on
    /// a machine with two cores the load needs a part of them.
    Rate(&'static str, &'static str),
    /// The 99th percentile of acknowledgements in milliseconds.
    P99(&'static str),
    /// The most memory in MiB.
    Peak(&'static str),
    /// One of `values`.
    Value(&'static str),
}

use Figure::{Cpu, OfProst, P99, Peak, Rate, Value as Single};

const LIMITS: &[(&str, Figure, f64)] = &[
    ("pass, of P", OfProst("pass"), 0.35),
    ("pass, of proxy", Cpu("pass", "proxy"), 1.5),
    ("translate, of P", OfProst("translate"), 0.55),
    ("translate-split, of P", OfProst("translate-split"), 0.55),
    ("zstd, of P", OfProst("zstd"), 0.65),
    ("gzip, of P", OfProst("gzip"), 0.75),
    ("datadog, of P", OfProst("datadog"), 0.65),
    ("newrelic-zstd, of P", OfProst("newrelic-zstd"), 0.85),
    ("three, of P", OfProst("three"), 1.6),
    ("metrics-pass, of P", OfProst("metrics-pass"), 0.35),
    ("validation, delta, DogStatsD lines, ns/pt", Single("dogstatsd"), 120.0),
    ("fsync, of memory, 64 in flight", Cpu("fsync-64", "memory-64"), 1.6),
    ("one in flight, p99 in ms", P99("one-in-flight"), 1.0),
    ("pass, peak MiB", Peak("pass"), 32.0),
    ("datadog, peak MiB", Peak("datadog"), 32.0),
    ("idle, MiB", Single("idle"), 8.0),
    ("two cores, CPU of one", Cpu("two-cores", "one-core"), 1.1),
    ("program, MiB", Single("program"), 15.0),
    ("start to first acknowledgement, ms", Single("start"), 50.0),
];

const AT_LEAST: &[(&str, Figure, f64)] = &[
    ("page of 10,000 series, MB/s", Single("page"), 250.0),
    ("two cores, throughput of one", Rate("two-cores", "one-core"), 1.8),
];

impl Results {
    fn figure(&self, figure: &Figure) -> Option<f64> {
        let of = |name: &str| self.scenarios.get(name);
        Some(match figure {
            OfProst(name) => of(name)?.cpu_micros / self.prost[usize::from(of(name)?.metrics)],
            Cpu(name, other) => of(name)?.cpu_micros / of(other)?.cpu_micros,
            Rate(name, other) => of(name)?.undisturbed_per_second / of(other)?.undisturbed_per_second,
            P99(name) => of(name)?.p99_ms,
            Peak(name) => of(name)?.peak_mib,
            Single(name) => *self.values.get(name)?,
        })
    }

    /// Prints what was measured beside what it may be; for the file, the same.
    pub(crate) fn check(&self) -> io::Result<Vec<Value>> {
        let mut out = io::stdout();
        let mut all = Vec::new();
        writeln!(out, "\n{:<42} {:>9} {:>9}", "limit", "measured", "limit")?;
        let most = LIMITS.iter().map(|limit| (limit, false));
        for ((name, figure, limit), least) in most.chain(AT_LEAST.iter().map(|limit| (limit, true))) {
            let Some(measured) = self.figure(figure) else { continue };
            let holds = if least { measured >= *limit } else { measured <= *limit };
            let (sign, verdict) = (if least { ">=" } else { "<=" }, if holds { "" } else { "  missed" });
            writeln!(out, "{name:<42} {measured:>9.2} {sign} {limit:>6}{verdict}")?;
            let bound = if least { "at_least" } else { "at_most" };
            all.push(json!({ "name": name, "measured": measured, bound: limit, "holds": holds }));
        }
        Ok(all)
    }
}
