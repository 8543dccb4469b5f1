//! What the figures are compared with, measured in the same run: prost, and a proxy that only copies.

use crate::payload::Template;
use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Instant;
use tokio::net::TcpListener;

/// **P**: microseconds per item to decode to prost structs and to encode again. One thread, nothing else.
pub(crate) fn prost_micros(template: &Template, metrics: bool) -> f64 {
    let requests: Vec<Bytes> = (0..16).map(|number| template.request(number)).collect();
    let mut best = f64::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        for _ in 0..8 {
            for request in &requests {
                let length = if metrics {
                    ExportMetricsServiceRequest::decode(request.clone()).map(|m| m.encode_to_vec().len())
                } else {
                    ExportTraceServiceRequest::decode(request.clone()).map(|m| m.encode_to_vec().len())
                };
                std::hint::black_box(length.ok());
            }
        }
        best = best.min(began.elapsed().as_secs_f64());
    }
    best * 1e6 / (8.0 * 16.0 * crate::payload::ITEMS as f64)
}

/// **X**: a proxy of the same HTTP stack that copies request bodies from one connection to the other. Runs until it is
/// killed.
pub(crate) async fn proxy(listen: SocketAddr, to: SocketAddr) -> std::io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build::<_, Full<Bytes>>(connector);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let client = client.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| forward(request, client.clone(), to));
            let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            server.initial_stream_window_size(4 << 20).initial_connection_window_size(16 << 20);
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn forward(
    request: Request<Incoming>,
    client: Client<HttpConnector, Full<Bytes>>,
    to: SocketAddr,
) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, hyper::Error>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = match request.into_body().collect().await {
        Ok(body) => body.aggregate(),
        Err(_) => return Ok(failed()),
    };
    let mut body = body;
    let body = body.copy_to_bytes(body.remaining());
    let request = Request::post(format!("http://{to}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(body));
    let Ok(request) = request else { return Ok(failed()) };
    match client.request(request).await {
        Ok(response) => Ok(response.map(BodyExt::boxed)),
        Err(_) => Ok(failed()),
    }
}

fn failed() -> Response<http_body_util::combinators::BoxBody<Bytes, hyper::Error>> {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from_static("14"));
    let mut response = Response::new(Full::new(Bytes::new()).map_err(|never| match never {}).boxed());
    *response.headers_mut() = headers;
    response
}
