//! What the instances of one receiver on all workers share: the budget of bytes, who may enter, and certificates.

use super::auth::Guard;
use super::body::Budget;
use super::config::Config;
use super::{descriptors, tls};
use muxbridge_core::{BuildContext, BuildError};
use muxbridge_kit::watch::Watched;
use rustls::ServerConfig;
use std::collections::HashMap;
use std::net::{IpAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

/// Made by the first worker that builds the receiver.
#[derive(Clone, Default)]
pub(super) struct Once(Arc<Mutex<Option<Arc<Shared>>>>);

impl std::fmt::Debug for Once {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Once")
    }
}

impl Once {
    /// # Errors
    /// A file of `tls` or `auth` that cannot be used.
    pub(super) fn get(&self, config: &Config, cx: &BuildContext) -> Result<Arc<Shared>, BuildError> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = &*made {
            return Ok(Arc::clone(shared));
        }
        let shared = Arc::new(Shared::new(config, cx)?);
        *made = Some(Arc::clone(&shared));
        Ok(shared)
    }
}

/// What all instances of one receiver share.
pub(super) struct Shared {
    pub(super) budget: Budget,
    pub(super) grpc: Arc<Door>,
    pub(super) http: Arc<Door>,
}

/// Who may enter through the listeners of one protocol.
pub(super) struct Door {
    /// `None`: plain text.
    pub(super) tls: Option<Watched<ServerConfig>>,
    /// `None`: everyone.
    pub(super) guard: Option<Guard>,
    pub(super) peers: Peers,
}

impl Shared {
    fn new(config: &Config, cx: &BuildContext) -> Result<Shared, BuildError> {
        let Config { protocols, .. } = config;
        let total = descriptors::for_connections();
        let door = |name: &str, alpn, tls: Option<&_>, auth: Option<&_>| {
            let setting = format!("protocols.{name}");
            let tls = tls.map(|tls| tls::watched(tls, &format!("{setting}.tls"), alpn, cx)).transpose()?;
            let guard = auth.map(|auth| Guard::new(auth, &format!("{setting}.auth"))).transpose()?;
            Ok(Arc::new(Door { tls, guard, peers: Peers::new(config.max_connections_per_ip, total) }))
        };
        let (grpc, http) = (protocols.grpc.as_ref(), protocols.http.as_ref());
        Ok(Shared {
            budget: Budget::new(config.max_in_flight()),
            grpc: door(
                "grpc",
                &[b"h2"],
                grpc.and_then(|p| p.tls.as_ref()),
                grpc.and_then(|p| p.auth.as_ref()),
            )?,
            http: door(
                "http",
                &[b"h2", b"http/1.1"],
                http.and_then(|p| p.tls.as_ref()),
                http.and_then(|p| p.auth.as_ref()),
            )?,
        })
    }
}

/// Counts the connections of each address and of each worker.
pub(super) struct Peers {
    most: usize,
    /// Of all addresses together.
    total: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    all: usize,
    /// The hash is seeded at random: an attacker does not choose what collides.
    of: HashMap<IpAddr, usize>,
    workers: Vec<Worker>,
}

struct Worker {
    connections: usize,
    inbox: Sender<Guest>,
}

/// Connections that were passed to a worker and that it has not yet taken.
const PASSED: usize = 64;

/// A connection that another worker accepted.
pub(super) type Guest = (TcpStream, Peer);

impl Peers {
    fn new(most: usize, total: usize) -> Peers {
        Peers { most, total, open: Arc::default() }
    }

    /// One worker more that takes connections: its number, and where those come in that others accepted for it.
    pub(super) fn join(&self) -> (usize, Receiver<Guest>) {
        let (inbox, guests) = channel(PASSED);
        let mut open = self.lock();
        open.workers.push(Worker { connections: 0, inbox });
        (open.workers.len() - 1, guests)
    }

