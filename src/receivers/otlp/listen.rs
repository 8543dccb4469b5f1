//! A listening socket and its connections: binding, accepting, time limits, shutdown.

use super::body::{Answer, BODY_DEADLINE};
use super::caught::caught;
use super::intake::{Intake, Tally};
use super::refusal::Refusal;
use super::shared::{Door, Guest, Peer};
use super::{grpc, http};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use muxbridge_core::{BoxError, Stop};
use socket2::{Domain, SockRef, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

/// How many connections the system keeps for us until we accept them.
const BACKLOG: i32 = 1024;
/// How long a TLS handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// How long the head of an HTTP/1 request may take; also how long such a connection may idle.
const HEADER_DEADLINE: Duration = Duration::from_secs(30);
/// How long a connection may be open before its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(25);
/// How long a connection may be open without a request in it.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// How long a connection that was told to end may take to do so.
const GOODBYE: Duration = Duration::from_secs(5);
/// How long to wait when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// The largest frame that senders may make. Most take the usual 16 KiB otherwise, and each frame costs a system call and a piece to
/// join. A slow sender is judged by its frames, so that they must not become too large.
const MAX_FRAME: u32 = 64 * 1024;
const MAX_HEADERS: u32 = 16 * 1024;
/// Over HTTP/1 the head is read into the buffer that the body goes through; a smaller one would slow down large bodies.
const MAX_HEAD_BUFFER: usize = 128 * 1024;
const MAX_RESETS: usize = 20;
const MAX_ERRORS: usize = 256;
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// What is spoken on a listener, with the largest request in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc { limit: usize, max_streams: u32 },
    Http { limit: usize },
}

impl Protocol {
    pub(super) fn name(self) -> &'static str {
        match self {
            Protocol::Grpc { .. } => "grpc",
            Protocol::Http { .. } => "http",
        }
    }
}

/// A bound socket that is not yet accepting.
pub(super) struct Listener {
    pub(super) protocol: Protocol,
    pub(super) address: SocketAddr,
    /// Kept for as long as it accepts: whoever takes its place is given the same socket.
    pub(super) socket: Arc<StdListener>,
    pub(super) door: Arc<Door>,
    pub(super) max_connections: usize,
    pub(super) max_age: Option<Duration>,
}

