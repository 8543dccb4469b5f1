//! B3: power cuts. The data directory is on an ext4 of its own in a file; the bridge is stopped in the middle of work and
//! the file is copied as it is. What the bridge wrote and did not sync is not in the copy, as after a power cut.

use super::kills::{BOTH, Destinations};
use super::{Context, Outcome, Ran};
use crate::bridge::{Bridge, PATIENCE, Setup, have};
use crate::load::{Load, Shape};
use crate::oracle::{Oracle, Verdict};
use crate::place::Holder;
use rustix::process::Signal;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const BYTES: u64 = 96 << 20;

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {error}")) }
}

fn mount(image: &Path, disk: &Path) -> Result<Holder, String> {
    Holder::new(&format!("mount -t ext4 -o loop,commit=600 '{}' '{}'", image.display(), disk.display()))
}

/// An empty file system, or what is missing for one.
fn format(image: &Path) -> Result<(), String> {
    if let Some(program) = ["mkfs.ext4", "cp"].into_iter().find(|p| !have(p)) {
        return Err(format!("{program} is not installed"));
    }
    let file = File::create(image).map_err(|e| e.to_string())?;
    file.set_len(BYTES).map_err(|e| e.to_string())?;
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", "lazy_itable_init=0"]).arg(image))
}

/// Copies the disk of a bridge that was told to stop, once nothing is written any more: syncs that were under way end
/// first, and a copy during which the disk changed is of no moment, so it is made again.
async fn snapshot(bridge: &Bridge, image: &Path, next: &Path) -> Result<(), String> {
    let changed = || std::fs::metadata(image).and_then(|m| m.modified()).map_err(|e| e.to_string());
    bridge.stopped().await?;
    for _ in 0..20 {
        let before = changed()?;
        run(Command::new("cp").arg("--sparse=always").arg(image).arg(next))?;
        if changed()? == before {
            return Ok(());
        }
    }
    Err("the disk changes although its only user is stopped".to_owned())
}

/// Cuts the power this often, under load, and delivers the rest in the end.
async fn cuts(
    context: &Context,
    setup: &mut Setup,
    runs: u64,
    random: &mut fastrand::Rng,
) -> Result<Verdict, String> {
    let oracle = Oracle::new(200);
    let image = context.scratch.join("disk.img");
    let next = context.scratch.join("next.img");
    let disk = context.scratch.join("disk");
    format(&image)?;
    let destinations = Destinations::start(&oracle, setup).await;
    let shape = Shape { http: 12, grpc: 4, spans: 2, pause: Duration::ZERO, rude: false };
    let load = Load::start(&oracle, shape, setup.http, setup.grpc);
    for _ in 0..runs {
        destinations.at_random(random);
        let holder = mount(&image, &disk)?;
        setup.prefix = holder.prefix();
        let mut bridge = setup.start();
        if random.u8(0..5) > 0 {
            bridge.ready().await?;
        }
        tokio::time::sleep(Duration::from_millis(random.u64(1..300))).await;
        bridge.alive()?;
        bridge.signal(Signal::STOP);
        snapshot(&bridge, &image, &next).await?;
        bridge.kill()?;
        drop(holder);
        std::fs::rename(&next, &image).map_err(|e| e.to_string())?;
    }
    destinations.up();
    let holder = mount(&image, &disk)?;
    setup.prefix = holder.prefix();
    let mut bridge = setup.start_ready().await?;
    load.finish(PATIENCE).await?;
    bridge.drained(&BOTH, PATIENCE).await?;
    bridge.adds_up().await?;
    bridge.kill()?;
    oracle.verdict(&BOTH)
}

pub(super) async fn cut(context: Context) -> Ran {
    let runs = context.runs(8, 50);
    let mut random = context.random();
    let disk = context.scratch.join("disk");
    std::fs::create_dir_all(&disk).map_err(|e| e.to_string())?;
    let image = context.scratch.join("disk.img");
    if let Err(why) = format(&image).and_then(|()| mount(&image, &disk).map(drop)) {
        return Ok(Outcome::Skipped(why));
    }
    let mut found = Vec::new();
    for (durability, runs) in [("fsync", runs), ("os", 3)] {
        let mut setup = context.setup();
        setup.data = disk.join("data");
        setup.service = vec!["storage: {max_size_mib: 32}".to_owned(), format!("durability: {durability}")];
        let verdict = cuts(&context, &mut setup, runs, &mut random).await;
        found.push(verdict.map_err(|why| format!("durability {durability}: {why}"))?);
    }
    let (synced, handed) = (found[0], found[1]);
    if synced.lost > 0 || synced.acked == 0 {
        return Err(format!("acknowledged spans are lost: {synced}"));
    }
    // Without a sync something must be lost, else this check could not see a sync that is missing.
    if handed.lost == 0 {
        return Err(format!("with durability os nothing is lost, so these are no power cuts: {handed}"));
    }
    Ok(Outcome::Passed(format!(
        "runs={runs} {synced}; without syncs, as a control, runs=3 lost={}",
        handed.lost
    )))
}