    /// A place for one more connection, given back when dropped; `None` if the address, or all of them, have
    /// all that they may have.
    ///
    /// The place is at the worker with the fewest connections, `here` if it is one of them. The system spreads connections
    /// over sockets at random, and a sender keeps its connection for hours: of two senders every second pair would share
    /// one core while the other has nothing to do.
    pub(super) fn enter(&self, address: IpAddr, here: usize) -> Option<Peer> {
        // One IPv6 host has at least a /64 to itself.
        let address = match address.to_canonical() {
            IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
            ip => ip,
        };
        let mut open = self.lock();
        if open.all >= self.total || open.of.get(&address).is_some_and(|count| *count >= self.most) {
            return None;
        }
        open.all += 1;
        *open.of.entry(address).or_insert(0) += 1;
        let workers = open.workers.iter().enumerate();
        let running = workers.filter(|(at, worker)| *at == here || !worker.inbox.is_closed());
        let worker =
            running.min_by_key(|(at, worker)| (worker.connections, *at != here)).map_or(here, |(at, _)| at);
        if let Some(worker) = open.workers.get_mut(worker) {
            worker.connections += 1;
        }
        Some(Peer { address, worker, open: Arc::clone(&self.open) })
    }

    /// Passes a connection to the worker that it has its place at.
    ///
    /// # Errors
    /// The connection, if that worker has stopped or does not get to taking what was passed to it.
    pub(super) fn pass(&self, guest: Guest) -> Result<(), Guest> {
        let inbox = self.lock().workers.get(guest.1.worker).map(|worker| worker.inbox.clone());
        match inbox {
            Some(inbox) => inbox.try_send(guest).map_err(TrySendError::into_inner),
            None => Err(guest),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection.
pub(super) struct Peer {
    address: IpAddr,
    /// The number of the worker.
    pub(super) worker: usize,
    open: Arc<Mutex<Open>>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        if let Some(worker) = open.workers.get_mut(self.worker) {
            worker.connections -= 1;
        }
        if let Some(count) = open.of.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.of.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Peers;

    #[test]
    fn m6_an_address_has_so_many_connections_and_a_v6_network_counts_as_one() {
        let peers = Peers::new(2, 100);
        let [ours, other, six, same_network] =
            ["192.0.2.1", "::ffff:192.0.2.2", "2001:db8::1", "2001:db8::ffff"].map(|a| a.parse().unwrap());
        let first = peers.enter(ours, 0).unwrap();
        let _second = peers.enter(ours, 0).unwrap();
        assert!(peers.enter(ours, 0).is_none());
        assert!(peers.enter(other, 0).is_some());
        drop(first);
        let _third = peers.enter(ours, 0).unwrap();
        let _six = (peers.enter(six, 0).unwrap(), peers.enter(same_network, 0).unwrap());
        assert!(peers.enter(six, 0).is_none());
        assert_eq!(peers.open.lock().unwrap().of.len(), 2, "addresses without connections are forgotten");
    }

    #[test]
    fn all_addresses_together_leave_descriptors_for_the_rest_of_the_program() {
        let peers = Peers::new(2, 3);
        let enter = |last: u8| peers.enter([192, 0, 2, last].into(), 0);
        let open = [enter(1), enter(2), enter(3)];
        assert!(open.iter().all(Option::is_some) && enter(4).is_none());
        drop(open);
        assert!(enter(4).is_some());
    }

    #[test]
    fn the_worker_with_the_fewest_connections_has_the_next_one_and_one_that_stopped_has_none() {
        let peers = Peers::new(100, 100);
        let address = [192, 0, 2, 1].into();
        let (first, _first) = peers.join();
        let (second, guests) = peers.join();
        let mut open: Vec<_> = (0..4).filter_map(|_| peers.enter(address, second)).collect();
        assert_eq!(open.iter().map(|peer| peer.worker).collect::<Vec<_>>(), [second, first, second, first]);
        open.retain(|peer| peer.worker == first);
        assert_eq!(peers.enter(address, first).map(|peer| peer.worker), Some(second));
        drop(guests);
        assert_eq!(peers.enter(address, first).map(|peer| peer.worker), Some(first));
    }
}