/// Binds a port that the workers of this process share. The first worker looks first whether the port is free: among
/// sockets that share, the system would not tell.
///
/// # Errors
/// Those of the system; `AddrInUse` if any other program listens there.
pub(super) fn bind(address: SocketAddr, worker: usize) -> io::Result<StdListener> {
    if worker == 0 && address.port() != 0 {
        drop(open(address, false)?);
    }
    let socket = open(address, true)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn open(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Without it a restart would fail while old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

impl Listener {
    /// Accepts until `stop`, then waits for the requests that have begun.
    pub(super) async fn serve(self, intake: Arc<Intake>, stop: Stop) -> Result<(), BoxError> {
        let Listener { protocol, socket, door, max_connections, max_age, .. } = self;
        let listener = TcpListener::from_std(socket.try_clone()?)?;
        let builder = builder(protocol);
        let (here, mut guests) = door.peers.join();
        let server = Arc::new(Server { protocol, door, intake, builder, max_age, stop: stop.clone() });
        let mut connections = JoinSet::new();
        let mut stopped = pin!(stop.wait());
        loop {
            // At the limit nobody is accepted until someone leaves.
            let room = connections.len() < max_connections;
            tokio::select! {
                () = &mut stopped => break,
                Some(ended) = connections.join_next() => log_panic(ended, server.intake.tally()),
                Some(guest) = guests.recv() => server.welcome(guest, &mut connections),
                accepted = listener.accept(), if room => match accepted {
                    Ok((stream, from)) => match server.door.peers.enter(from.ip(), here) {
                        Some(peer) if peer.worker == here => {
                            connections.spawn(server.clone().connection(stream, peer));
                        }
                        Some(peer) => server.pass(stream, peer, &mut connections),
                        None => server.intake.tally().bad_request("too_many_connections"),
                    },
                    Err(error) => pause_after(&error, server.intake.tally()).await,
                },
            }
        }
        // What was passed here until now ends as those do that were accepted.
        guests.close();
        while let Ok(guest) = guests.try_recv() {
            server.welcome(guest, &mut connections);
        }
        drop((listener, socket));
        // Each connection sees `stop` itself and takes no longer than it may; this is for what hangs.
        let drained = async {
            while let Some(ended) = connections.join_next().await {
                log_panic(ended, server.intake.tally());
            }
        };
        if timeout(2 * GOODBYE, drained).await.is_err() {
            tracing::warn!(connections = connections.len(), "connections cut at shutdown");
        }
        Ok(())
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>, tally: &Tally) {
    if let Err(error) = ended {
        tally.bad_request("panic");
        tracing::error!(%error, "a connection failed; please report this");
    }
}

/// The loop outlives every error of `accept`: those of one connection are over, and descriptors come free again.
async fn pause_after(error: &io::Error, tally: &Tally) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    tally.bad_request("accept");
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        return;
    }
    tracing::warn!(%error, "cannot accept connections for now");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

fn builder(protocol: Protocol) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let max_streams = match protocol {
        Protocol::Grpc { max_streams, .. } => {
            builder = builder.http2_only();
            max_streams
        }
        Protocol::Http { .. } => 128,
    };
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_headers(64)
        .max_buf_size(MAX_HEAD_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(max_streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEADERS)
        // Requests that were cancelled before we saw them, and streams that we had to end: beyond it, the connection ends.
        .max_pending_accept_reset_streams(Some(MAX_RESETS))
        .max_local_error_reset_streams(Some(MAX_ERRORS))
        .keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1);
    builder
}

/// What all connections of a listener share.
struct Server {
    protocol: Protocol,
    door: Arc<Door>,
    intake: Arc<Intake>,
    builder: Builder<TokioExecutor>,
    max_age: Option<Duration>,
    stop: Stop,
}

impl Server {
    /// Passes a connection to the worker that it has its place at.
    fn pass(self: &Arc<Self>, stream: TcpStream, peer: Peer, connections: &mut JoinSet<()>) {
        match stream.into_std() {
            // A worker that has just stopped, or is behind, leaves it to us.
            Ok(stream) => match self.door.peers.pass((stream, peer)) {
                Ok(()) => {}
                Err(guest) => self.welcome(guest, connections),
            },
            Err(error) => self.lost(&error),
        }
    }

    /// Takes a connection that another worker accepted.
    fn welcome(self: &Arc<Self>, (stream, peer): Guest, connections: &mut JoinSet<()>) {
        match TcpStream::from_std(stream) {
            Ok(stream) => {
                connections.spawn(self.clone().connection(stream, peer));
            }
            Err(error) => self.lost(&error),
        }
    }

    /// Counts a connection that could not change hands; its sender connects again.
    fn lost(&self, error: &io::Error) {
        self.intake.tally().bad_request("accept");
        tracing::warn!(%error, "a connection could not be passed to another worker");
    }

    /// `_peer` is held until the connection ends.
    async fn connection(self: Arc<Self>, stream: TcpStream, _peer: Peer) {
        // Without it the last packet of an answer may wait for an acknowledgement.
        let _ = SockRef::from(&stream).set_tcp_nodelay(true);
        let Some(tls) = &self.door.tls else { return self.requests(stream).await };
        match timeout(HANDSHAKE_DEADLINE, TlsAcceptor::from(tls.get()).accept(stream)).await {
            Ok(Ok(stream)) => self.requests(stream).await,
            failed => {
                self.intake.tally().bad_request("tls");
                match failed {
                    Ok(Err(error)) => tracing::debug!(%error, "tls handshake failed"),
                    _ => tracing::debug!("tls handshake took too long"),
                }
            }
        }
    }

    async fn requests<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S) {
        let activity = Arc::new(Activity::new());
        let service = hyper::service::service_fn(|request: hyper::Request<Incoming>| {
            let (intake, protocol, door) = (self.intake.clone(), self.protocol, self.door.clone());
            let busy = Busy::new(activity.clone());
            async move {
                let _busy = busy;
                Ok::<_, std::convert::Infallible>(answer(&intake, protocol, &door, request).await)
            }
        });
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        let grace = tokio::select! {
            ended = connection.as_mut() => return log_end(ended),
            () = activity.idle() => GOODBYE,
            // A request that has just begun may take its time.
            () = grow_old(self.max_age) => BODY_DEADLINE + GOODBYE,
            () = self.stop.wait() => GOODBYE,
        };
        connection.as_mut().graceful_shutdown();
        let stopped = async {
            self.stop.wait().await;
            tokio::time::sleep(GOODBYE).await;
        };
        tokio::select! {
            ended = timeout(grace, connection) => ended.map_or((), log_end),
            () = stopped => {}
        }
    }
}

