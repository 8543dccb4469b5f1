//! Counts what passing foreign spans through the translation allocates: nothing that grows with their number.

use bytes::Bytes;
use muxbridge::core::{
    Batch, BuildContext, Clock, Counters, Limits, Origin, Processor, ProcessorKind, Signal,
};
use muxbridge::processors::modelmuxer::{ModelMuxer, Options, Translator};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, span};
use prost::Message;
use std::sync::Arc;
use std::time::Instant;

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

/// A span as other programs make them.
fn span(number: u64) -> Span {
    Span {
        trace_id: [&[1; 8], &(number / 3 + 1).to_be_bytes()[..]].concat(),
        span_id: (number + 1).to_be_bytes().to_vec(),
        name: format!("GET /cart/{number}"),
        kind: 2,
        start_time_unix_nano: 1_700_000_000_000_000_000 + number,
        end_time_unix_nano: 1_700_000_000_500_000_000 + number,
        attributes: vec![
            text("url.full", "https://shop.example/cart?page=2&sort=key#top"),
            text("note", "two words of a customer"),
            attribute("gen_ai.usage.input_tokens", Value::IntValue(number as i64)),
            attribute("cart.empty", Value::BoolValue(true)),
        ],
        events: vec![span::Event {
            name: "exception".to_owned(),
            attributes: vec![text("exception.stacktrace", &"  at token_bucket.rs:12\n".repeat(40))],
            ..span::Event::default()
        }],
        ..Span::default()
    }
}

/// A span with words in it that the search for credentials looks at twice.
fn suspicious(number: u64) -> Span {
    let mut span = span(number);
    span.attributes.push(text("note", "the secret of a good password policy, and no cookie in it"));
    span.attributes.push(attribute("password", Value::BoolValue(true)));
    span
}

fn batch(scope: &str, spans: Vec<Span>) -> Batch {
    let scope = InstrumentationScope { name: scope.to_owned(), ..InstrumentationScope::default() };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![text("service.name", "shop")],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    };
    let bytes = Bytes::from(request.encode_to_vec());
    Batch::new(Signal::Traces, bytes, Arc::new(Origin { receiver: "otlp".to_owned() }), Limits::default())
        .expect("valid")
}

fn foreign(count: u64, span: fn(u64) -> Span) -> Batch {
    batch("shop", (0..count).map(span).collect())
}

fn translator() -> Translator {
    let cx = BuildContext::new("modelmuxer", Counters::new(), Clock::fixed(0));
    ModelMuxer::build(Options::default(), Signal::Traces, &cx)
}

/// How often `batch` makes `translator` allocate; it must come out as the same bytes.
fn allocations(translator: &mut Translator, batch: &Batch) -> u64 {
    let (given, now) = (batch.clone(), Instant::now());
    let mut out = Vec::with_capacity(4);
    let counted = allocation_counter::measure(|| {
        translator.process(given, now, &mut |batch| out.push(batch));
    });
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].otlp().as_ptr(), batch.otlp().as_ptr(), "the same bytes, at the same place");
    counted.count_total
}

#[test]
fn passing_foreign_spans_through_allocates_nothing() {
    let mut translator = translator();
    allocations(&mut translator, &foreign(1, span));
    for count in [1, 10, 1_000, 5_000] {
        assert_eq!(allocations(&mut translator, &foreign(count, span)), 0, "{count} spans");
    }
    let copied = allocation_counter::measure(|| drop(foreign(1, span).otlp().to_vec()));
    assert!(copied.count_total > 0, "the counter counts");
}

#[test]
fn foreign_spans_that_look_suspicious_allocate_for_the_batch_and_not_for_each() {
    let mut translator = translator();
    allocations(&mut translator, &foreign(1, suspicious));
    for count in [1, 10, 1_000, 5_000] {
        // The list of suspects, and room to write the batch anew.
        assert_eq!(allocations(&mut translator, &foreign(count, suspicious)), 2, "{count} spans");
    }
}

#[test]
fn foreign_spans_beside_an_open_trace_allocate_nothing_for_each_of_them() {
    let mut translator = translator();
    // A request of ModelMuxer below a span of another program, which may still come: foreign spans are looked at.
    let mut root = span(0);
    root.name = "http.request".to_owned();
    root.parent_span_id = vec![9; 8];
    translator.process(batch("modelmuxer", vec![root]), Instant::now(), &mut |_| panic!("it is held"));
    // Three of the spans have its trace id. So many of them are remembered for each trace, and no more.
    for _ in 0..64 {
        allocations(&mut translator, &foreign(3, span));
    }
    for count in [3, 1_000, 5_000] {
        assert_eq!(allocations(&mut translator, &foreign(count, span)), 0, "{count} spans");
    }
}
