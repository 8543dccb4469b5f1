//! A unix stream socket: each packet after its length, as four bytes, the lowest first.

use cadence::ext::SocketStats;
use cadence::{MetricSink, SinkStats};
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Sends packets over a stream and connects again when the server has closed it.
pub(super) struct StreamSender {
    path: PathBuf,
    timeout: Duration,
    stream: Mutex<Option<UnixStream>>,
    stats: SocketStats,
}

impl StreamSender {
    pub(super) fn new(path: PathBuf, timeout: Duration) -> Self {
        StreamSender { path, timeout, stream: Mutex::new(None), stats: SocketStats::default() }
    }

    fn send(&self, packet: &str) -> io::Result<usize> {
        let length = u32::try_from(packet.len()).map_err(io::Error::other)?;
        let mut frame = Vec::with_capacity(4 + packet.len());
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(packet.as_bytes());
        let mut open = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = open.as_mut() {
            match stream.write_all(&frame) {
                Ok(()) => return Ok(frame.len()),
                // Part of the frame may be there: only closing makes the server forget it.
                Err(error) => {
                    *open = None;
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
                        return Err(error);
                    }
                }
            }
        }
        // The server was restarted, or this is the first packet.
        let mut stream = UnixStream::connect(&self.path)?;
        stream.set_write_timeout(Some(self.timeout))?;
        stream.write_all(&frame)?;
        *open = Some(stream);
        Ok(frame.len())
    }
}

impl MetricSink for StreamSender {
    fn emit(&self, packet: &str) -> io::Result<usize> {
        self.stats.update(self.send(packet), packet.len())
    }

    fn stats(&self) -> SinkStats {
        (&self.stats).into()
    }
}
