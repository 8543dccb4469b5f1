//! Gathers the writes of an HTTP/2 connection into few large ones.
//!
//! HTTP/2 writes and flushes each frame on its own, and most servers take frames of 16 KiB: a request of 200 KiB is a dozen system
//! calls and packets, which wake the server as often. Copying the frames into one buffer costs a small part of that.

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What is written at once, about one packet on the loopback.
const FULL: usize = 64 << 10;

/// A connection that is read after each flush, as that of HTTP/2 is: what was flushed is written when it is next read.
pub(crate) struct Gather<S> {
    inner: S,
    /// What waits, after `written` bytes that do not any more.
    waiting: Vec<u8>,
    written: usize,
}

impl<S> Gather<S> {
    pub(crate) fn new(inner: S) -> Self {
        // Nothing is taken before the first write: idle connections cost little.
        Gather { inner, waiting: Vec::new(), written: 0 }
    }

    fn len(&self) -> usize {
        self.waiting.len() - self.written
    }
}

impl<S: Write + Unpin> Gather<S> {
    /// Writes all that waits.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.len() > 0 {
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.waiting[self.written..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
        }
        self.waiting.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: Write + Unpin> Write for Gather<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.waiting.len() >= FULL {
            ready!(self.poll_drain(cx))?;
        }
        let mut taken = 0;
        for buf in bufs {
            // At most one frame more than full, so that few frames are cut in two.
            let n = buf.len().min((2 * FULL).saturating_sub(self.waiting.len()));
            self.waiting.extend_from_slice(&buf[..n]);
            taken += n;
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Writes nothing yet: more may follow at once. The task is woken to read, and that writes.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.len() > 0 {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: Read + Write + Unpin> Read for Gather<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(Err(error)) = self.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: Connection> Connection for Gather<S> {
    fn connected(&self) -> Connected {
        self.inner.connected()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper_util::rt::TokioIo;
    use std::future::poll_fn;
    use tokio::io::AsyncReadExt;

    fn read_nothing(gather: &mut Gather<TokioIo<tokio::io::DuplexStream>>, cx: &mut Context<'_>) {
        let mut space = [0; 8];
        let mut buf = hyper::rt::ReadBuf::new(&mut space);
        assert!(Pin::new(gather).poll_read(cx, buf.unfilled()).is_pending());
    }

    #[tokio::test]
    async fn flushed_writes_arrive_together_and_in_order_when_the_connection_is_read() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut gather = Gather::new(TokioIo::new(ours));
        for round in 0..4u8 {
            poll_fn(|cx| {
                let (head, body) = ([round; 9], [round; 16]);
                let bufs = [IoSlice::new(&head), IoSlice::new(&body)];
                assert!(matches!(Pin::new(&mut gather).poll_write_vectored(cx, &bufs), Poll::Ready(Ok(25))));
                Pin::new(&mut gather).poll_flush(cx)
            })
            .await
            .unwrap();
        }
        assert_eq!(gather.len(), 100, "nothing is written before the connection is read");
        poll_fn(|cx| {
            read_nothing(&mut gather, cx);
            Poll::Ready(())
        })
        .await;
        let mut got = [0; 100];
        assert_eq!(theirs.read(&mut got).await.unwrap(), 100);
        assert!(got.is_sorted());
    }

    #[tokio::test]
    async fn a_full_socket_is_waited_for_and_nothing_is_lost_or_doubled() {
        let (ours, mut theirs) = tokio::io::duplex(1000);
        let mut gather = Gather::new(TokioIo::new(ours));
        let all: Vec<u8> = (0..1_000_000u32).map(|n| (n / 7) as u8).collect();
        let sent = all.clone();
        let sender = tokio::spawn(async move {
            let mut left = &sent[..];
            while !left.is_empty() {
                let frame = left.len().min(16 << 10);
                let n = poll_fn(|cx| Pin::new(&mut gather).poll_write(cx, &left[..frame])).await.unwrap();
                left = &left[n..];
            }
            poll_fn(|cx| Pin::new(&mut gather).poll_shutdown(cx)).await.unwrap();
        });
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.unwrap();
        sender.await.unwrap();
        assert!(got == all, "{} of {} bytes", got.len(), all.len());
    }
}
