//! One line of ModelMuxer's JSON log: six texts, wherever a collector put them.

use muxbridge_pdata::AnyValue;
use muxbridge_pdata::view::{KeyValue, LogRecord, Repeated};
use serde::Deserialize;
use std::borrow::Cow;

/// The keys of every line, no more and no less.
pub(super) const KEYS: [&str; 6] = ["level", "logger", "message", "time", "trace_id", "span_id"];

/// A line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line<'a> {
    #[serde(borrow)]
    pub(super) level: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) logger: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) message: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) time: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) trace_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) span_id: Cow<'a, str>,
}

impl<'a> Line<'a> {
    /// The line that a record is: as the text or the map in its body, or as its attributes.
    pub(super) fn of(record: &LogRecord<'a>) -> Option<Self> {
        match record.body {
            AnyValue::String(_) => {
                record.body.as_str().and_then(Line::text).or_else(|| Line::attributes(record))
            }
            AnyValue::KvList(map) if map.values().count() == KEYS.len() => Line::map(map.values()),
            _ => Line::attributes(record),
        }
    }

    fn text(text: &'a str) -> Option<Self> {
        let text = text.trim();
        // Most bodies are no JSON at all.
        if !(text.starts_with('{') && text.ends_with('}')) {
            return None;
        }
        serde_json::from_str(text).ok()
    }

    fn attributes(record: &LogRecord<'a>) -> Option<Self> {
        Line::map(record.attributes())
    }

    fn map(values: Repeated<'a, KeyValue<'a>>) -> Option<Self> {
        let get = |key: &str| {
            let value = values.clone().find(|kv| kv.key == key.as_bytes()).and_then(|kv| kv.value.as_str());
            value.map(Cow::Borrowed)
        };
        let [level, logger, message, time, trace_id, span_id] = KEYS;
        Some(Line {
            level: get(level)?,
            logger: get(logger)?,
            message: get(message)?,
            time: get(time)?,
            trace_id: get(trace_id)?,
            span_id: get(span_id)?,
        })
    }

    /// The value of one of [`KEYS`].
    pub(super) fn get(&self, key: &[u8]) -> Option<&str> {
        Some(match key {
            b"level" => &self.level,
            b"logger" => &self.logger,
            b"message" => &self.message,
            b"time" => &self.time,
            b"trace_id" => &self.trace_id,
            b"span_id" => &self.span_id,
            _ => return None,
        })
    }

    /// The level as a number of OTLP; 0 if it is none of Python's.
    pub(super) fn severity(&self) -> u64 {
        match &*self.level {
            "DEBUG" => 5,
            "INFO" => 9,
            "WARNING" => 13,
            "ERROR" => 17,
            "CRITICAL" => 21,
            _ => 0,
        }
    }

    /// The time in nanoseconds since 1970. Lines have whole seconds: `2026-11-23T19:20:10+0000`.
    pub(super) fn unix_nanos(&self) -> Option<u64> {
        let b = self.time.as_bytes();
        let digits = |from: usize, to: usize| {
            let text = b.get(from..to)?;
            text.iter().try_fold(0i64, |n, d| d.is_ascii_digit().then(|| n * 10 + i64::from(d - b'0')))
        };
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if b.len() != 24 || marks.iter().any(|(at, mark)| b.get(*at) != Some(mark)) {
            return None;
        }
        let sign = match b.get(19)? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
        let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let offset = sign * (digits(20, 22)? * 3_600 + digits(22, 24)? * 60);
        let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset;
        u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)
    }
}

/// Days since 1970 of a date of the Gregorian calendar: years begin in March, so that the leap day is the last one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The bytes of an id of `N` bytes written in hexadecimal digits; `None` if it is none or all zeros.
pub(super) fn id<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    (out != [0; N]).then_some(out)
}
