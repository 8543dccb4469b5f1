//! Tests of the client against tonic's own server, which uses the codec of this module.

use super::*;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tonic::codec::CompressionEncoding;
use tonic::server::{Grpc, UnaryService};

/// Answers with the message itself.
struct Echo;

impl UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = std::future::Ready<Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(tonic::Response::new(request.into_inner())))
    }
}

#[tokio::test]
async fn tonic_understands_the_client_with_each_compression() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint: Uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request| async {
                let mut server = Grpc::new(BytesCodec)
                    .accept_compressed(CompressionEncoding::Gzip)
                    .accept_compressed(CompressionEncoding::Zstd);
                Ok::<_, std::convert::Infallible>(server.unary(Echo, request).await)
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let client = GrpcClient::new(GrpcOptions {
            endpoint: endpoint.clone(),
            client: ClientOptions::default(),
            compression,
            headers: HeaderMap::new(),
            user_agent: HeaderValue::from_static("test"),
        })
        .unwrap();
        for message in [Bytes::new(), Bytes::from("x".repeat(300_000))] {
            assert_eq!(client.unary("/a.B/C", &message).await.unwrap(), message, "{compression:?}");
        }
    }
}

#[tokio::test]
async fn a_table_of_its_own_decides_about_every_status_that_is_not_ok() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint: Uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A status alone, a status of gRPC, something that is no gRPC.
            let service = service_fn(|request: Request<Incoming>| async move {
                let answer = Response::builder();
                let answer = match request.uri().path() {
                    "/a.B/Status" => answer.header("grpc-status", "13"),
                    _ => answer.status(520),
                };
                answer.body(Full::new(Bytes::new()))
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    let client = GrpcClient::new(GrpcOptions {
        endpoint,
        client: ClientOptions::default(),
        compression: Compression::None,
        headers: HeaderMap::new(),
        user_agent: HeaderValue::from_static("test"),
    })
    .unwrap();
    let reason = |result: Result<Bytes, ExportError>| match result {
        Err(ExportError::Permanent { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(client.unary("/a.B/Status", &Bytes::new()).await), "rejected");
    let own = client.with_errors(|_| ExportError::permanent("own", "table"));
    for path in ["/a.B/Status", "/a.B/Proxy"] {
        assert_eq!(reason(own.unary(path, &Bytes::new()).await), "own", "{path}");
    }
}
