//! Where telemetry comes from: ports that must be free, pages that must be there.

use super::{Finding, defects};
use crate::config::Config;
use muxbridge_core::{Batch, BoxFuture, BuildContext, Clock, Consumer, Counters, Refused, Stop, names};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// For the first page of each target, which itself gives up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(12);
const LOOK: Duration = Duration::from_millis(20);

/// Tries one receiver.
pub(super) async fn check(id: &str, config: &Config, running: bool, findings: &mut Vec<Finding>) {
    let Some(receiver) = config.receivers.get(id) else { return };
    let what = format!("receivers.{id}");
    // A scraper is for one worker; what listens is for each.
    let listens = receiver.every_worker();
    if listens && running {
        return findings.push(Finding::ok(what, "its ports belong to the bridge that runs"));
    }
    let counters = Counters::new();
    let built = receiver.build(&BuildContext::new(id, counters.clone(), Clock::system()));
    let run = match built {
        Ok(run) => run,
        Err(error) => return findings.push(Finding::fail(what, error)),
    };
    if listens {
        return findings.push(Finding::ok(what, "its ports are free"));
    }
    let (pages, stop) = (Arc::new(Pages::default()), Stop::new());
    let task = tokio::spawn(run(pages.clone(), stop.clone()));
    let targets = targets(&counters, names::SCRAPE_UP);
    let until = Instant::now() + PATIENCE;
    let answered = |counters: &Counters| {
        counters.sum(names::SCRAPE_UP, &[]) as usize + self::targets(counters, names::SCRAPE_FAILED).len()
    };
    while answered(&counters) < targets.len() && Instant::now() < until {
        sleep(LOOK).await;
    }
    stop.stop();
    let _ = tokio::time::timeout(Duration::from_secs(1), task).await;
    let pages = std::mem::take(&mut *pages.lock());
    let ours = !pages.is_empty();
    for target in targets {
        let what = format!("{what}, {target}");
        let up = counters.sum(names::SCRAPE_UP, &[("target", &target)]) > 0;
        findings.push(match (up, ours) {
            (true, true) => Finding::ok(what, "the page is there, and it is ModelMuxer's"),
            (true, false) => Finding::warn(
                what,
                "the page is there, but has no metric of ModelMuxer; its page is /metrics/prometheus",
            ),
            (false, _) => {
                let samples = counters.samples();
                let failed =
                    samples.iter().find(|s| s.name == names::SCRAPE_FAILED && has(&s.labels, &target));
                let reason = failed.and_then(|s| s.labels.iter().find(|(k, _)| *k == "reason"));
                let reason = reason.map_or("timeout", |(_, reason)| reason.as_str());
                Finding::fail(what, format!("cannot be scraped ({reason}); the log below says more"))
            }
        });
    }
    if ours {
        defects::check(&what, id, &pages, config, findings);
    }
}

fn has(labels: &[(&'static str, String)], target: &str) -> bool {
    labels.iter().any(|(k, v)| *k == "target" && v == target)
}

/// The targets that have a series of this name.
fn targets(counters: &Counters, name: &str) -> Vec<String> {
    let samples = counters.samples();
    let labels = samples.iter().filter(|s| s.name == name).flat_map(|s| &s.labels);
    let mut targets: Vec<String> =
        labels.filter(|(k, _)| *k == "target").map(|(_, target)| target.clone()).collect();
    targets.dedup();
    targets
}

/// Keeps the pages that are ModelMuxer's.
#[derive(Default)]
struct Pages(Mutex<Vec<Batch>>);

impl Pages {
    fn lock(&self) -> MutexGuard<'_, Vec<Batch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Consumer for Pages {
    fn consume(&self, batch: Batch) -> BoxFuture<'_, Result<(), Refused>> {
        let mut scopes = batch.resources().flat_map(|resource| resource.scopes());
        let ours = scopes.any(|s| s.metrics().any(|metric| metric.name.starts_with(b"modelmuxer_")));
        drop(scopes);
        if ours {
            self.lock().push(batch);
        }
        Box::pin(std::future::ready(Ok(())))
    }
}
