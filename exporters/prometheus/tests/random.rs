//! Whatever metrics come in, every page can be read, and every point is on it or counted.

use crate::build::*;
use crate::parser;
use muxbridge_exporter_prometheus::encode::{Format, Options, Registry};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Text with the characters that have a meaning on a page, and few others, so that names collide.
fn hostile() -> impl Strategy<Value = String> {
    let special = prop::sample::select("{}\",\\\n\r#= _:.aé9/-\0\u{85}".chars().collect::<Vec<_>>());
    let plain = prop::sample::select(vec![
        "a",
        "a_total",
        "a_count",
        "a_bucket",
        "total",
        "job",
        "le",
        "target_info",
        "a_created",
    ]);
    let chars = prop::collection::vec(prop_oneof![4 => special, 1 => any::<char>()], 0..12);
    prop_oneof![1 => plain.prop_map(str::to_owned), 2 => chars.prop_map(|c| c.into_iter().collect())]
}

fn unit() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "1", "s", "By", "ms", "{a}", "By/s", "{a}/s", "s/1", "a b", "%", "/", "é"])
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(-0.0),
        0.0..100.0,
        (0u32..9).prop_map(f64::from)
    ]
}

fn data() -> impl Strategy<Value = Metric> {
    let tags = (hostile(), hostile(), hostile(), hostile());
    let counts = prop::collection::vec(prop_oneof![0u64..9, any::<u64>()], 0..6);
    let bounds = prop::collection::vec(number(), 0..5);
    (
        0..7,
        tags,
        (number(), number(), prop::option::of(number())),
        bounds,
        counts,
        0..3i32,
        any::<(i32, i16)>(),
    )
        .prop_map(
            |(kind, tags, (value, other, sum), mut bounds, counts, temporality, (scale, offset))| {
                let tags: &[(&str, &str)] = &[(&tags.0, &tags.1), (&tags.2, &tags.3)];
                let total = counts.iter().fold(0u64, |a, b| a.wrapping_add(*b));
                bounds.sort_by(f64::total_cmp);
                bounds.dedup();
                bounds.truncate(counts.len().saturating_sub(1));
                let mut point = double(value, tags);
                point.exemplars = vec![exemplar(other, T0, &[7; 16], &[8; 8], tags)];
                let mut explicit = buckets(&bounds, &[], sum);
                explicit.bucket_counts = counts.clone();
                explicit.count = total;
                explicit.attributes = point.attributes.clone();
                explicit.exemplars = point.exemplars.clone();
                let scale = if kind == 4 { scale } else { scale % 12 };
                let offset = i32::from(offset) << if scale % 2 == 0 { 15 } else { 0 };
                let mut exponential = exponential(scale, 0, (offset, &[]), (offset / 3, &[]));
                exponential.negative.as_mut().unwrap().bucket_counts = counts[..counts.len() / 2].to_vec();
                exponential.positive.as_mut().unwrap().bucket_counts = counts[counts.len() / 2..].to_vec();
                exponential.count = total;
                exponential.zero_threshold = other;
                exponential.attributes = point.attributes.clone();
                match kind {
                    0 => gauge("", vec![point]),
                    1 => metric("", "", "", sum_data(temporality, true, vec![point])),
                    2 => metric("", "", "", sum_data(temporality, false, vec![point])),
                    3 => histogram("", temporality, explicit),
                    4 | 5 => exponential_metric("", temporality, exponential),
                    _ => {
                        let quantiles: Vec<_> = bounds.iter().map(|b| (*b, value)).collect();
                        let mut metric = summary("", total, other, &quantiles);
                        if let Some(Data::Summary(summary)) = &mut metric.data {
                            summary.data_points[0].attributes = point.attributes.clone();
                        }
                        metric
                    }
                }
            },
        )
}

fn metrics() -> impl Strategy<Value = Vec<Metric>> {
    let one = (data(), hostile(), unit(), hostile()).prop_map(|(metric, name, unit, description)| Metric {
        name,
        unit: unit.to_owned(),
        description,
        metadata: attributes(&[("prometheus.type", if unit == "s" { "info" } else { "unknown" })]),
        ..metric
    });
    prop::collection::vec(one, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_rendered_page_is_accepted_by_a_strict_parser_and_no_point_is_lost(
        resource in (hostile(), hostile(), hostile()),
        first in metrics(),
        second in metrics(),
        switches in any::<[bool; 4]>(),
    ) {
        let [send_timestamps, add_suffixes, resource_labels, few] = switches;
        let max_series = if few { 3 } else { 1000 };
        let mut registry =
            Registry::new(Options { send_timestamps, add_suffixes, resource_labels, max_series, ..options() });
        let resource = [("service.name", &*resource.0), (&*resource.1, &*resource.2)];
        for metrics in [first, second] {
            let batch = scoped(&resource, Some(scope(resource[1].0, "1")), metrics);
            let ingested = registry.ingest(&batch, T0);
            let dropped: u64 = ingested.dropped().map(|(_, n)| n).sum();
            prop_assert_eq!(ingested.kept + dropped, batch.items() as u64);
        }
        prop_assert!(registry.series() <= max_series);
        for (format, name) in [(Format::Text, "text"), (Format::OpenMetrics, "open")] {
            let page = String::from_utf8(registry.render(format, T0)).unwrap();
            keep(&page, name);
            parser::page(&page, format == Format::OpenMetrics)
                .map_err(|e| TestCaseError::fail(format!("{name}: {e}\n{page}")))?;
        }
    }
}

/// Saves pages for a parser in another language; `tests/interop/prometheus_parsers.py` says how.
fn keep(page: &str, name: &str) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    if let Ok(directory) = std::env::var("PROMETHEUS_PAGES") {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        std::fs::write(format!("{directory}/{number:06}.{name}"), page).unwrap();
    }
}
