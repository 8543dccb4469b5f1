//! Tests of the HTTP client against a scripted server.

use super::*;
use muxbridge_testkit::{Reply, Server};

fn post(uri: Uri) -> Request<Bytes> {
    Request::post(uri).body(Bytes::from_static(b"hello")).unwrap()
}

#[tokio::test]
async fn a_unix_socket_is_reached_by_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("trace agent.sock");
    let server = Server::start_unix(&socket, |_| Reply::json("{}"));
    let uri = unix_uri(socket.to_str().unwrap(), "/v0.4/traces?a=b").unwrap();
    let client = HttpClient::new(&ClientOptions::default()).unwrap();
    let answer = client.send(post(uri)).await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"{}"[..]));
    let request = &server.requests()[0];
    assert_eq!((request.path.as_str(), request.header("host")), ("/v0.4/traces?a=b", "localhost"));
    assert_eq!(&request.body[..], b"hello");
}

#[tokio::test]
async fn a_missing_unix_socket_is_retryable_and_named() {
    let uri = unix_uri("/nowhere/agent.sock", "/x").unwrap();
    let error = HttpClient::new(&ClientOptions::default()).unwrap().send(post(uri)).await.unwrap_err();
    assert!(matches!(error, ExportError::Retryable { after: None, .. }));
    assert!(error.to_string().contains("unix:/nowhere/agent.sock"), "{error}");
}

#[tokio::test]
async fn every_status_is_an_answer() {
    let client = HttpClient::new(&ClientOptions::default()).unwrap();
    for status in [200, 204, 307, 404, 503] {
        let server = Server::start(move |_| Reply::status(status)).await;
        let answer = client.send(post(server.url().parse().unwrap())).await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
    }
}

#[tokio::test]
async fn an_error_shows_neither_the_query_nor_the_user() {
    let uri = "http://canary:canary@127.0.0.1:1/x?key=canary".parse().unwrap();
    let error = HttpClient::new(&ClientOptions::default()).unwrap().send(post(uri)).await.unwrap_err();
    assert!(error.to_string().contains("http://127.0.0.1:1/x"), "{error}");
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
}
