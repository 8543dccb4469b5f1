//! A series of the protobuf intake as JSON for people. Pure.

use muxbridge_exporter_statsd::encode::value::write_json_string;
use muxbridge_pdata::wire::{Field, Fields};
use std::fmt::Write;

/// One series of a `MetricPayload`, in the names of the JSON form of the same intake.
pub fn series_json(piece: &[u8]) -> String {
    let series = Fields::new(piece).next().map(|f| f.value.as_bytes()).unwrap_or_default();
    let text = |field: &Field<'_>| {
        let mut out = String::new();
        write_json_string(&mut out, &String::from_utf8_lossy(field.value.as_bytes()));
        out
    };
    let (mut resources, mut tags, mut points) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = String::new();
    // Writing to a string cannot fail.
    for field in Fields::new(series) {
        let inner = || Fields::new(field.value.as_bytes());
        match field.number {
            1 => {
                let parts: Vec<String> = inner().map(|f| text(&f)).collect();
                resources.push(format!("{{\"type\":{}}}", parts.join(",\"name\":")));
            }
            2 => {
                let _ = write!(rest, ",\"metric\":{}", text(&field));
            }
            3 => tags.push(text(&field)),
            4 => {
                let value = inner().find(|f| f.number == 1).map_or(0, |f| f.value.as_u64());
                let time = inner().find(|f| f.number == 2).map_or(0, |f| f.value.as_u64());
                points.push(format!("{{\"timestamp\":{time},\"value\":{}}}", f64::from_bits(value)));
            }
            5 => {
                let _ = write!(rest, ",\"type\":{}", field.value.as_u64());
            }
            6 => {
                let _ = write!(rest, ",\"unit\":{}", text(&field));
            }
            8 => {
                let _ = write!(rest, ",\"interval\":{}", field.value.as_u64());
            }
            _ => {}
        }
    }
    format!(
        "{{\"resources\":[{}]{rest},\"tags\":[{}],\"points\":[{}]}}",
        resources.join(","),
        tags.join(","),
        points.join(",")
    )
}
