//! A server that answers as New Relic does, fails as a test tells it, and keeps apart what it took and what it refused.

use super::{answer, violations};
use crate::{Recorded, Reply, Server};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// One failure.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status and no body.
    Status(u16),
    /// This status with `Retry-After` in seconds.
    RetryAfter(u16, u64),
    /// This status with a page of HTML, as a CDN answers.
    Html(u16),
    /// No answer: the connection is closed.
    Hangup,
}

impl Fault {
    fn reply(&self) -> Reply {
        match self {
            Fault::Status(status) => Reply::status(*status),
            Fault::RetryAfter(status, seconds) => {
                Reply::status(*status).header("retry-after", &seconds.to_string())
            }
            Fault::Html(status) => Reply::status(*status)
                .header("content-type", "text/html")
                .body("<html><body><h1>error</h1></body></html>"),
            Fault::Hangup => Reply::status(Reply::HANGUP),
        }
    }
}

type Script = Mutex<VecDeque<(&'static str, Fault)>>;

/// The stand-in. It stops when it is dropped.
pub struct Standin {
    server: Server,
    script: Arc<Script>,
    taken: Arc<Mutex<Vec<Recorded>>>,
}

impl Standin {
    /// Answers the next request to each path (`/v1/traces` and so on) with the next fault for that path, and when there
    /// is none, as New Relic does.
    pub async fn start(script: impl IntoIterator<Item = (&'static str, Fault)>) -> Standin {
        let script: Arc<Script> = Arc::new(Mutex::new(script.into_iter().collect()));
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (faults, log) = (script.clone(), taken.clone());
        let server = Server::start(move |request| {
            let mut faults = faults.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(next) = faults.iter().position(|(path, _)| *path == request.path) {
                let (_, fault) = faults.remove(next).expect("it is there");
                return fault.reply();
            }
            let (status, body) = answer(&request.path, &request.headers, request.wire_len);
            if status.is_success() {
                log.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
            }
            Reply::status(status.as_u16()).body(body)
        })
        .await;
        Standin { server, script, taken }
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Waits until there were this many requests.
    pub async fn wait_for(&self, n: usize) -> Vec<Recorded> {
        self.server.wait_for(n).await
    }

    /// All requests, in order.
    pub fn requests(&self) -> Vec<Recorded> {
        self.server.requests()
    }

    /// The requests that were answered with a success, in order.
    pub fn taken(&self) -> Vec<Recorded> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The faults that have not been used.
    pub fn faults_left(&self) -> usize {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What is wrong with any request, taken or not.
    pub fn violations(&self) -> Vec<String> {
        let of = |r: &Recorded| violations(&r.path, &r.headers, &r.body, r.wire_len);
        self.requests().iter().flat_map(of).collect()
    }
}
