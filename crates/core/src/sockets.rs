//! Listening sockets that pass from a component to the one that takes its place, so that nobody is refused meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The listening sockets of one process. A clone is the same list.
///
/// Whoever listens asks here for its socket and keeps the pointer for as long as it listens. If the component that has
/// the socket leaves in the same change of the configuration, the new one gets the same socket, with the connections that
/// wait in it.
#[derive(Clone, Debug, Default)]
pub struct Sockets(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    open: BTreeMap<String, Open>,
    /// Components that keep what they have.
    staying: BTreeSet<String>,
    /// What was asked for since [`Sockets::begin`], and by whom.
    claims: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Open {
    socket: Weak<TcpListener>,
    owner: String,
}

impl Sockets {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change of the configuration begins: the components with these ids keep their sockets, those of all others may be
    /// taken over.
    pub fn begin(&self, staying: BTreeSet<String>) {
        let mut inner = self.lock();
        inner.staying = staying;
        inner.claims.clear();
        inner.open.retain(|_, open| open.socket.strong_count() > 0);
    }

    /// The change is made: what was asked for since [`Sockets::begin`] belongs to who asked.
    pub fn commit(&self) {
        let mut inner = self.lock();
        for (place, owner) in std::mem::take(&mut inner.claims) {
            if let Some(open) = inner.open.get_mut(&place) {
                open.owner = owner;
            }
        }
    }

    /// The socket for a place (an address, with the worker if each has one of its own), or a new one from `bind`.
    ///
    /// # Errors
    /// Those of `bind`; `AddrInUse` if a component that stays has it.
    pub fn listen(
        &self,
        place: &str,
        owner: &str,
        bind: impl FnOnce() -> io::Result<TcpListener>,
    ) -> io::Result<Arc<TcpListener>> {
        let mut inner = self.lock();
        let found = inner.open.get(place).and_then(|open| Some((open.socket.upgrade()?, open.owner.clone())));
        if inner.claims.contains_key(place)
            || found.as_ref().is_some_and(|(_, has)| inner.staying.contains(has))
        {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let socket = match found {
            Some((socket, _)) => socket,
            None => {
                let socket = Arc::new(bind()?);
                let open = Open { socket: Arc::downgrade(&socket), owner: owner.to_owned() };
                inner.open.insert(place.to_owned(), open);
                socket
            }
        };
        inner.claims.insert(place.to_owned(), owner.to_owned());
        Ok(socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind() -> io::Result<TcpListener> {
        TcpListener::bind("127.0.0.1:0")
    }

    fn begin(sockets: &Sockets, staying: &[&str]) {
        sockets.begin(staying.iter().map(|id| (*id).to_owned()).collect());
    }

    #[test]
    fn a_socket_passes_to_the_component_that_takes_the_place_and_only_then() {
        let sockets = Sockets::new();
        let first = sockets.listen("a", "otlp", bind).unwrap();
        let taken = sockets.listen("a", "otlp/two", bind).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse, "two of one configuration");
        sockets.commit();

        begin(&sockets, &["otlp"]);
        assert!(sockets.listen("a", "otlp/two", bind).is_err(), "its owner stays");

        // A change that is given up leaves the owner what it has.
        begin(&sockets, &[]);
        let second = sockets.listen("a", "otlp/two", bind).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        begin(&sockets, &["otlp"]);
        assert!(sockets.listen("a", "otlp/two", bind).is_err());

        begin(&sockets, &[]);
        sockets.listen("a", "otlp/two", bind).unwrap();
        sockets.commit();
        begin(&sockets, &["otlp/two"]);
        assert!(sockets.listen("a", "otlp", bind).is_err(), "it has a new owner");

        let address = first.local_addr().unwrap();
        drop((first, second));
        begin(&sockets, &[]);
        let third = sockets.listen("a", "otlp", bind).unwrap();
        assert_ne!(third.local_addr().unwrap(), address, "nobody listened any more");
    }
}
