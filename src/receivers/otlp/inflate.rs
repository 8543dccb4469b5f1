//! Decompresses a body piece by piece, and stops at the limits before the memory is taken.

use super::refusal::Refusal;
use bytes::Bytes;
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use std::io::{self, Write};
use zstd::stream::raw::{DParameter, Decoder as RawZstd, InBuffer, Operation, OutBuffer};

/// Telemetry seldom shrinks to less than a fiftieth; what grows more than this is made to exhaust us.
const MAX_RATIO: usize = 200;
/// Below this size the ratio does not matter.
const RATIO_FREE: usize = 1024 * 1024;
/// What is taken at once for a body because its sender says that it is so long.
const MOST_RESERVED: usize = 1024 * 1024;
/// 8 MiB: what every decoder of zstd must be able to hold, and more than senders of telemetry use.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    /// The zlib format, as HTTP defines `deflate`.
    Deflate,
    Zstd,
}

impl Encoding {
    /// From the name in `content-encoding` or `grpc-encoding`.
    pub(super) fn named(name: &[u8]) -> Option<Encoding> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match () {
            () if name.is_empty() || is("identity") => Some(Encoding::Identity),
            () if is("gzip") || is("x-gzip") => Some(Encoding::Gzip),
            () if is("deflate") => Some(Encoding::Deflate),
            () if is("zstd") => Some(Encoding::Zstd),
            () => None,
        }
    }
}

/// Takes in pieces of a body and collects what they hold.
pub(super) struct Inflate(Decoder);

enum Decoder {
    /// One piece needs no copy, and most requests come in one piece.
    Whole {
        first: Bytes,
        rest: Capped,
        expected: usize,
    },
    Gzip(Box<MultiGzDecoder<Capped>>),
    Deflate(Box<ZlibDecoder<Capped>>),
    Zstd {
        raw: Box<RawZstd<'static>>,
        out: Capped,
        complete: bool,
    },
}

impl Inflate {
    /// At most `limit` bytes will come out; `expected` is how many the sender says that go in.
    pub(super) fn new(encoding: Encoding, limit: usize, expected: usize) -> Result<Inflate, Refusal> {
        let out = Capped { bytes: Vec::new(), wire: 0, limit, over: None };
        Ok(Inflate(match encoding {
            Encoding::Identity => Decoder::Whole { first: Bytes::new(), rest: out, expected },
            Encoding::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(out))),
            Encoding::Deflate => Decoder::Deflate(Box::new(ZlibDecoder::new(out))),
            Encoding::Zstd => {
                let mut raw = RawZstd::new().map_err(broken)?;
                raw.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).map_err(broken)?;
                Decoder::Zstd { raw: Box::new(raw), out, complete: true }
            }
        }))
    }

    /// The next piece.
    pub(super) fn push(&mut self, piece: Bytes) -> Result<(), Refusal> {
        let wire = piece.len();
        let out = self.out();
        out.wire += wire;
        let pushed = match &mut self.0 {
            Decoder::Whole { first, rest, .. } if first.is_empty() && wire <= rest.limit => {
                *first = piece;
                Ok(())
            }
            Decoder::Whole { first, rest, expected } => {
                let joined = if rest.bytes.is_empty() {
                    rest.bytes.reserve_exact((*expected).min(rest.limit).min(MOST_RESERVED));
                    rest.write_all(first)
                } else {
                    Ok(())
                };
                joined.and_then(|()| rest.write_all(&piece))
            }
            Decoder::Gzip(decoder) => decoder.write_all(&piece),
            Decoder::Deflate(decoder) => decoder.write_all(&piece),
            Decoder::Zstd { raw, out, complete } => zstd(raw, out, complete, &piece),
        };
        pushed.map_err(|error| self.over().unwrap_or_else(|| broken(error)))
    }

    /// How many bytes it holds.
    pub(super) fn len(&self) -> usize {
        match &self.0 {
            Decoder::Whole { first, rest, .. } => first.len().max(rest.bytes.len()),
            Decoder::Gzip(decoder) => decoder.get_ref().bytes.len(),
            Decoder::Deflate(decoder) => decoder.get_ref().bytes.len(),
            Decoder::Zstd { out, .. } => out.bytes.len(),
        }
    }

    /// Everything, once the last piece is in.
    pub(super) fn finish(mut self) -> Result<Bytes, Refusal> {
        if self.out().wire == 0 {
            return Ok(Bytes::new());
        }
        let ended = match &mut self.0 {
            Decoder::Whole { .. } => Ok(()),
            Decoder::Gzip(decoder) => decoder.try_finish(),
            Decoder::Deflate(decoder) => decoder.try_finish(),
            Decoder::Zstd { complete: true, .. } => Ok(()),
            Decoder::Zstd { .. } => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        ended.map_err(|error| self.over().unwrap_or_else(|| broken(error)))?;
        Ok(match &mut self.0 {
            Decoder::Whole { first, rest, .. } if rest.bytes.is_empty() => std::mem::take(first),
            _ => Bytes::from(std::mem::take(&mut self.out().bytes)),
        })
    }

    fn out(&mut self) -> &mut Capped {
        match &mut self.0 {
            Decoder::Whole { rest, .. } => rest,
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Deflate(decoder) => decoder.get_mut(),
            Decoder::Zstd { out, .. } => out,
        }
    }

    fn over(&mut self) -> Option<Refusal> {
        self.out().over.take().map(Refusal::TooLarge)
    }
}

fn broken(error: io::Error) -> Refusal {
    Refusal::Invalid(format!("the compressed body is broken: {error}"))
}

fn zstd(raw: &mut RawZstd<'_>, out: &mut Capped, complete: &mut bool, piece: &[u8]) -> io::Result<()> {
    let mut input = InBuffer::around(piece);
    let mut buffer = [0u8; 16 * 1024];
    loop {
        let mut output = OutBuffer::around(&mut buffer[..]);
        *complete = raw.run(&mut input, &mut output)? == 0;
        let made = output.pos();
        out.write_all(&buffer[..made])?;
        // A full buffer may mean that there is more to come out of what is already in.
        if input.pos() == piece.len() && (made < buffer.len() || *complete) {
            return Ok(());
        }
    }
}

/// Collects bytes up to a limit and a ratio.
struct Capped {
    bytes: Vec<u8>,
    /// How many compressed bytes went in.
    wire: usize,
    limit: usize,
    /// What was exceeded.
    over: Option<String>,
}

impl Write for Capped {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let len = self.bytes.len() + piece.len();
        if len > self.limit {
            self.over = Some(format!("the request is over {} bytes", self.limit));
        } else if len > RATIO_FREE && len / MAX_RATIO > self.wire {
            self.over = Some(format!("the request grows more than {MAX_RATIO} times when decompressed"));
        }
        if self.over.is_some() {
            return Err(io::Error::other("over the limit"));
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
