//! Tests of several workers on one port, with sockets.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn two_workers_have_half_of_the_connections_each_whoever_accepted_them() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let config = parse(json!({ "protocols": { "http": { "endpoint": address } } }));
    let (stop, mut tasks) = (Stop::new(), JoinSet::new());
    let workers = [0, 1].map(|worker| {
        let mut cx = BuildContext::new("otlp", Counters::new(), Clock::fixed(0));
        cx.worker = worker;
        let taken = Arc::new(Taken::default());
        tasks.spawn(Otlp::build(config.clone(), &cx).unwrap().run(taken.clone(), stop.clone()));
        taken
    });
    let body = &recorded()[0];
    let head =
        format!("POST /v1/traces HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-protobuf\r\n");
    let request = [format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
    let mut open = Vec::new();
    for _ in 0..12 {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        stream.write_all(&request).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        open.push(stream);
    }
    assert_eq!(workers.map(|taken| taken.batches.lock().unwrap().len()), [6, 6]);
    drop(open);
    stop.stop();
    tasks.join_all().await.into_iter().for_each(|ended| ended.unwrap());
}
