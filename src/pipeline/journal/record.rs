//! The payload of one record of the logs: which pipeline it belongs to, where it came in, and the OTLP request.
//!
//! `version (1 byte: 1) | length (2, little-endian) | pipeline | length (2) | receiver | OTLP`. The signal is the record's
//! tag.

use bytes::{BufMut, BytesMut};
use muxbridge_core::{Batch, Limits, Origin, Signal};
use muxbridge_seglog::{Append, Record};
use std::sync::Arc;

const VERSION: u8 = 1;

/// What is appended for a batch of this pipeline.
pub(crate) fn encode(pipeline: &str, batch: &Batch) -> Append {
    let receiver = batch.origin().receiver.as_str();
    let mut out = BytesMut::with_capacity(5 + pipeline.len() + receiver.len());
    out.put_u8(VERSION);
    for text in [pipeline, receiver] {
        // Ids come from a configuration file; one of 64 KiB is cut, and then belongs to no pipeline.
        let text = text.as_bytes();
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        out.put_u16_le(length);
        out.put_slice(&text[..usize::from(length)]);
    }
    Append {
        head: out.freeze(),
        payload: batch.otlp().clone(),
        items: u32::try_from(batch.items()).unwrap_or(u32::MAX),
        tag: tag(batch.signal()),
    }
}

/// The pipeline and the batch; `None` if a later version wrote it, or it is damaged in a way that its checksum does not tell.
pub(crate) fn decode(record: &Record) -> Option<(String, Batch)> {
    let payload = &record.payload;
    // What this process has just appended stands beside the request, what was read back before it.
    let head = if record.head.is_empty() { payload } else { &record.head };
    let signal = Signal::ALL.into_iter().find(|s| tag(*s) == record.tag)?;
    if *head.first()? != VERSION {
        return None;
    }
    let mut at = 1usize;
    let mut text = || {
        let length = u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?);
        let end = at + 2 + usize::from(length);
        let text = std::str::from_utf8(head.get(at + 2..end)?).ok()?.to_owned();
        at = end;
        Some(text)
    };
    let (pipeline, receiver) = (text()?, text()?);
    let otlp = if record.head.is_empty() { payload.slice(at..) } else { payload.clone() };
    let origin = Arc::new(Origin { receiver });
    let batch = match usize::try_from(record.items) {
        Ok(items) if record.own && record.items < u32::MAX => {
            Batch::from_counted(signal, otlp, items, origin)
        }
        // Another version of this program may have written it: what it let pass is not taken for granted.
        _ => Batch::new(signal, otlp, origin, Limits { items: usize::MAX }).ok()?,
    };
    Some((pipeline, batch))
}

fn tag(signal: Signal) -> u16 {
    match signal {
        Signal::Traces => 1,
        Signal::Metrics => 2,
        Signal::Logs => 3,
    }
}
