//! Tests of bounds, and of what listeners hear.

use super::attributes::Attributes;
use super::ledger::Ledger;
use super::point::{Point, Value};
use super::{MetricOptions, MetricTranslator};
use crate::prometheus::{PageLimits, Scraper, TargetInfo};
use crate::trace::TraceOptions;
use crate::translate::explain::{Change, Explain};
use muxbridge_core::{Batch, BuildContext, Clock, Counters, Origin, Processor, Signal};
use muxbridge_pdata::view::Number;
use std::sync::{Arc, Mutex};
use std::time::Instant;

fn point(part: u8, time: u64, value: f64) -> Point {
    Point {
        attributes: Attributes::default(),
        part: vec![part],
        start: 1,
        time,
        value: Value::Number(Number::Double(value)),
        rest: vec![],
    }
}

#[test]
fn a_part_beyond_the_bound_is_left_out_of_the_sum_and_counted() {
    let mut ledger = Ledger::bounded(2);
    let now = Instant::now();
    let points = vec![point(1, 5, 10.0), point(2, 5, 20.0), point(3, 5, 40.0)];
    let (points, outcome) = ledger.sum(b"target", points, now);
    assert_eq!((outcome.merged, outcome.refused), (1, 1));
    assert_eq!(points.len(), 1);
    assert_eq!(points[0].value, Value::Number(Number::Double(30.0)));
    // What is known goes on.
    let (points, outcome) = ledger.sum(b"target", vec![point(3, 6, 41.0), point(2, 6, 21.0)], now);
    assert_eq!((points.len(), outcome.refused), (1, 1));
    assert_eq!(points[0].value, Value::Number(Number::Double(31.0)));
}

#[test]
fn rounding_never_makes_a_sum_fall() {
    let mut ledger = Ledger::default();
    let now = Instant::now();
    let parts = |time, last| vec![point(1, time, 0.1), point(2, time, 0.1), point(3, time, last)];
    let sum = |points: Vec<Point>| match points[0].value {
        Value::Number(number) => number.as_f64(),
        _ => panic!(),
    };
    let before = sum(ledger.sum(b"target", parts(5, 0.4), now).0);
    assert_eq!(before, 0.1 + 0.1 + 0.4);
    // The last part is counted from zero again, so that what it was is now added first: 0.4 + 0.1 + 0.1 is smaller by
    // the last bit.
    assert!(0.4 + 0.1 + 0.1 < before);
    let after = sum(ledger.sum(b"target", parts(6, 0.0), now).0);
    assert_eq!(after, before);
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Explain for Heard {
    fn change(&mut self, c: &Change<'_>) {
        let show = |v: muxbridge_pdata::AnyValue<'_>| match (v.as_str(), v.as_f64()) {
            (Some(s), _) => s.to_owned(),
            (_, Some(n)) => n.to_string(),
            _ => "-".to_owned(),
        };
        let line = format!("{} {} {}: {} -> {}", c.span, c.rule, c.target, show(c.before), show(c.after));
        assert_eq!((c.signal, c.trace_id.len()), (Signal::Metrics, 0));
        self.0.lock().unwrap().push(line);
    }
}

/// What a listener hears of the translation of a page.
fn told(page: &str) -> Vec<String> {
    let mut scraper = Scraper::new(TargetInfo::default(), PageLimits::default());
    let otlp = scraper.page(page.as_bytes(), None, 1_795_462_500_000_000_000).unwrap();
    let batch = Batch::new(Signal::Metrics, otlp, Arc::new(Origin::default()), Default::default()).unwrap();
    let cx = BuildContext::new("modelmuxer", Counters::new(), Clock::fixed(0));
    let mut translator = MetricTranslator::new(&MetricOptions::default(), &TraceOptions::default(), &cx);
    let heard = Heard::default();
    translator.explain(Box::new(heard.clone()));
    translator.process(batch, Instant::now(), &mut |_| ());
    let lines = heard.0.lock().unwrap();
    lines.clone()
}

#[test]
fn a_listener_hears_of_every_name_attribute_value_and_omission() {
    let page = "# TYPE modelmuxer_router_selected_cost_estimate_usd_sum_total counter\n\
        modelmuxer_router_selected_cost_estimate_usd_sum_total{model=\"openai:gpt-4o\",route=\"chat\"} 58\n\
        # TYPE modelmuxer_active_connections gauge\nmodelmuxer_active_connections 0\n\
        # TYPE modelmuxer_policy_redactions_total counter\n\
        modelmuxer_policy_redactions_total{pii_type=\"jwt\"} NaN\n";
    let cost = "modelmuxer_router_selected_cost_estimate_usd_sum_total";
    let series = format!("{cost}{{model=\"openai:gpt-4o\",route=\"chat\"}}");
    let expected = [
        format!("{series} M.name name: {cost} -> modelmuxer.cost.estimated"),
        format!("{series} M.attribute model: openai:gpt-4o -> -"),
        format!("{series} M.attribute route: chat -> -"),
        format!("{series} M.attribute gen_ai.provider.name: - -> openai"),
        format!("{series} M.attribute gen_ai.request.model: - -> gpt-4o"),
        format!("{series} M.attribute modelmuxer.cost.source: - -> estimate"),
        format!("{series} M.attribute modelmuxer.route.name: - -> chat"),
        format!("{series} M.estimated_cost value: 58 -> 0.058"),
        "modelmuxer_active_connections{} M.fake_zero item: - -> -".to_owned(),
        "modelmuxer_policy_redactions_total{pii_type=\"jwt\"} M.invalid_value item: - -> -".to_owned(),
    ];
    assert_eq!(told(page), expected);
}

#[test]
fn a_listener_hears_how_many_points_became_how_many() {
    let hit =
        |path: &str| format!("http_requests_total{{method=\"GET\",route=\"{path}\",status=\"404\"}} 1\n");
    let page = format!(
        "# TYPE http_requests_total counter\n{}{}# TYPE modelmuxer_active_connections gauge\n\
         modelmuxer_active_connections 0\n",
        hit("/a"),
        hit("/b")
    );
    let lines = told(&page);
    assert_eq!(lines.last().map(String::as_str), Some("modelmuxer.http.requests M.merged points: 2 -> 1"));
    let route = "http_requests_total{method=\"GET\",route=\"/a\",status=\"404\"} M.attribute http.route: - -> _unmatched";
    assert!(lines.iter().any(|l| l == route), "{lines:#?}");
}
