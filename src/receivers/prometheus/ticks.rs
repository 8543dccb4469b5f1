//! When to scrape: at once, then on a grid that differs from target to target.

use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// The times of one target.
#[derive(Debug)]
pub(super) struct Ticks {
    first: bool,
    grid: Interval,
}

impl Ticks {
    /// Starts now. `name` moves the grid, so that targets with the same interval are not all scraped at the same time,
    /// and each at the same time of its interval after every start.
    pub(super) fn new(name: &str, interval: Duration) -> Ticks {
        let mut grid = interval_at(Instant::now() + offset(name, interval), interval);
        // A time that was missed is not made up for: two scrapes at once would show the same values.
        grid.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Ticks { first: true, grid }
    }

    /// Waits for the next time.
    pub(super) async fn next(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.grid.tick().await;
        }
    }
}

/// From the first scrape to the second: half an interval to one and a half.
fn offset(name: &str, interval: Duration) -> Duration {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let part = (hash >> 40) as f64 / f64::from(1 << 24);
    interval.mul_f64(0.5 + part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_scrape_is_at_once_and_the_others_keep_their_distance() {
        let every = Duration::from_secs(15);
        for name in ["a", "http://127.0.0.1:8000/metrics/prometheus", ""] {
            let began = Instant::now();
            let mut ticks = Ticks::new(name, every);
            let mut at = Vec::new();
            for _ in 0..4 {
                ticks.next().await;
                at.push(began.elapsed());
            }
            assert_eq!(at[0], Duration::ZERO);
            assert!(at[1] >= every / 2 && at[1] <= every * 3 / 2, "{at:?}");
            assert_eq!(at[2] - at[1], every);
            assert_eq!(at[3] - at[2], every);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_scrape_that_took_too_long_is_not_made_up_for() {
        let every = Duration::from_secs(10);
        let mut ticks = Ticks::new("x", every);
        ticks.next().await;
        ticks.next().await;
        let second = Instant::now();
        tokio::time::advance(every * 3 + every / 2).await;
        ticks.next().await;
        ticks.next().await;
        assert_eq!(second.elapsed(), every * 4, "one for those that were missed, the next on the grid");
    }

    #[test]
    fn targets_are_spread_and_each_keeps_its_place() {
        let every = Duration::from_secs(15);
        let places: std::collections::BTreeSet<Duration> =
            (0..50).map(|n| offset(&format!("http://host-{n}:8000/metrics"), every)).collect();
        assert_eq!(places.len(), 50);
        assert_eq!(offset("a", every), offset("a", every));
    }
}
