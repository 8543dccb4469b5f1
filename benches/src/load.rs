//! Sends requests, a number of them in flight, and notes how long each acknowledgement took.

use crate::payload::Sources;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use muxbridge_kit::grpc::{GrpcClient, GrpcOptions};
use muxbridge_kit::http::{ClientOptions, Compression, HttpClient};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP/1.1 with protobuf.
    Http,
}

/// What to send.
pub(crate) struct Load {
    pub(crate) protocol: Protocol,
    pub(crate) to: SocketAddr,
    /// One for each source. A request in flight belongs to one of them, so that a source sends its points one after the other.
    pub(crate) sources: Sources,
    pub(crate) metrics: bool,
    pub(crate) in_flight: usize,
    pub(crate) connections: usize,
}

/// What it took.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) elapsed: Duration,
    /// Sorted.
    pub(crate) acknowledgements: Vec<Duration>,
    /// Requests that were refused at first and sent again.
    pub(crate) refused: u64,
}

impl Outcome {
    /// The part of `p` of all acknowledgements took at most this many milliseconds.
    pub(crate) fn quantile_ms(&self, p: f64) -> f64 {
        let at = ((self.acknowledgements.len() as f64 * p) as usize)
            .min(self.acknowledgements.len().saturating_sub(1));
        self.acknowledgements.get(at).map_or(0.0, |d| d.as_secs_f64() * 1e3)
    }
}

#[derive(Clone)]
enum Client {
    Grpc(GrpcClient, &'static str),
    Http(HttpClient, http::Uri),
}

impl Client {
    fn new(load: &Load) -> io::Result<Client> {
        let options = ClientOptions::default();
        let wrong = |e: &dyn std::fmt::Display| io::Error::other(e.to_string());
        let signal = if load.metrics { "metrics" } else { "traces" };
        Ok(match load.protocol {
            Protocol::Grpc => {
                let path = if load.metrics {
                    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
                } else {
                    "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
                };
                let client = GrpcClient::new(GrpcOptions {
                    endpoint: format!("http://{}", load.to).parse().map_err(|e| wrong(&e))?,
                    client: options,
                    compression: Compression::None,
                    headers: HeaderMap::new(),
                    user_agent: HeaderValue::from_static("muxbridge-bench"),
                });
                Client::Grpc(client.map_err(|e| wrong(&e))?, path)
            }
            Protocol::Http => Client::Http(
                HttpClient::new(&options).map_err(|e| wrong(&e))?,
                format!("http://{}/v1/{signal}", load.to).parse().map_err(|e| wrong(&e))?,
            ),
        })
    }

    async fn send(&self, body: Bytes) -> bool {
        match self {
            Client::Grpc(client, path) => client.unary(path, &body).await.is_ok(),
            Client::Http(client, uri) => {
                let request =
                    Request::post(uri.clone()).header("content-type", "application/x-protobuf").body(body);
                match request {
                    Ok(request) => client.send(request).await.is_ok_and(|r| r.status().is_success()),
                    Err(_) => false,
                }
            }
        }
    }
}

impl Load {
    /// Sends the requests `first..first + count`. Every one is acknowledged in the end: a refused one is sent again.
    pub(crate) async fn run(&self, first: u64, count: u64) -> io::Result<Outcome> {
        let clients = (0..self.connections).map(|_| Client::new(self)).collect::<io::Result<Vec<_>>>()?;
        let next = Arc::new(AtomicU64::new(first));
        let began = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for slot in 0..self.in_flight {
            let client = clients[slot % clients.len()].clone();
            let (next, sources) = (next.clone(), self.sources.clone());
            tasks.spawn(async move {
                let mut took = Vec::new();
                let mut refused = 0;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= first + count {
                        return (took, refused);
                    }
                    let body = sources[slot % sources.len()].request(number);
                    let began = Instant::now();
                    while !client.send(body.clone()).await {
                        refused += 1;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    took.push(began.elapsed());
                }
            });
        }
        let mut outcome = Outcome::default();
        while let Some(done) = tasks.join_next().await {
            let (took, refused) = done.map_err(io::Error::other)?;
            outcome.acknowledgements.extend(took);
            outcome.refused += refused;
        }
        outcome.elapsed = began.elapsed();
        outcome.acknowledgements.sort();
        Ok(outcome)
    }
}

/// The body of a page.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let client = HttpClient::new(&ClientOptions::default()).ok()?;
    let request = Request::get(format!("http://{address}{path}")).body(Bytes::new()).ok()?;
    let response = client.send(request).await.ok()?;
    Some(String::from_utf8_lossy(response.body()).into_owned())
}
