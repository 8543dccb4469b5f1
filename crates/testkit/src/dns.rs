//! A scripted DNS server over UDP.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

/// What is known about every name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// This address, for as many seconds.
    At(Ipv4Addr, u32),
    /// There is no such name (NXDOMAIN).
    No,
    /// The server failed (SERVFAIL).
    Failure,
    /// Nothing is answered.
    Silence,
}

/// A server that answers every question the same way. It stops when it is dropped.
pub struct Dns {
    addr: SocketAddr,
    known: Arc<Mutex<Known>>,
    running: AbortHandle,
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Dns {
    /// Listens on this address; resolvers want port 53.
    ///
    /// # Errors
    /// If it cannot be bound.
    pub async fn start(addr: SocketAddr, first: Known) -> io::Result<Dns> {
        let socket = UdpSocket::bind(addr).await?;
        let addr = socket.local_addr()?;
        let known = Arc::new(Mutex::new(first));
        let current = known.clone();
        let task = tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                let known = *current.lock().unwrap();
                if let Some(answer) = question.get(..length).and_then(|q| answer(q, known)) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Ok(Dns { addr, known, running: task.abort_handle() })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on this is known.
    pub fn set(&self, known: Known) {
        *self.known.lock().unwrap() = known;
    }
}

/// The answer to a question with one name; `None` if there is none to give.
fn answer(question: &[u8], known: Known) -> Option<Vec<u8>> {
    let name = question.get(12..)?.iter().position(|b| *b == 0)?;
    let end = 12 + name + 5;
    let kind = u16::from_be_bytes([*question.get(end - 4)?, *question.get(end - 3)?]);
    let (code, address) = match known {
        Known::At(address, ttl) => (0, (kind == 1).then_some((address, ttl))),
        Known::No => (3, None),
        Known::Failure => (2, None),
        Known::Silence => return None,
    };
    let mut out = question.get(..2)?.to_vec();
    out.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    out.extend(question.get(12..end)?);
    if let Some((address, ttl)) = address {
        // The name is the one at offset 12; A, IN.
        out.extend([0xc0, 12, 0, 1, 0, 1]);
        out.extend(ttl.to_be_bytes());
        out.extend([0, 4]);
        out.extend(address.octets());
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_gets_what_is_known() {
        let first = Known::At(Ipv4Addr::new(127, 0, 0, 9), 3);
        let dns = Dns::start(SocketAddr::from(([127, 0, 0, 1], 0)), first).await.unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x04test\x00\x00\x01\x00\x01";
        let mut buffer = [0; 512];
        socket.send_to(question, dns.addr()).await.unwrap();
        let length = socket.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..2], b"\x12\x34");
        assert_eq!(&buffer[length - 10..length], [0, 0, 0, 3, 0, 4, 127, 0, 0, 9]);
        dns.set(Known::No);
        socket.send_to(question, dns.addr()).await.unwrap();
        let length = socket.recv(&mut buffer).await.unwrap();
        assert_eq!((length, buffer[3] & 15), (question.len(), 3));
    }
}
