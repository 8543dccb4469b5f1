//! This host: whether a bridge runs already, and where it keeps what it accepted.

use super::Finding;
use crate::cli::variables;
use crate::config::Service;
use crate::pipeline::journal::place::{Choice, writable};
use crate::telemetry::admin::{self, Admin};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(3);
/// Below this much room a day without a destination may not fit.
const LITTLE_ROOM: u64 = 1 << 30;
/// A sync that takes longer than this is felt by every sender.
const SLOW_SYNC: Duration = Duration::from_millis(100);

/// Looks at the admin port. Says whether a bridge runs behind it; ports and the data directory are then its own.
pub(super) fn admin(service: &Service, findings: &mut Vec<Finding>) -> bool {
    const WHAT: &str = "service.admin";
    let address = match admin::address(&service.admin, &variables) {
        Ok(Some(address)) => address,
        Ok(None) => {
            findings.push(Finding::warn(WHAT, "is off: no /health, /ready and /metrics"));
            return false;
        }
        Err(error) => {
            findings.push(Finding::fail(WHAT, error));
            return false;
        }
    };
    let health = get(address, "/health").and_then(|body| serde_json::from_str::<Value>(&body).ok());
    match health {
        Some(health) if health["uptime_seconds"].is_u64() => {
            let (version, uptime) = (&health["version"], &health["uptime_seconds"]);
            let says = format!("a bridge runs behind {address} (version {version}, for {uptime} s)");
            findings.push(Finding::ok(WHAT, says));
            ready(address, findings);
            received(address, findings);
            true
        }
        _ => {
            findings.push(match Admin::bind(address) {
                Ok(_) => Finding::ok(WHAT, format!("{address} is free; no bridge runs now")),
                Err(error) => Finding::fail(WHAT, error),
            });
            false
        }
    }
}

/// What the running bridge says of its destinations and its configuration.
fn ready(address: SocketAddr, findings: &mut Vec<Finding>) {
    let Some(ready) = get(address, "/ready").and_then(|b| serde_json::from_str::<Value>(&b).ok()) else {
        findings.push(Finding::fail("running bridge", "/ready does not answer"));
        return;
    };
    for (id, state) in ready["exporters"].as_object().into_iter().flatten() {
        let what = format!("running bridge, {id}");
        findings.push(match state["error"].as_str() {
            None => Finding::ok(what, "its last request was taken, or there was none yet"),
            Some(error) => Finding::fail(what, error),
        });
    }
    for problem in ready["config"]["problems"].as_array().into_iter().flatten() {
        let says = format!("the last reload failed: {}", problem.as_str().unwrap_or_default());
        findings.push(Finding::fail("running bridge", says));
    }
}

/// Whether anything has come in.
fn received(address: SocketAddr, findings: &mut Vec<Finding>) {
    let page = get(address, "/metrics").unwrap_or_default();
    let sum = |signal: &str| -> f64 {
        let label = format!("signal=\"{signal}\"");
        let lines = page.lines().filter(|l| l.starts_with("muxbridge_receiver_accepted_total{"));
        lines.filter(|l| l.contains(&label)).filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    let (spans, points) = (sum("traces"), sum("metrics"));
    let says = format!("{spans} spans and {points} metric points came in since it runs");
    findings.push(if spans == 0.0 {
        let fix = "; for traces start ModelMuxer with OTEL_EXPORTER_OTLP_ENDPOINT pointing to this bridge, for example \
                   http://127.0.0.1:4317";
        Finding::warn("running bridge", says + fix)
    } else {
        Finding::ok("running bridge", says)
    });
}

/// A page of the admin port; `None` if there is no answer that is HTTP.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.take(16 << 20).read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).ok()?;
    answer.starts_with("HTTP/1.").then(|| answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()))?
}

/// Whether data can be kept, and how fast.
pub(super) fn data_directory(service: &Service, findings: &mut Vec<Finding>) {
    const WHAT: &str = "service.data_dir";
    let choice = match Choice::new(service, &variables, &writable) {
        Ok(choice) => choice,
        Err(error) => return findings.push(Finding::fail(WHAT, error)),
    };
    let durability = choice.durability();
    let Some(place) = choice.place else {
        let says = format!(
            "durability is memory ({}): what is queued is lost with the process. Set service.data_dir to keep it",
            choice.why
        );
        return findings.push(Finding::warn(WHAT, says));
    };
    let directory = place.directory.as_path();
    let shown = directory.display();
    // Made for the test only: one that belongs to whoever runs this may be closed to the user that runs the bridge.
    let missing: Vec<&Path> = directory.ancestors().take_while(|d| !d.exists()).collect();
    if let Err(error) = std::fs::create_dir_all(directory) {
        return findings.push(Finding::fail(WHAT, format!("{shown} cannot be made: {error}")));
    }
    let (sync, free) = (timed_sync(directory), free_bytes(directory));
    missing.into_iter().for_each(|made| drop(std::fs::remove_dir(made)));
    let sync = match sync {
        Ok(time) => time,
        Err(error) => {
            let says = format!(
                "{shown}: cannot write and sync a file: {error}; give it to the user that runs the bridge"
            );
            return findings.push(Finding::fail(WHAT, says));
        }
    };
    let says =
        format!("durability is {durability} in {shown}; a sync takes {:.1} ms", sync.as_secs_f64() * 1e3);
    findings.push(if place.synced && sync > SLOW_SYNC {
        Finding::warn(
            WHAT,
            says + ", which every sender waits for; another disk, or durability: os, would be faster",
        )
    } else {
        Finding::ok(WHAT, says)
    });
    if let Some(free) = free {
        let says = format!("{} MiB are free, the budget is {} MiB", free >> 20, place.max_bytes >> 20);
        let what = "service.storage.max_size_mib";
        findings.push(match free {
            _ if free >= place.max_bytes => Finding::ok(what, says),
            _ if free < LITTLE_ROOM => {
                Finding::fail(what, says + "; make room, or senders will be refused soon")
            }
            _ => Finding::warn(what, says + "; lower the budget or make room, or the disk is full first"),
        });
    }
}

/// How long it takes to write a file and to sync it.
fn timed_sync(directory: &Path) -> std::io::Result<Duration> {
    let path = directory.join(format!(".muxbridge-doctor-{}", std::process::id()));
    let began = Instant::now();
    let result = std::fs::File::create(&path).and_then(|mut file| {
        file.write_all(&[0; 4096])?;
        file.sync_data()
    });
    let took = began.elapsed();
    let _ = std::fs::remove_file(&path);
    result.map(|()| took)
}

fn free_bytes(directory: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(directory).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}
