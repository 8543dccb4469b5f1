//! Which connection a request takes, told by the server.

use crate::http::{ClientOptions, HttpClient};
use crate::worker;
use bytes::Bytes;
use http::Request;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use tokio::runtime::{Builder, Runtime};

/// Answers each request with the number of its connection.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (number, stream) in (1..).zip(listener.incoming()) {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let heads = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                for _ in heads.filter(|line| line.is_empty()) {
                    let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}");
                }
            });
        }
    });
    address
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn each_worker_keeps_connections_of_its_own_that_do_not_end_with_another_worker() {
    let uri = format!("http://{}/", server());
    let client = HttpClient::new(&ClientOptions::default()).unwrap();
    let ask = |number: usize, runtime: &Runtime| {
        let work = || {
            worker::enter(number);
            let request = Request::get(&uri).body(Bytes::new()).unwrap();
            runtime.block_on(client.send(request)).unwrap().into_body()
        };
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    };
    let (first, second) = (runtime(), runtime());
    assert_eq!(ask(1, &first), "1");
    assert_eq!(ask(2, &second), "2");
    assert_eq!((ask(1, &first), ask(2, &second)), (Bytes::from("1"), Bytes::from("2")), "kept");
    drop(first);
    assert_eq!(ask(2, &second), "2");
    assert_eq!(ask(0, &second), "3", "a thread that is no worker");
}
