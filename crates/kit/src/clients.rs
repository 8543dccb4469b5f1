//! The HTTP client underneath all exporters: connections of its own for each worker.

use crate::connect::Connector;
use crate::http::{MAX_HEADER_LIST, RequestBody};
use crate::worker;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

const POOL_IDLE: Duration = Duration::from_secs(90);

/// Clients of one destination. A connection lives on the worker that made it: requests of all workers over one would all be
/// written, and encrypted, by that one's core, and end with it (docs/adr/0019-connections-of-each-worker.md).
#[derive(Clone)]
pub(crate) struct Clients(Arc<Shared>);

struct Shared {
    connector: Connector,
    /// Whether to talk HTTP/2 without asking.
    http2: bool,
    /// By the number of the worker; the first for threads that are none.
    clients: RwLock<Vec<Option<Client<Connector, RequestBody>>>>,
}

impl Clients {
    /// Without connections.
    pub(crate) fn new(connector: Connector, http2: bool) -> Self {
        Clients(Arc::new(Shared { connector, http2, clients: RwLock::default() }))
    }

    /// The client of the worker that calls.
    pub(crate) fn get(&self) -> Client<Connector, RequestBody> {
        let number = worker::number();
        let clients = self.0.clients.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(Some(client)) = clients.get(number) {
            return client.clone();
        }
        drop(clients);
        let mut clients = self.0.clients.write().unwrap_or_else(PoisonError::into_inner);
        if clients.len() <= number {
            clients.resize(number + 1, None);
        }
        clients[number].get_or_insert_with(|| self.0.client()).clone()
    }
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}

impl Shared {
    fn client(&self) -> Client<Connector, RequestBody> {
        Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .http2_max_header_list_size(MAX_HEADER_LIST)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .http2_keep_alive_timeout(Duration::from_secs(20))
            .http2_only(self.http2)
            .build(self.connector.clone())
    }
}

#[cfg(test)]
mod tests;
