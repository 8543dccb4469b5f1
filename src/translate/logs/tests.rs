//! Recorded lines of ModelMuxer, in the forms in which collectors send them, and records of others.

use super::line::{Line, id};
use super::*;
use muxbridge_core::{Clock, Counters, Origin};
use muxbridge_pdata::view::text;
use std::sync::{Arc, Mutex};

/// The JSON lines of a recorded run, in order.
fn lines() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/scenario/stderr_json.log");
    let log = std::fs::read_to_string(path).unwrap();
    log.lines().filter(|l| l.starts_with('{')).map(str::to_owned).collect()
}

fn line(containing: &str) -> String {
    lines().into_iter().find(|l| l.contains(containing)).unwrap()
}

fn request(service: &str, records: &[Vec<u8>]) -> Batch {
    let mut w = Writer::new();
    w.message(field::REQUEST_RESOURCE, |w| {
        w.message(field::resource_items::RESOURCE, |w| {
            w.attribute_str(field::resource::ATTRIBUTES, "service.name", service);
        });
        w.message(field::resource_items::SCOPES, |w| {
            records.iter().for_each(|r| w.bytes(field::scope_items::ITEMS, r));
        });
    });
    let origin = Arc::new(Origin::default());
    Batch::new(Signal::Logs, w.into_bytes(), origin, Default::default()).unwrap()
}

fn record(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::new();
    fill(&mut w);
    w.into_vec()
}

fn text_record(body: &str) -> Vec<u8> {
    record(|w| w.any_value(field::log::BODY, AnyValue::string(body)))
}

fn bench(options: LogOptions) -> (LogTranslator, Counters) {
    let counters = Counters::new();
    let cx = BuildContext::new("modelmuxer", counters.clone(), Clock::fixed(0));
    (LogTranslator::new(&options, &cx), counters)
}

fn take(translator: &mut LogTranslator, batch: Batch) -> Option<Batch> {
    let mut out = Vec::new();
    translator.process(batch, Instant::now(), &mut |b| out.push(b));
    out.pop()
}

fn rule(counters: &Counters, rule: &str) -> u64 {
    let labels = [("signal", "logs"), ("rule", rule)];
    counters
        .samples()
        .iter()
        .map(|s| s.name)
        .collect::<std::collections::BTreeSet<_>>()
        .iter()
        .map(|name| counters.sum(name, &labels))
        .sum()
}

/// Time, severity, its text, body, logger, trace id and span id of each record.
type Row = (u64, i32, String, String, String, String, String);

fn rows(batch: &Batch) -> Vec<Row> {
    let hex = |id: &[u8]| id.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let records = batch.resources().flat_map(|r| r.scopes()).flat_map(|s| s.logs());
    records
        .map(|r| {
            let logger = r.attribute(LOGGER.as_bytes()).and_then(|v| v.as_str()).unwrap_or_default();
            let body = r.body.as_str().unwrap_or("no text").to_owned();
            let severity_text = text(r.severity_text).to_owned();
            (
                r.time,
                r.severity_number,
                severity_text,
                body,
                logger.to_owned(),
                hex(r.trace_id),
                hex(r.span_id),
            )
        })
        .collect()
}

fn row(time: u64, level: (i32, &str), body: &str, logger: &str, ids: [&str; 2]) -> Row {
    let [trace, span] = ids.map(str::to_owned);
    (time * 1_000_000_000, level.0, level.1.to_owned(), body.to_owned(), logger.to_owned(), trace, span)
}

const NONE: [&str; 2] = ["", ""];
/// 2026-11-23T19:20:10+0000.
const T: u64 = 1_795_461_610;

#[test]
fn a_line_in_the_body_becomes_a_record_and_zero_ids_are_no_ids() {
    let (mut translator, counters) = bench(LogOptions::default());
    let batch = request(
        "any",
        &[text_record(&line("Loaded 47 valid price entries")), text_record(&line("HTTP Request"))],
    );
    let out = rows(&take(&mut translator, batch).unwrap());
    let message = "Loaded 47 valid price entries from ./scripts/data/prices.json";
    assert_eq!(out[0], row(T, (9, "INFO"), message, "app.core.costing", NONE));
    let http = &out[1];
    assert_eq!((http.1, http.4.as_str()), (9, "httpx"));
    assert!(http.3.starts_with("HTTP Request: "), "{}", http.3);
    assert_eq!(rule(&counters, "L.json_line"), 2);
    assert!(rule(&counters, "L.zero_ids") >= 1);
}

