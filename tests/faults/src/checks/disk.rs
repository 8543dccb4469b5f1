//! B6: a disk with no space left, and then with space again.

use super::kills::{BOTH, Destinations};
use super::{Context, Outcome, Ran};
use crate::bridge::{Bridge, PATIENCE};
use crate::load::{Load, Shape};
use crate::oracle::Oracle;
use crate::place::Holder;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Fills a file system to the last byte.
fn fill(file: &Path) -> std::io::Result<()> {
    let mut file = std::fs::File::create(file)?;
    let mut block = 1 << 20;
    while block > 0 {
        if file.write_all(&vec![1; block]).is_err() {
            block /= 4;
        }
    }
    Ok(())
}

/// Waits until senders are refused, and then some time longer.
async fn refused(bridge: &mut Bridge, load: &Load, what: &str) -> Result<(), String> {
    let before = load.seen.refused.load(Relaxed);
    bridge
        .until(&format!("{what}: senders are refused"), PATIENCE, || load.seen.refused.load(Relaxed) > before)
        .await?;
    tokio::time::sleep(Duration::from_millis(700)).await;
    bridge.alive().map_err(|why| format!("{what}: {why}"))
}

/// How long until something is accepted.
async fn accepted(bridge: &mut Bridge, load: &Load, what: &str) -> Result<Duration, String> {
    let before = load.seen.accepted.load(Relaxed);
    let again = || load.seen.accepted.load(Relaxed) > before + 20;
    bridge.until(&format!("{what}: senders are accepted again"), PATIENCE, again).await
}

pub(super) async fn full(context: Context) -> Ran {
    let oracle = Oracle::new(1_000);
    let mut setup = context.setup();
    let disk = context.scratch.join("disk");
    std::fs::create_dir_all(&disk).map_err(|e| e.to_string())?;
    let holder =
        match Holder::new(&format!("mount -t tmpfs -o size=16m,mode=700 faults '{}'", disk.display())) {
            Ok(holder) => holder,
            Err(why) => return Ok(Outcome::Skipped(why)),
        };
    setup.data = disk.join("data");
    setup.prefix = holder.prefix();
    // More than the disk has.
    setup.service.push("storage: {max_size_mib: 64}".to_owned());
    let destinations = Destinations::start(&oracle, &mut setup).await;
    destinations.down();
    let mut bridge = setup.start_ready().await?;
    let shape = Shape { http: 6, grpc: 2, spans: 20, pause: Duration::ZERO, rude: false };
    let load = Load::start(&oracle, shape, setup.http, setup.grpc);

    refused(&mut bridge, &load, "the backlog fills the disk").await?;
    let backlog = oracle.acked();
    destinations.up();
    let drained = accepted(&mut bridge, &load, "destinations are back").await?;

    let filler = holder.outside(&disk).join("filler");
    fill(&filler).map_err(|e| format!("{}: {e}", filler.display()))?;
    destinations.down();
    refused(&mut bridge, &load, "another program fills the disk").await?;
    // Without space it starts all the same.
    bridge.kill()?;
    let mut bridge = setup.start_ready().await.map_err(|why| format!("a start on a full disk: {why}"))?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    bridge.alive()?;
    destinations.up();
    let began = Instant::now();
    std::fs::remove_file(&filler).map_err(|e| e.to_string())?;
    accepted(&mut bridge, &load, "there is space").await?;
    let space = began.elapsed();
    let seen = load.finish(PATIENCE).await?;
    bridge.drained(&BOTH, PATIENCE).await?;
    bridge.adds_up().await?;
    let verdict = oracle.nothing_lost(&BOTH)?;
    // Senders were told to wait for five seconds before they try again.
    if space > Duration::from_secs(10) {
        return Err(format!("{space:?} after there was space, senders were accepted"));
    }
    Ok(Outcome::Passed(format!(
        "backlog={backlog} {verdict} refused={} resumed={}ms after delivery, {}ms after space",
        seen.refused.load(Relaxed),
        drained.as_millis(),
        space.as_millis()
    )))
}
