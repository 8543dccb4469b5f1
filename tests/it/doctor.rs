//! `muxbridge doctor`: what it finds, and that it says what to mend.

use super::program::{PROGRAM, port};
use muxbridge_testkit::{Reply, Server, corpus};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

/// Ports of their own, and no data directory of this host.
fn doctor(directory: &Path, yaml: &str) -> Output {
    let file = directory.join("bridge.yaml");
    std::fs::write(&file, yaml).expect("the configuration");
    let mut command = Command::new(PROGRAM);
    command.args(["doctor", "--config"]).arg(&file).env_remove("STATE_DIRECTORY");
    command.output().expect("the program runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

async fn modelmuxer() -> Server {
    let page = corpus("scenario/metrics_prometheus.txt");
    Server::start(move |_| {
        Reply::status(200).header("content-type", "text/plain; version=0.0.4").body(page.clone())
    })
    .await
}

fn yaml(admin: u16, otlp: u16, scrape: &str, destination: &str, data: &Path) -> String {
    format!(
        "receivers:\n  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{otlp}'}}}}}}\n  \
         prometheus: {{targets: ['{scrape}']}}\nprocessors: {{modelmuxer: {{}}}}\nexporters:\n  \
         otlphttp: {{endpoint: '{destination}', headers: {{authorization: 'Bearer canary-7361'}}}}\nservice:\n  \
         admin: {{endpoint: '127.0.0.1:{admin}'}}\n  data_dir: '{}'\n  storage: {{max_size_mib: 64}}\n  pipelines:\n    \
         traces: {{receivers: [otlp], processors: [modelmuxer], exporters: [otlphttp]}}\n    \
         metrics: {{receivers: [otlp, prometheus], processors: [modelmuxer], exporters: [otlphttp]}}\n",
        data.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_is_well_every_check_is_ok_and_each_destination_took_one_item_of_each_signal() {
    let (source, destination) = (modelmuxer().await, Server::start(|_| Reply::status(200)).await);
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("made/later");
    let yaml = yaml(port(), port(), &source.url(), &destination.url(), &data);
    let output = doctor(directory.path(), &yaml);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(!directory.path().join("made").exists(), "the bridge makes it, as its own user");
    assert!(!text.contains("FAIL") && !text.contains("warn"), "{text}");
    for what in
        ["service.admin", "service.data_dir", "receivers.otlp", "receivers.prometheus", "it is ModelMuxer's"]
    {
        assert!(text.contains(what), "{what}: {text}");
    }
    let defects = text.lines().find(|l| l.starts_with("ok") && l.contains("known defects"));
    let defects = defects.unwrap_or_else(|| panic!("{text}"));
    for defect in
        ["in milliseconds", "a thousand times too high", "not for each route", "counted twice", "say 0"]
    {
        assert!(defects.contains(defect), "{defect}: {defects}");
    }
    let mut paths: Vec<String> = destination.requests().iter().map(|r| r.path.clone()).collect();
    paths.sort();
    assert_eq!(paths, ["/v1/metrics", "/v1/traces"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_work_is_named_with_what_to_mend_and_no_secret_is_shown() {
    let refusing = Server::start(|_| Reply::status(401)).await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let otlp = taken.local_addr().expect("its address").port();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let nobody = format!("http://127.0.0.1:{}", port());
    let output = doctor(directory.path(), &yaml(port(), otlp, &nobody, &refusing.url(), &file.join("data")));
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let line = |what: &str| {
        let found = text.lines().find(|line| line.starts_with("FAIL") && line.contains(what));
        found.unwrap_or_else(|| panic!("{what}: {text}"))
    };
    assert!(line("receivers.otlp").contains(&otlp.to_string()));
    assert!(line("receivers.prometheus").contains("connect"));
    assert!(line("exporters.otlphttp, traces").contains("check the key"));
    assert!(line("exporters.otlphttp, metrics").contains("401"));
    assert!(line("service.data_dir").contains("file"));
    assert!(!text.contains("canary-7361"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_mends_nothing_of_modelmuxers_page_is_named() {
    let (source, destination) = (modelmuxer().await, Server::start(|_| Reply::status(200)).await);
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let yaml = yaml(port(), port(), &source.url(), &destination.url(), &data);
    let yaml = yaml.replace("prometheus], processors: [modelmuxer]", "prometheus], processors: []");
    let output = doctor(directory.path(), &yaml);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let warning = text.lines().find(|l| l.starts_with("warn") && l.contains("known defects"));
    let warning = warning.unwrap_or_else(|| panic!("{text}"));
    assert!(
        warning.contains("pipelines.metrics") && warning.contains("add the processor modelmuxer"),
        "{warning}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_program_and_a_host_that_does_not_exist_are_told_apart() {
    let other = Server::start(|_| Reply::status(200).body("# TYPE other counter\nother 1\n")).await;
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let yaml = yaml(port(), port(), &other.url(), "http://collector.invalid:4318", &data);
    let output = doctor(directory.path(), &yaml);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.lines().any(|l| l.starts_with("warn") && l.contains("no metric of ModelMuxer")), "{text}");
    assert!(text.lines().any(|l| l.starts_with("FAIL") && l.contains("check the host name")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sending_no_destination_is_asked() {
    let (source, destination) = (modelmuxer().await, Server::start(|_| Reply::status(200)).await);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("bridge.yaml");
    let yaml = yaml(port(), port(), &source.url(), &destination.url(), &directory.path().join("data"));
    std::fs::write(&file, yaml).expect("the configuration");
    let output =
        Command::new(PROGRAM).args(["doctor", "--no-send", "--config"]).arg(&file).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(destination.requests().is_empty());
}