#[test]
fn every_recorded_line_keeps_its_message_and_its_ids() {
    let lines = lines();
    let (mut translator, counters) = bench(LogOptions { drop_noise: false });
    let records: Vec<_> = lines.iter().map(|l| text_record(l)).collect();
    let out = rows(&take(&mut translator, request("any", &records)).unwrap());
    assert_eq!(out.len(), lines.len());
    let mut zero = 0;
    for (line, row) in lines.iter().zip(&out) {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(json["message"], row.3.as_str());
        let none = json["trace_id"].as_str().unwrap().bytes().all(|b| b == b'0');
        zero += u64::from(none);
        let expected = if none {
            ("", "")
        } else {
            (json["trace_id"].as_str().unwrap(), json["span_id"].as_str().unwrap())
        };
        assert_eq!((row.5.as_str(), row.6.as_str()), expected);
    }
    assert!(zero > 0);
    assert_eq!(rule(&counters, "L.zero_ids"), zero);
}

#[test]
fn the_warning_of_every_chat_request_is_left_out_and_counted() {
    let noise = line("Invalid type dict for attribute");
    let lines = lines();
    let of_noise = lines.iter().filter(|l| l.contains("opentelemetry.attributes")).count();
    assert_eq!(of_noise, 9);
    let (mut translator, counters) = bench(LogOptions::default());
    let records: Vec<_> = lines.iter().map(|l| text_record(l)).collect();
    let out = take(&mut translator, request("any", &records)).unwrap();
    assert_eq!(out.items(), lines.len() - 9);
    assert_eq!(rule(&counters, "L.noise"), 9);
    // Nothing is left of a batch of it.
    assert!(take(&mut translator, request("any", &[text_record(&noise)])).is_none());
    // Another warning of the same logger stays.
    let other = noise.replace("'attributes'", "'tags'");
    assert_eq!(take(&mut translator, request("any", &[text_record(&other)])).unwrap().items(), 1);
    let (mut keeps, _) = bench(LogOptions { drop_noise: false });
    assert_eq!(take(&mut keeps, request("any", &[text_record(&noise)])).unwrap().items(), 1);
}

#[test]
fn a_budget_rejection_is_a_warning() {
    let (mut translator, counters) = bench(LogOptions::default());
    let body = line("About to raise BudgetExceededError");
    let out = rows(&take(&mut translator, request("any", &[text_record(&body)])).unwrap());
    assert_eq!((out[0].1, out[0].2.as_str()), (13, "WARNING"));
    assert_eq!(rule(&counters, "L.budget_severity"), 1);
}

const MAP: [(&str, &str); 6] = [
    ("level", "ERROR"),
    ("logger", "app.main"),
    ("message", "it broke"),
    ("time", "2026-11-23T19:20:10+0000"),
    ("trace_id", "8696be227d53229cc3c8ebe88ea0b1bc"),
    ("span_id", "9c8627a89b5b4195"),
];

#[test]
fn a_line_as_a_map_or_as_attributes_is_the_same_record() {
    let map = record(|w| {
        w.message(field::log::BODY, |w| {
            w.message(field::any_value::KVLIST, |w| {
                MAP.iter().for_each(|(k, v)| w.attribute_str(field::any_value::VALUES, k, v));
            });
        });
    });
    let attributes = record(|w| {
        w.any_value(field::log::BODY, AnyValue::string("{not parsed"));
        MAP.iter().for_each(|(k, v)| w.attribute_str(field::log::ATTRIBUTES, k, v));
        w.attribute_str(field::log::ATTRIBUTES, "log.file.name", "muxer.log");
    });
    let (mut translator, _) = bench(LogOptions::default());
    let out = take(&mut translator, request("any", &[map, attributes])).unwrap();
    let expected = row(T, (17, "ERROR"), "it broke", "app.main", [MAP[4].1, MAP[5].1]);
    assert_eq!(rows(&out), [expected.clone(), expected]);
    let resource = out.resources().next().unwrap();
    let last = resource.scopes().next().unwrap().logs().nth(1).unwrap();
    let keys: Vec<_> = last.attributes().map(|a| text(a.key)).collect();
    assert_eq!(keys, [LOGGER, "log.file.name"]);
}