/// Answers one request. A panic ends the request alone.
async fn answer(
    intake: &Intake,
    protocol: Protocol,
    door: &Door,
    request: hyper::Request<Incoming>,
) -> hyper::Response<Answer> {
    let format = http::Format::of(request.headers()).unwrap_or(http::Format::Protobuf);
    let admitted = door.guard.as_ref().map_or(Ok(()), |guard| guard.admit(request.headers()));
    let answered = caught(async {
        match (protocol, admitted) {
            (Protocol::Grpc { limit, .. }, Ok(())) => grpc::answer(intake, limit, request).await,
            (Protocol::Http { limit }, Ok(())) => http::answer(intake, limit, request).await,
            (Protocol::Grpc { .. }, Err(refusal)) => grpc::turn_away(intake, &refusal, request.headers()),
            (Protocol::Http { .. }, Err(refusal)) => http::turn_away(intake, &refusal, request).await,
        }
    });
    answered.await.unwrap_or_else(|| {
        intake.count(&Refusal::Internal);
        tracing::error!("a request made the receiver panic; it was refused, please report this");
        match protocol {
            Protocol::Grpc { .. } => grpc::refuse(&Refusal::Internal),
            Protocol::Http { .. } => http::refuse(format, &Refusal::Internal),
        }
    })
}

/// Completes when a connection has reached its age, which differs by up to a tenth so that not all leave at once.
async fn grow_old(max_age: Option<Duration>) {
    match max_age {
        Some(age) => tokio::time::sleep(age.mul_f64(0.9 + fastrand::f64() / 5.0)).await,
        None => std::future::pending().await,
    }
}

fn log_end(ended: Result<(), BoxError>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// How many requests are under way on a connection, and since when there is none.
struct Activity {
    requests: AtomicUsize,
    /// Whether there has been one.
    began: AtomicBool,
    changed: Mutex<Instant>,
}

impl Activity {
    fn new() -> Self {
        let (requests, began) = (AtomicUsize::new(0), AtomicBool::new(false));
        Activity { requests, began, changed: Mutex::new(Instant::now()) }
    }

    fn touch(&self) {
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Completes when there has been no request for [`IDLE_LIMIT`], or none at all for [`FIRST_REQUEST`].
    async fn idle(&self) {
        loop {
            let limit = if self.began.load(Ordering::Relaxed) { IDLE_LIMIT } else { FIRST_REQUEST };
            let mut until = *self.changed.lock().unwrap_or_else(PoisonError::into_inner) + limit;
            if self.requests.load(Ordering::Relaxed) > 0 {
                until = Instant::now() + IDLE_LIMIT;
            } else if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// One request under way.
struct Busy(Arc<Activity>);

impl Busy {
    fn new(activity: Arc<Activity>) -> Self {
        activity.requests.fetch_add(1, Ordering::Relaxed);
        activity.began.store(true, Ordering::Relaxed);
        Busy(activity)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
        self.0.touch();
    }
}
