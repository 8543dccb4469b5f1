//! Packets to a socket: a bounded queue with a thread of its own, so that sending never blocks an export.

mod endpoint;
mod stream;

pub use endpoint::Endpoint;

use cadence::{MetricSink, QueuingMetricSink, UdpMetricSink, UnixMetricSink};
use endpoint::Resolve;
use muxbridge_core::{BuildContext, BuildError, Counter, ExportError, names};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::panic::RefUnwindSafe;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use stream::StreamSender;

/// How long one write to a unix socket may take before the packet is dropped.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a batch waits for room while packets leave: a queue that is emptied all the time has some within milliseconds, and to
/// try the batch again later would take a second at least.
const ROOM: Duration = Duration::from_secs(1);
/// How often it looks: far less than a full queue takes to leave.
const LOOK: Duration = Duration::from_millis(1);

/// Sends packets to one endpoint.
pub struct Transport {
    queue: QueuingMetricSink,
    capacity: u64,
    /// Held while the packets of one batch enter the queue, so that all of them do or none.
    submit: Mutex<()>,
    done: [Counter; 2],
    bytes: [Counter; 2],
    started: u64,
    kind: &'static str,
}

impl Transport {
    /// Opens the socket. A server that is not there is no error; a host name without an address is.
    ///
    /// # Errors
    /// What the operator must change.
    pub fn connect(
        endpoint: &Endpoint,
        capacity: usize,
        resolve_interval: Duration,
        cx: &BuildContext,
    ) -> Result<Self, BuildError> {
        let failed = |error: &dyn std::fmt::Display| BuildError::new(format!("endpoint {endpoint}: {error}"));
        let outcome = |name, outcome| cx.counter(name, &[("signal", "metrics"), ("outcome", outcome)]);
        let counters = [outcome(names::REQUESTS, "sent"), outcome(names::REQUESTS, "failed")];
        let bytes = [outcome(names::BYTES, "sent"), outcome(names::BYTES, "failed")];
        let counted = Counters { packets: counters.clone(), bytes: bytes.clone() };
        let queue = match endpoint {
            Endpoint::Udp(host) => {
                let udp = udp(host, resolve_interval).map_err(|e| failed(&e))?;
                queue(Counted { inner: udp, counters: counted }, capacity)
            }
            Endpoint::UnixDatagram(path) => {
                let socket = UnixDatagram::unbound().map_err(|e| failed(&e))?;
                socket.set_write_timeout(Some(WRITE_TIMEOUT)).map_err(|e| failed(&e))?;
                queue(Counted { inner: UnixMetricSink::from(path, socket), counters: counted }, capacity)
            }
            Endpoint::UnixStream(path) => {
                let stream = StreamSender::new(path.clone(), WRITE_TIMEOUT);
                queue(Counted { inner: stream, counters: counted }, capacity)
            }
        };
        let started = counters.iter().map(Counter::get).sum();
        let kind = match endpoint {
            Endpoint::Udp(_) => "udp",
            Endpoint::UnixDatagram(_) => "uds",
            Endpoint::UnixStream(_) => "uds-stream",
        };
        let capacity = capacity as u64;
        Ok(Transport { queue, capacity, submit: Mutex::new(()), done: counters, bytes, started, kind })
    }

    /// What Datadog's clients call this kind of socket.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// The packets and bytes so far: sent and failed.
    pub(crate) fn totals(&self) -> [u64; 4] {
        let [packets_sent, packets_failed] = &self.done;
        let [bytes_sent, bytes_failed] = &self.bytes;
        [packets_sent.get(), packets_failed.get(), bytes_sent.get(), bytes_failed.get()]
    }

    /// Puts all packets into the queue, or none of them.
    ///
    /// # Errors
    /// Retryable if there is no room now, too large if there can never be.
    pub fn send(&self, packets: &[String]) -> Result<(), ExportError> {
        if self.queue_all(packets)? { Ok(()) } else { Err(full()) }
    }

    /// The same, but waits a second for room.
    ///
    /// # Errors
    /// As [`Transport::send`].
    pub async fn send_with_room(&self, packets: &[String]) -> Result<(), ExportError> {
        let queued = async {
            while !self.queue_all(packets)? {
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        tokio::time::timeout(ROOM, queued).await.unwrap_or_else(|_| Err(full()))
    }

    /// Whether there was room for all of them.
    fn queue_all(&self, packets: &[String]) -> Result<bool, ExportError> {
        let wanted = packets.len() as u64;
        if wanted > self.capacity {
            return Err(ExportError::too_large(format!(
                "{wanted} packets are more than queue_size ({})",
                self.capacity
            )));
        }
        let _whole = self.submit.lock().unwrap_or_else(PoisonError::into_inner);
        // The thread only ever makes room, so that what fits now fits until the lock is released.
        if self.queue.queued() + wanted > self.capacity {
            return Ok(false);
        }
        for packet in packets {
            self.queue.emit(packet).map_err(ExportError::retryable)?;
        }
        Ok(true)
    }

    /// Waits until every packet has been sent or failed, at most `limit`.
    pub async fn drain(&self, limit: Duration) {
        let all_done = async {
            while self.pending() > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(limit, all_done).await.is_err() {
            tracing::warn!(packets = self.pending(), "packets were not sent before shutdown");
        }
    }

    fn pending(&self) -> u64 {
        let done: u64 = self.done.iter().map(Counter::get).sum();
        self.queue.submitted().saturating_sub(done - self.started)
    }
}

fn full() -> ExportError {
    ExportError::retryable("the queue of packets is full")
}

fn queue<S>(sender: S, capacity: usize) -> QueuingMetricSink
where
    S: MetricSink + Send + Sync + RefUnwindSafe + 'static,
{
    QueuingMetricSink::builder()
        .with_capacity(capacity)
        .with_error_handler(|error| tracing::debug!(%error, "packet was not sent"))
        .build(sender)
}

fn udp(host: &str, resolve_interval: Duration) -> io::Result<UdpMetricSink> {
    let resolve = Resolve(host.to_owned());
    let first = resolve.to_socket_addrs()?.next();
    let any: SocketAddr = match first {
        Some(SocketAddr::V6(_)) => ([0u16; 8], 0).into(),
        _ => ([0u8; 4], 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    let mut builder = UdpMetricSink::builder();
    let is_name = host.parse::<SocketAddr>().is_err();
    if is_name && !resolve_interval.is_zero() {
        builder = builder.with_resolver_period(resolve_interval).with_resolver_error_handler(
            |error| tracing::warn!(%error, "host name cannot be resolved again; using the last address"),
        );
    }
    builder.build(resolve, socket).map_err(io::Error::other)
}

struct Counters {
    packets: [Counter; 2],
    bytes: [Counter; 2],
}

/// Counts what became of every packet.
struct Counted<S> {
    inner: S,
    counters: Counters,
}

impl<S: MetricSink> MetricSink for Counted<S> {
    fn emit(&self, packet: &str) -> io::Result<usize> {
        let result = self.inner.emit(packet);
        let outcome = usize::from(result.is_err());
        // Bytes first: who waits for the packet may then read both.
        self.counters.bytes[outcome].add(packet.len() as u64);
        self.counters.packets[outcome].add(1);
        result
    }
}
