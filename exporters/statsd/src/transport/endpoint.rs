//! Where a StatsD server listens, as users write it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// Where packets go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `host:port` over UDP.
    Udp(String),
    /// A unix datagram socket.
    UnixDatagram(PathBuf),
    /// A unix stream socket: each packet after its length.
    UnixStream(PathBuf),
}

impl Endpoint {
    /// Reads `udp://host:port`, `host:port`, `unixgram:///path`, `unix:///path` (the same) or `unixstream:///path`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("udp", text));
        let path = || {
            if rest.starts_with('/') && rest.len() > 1 {
                Ok(PathBuf::from(rest))
            } else {
                Err(format!("{text:?} needs an absolute path, for example {scheme}:///run/statsd.sock"))
            }
        };
        match scheme {
            "udp" => {
                let port = rest.rsplit_once(':').and_then(|(host, port)| {
                    // An IPv6 address needs brackets, or its last group would be the port.
                    let bare = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
                    (!host.is_empty() && !bare).then_some(port)?.parse::<u16>().ok()
                });
                match port {
                    Some(port) if port > 0 => Ok(Endpoint::Udp(rest.to_owned())),
                    _ => Err(format!("{text:?} is not host:port, for example udp://127.0.0.1:8125")),
                }
            }
            "unixgram" | "unix" => path().map(Endpoint::UnixDatagram),
            "unixstream" => path().map(Endpoint::UnixStream),
            other => Err(format!("{other:?} is not one of udp, unixgram, unix, unixstream")),
        }
    }

    /// The largest packet that surely arrives: what an Ethernet frame leaves for UDP, and the usual buffer of a server
    /// behind a unix socket.
    pub fn default_packet_size(&self) -> usize {
        match self {
            Endpoint::Udp(_) => 1432,
            Endpoint::UnixDatagram(_) | Endpoint::UnixStream(_) => 8192,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Udp(host) => write!(f, "udp://{host}"),
            Endpoint::UnixDatagram(path) => write!(f, "unixgram://{}", path.display()),
            Endpoint::UnixStream(path) => write!(f, "unixstream://{}", path.display()),
        }
    }
}

/// `host:port` that resolves to IPv4 first: `localhost` is often `::1` too, where most servers do not listen, and UDP
/// would not say so.
#[derive(Clone, Debug)]
pub(super) struct Resolve(pub(super) String);

impl ToSocketAddrs for Resolve {
    type Iter = std::vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let mut found: Vec<SocketAddr> = self.0.to_socket_addrs()?.collect();
        found.sort_by_key(SocketAddr::is_ipv6);
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(found.into_iter())
    }
}
