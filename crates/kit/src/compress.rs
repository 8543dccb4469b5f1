//! Compression of request bodies.

use flate2::{Compress, FlushCompress, Status};
use schemars::JsonSchema;
use serde::Deserialize;
use std::cell::RefCell;
use std::io;
use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, compress_bound};

// Making the state of a compressor, some hundred kilobytes, costs as much as compressing a small body. Each worker keeps one.
thread_local! {
    static STATE: RefCell<State> = const { RefCell::new(State { gzip: None, zstd: None, out: Vec::new() }) };
}

/// What is kept from one body to the next.
struct State {
    gzip: Option<Compress>,
    zstd: Option<Compressor<'static>>,
    /// Where bodies are compressed to before their length is known: a body that waits for its answer then takes no more
    /// memory than it has bytes.
    out: Vec<u8>,
}

/// More room than this is given back after each body. Queues join batches to 384 KiB; larger ones came in like that.
const KEPT_ROOM: usize = 2 << 20;

/// Better than level 1 by half of its time at 2 % more bytes. On translated spans, each 500 bytes of the load and 420 of the
/// recorded ones, in requests of 180 KB to 1.1 MB: 122 to 179 ns and 28.6, 49.5 and 43.9 bytes a span, where level 1 has
/// 138 to 248 ns and 28.1, 48.5 and 42.3.
const ZSTD_LEVEL: i32 = -1;
/// 256 KiB. A window of a mebibyte costs a sixth of the time more, for larger bodies only, and saves 2 % of their bytes.
const ZSTD_WINDOW_LOG: u32 = 18;

/// The members of a gzip header: magic, deflate, no flags, no time, fastest, unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 0xff];

/// Header and trailer are ours because the checksum is: that of `crc32fast` takes 7 ns a span, that of the compressor 30.
fn gzip(compress: &mut Compress, body: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    compress.reset();
    out.extend_from_slice(&GZIP_HEADER);
    // Telemetry shrinks five times and more; a quarter avoids growing without wasting much.
    out.reserve(body.len() / 4 + 64);
    loop {
        let taken = compress.total_in() as usize;
        match compress.compress_vec(&body[taken..], out, FlushCompress::Finish).map_err(io::Error::other)? {
            Status::StreamEnd => break,
            Status::Ok | Status::BufError => out.reserve(out.capacity().max(64)),
        }
    }
    out.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    // Modulo 2 to the power 32, as the format has it.
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    Ok(())
}

fn zstd(kept: &mut Option<Compressor<'static>>, body: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let compressor = match kept {
        Some(compressor) => compressor,
        None => {
            let mut new = Compressor::new(ZSTD_LEVEL)?;
            new.set_parameter(CParameter::WindowLog(ZSTD_WINDOW_LOG))?;
            kept.insert(new)
        }
    };
    out.reserve(compress_bound(body.len()));
    compressor.compress_to_buffer(body, out).map(drop)
}

impl State {
    fn encode(&mut self, compression: Compression, body: &[u8]) -> io::Result<Vec<u8>> {
        let State { gzip, zstd, out } = self;
        out.clear();
        match compression {
            Compression::None => return Ok(body.to_vec()),
            Compression::Gzip => {
                let state = gzip.get_or_insert_with(|| Compress::new(flate2::Compression::new(1), false));
                self::gzip(state, body, out)?;
            }
            Compression::Zstd => self::zstd(zstd, body, out)?,
        }
        let compressed = out.as_slice().to_vec();
        out.clear();
        out.shrink_to(KEPT_ROOM);
        Ok(compressed)
    }
}

/// How request bodies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, level 1: telemetry is so repetitive that higher levels cost much more time than they save bytes.
    Gzip,
    /// Zstandard, the fastest level that still compresses well: smaller and faster than gzip, but not every destination
    /// knows it.
    Zstd,
}

impl Compression {
    /// The compressed body; a copy with [`Compression::None`].
    ///
    /// # Errors
    /// Only those of the compressor itself, such as a lack of memory.
    pub fn encode(self, body: &[u8]) -> io::Result<Vec<u8>> {
        STATE.with_borrow_mut(|state| state.encode(self, body))
    }

    /// The value of `Content-Encoding` and `grpc-encoding`; nothing with [`Compression::None`].
    pub const fn content_encoding(self) -> Option<&'static str> {
        match self {
            Compression::None => None,
            Compression::Gzip => Some("gzip"),
            Compression::Zstd => Some("zstd"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_compressed_body_decompresses_to_itself() {
        let body = b"gen_ai.request.model ".repeat(1000);
        assert_eq!(Compression::None.encode(&body).unwrap(), body);
        let mut out = Vec::new();
        let gzip = Compression::Gzip.encode(&body).unwrap();
        flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut out).unwrap();
        assert_eq!(out, body);
        let zstd = Compression::Zstd.encode(&body).unwrap();
        assert_eq!(zstd::decode_all(&zstd[..]).unwrap(), body);
        assert!(gzip.len() < body.len() / 10 && zstd.len() < body.len() / 10);
    }

    #[test]
    fn the_state_that_is_kept_remembers_nothing_of_the_body_before() {
        let bodies = [
            b"telemetry ".repeat(9000),
            Vec::new(),
            vec![7; 3],
            (0..200_000u32).map(|n| (n.wrapping_mul(n) >> 3) as u8).collect(),
            // Beyond the window and the room that is kept.
            (0..5_000_000u32).map(|n| (n.wrapping_mul(n) >> 3) as u8).collect(),
        ];
        for body in bodies.iter().chain(&bodies) {
            let mut out = Vec::new();
            let gzip = Compression::Gzip.encode(body).unwrap();
            flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut out).unwrap();
            assert!(out == *body, "gzip of {} bytes", body.len());
            assert!(zstd::decode_all(&Compression::Zstd.encode(body).unwrap()[..]).unwrap() == *body);
        }
    }

    #[test]
    fn a_compressed_body_takes_no_more_memory_than_it_has_bytes() {
        let body = b"gen_ai.request.model ".repeat(10_000);
        for compression in [Compression::Gzip, Compression::Zstd] {
            let compressed = compression.encode(&body).unwrap();
            assert_eq!(compressed.capacity(), compressed.len(), "{compression:?}");
        }
        Compression::Zstd.encode(&vec![7; 9_000_000]).unwrap();
        STATE.with_borrow(|state| assert!(state.out.capacity() <= KEPT_ROOM, "{}", state.out.capacity()));
    }

    #[test]
    fn names_are_those_of_the_collector_and_of_http() {
        for (name, value, encoding) in [
            ("none", Compression::None, None),
            ("gzip", Compression::Gzip, Some("gzip")),
            ("zstd", Compression::Zstd, Some("zstd")),
        ] {
            let parsed: Compression = serde_json::from_value(name.into()).unwrap();
            assert_eq!((parsed, parsed.content_encoding()), (value, encoding));
        }
        assert!(serde_json::from_value::<Compression>("snappy".into()).is_err());
    }
}
