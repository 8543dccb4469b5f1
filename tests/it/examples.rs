//! Every file in examples/ is started by the built program, as the comments in it say.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_muxbridge");

fn examples() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let entries = std::fs::read_dir(directory).expect("examples").map(|e| e.expect("an entry").path());
    let mut files: Vec<PathBuf> = entries.filter(|p| p.extension().is_some_and(|e| e == "yaml")).collect();
    files.sort();
    files
}

/// Ports that nobody uses now; all are held until all are known, so that they differ.
fn ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    held.each_ref().map(|l| l.local_addr().expect("its address").port())
}

/// Ended when the test ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn until(what: &str, running: &mut Running, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        let ended = running.0.try_wait().expect("its state");
        assert_eq!(ended, None, "it ended before {what}");
        assert!(began.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        std::thread::yield_now();
    }
}

#[test]
fn every_example_starts_becomes_ready_listens_and_ends_in_peace() {
    let files = examples();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let [grpc, http, admin] = ports();
        let child = Command::new(PROGRAM)
            .args(["run", "--config"])
            .arg(&file)
            // Nothing of the environment of whoever runs the tests may reach the file.
            .env_clear()
            .env("OTLP_GRPC_LISTEN", format!("127.0.0.1:{grpc}"))
            .env("OTLP_HTTP_LISTEN", format!("127.0.0.1:{http}"))
            .env("METRICS_PORT", admin.to_string())
            .env("PROMETHEUS_LISTEN", "127.0.0.1:0")
            .env("NEW_RELIC_LICENSE_KEY", "0123456789012345678901234567890123456789")
            .env("DD_API_KEY", "01234567890123456789012345678901")
            // A name that never resolves: the key is checked at start.
            .env("DD_SITE", "datadog.invalid")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut running = Running(child);
        for port in [grpc, http] {
            until(&format!("{name}: the receiver listens"), &mut running, || {
                TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
        }
        for path in ["/health", "/ready"] {
            until(&format!("{name}: {path} is 200"), &mut running, || {
                get(admin, path).is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
            });
        }
        let kill = Command::new("kill").args(["-TERM", &running.0.id().to_string()]).status();
        assert!(kill.expect("kill runs").success());
        assert_eq!(running.0.wait().expect("it ends").code(), Some(0), "{name}");
    }
}

fn print(arguments: &[&str]) -> Output {
    let output = Command::new(PROGRAM).args(arguments).output().expect("the program runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn whatever_a_file_can_name_is_listed_and_has_a_schema() {
    let listed = print(&["components", "--json"]).stdout;
    let listed: Vec<serde_json::Value> = serde_json::from_slice(&listed).expect("JSON");
    let schema: serde_json::Value =
        serde_json::from_slice(&print(&["config", "schema"]).stdout).expect("JSON");
    for component in &listed {
        let (kind, name) = (component["kind"].as_str().expect("kind"), component["name"].as_str());
        let pattern = format!("^{}(/[^/]+)?$", name.expect("name"));
        let described = &schema["properties"][kind]["patternProperties"][&pattern];
        assert!(described.is_object(), "{kind} {pattern}: {described}");
    }
    let batch = &schema["properties"]["processors"]["patternProperties"]["^batch(/[^/]+)?$"];
    assert!(batch["anyOf"][0]["properties"]["send_batch_size"].is_object(), "{batch}");
    assert!(
        listed.iter().any(|c| c["kind"] == "processors" && c["name"] == "batch"),
        "the configuration takes the processor batch, so it is listed"
    );
}
