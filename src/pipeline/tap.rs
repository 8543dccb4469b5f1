//! Copies metrics to the page of the admin port: an internal destination called `admin` without a queue.

use muxbridge_core::{Batch, Clock, Counter, Counters, Signal, names};
use muxbridge_exporter_prometheus::Pages;
use muxbridge_exporter_prometheus::encode::{Options, Registry};

/// The label `component` of its counters.
const ID: &str = "admin";

/// Takes what leaves the processors of a pipeline. It holds nothing back: a batch is on the page at once, or counted as
/// dropped. Two pipelines that carry the same point show it once: a delta that comes again is dropped as `out_of_order`.
pub(crate) struct Tap {
    pages: Pages,
    enqueued: Counter,
    sent: Counter,
    counters: Counters,
}

impl Tap {
    /// One with an empty page.
    pub(crate) fn new(counters: &Counters, clock: &Clock) -> Self {
        // Our own counters are on the same page: a metric that came in with such a name must not stand beside them.
        let options = Options { reserved_prefix: Some("muxbridge_"), ..Options::default() };
        let labels = [("component", ID), ("signal", Signal::Metrics.as_str())];
        Tap {
            pages: Pages::new(Registry::new(options), clock.clone()),
            enqueued: counters.get(names::ENQUEUED, &labels),
            sent: counters.get(names::SENT, &labels),
            counters: counters.clone(),
        }
    }

    /// Where the values can be read.
    pub(crate) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Takes in a batch of metrics; others have no place on a page.
    pub(crate) fn take(&self, batch: &Batch) {
        if batch.signal() != Signal::Metrics {
            return;
        }
        self.enqueued.add(batch.items() as u64);
        let ingested = self.pages.ingest(batch);
        self.sent.add(ingested.kept);
        for (reason, n) in ingested.dropped() {
            let labels = [("component", ID), ("signal", Signal::Metrics.as_str()), ("reason", reason)];
            self.counters.get(names::DROPPED, &labels).add(n);
        }
        for (reason, n) in ingested.adjusted() {
            self.counters.get(names::ADJUSTED, &[("component", ID), ("reason", reason)]).add(n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muxbridge_core::{Limits, Origin};
    use muxbridge_exporter_prometheus::encode::Format;
    use muxbridge_testkit::oracle::metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data, number_data_point::Value,
    };
    use muxbridge_testkit::oracle::{ExportMetricsServiceRequest, encode};
    use std::sync::Arc;

    fn gauge(name: &str, value: Option<i64>) -> Metric {
        let point = NumberDataPoint { value: value.map(Value::AsInt), ..Default::default() };
        let data = Some(Data::Gauge(Gauge { data_points: vec![point] }));
        Metric { name: name.to_owned(), data, ..Default::default() }
    }

    #[test]
    fn every_point_is_on_the_page_or_counted_and_own_names_are_not_taken() {
        let metrics = vec![gauge("a", Some(1)), gauge("b", None), gauge("muxbridge.dropped.total", Some(3))];
        let scope_metrics = vec![ScopeMetrics { metrics, ..Default::default() }];
        let resource_metrics = vec![ResourceMetrics { scope_metrics, ..Default::default() }];
        let otlp = encode(&ExportMetricsServiceRequest { resource_metrics });
        let limits = Limits { items: 100 };
        let batch = Batch::new(Signal::Metrics, otlp, Arc::new(Origin::default()), limits).unwrap();
        let counters = Counters::new();
        let tap = Tap::new(&counters, &Clock::fixed(1));
        tap.take(&batch);
        let of = |name, reason: &[(&str, &str)]| counters.sum(name, reason);
        assert_eq!(of(names::ENQUEUED, &[("component", "admin"), ("signal", "metrics")]), 3);
        assert_eq!(of(names::SENT, &[("component", "admin")]), 1);
        assert_eq!(of(names::DROPPED, &[("component", "admin"), ("reason", "no_value")]), 1);
        assert_eq!(of(names::DROPPED, &[("component", "admin"), ("reason", "name_conflict")]), 1);
        assert_eq!(tap.pages().render(Format::Text), b"# TYPE a gauge\na 1\n");
    }
}
