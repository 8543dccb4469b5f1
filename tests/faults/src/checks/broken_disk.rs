//! B5: a disk that fails now and then: `strace` makes writes and syncs fail without a disk that is broken.

use super::kills::{BOTH, Destinations};
use super::{Context, Outcome, Ran};
use crate::bridge::{PATIENCE, have};
use crate::load::{Load, Shape};
use crate::oracle::Oracle;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Whether one process may trace another here.
fn traces() -> bool {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO:when=1000", "true"]);
    strace.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

pub(super) async fn errors(context: Context) -> Ran {
    if !have("strace") || !traces() {
        return Ok(Outcome::Skipped("strace is not installed or may not trace".to_owned()));
    }
    let oracle = Oracle::new(1_000);
    let mut setup = context.setup();
    setup.service.push("storage: {max_size_mib: 64}".to_owned());
    let destinations = Destinations::start(&oracle, &mut setup).await;
    let mut numbers = Vec::new();
    // The call, what it says, and which of them.
    let faults: &[(&str, &str, &str)] = &[
        ("fdatasync,fsync", "EIO", "when=20+40"),
        ("pwrite64,pwritev", "EIO", "when=20+40"),
        ("fdatasync,fsync", "ENOSPC", "when=10+30"),
        ("pwrite64,pwritev", "EINTR", "when=10+20"),
    ];
    for (calls, error, when) in &faults[..context.of(2, faults.len())] {
        destinations.up();
        let inject = format!("inject={calls}:error={error}:{when}");
        let trace = format!("trace={calls}");
        // Below the process, so that the number of the child is that of the bridge.
        let calls_made = context.scratch.join("strace").display().to_string();
        let words = ["strace", "-D", "-f", "-qq", "-o", &calls_made, "-e", &trace, "-e", &inject];
        setup.prefix = words.map(str::to_owned).to_vec();
        let mut bridge = setup.start_ready().await.map_err(|why| format!("{inject}: {why}"))?;
        let shape = Shape { http: 4, grpc: 2, spans: 10, pause: Duration::from_millis(2), rude: false };
        let load = Load::start(&oracle, shape, setup.http, setup.grpc);
        let enough = || load.seen.accepted.load(Relaxed) > context.of(300, 2_000);
        bridge
            .until("enough is accepted in spite of the disk", PATIENCE, enough)
            .await
            .map_err(|why| format!("{inject}: {why}"))?;
        // Killed and started on a disk that works, it knows everything that it accepted.
        bridge.kill()?;
        setup.prefix = Vec::new();
        let mut bridge = setup.start_ready().await.map_err(|why| format!("after {inject}: {why}"))?;
        let seen = load.finish(PATIENCE).await?;
        bridge.drained(&BOTH, PATIENCE).await?;
        bridge.adds_up().await?;
        bridge.kill()?;
        let failed = std::fs::read_to_string(&calls_made).map_err(|e| format!("{calls_made}: {e}"))?;
        let failed = failed.matches("(INJECTED)").count();
        if failed == 0 {
            return Err(format!("{inject}: no call failed, so nothing was shown"));
        }
        oracle.nothing_lost(&BOTH).map_err(|why| format!("{inject}: {why}"))?;
        let (accepted, refused) = (seen.accepted.load(Relaxed), seen.refused.load(Relaxed));
        numbers.push(format!(
            "{error} of {calls}: accepted={accepted} refused={refused} calls_failed={failed};"
        ));
    }
    Ok(Outcome::Passed(format!("{} {}", numbers.join(" "), oracle.nothing_lost(&BOTH)?)))
}
