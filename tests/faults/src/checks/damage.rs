//! B4: bits that flip, files that are cut, zeroed, swapped, doubled, deleted or followed by garbage.

use super::{Context, Outcome, Ran};
use crate::bridge::{PATIENCE, QUICK_RETRY, copy, port};
use crate::load::{Client, Protocol, send_all};
use crate::oracle::Oracle;
use muxbridge_testkit::{Reply, Server};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Spans of one request, which is one record.
const SPANS: u64 = 4;
const REQUESTS: u64 = 400;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Flip,
    Zero,
    Cut,
    Garbage,
    Delete,
    Swap,
    Double,
}

const ALL: [Damage; 7] =
    [Damage::Flip, Damage::Zero, Damage::Cut, Damage::Garbage, Damage::Delete, Damage::Swap, Damage::Double];

/// All files below a directory, with the length of what is not zero at the end.
fn files(directory: &Path, found: &mut Vec<(PathBuf, u64)>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files(&entry.path(), found)?;
        } else {
            let bytes = std::fs::read(entry.path())?;
            let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
            if used > 0 {
                found.push((entry.path(), used as u64));
            }
        }
    }
    found.sort();
    Ok(())
}

/// Damages one file, and says what was done and how many records it may cost at most.
fn damage(how: Damage, data: &Path, random: &mut fastrand::Rng) -> std::io::Result<(String, u64)> {
    let mut all = Vec::new();
    files(data, &mut all)?;
    let total: u64 = all.iter().map(|(_, used)| used).sum();
    let mut at = random.u64(0..total);
    let mut chosen = &all[0];
    for file in &all {
        chosen = file;
        if at < file.1 {
            break;
        }
        at -= file.1;
    }
    // Every second time any file, so that small ones have their turn.
    if random.bool() {
        chosen = &all[random.usize(0..all.len())];
        at = random.u64(0..chosen.1);
    }
    let (path, used) = chosen;
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let other = &all[random.usize(0..all.len())].0;
    let most = match how {
        Damage::Flip => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at)?;
            file.write_all_at(&[byte[0] ^ (1 << random.u8(0..8))], at)?;
            1
        }
        Damage::Zero => {
            let at = at & !4095;
            file.write_all_at(&vec![0; 4096.min(used - at) as usize], at)?;
            // A record is a bit larger than a page.
            3
        }
        Damage::Cut => {
            file.set_len(at)?;
            REQUESTS
        }
        Damage::Garbage => {
            let garbage: Vec<u8> = (0..random.usize(1..10_000)).map(|_| random.u8(..)).collect();
            file.write_all_at(&garbage, file.metadata()?.len())?;
            0
        }
        Damage::Delete => {
            std::fs::remove_file(path)?;
            REQUESTS
        }
        Damage::Swap => {
            let aside = path.with_extension("aside");
            std::fs::rename(path, &aside)?;
            std::fs::rename(other, path).or_else(|e| if other == path { Ok(()) } else { Err(e) })?;
            std::fs::rename(&aside, other)?;
            REQUESTS
        }
        Damage::Double => {
            std::fs::copy(path, other)?;
            REQUESTS
        }
    };
    let name = |path: &Path| path.strip_prefix(data).unwrap_or(path).display().to_string();
    Ok((format!("{how:?} {} at {at} of {used} ({})", name(path), name(other)), most))
}

pub(super) async fn run(context: Context) -> Ran {
    let runs = context.runs(21, 140);
    let mut random = context.random();
    let oracle = Oracle::new(1_000);
    let mut setup = context.setup();
    // A quarter for each log, in four segments.
    setup.service.push("storage: {max_size_mib: 32}".to_owned());
    setup.to("otlphttp", format!("endpoint: 'http://127.0.0.1:{}', {QUICK_RETRY}", port()));
    let bridge = setup.start_ready().await?;
    let mut client = Client::new(Protocol::Http, setup.http);
    send_all(&oracle, &mut client, REQUESTS, SPANS).await?;
    bridge.kill()?;
    let whole = context.scratch.join("whole");
    std::fs::rename(&setup.data, &whole).map_err(|e| e.to_string())?;

    let (seen, trial) = (oracle.clone(), Arc::new(AtomicU64::new(0)));
    let current = trial.clone();
    let server = Server::start_without_log(move |r| {
        seen.received(&current.load(Relaxed).to_string(), &r.body);
        Reply::status(200)
    })
    .await;
    setup.exporters.clear();
    setup.to("otlphttp", format!("endpoint: '{}', {QUICK_RETRY}", server.url()));
    let mut lost = [0u64; ALL.len()];
    for run in 0..runs {
        trial.store(run, Relaxed);
        copy(&whole, &setup.data).map_err(|e| e.to_string())?;
        let kind = run as usize % ALL.len();
        let (what, most) =
            damage(ALL[kind], &setup.data, &mut random).map_err(|e| format!("{:?}: {e}", ALL[kind]))?;
        let failed = |why: String| format!("run {run}: {what}: {why}");
        let mut bridge = setup.start_ready().await.map_err(failed)?;
        bridge.drained(&["otlphttp"], PATIENCE).await.map_err(failed)?;
        bridge.adds_up().await.map_err(failed)?;
        // Those of later runs are not in the directory.
        let missing = oracle.missing(&run.to_string());
        let missing = missing.iter().filter(|n| **n <= REQUESTS * SPANS).count() as u64;
        let counted = bridge.metric("muxbridge_dropped_total", &["reason=\"corrupt\""]).await;
        if missing > most * SPANS {
            return Err(failed(format!("{missing} spans are lost, {} would be the most", most * SPANS)));
        }
        if missing > counted && matches!(ALL[kind], Damage::Flip | Damage::Zero) {
            return Err(failed(format!("{missing} spans are lost and {counted} are counted as lost")));
        }
        lost[kind] += missing;
        // It works again, and what comes now is delivered.
        send_all(&oracle, &mut client, 1, SPANS).await.map_err(failed)?;
        bridge.drained(&["otlphttp"], PATIENCE).await.map_err(failed)?;
        oracle.verdict(&[]).map_err(failed)?;
        bridge.kill().map_err(failed)?;
        std::fs::remove_dir_all(&setup.data).map_err(|e| e.to_string())?;
    }
    let by_kind: Vec<String> =
        ALL.iter().zip(lost).map(|(kind, lost)| format!("{kind:?}={lost}").to_lowercase()).collect();
    Ok(Outcome::Passed(format!("runs={runs} started={runs} spans_lost: {}", by_kind.join(" "))))
}