#[test]
fn what_the_collector_knew_already_stays() {
    let body = line("HTTP Request");
    let known = record(|w| {
        w.fixed64(field::log::TIME, 7);
        w.varint(field::log::SEVERITY_NUMBER, 10);
        w.bytes(field::log::SEVERITY_TEXT, b"INFO2");
        w.any_value(field::log::BODY, AnyValue::string(&body));
        w.fixed32(field::log::FLAGS, 1);
        w.bytes(field::log::TRACE_ID, &[5; 16]);
        w.bytes(field::log::SPAN_ID, &[6; 8]);
        w.fixed64(field::log::OBSERVED_TIME, 9);
    });
    let (mut translator, _) = bench(LogOptions::default());
    let out = take(&mut translator, request("any", &[known])).unwrap();
    let record = out.resources().next().unwrap().scopes().next().unwrap().logs().next().unwrap();
    assert_eq!((record.time, record.observed_time, record.flags), (7, 9, 1));
    assert_eq!((record.severity_number, record.severity_text), (10, b"INFO2".as_slice()));
    assert_eq!((record.trace_id, record.span_id), ([5; 16].as_slice(), [6; 8].as_slice()));
}

#[test]
fn records_of_others_pass_byte_for_byte() {
    let zero = record(|w| {
        w.any_value(field::log::BODY, AnyValue::string("plain"));
        w.bytes(field::log::TRACE_ID, &[0; 16]);
    });
    let others = [
        zero.clone(),
        text_record("INFO:     127.0.0.1:50954 - \"POST /v1/chat/completions HTTP/1.1\" 502 Bad Gateway"),
        text_record("{\"level\": \"INFO\", \"message\": \"five keys are too few\"}"),
        text_record(&line("HTTP Request").replace("\"level\"", "\"extra\": \"1\", \"level\"")),
        text_record("{"),
        record(|w| w.attribute_str(field::log::ATTRIBUTES, "level", "INFO")),
    ];
    let (mut translator, counters) = bench(LogOptions::default());
    let batch = request("shop", &others);
    let out = take(&mut translator, batch.clone()).unwrap();
    assert_eq!(out.otlp().as_ptr(), batch.otlp().as_ptr(), "the same bytes, not a copy");
    // Of ModelMuxer itself, ids of zeros are none.
    let out = take(&mut translator, request("modelmuxer", &[zero])).unwrap();
    assert_eq!(rows(&out)[0], row(0, (0, ""), "plain", "", NONE));
    assert_eq!(rule(&counters, "L.zero_ids"), 1);
}

#[test]
fn times_have_offsets_and_nonsense_is_no_time() {
    let nanos = |time: &str| {
        let body = format!(
            "{{\"level\":\"\",\"logger\":\"\",\"message\":\"\",\"time\":\"{time}\",\"trace_id\":\"\",\"span_id\":\"\"}}"
        );
        serde_json::from_str::<Line<'_>>(&body).unwrap().unix_nanos()
    };
    assert_eq!(nanos("2026-11-23T19:20:10+0000"), Some(T * 1_000_000_000));
    // Half past six in Greenwich on a leap day.
    assert_eq!(nanos("2024-02-29T23:59:59+0530"), Some(1_709_231_399 * 1_000_000_000));
    assert_eq!(nanos("1970-01-01T00:00:00+0000"), Some(0));
    for odd in [
        "",
        "1969-12-31T23:59:59+0000",
        "2026-13-01T00:00:00+0000",
        "2026-11-23T19:20:10Z",
        "2026-11-23 19:20:10+0000",
        "9999-99-99T99:99:99+9999",
        "ä026-11-23T19:20:1+0000",
    ] {
        assert_eq!(nanos(odd), None, "{odd}");
    }
    assert_eq!(id::<2>("01aF"), Some([1, 0xaf]));
    for odd in ["0000", "01a", "01ag", "01afé", "+1af"] {
        assert_eq!(id::<2>(odd), None, "{odd}");
    }
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Explain for Heard {
    fn change(&mut self, c: &Change<'_>) {
        let line = format!("{} {} {}", c.span, c.rule, c.target);
        self.0.lock().unwrap().push(line);
    }
}

#[test]
fn a_listener_hears_of_every_change() {
    let (mut translator, _) = bench(LogOptions::default());
    let heard = Heard::default();
    translator.explain(Box::new(heard.clone()));
    let records = ["Invalid type dict", "About to raise"].map(|text| text_record(&line(text)));
    take(&mut translator, request("any", &records));
    assert_eq!(
        *heard.0.lock().unwrap(),
        [
            "opentelemetry.attributes L.noise item",
            "app.router L.budget_severity severity",
            "app.router L.json_line body",
            "app.router L.json_line trace_id",
        ]
    );
}
