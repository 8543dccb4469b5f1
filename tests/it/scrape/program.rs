//! The built program scrapes a recorded page and delivers it over OTLP.

use super::kit::{lines, rows};
use muxbridge_testkit::{Reply, Server, corpus};
use std::process::{Child, Command, Stdio};

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_scrapes_a_recorded_page_and_every_value_arrives() {
    let page = String::from_utf8(corpus("run1/prom_a_final_text.txt")).expect("text");
    let body = page.clone();
    let target =
        Server::start(move |_| Reply::status(200).header("content-type", "text/plain").body(body.clone()))
            .await;
    let backend = Server::start(|_| Reply::status(200)).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("bridge.yaml");
    let yaml = format!(
        "receivers:
  prometheus:
    config:
      scrape_configs:
        - job_name: modelmuxer
          metrics_path: /metrics/prometheus
          static_configs: [{{ targets: ['{}'] }}]
          authorization: {{ credentials: canary }}
exporters: {{ otlphttp: {{ endpoint: '{}' }} }}
service:
  admin: {{ endpoint: '127.0.0.1:0' }}
  workers: 2
  pipelines: {{ metrics: {{ receivers: [prometheus], exporters: [otlphttp] }} }}
",
        target.addr(),
        backend.url()
    );
    std::fs::write(&file, yaml).expect("the configuration");
    let mut program = Program(
        Command::new(env!("CARGO_BIN_EXE_muxbridge"))
            .args(["run", "--config"])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts"),
    );
    let requests = backend.wait_for(1).await;
    assert_eq!(requests[0].path, "/v1/metrics");
    assert_eq!(target.requests().len(), 1, "one of two workers scrapes");
    assert_eq!(target.requests()[0].header("authorization"), "Bearer canary");
    let found = rows(&requests[0].body);
    let mut expected = lines(&page);
    expected.retain(|series, _| !series.split('{').next().is_some_and(|name| name.ends_with("_created")));
    assert!(expected.len() > 400, "{}", expected.len());
    for (series, value) in &expected {
        assert_eq!(found.get(series).map(|r| r.value), Some(*value), "{series}");
    }
    assert_eq!(found.len(), expected.len() + 3);
    let _ = program.0.kill();
    let mut log = String::new();
    std::io::Read::read_to_string(&mut program.0.stderr.take().expect("a log"), &mut log).expect("text");
    assert!(log.contains("scrape works") && !log.contains("canary"), "{log}");
}
