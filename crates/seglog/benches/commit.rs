//! Durable acknowledgements per second beside plain `pwrite` and `fdatasync` of the same data on the same disk in the same
//! run. `cargo bench -p muxbridge-seglog [-- DIRECTORY]`; `SEGLOG_BENCH_MS` is the time of one measurement.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a program that prints a table"
)]

use bytes::Bytes;
use muxbridge_seglog::vfs::disk::Disk;
use muxbridge_seglog::{Append, Log, Options, Start};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Records per second, and the median and 99th percentile of the time to an acknowledgement.
struct Figures {
    rate: f64,
    p50: Duration,
    p99: Duration,
}

fn figures(mut times: Vec<Duration>, took: Duration) -> Figures {
    times.sort_unstable();
    let at = |part: f64| times.get((times.len() as f64 * part) as usize).copied().unwrap_or_default();
    Figures { rate: times.len() as f64 / took.as_secs_f64(), p50: at(0.5), p99: at(0.99) }
}

/// Appends so that `in_flight` records are always waiting, as clients with one request each would. A cursor keeps up, so
/// segments are deleted as the plain files are.
fn ours(dir: &Path, payload: &Bytes, in_flight: usize, time: Duration) -> Figures {
    let options = Options { max_bytes: 1 << 30, max_pending_bytes: 64 << 20, ..Options::default() };
    let (log, _) = Log::open(Arc::new(Disk), dir, options).expect("opens");
    log.cursor("c", Start::Oldest).expect("a cursor");
    let (done, acks) = mpsc::channel();
    let send = |log: &Log| {
        let (done, began) = (done.clone(), Instant::now());
        let append = Append { head: Bytes::new(), payload: payload.clone(), items: 1, tag: 0 };
        log.append(append).expect("room").on_done(move |result| {
            result.expect("commits");
            let _ = done.send(began.elapsed());
        });
    };
    let mut times = Vec::new();
    (0..in_flight).for_each(|_| send(&log));
    let began = Instant::now();
    while began.elapsed() < time {
        times.push(acks.recv().expect("an acknowledgement"));
        send(&log);
        if times.len() % 64 == 0 {
            let _ = log.advance("c", log.end());
        }
    }
    let took = began.elapsed();
    drop(log);
    figures(times, took)
}

/// Writes `together` records with one `pwrite` and one `fdatasync`, over and over.
fn plain(dir: &Path, payload: &Bytes, together: usize, time: Duration) -> Figures {
    let path = dir.join("plain");
    let mut file = File::create(&path).expect("a file");
    let data = payload.repeat(together);
    let (mut at, mut times) = (0u64, Vec::new());
    let began = Instant::now();
    while began.elapsed() < time {
        let one = Instant::now();
        file.write_all_at(&data, at).expect("writes");
        file.sync_data().expect("syncs");
        times.extend(std::iter::repeat_n(one.elapsed(), together));
        at += data.len() as u64;
        // Files of the size of a segment, as ours are.
        if at >= 64 << 20 {
            std::fs::remove_file(&path).expect("removes");
            file = File::create(&path).expect("a file");
            at = 0;
        }
    }
    let took = began.elapsed();
    std::fs::remove_file(&path).expect("removes");
    figures(times, took)
}

/// How long it takes to open a log in which a gibibyte waits, as after a kill.
fn reopen(dir: &Path) -> Duration {
    let payload = Bytes::from(vec![7; 1 << 20]);
    let (log, _) = Log::open(Arc::new(Disk), dir, Options::default()).expect("opens");
    log.cursor("c", Start::Oldest).expect("a cursor");
    for _ in 0..64 {
        let append = || Append { head: Bytes::new(), payload: payload.clone(), items: 1, tag: 0 };
        let tickets: Vec<_> = (0..16).map(|_| log.append(append()).expect("room")).collect();
        tickets.into_iter().for_each(|ticket| {
            ticket.wait().expect("commits");
        });
    }
    drop(log);
    let began = Instant::now();
    let (log, _) = Log::open(Arc::new(Disk), dir, Options::default()).expect("opens");
    let took = began.elapsed();
    assert_eq!(log.cursors().first().map(|c| c.backlog_records), Some(1024));
    took
}

fn main() {
    let dir =
        std::env::args().skip(1).find(|a| !a.starts_with('-')).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(dir).expect("a directory");
    let ms = std::env::var("SEGLOG_BENCH_MS").ok().and_then(|v| v.parse().ok()).unwrap_or(2000);
    let rounds = 4;
    println!(
        "plain: pwrite + fdatasync of as many records as are in flight; p50/p99: time to the acknowledgement"
    );
    println!(
        "record KiB  in flight   acks/s    MB/s   p50 ms  p99 ms | plain/s  MB/s   p50 ms  p99 ms |  ratio"
    );
    for kib in [2usize, 16, 128] {
        let payload = Bytes::from((0..kib << 10).map(|n| (n * 31) as u8).collect::<Vec<_>>());
        for in_flight in [1usize, 8, 64, 256] {
            // In turns, so that another user of the disk meets both.
            let (mut a, mut b) = (Vec::new(), Vec::new());
            for round in 0..rounds {
                let time = Duration::from_millis(ms / rounds);
                let log = dir.path().join(format!("log-{kib}-{in_flight}-{round}"));
                a.push(ours(&log, &payload, in_flight, time));
                std::fs::remove_dir_all(&log).expect("removes");
                b.push(plain(dir.path(), &payload, in_flight, time));
            }
            let mean = |all: &[Figures]| all.iter().map(|f| f.rate).sum::<f64>() / all.len() as f64;
            let ms = |all: &[Figures], pick: fn(&Figures) -> Duration| {
                all.iter().map(|f| pick(f).as_secs_f64()).sum::<f64>() / all.len() as f64 * 1e3
            };
            let megabytes = |rate: f64| rate * payload.len() as f64 / 1e6;
            let (rate, other) = (mean(&a), mean(&b));
            println!(
                "{kib:>10} {in_flight:>10} {rate:>8.0} {:>7.1} {:>8.2} {:>7.2} | {other:>7.0} {:>5.1} {:>8.2} {:>7.2} | {:>5.0} %",
                megabytes(rate),
                ms(&a, |f| f.p50),
                ms(&a, |f| f.p99),
                megabytes(other),
                ms(&b, |f| f.p50),
                ms(&b, |f| f.p99),
                rate / other * 100.0
            );
        }
    }
    println!("opened with 1 GiB queued in {:.1} ms", reopen(&dir.path().join("reopen")).as_secs_f64() * 1e3);
}
