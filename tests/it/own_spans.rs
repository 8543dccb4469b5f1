//! The bridge's own spans, where they are asked for.

use super::program::{PROGRAM, http, port};
use muxbridge_testkit::{GrpcReply, GrpcServer, Reply, Server, corpus, oracle};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_to_a_destination_gets_a_span_of_our_own_and_they_make_no_more() {
    let destination = Server::start(|_| Reply::status(200)).await;
    let own = GrpcServer::start(|_| GrpcReply::ok()).await;
    let (otlp, admin) = (port(), port());
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("bridge.yaml");
    let yaml = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{otlp}'}}}}}}}}\n\
         exporters: {{otlphttp: {{endpoint: '{}'}}}}\n\
         service:\n  durability: memory\n  admin: {{endpoint: '127.0.0.1:{admin}'}}\n  \
         telemetry: {{traces: {{endpoint: '{}', sampling_ratio: 1}}}}\n  \
         pipelines: {{traces: {{receivers: [otlp], exporters: [otlphttp]}}}}\n",
        destination.url(),
        own.url(),
    );
    std::fs::write(&file, yaml).expect("the configuration");
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--config"]).arg(&file).stderr(Stdio::null());
    let mut bridge = Ended(command.spawn().expect("the program starts"));
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", otlp)).is_err() {
        assert!(began.elapsed() < Duration::from_secs(30), "the receiver does not listen");
        std::thread::yield_now();
    }
    let body = corpus("scenario/traces.otlp.pb");
    let answer = http(otlp, "POST", "/v1/traces", "application/x-protobuf", &body).expect("an answer");
    assert_eq!(answer.0, 200);
    destination.wait_for(1).await;
    let id = bridge.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill runs").success());
    assert_eq!(bridge.0.wait().expect("it ends").code(), Some(0));
    let spans: Vec<_> = own
        .calls()
        .iter()
        .flat_map(|call| oracle::decode_traces(&call.body).resource_spans)
        .flat_map(|r| r.scope_spans)
        .flat_map(|s| s.spans)
        .collect();
    assert_eq!(spans.len(), destination.requests().len(), "one for each request, none for sending spans");
    let attribute = |key: &str| {
        let found = spans[0].attributes.iter().find(|a| a.key == key).and_then(|a| a.value.clone());
        format!("{:?}", found.and_then(|v| v.value))
    };
    assert_eq!(spans[0].name, "export");
    assert!(attribute("exporter").contains("otlphttp"), "{spans:?}");
    assert!(attribute("items").contains("42"), "{spans:?}");
    assert!(attribute("outcome").contains("sent"), "{spans:?}");
}
