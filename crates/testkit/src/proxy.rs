//! A TCP proxy whose line can be cut, stalled, or led elsewhere while connections are open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What happens to the bytes of a [`Proxy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// They pass, to this address; connections that were led elsewhere before are closed.
    To(SocketAddr),
    /// Nothing passes and nothing is closed, as when a host vanishes: those who wait must find out by themselves.
    Stalled,
    /// Every connection is reset (RST), the open ones, too.
    Reset,
    /// New connections get this far into a request, then a reset.
    ResetAfter(usize),
    /// Connections are closed in order as soon as they are there.
    Closed,
}

/// Listens on a port of 127.0.0.1 that the system chose. It stops when it is dropped.
pub struct Proxy {
    addr: SocketAddr,
    line: watch::Sender<Line>,
    accepted: Arc<AtomicUsize>,
    running: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Proxy {
    /// Starts with this line.
    pub async fn start(first: Line) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let addr = listener.local_addr().expect("an address");
        let (line, watched) = watch::channel(first);
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                connections.spawn(carry(stream, watched.clone()));
            }
        });
        Proxy { addr, line, accepted, running: task.abort_handle() }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes the line, of open connections, too.
    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }

    /// How many connections there were.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

async fn carry(mut stream: TcpStream, mut line: watch::Receiver<Line>) {
    let now = *line.borrow_and_update();
    match now {
        Line::To(addr) => {
            let Ok(mut target) = TcpStream::connect(addr).await else { return };
            // What is on its way when the line stalls stays there; both ends stay open.
            let end = tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut stream, &mut target) => None,
                end = changed(&mut line, now) => end,
            };
            match end {
                Some(Line::Stalled) => vanished().await,
                Some(Line::Reset) => reset(&stream),
                _ => {}
            }
        }
        Line::Stalled => vanished().await,
        Line::Reset => reset(&stream),
        Line::ResetAfter(bytes) => {
            let mut taken = vec![0; bytes];
            let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut taken)).await;
            reset(&stream);
        }
        Line::Closed => {
            let _ = stream.shutdown().await;
        }
    }
}

async fn changed(line: &mut watch::Receiver<Line>, from: Line) -> Option<Line> {
    line.wait_for(|line| *line != from).await.ok().map(|line| *line)
}

/// A host that vanished does not come back for the connections that it had.
async fn vanished() {
    std::future::pending().await
}

/// Closing a socket that does not linger sends RST.
fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
