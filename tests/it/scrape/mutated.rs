//! Recorded pages with bytes changed, cut out, inserted and repeated.

use fastrand::Rng;
use muxbridge::prometheus::{PageLimits, Scraper, TargetInfo};
use muxbridge_core::{Batch, Limits, Origin, Signal};
use muxbridge_testkit::corpus;
use std::sync::Arc;

/// An OpenMetrics page with everything that ModelMuxer does not have: exemplars, units, times, quoted names.
const OPEN_METRICS: &str = "# TYPE a counter\n# UNIT a seconds\n# HELP a \\\"x\\\" \\\\ \\n\na_total{b=\"c\\\"d\"} 1 1e9 # {trace_id=\"0af7651916cd43dd8448eb211c80319c\"} 0.5 1e9\na_created{b=\"c\\\"d\"} 1e8\n# TYPE h histogram\nh_bucket{le=\"1\"} 1 # {span_id=\"b7ad6b7169203331\"} 0.5\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 3\ns_count 2\n# TYPE g gaugehistogram\ng_bucket{le=\"+Inf\"} 2\ng_gsum 3\ng_gcount 2\n# TYPE e stateset\ne{e=\"on\"} 1\n# TYPE i info\ni_info{v=\"1\"} 1\n{\"with.dot\",\"l.x\"=\"y\"} NaN\ntarget_info{x=\"y\"} 1\n# EOF\n";

fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.usize(1..5) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.usize(..bytes.len());
        let end = (at + rng.usize(1..80)).min(bytes.len());
        match rng.u8(..9) {
            0 => bytes.truncate(at),
            1 => bytes[at] = rng.u8(..),
            2 => bytes[at] ^= 1 << rng.u8(..8),
            3 => bytes.insert(at, rng.u8(..)),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            6 => {
                let piece = bytes[at..end].to_vec();
                let to = rng.usize(..bytes.len());
                bytes.splice(to..to, piece);
            }
            7 => bytes[at] = *rng.choice(b"{}\"\\,=#\n \t_:+-.0eE\xff").unwrap(),
            _ => {
                let word = rng.choice([
                    "NaN",
                    "-Inf",
                    "1e309",
                    "-1",
                    "0x1p3",
                    "# TYPE ",
                    "# EOF\n",
                    "_created",
                    "_bucket{le=\"\"}",
                    "18446744073709551616",
                    "\u{1f980}",
                    "le=\"x\"",
                    "quantile=\"2\"",
                ]);
                bytes.splice(at..at, word.unwrap().bytes());
            }
        }
    }
}

/// `MUXBRIDGE_MUTATIONS` pages are tried; a thousand times the default takes minutes.
#[test]
fn mutated_pages_never_panic_and_are_refused_or_become_valid_otlp() {
    let wanted = std::env::var("MUXBRIDGE_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(3_000);
    let recorded = corpus("scenario/metrics_prometheus.txt");
    // Pieces of a page: a change in the last line of a whole one is seldom seen.
    let pieces: Vec<Vec<u8>> =
        recorded.split_inclusive(|b| *b == b'\n').collect::<Vec<_>>().chunks(25).map(<[_]>::concat).collect();
    let wrapped = serde_json::to_string(&String::from_utf8_lossy(&pieces[1])).expect("JSON").into_bytes();
    let mut rng = Rng::with_seed(7);
    let origin = Arc::new(Origin::default());
    let (mut taken, mut refused) = (0u32, 0u32);
    let mut scraper = Scraper::new(TargetInfo::default(), PageLimits::default());
    for n in 0..wanted {
        // State goes on from page to page, but not for ever.
        if n % 200 == 0 {
            scraper = Scraper::new(TargetInfo::default(), PageLimits::default());
        }
        let mut page = match rng.u8(..8) {
            0 => wrapped.clone(),
            1..=3 => OPEN_METRICS.as_bytes().to_vec(),
            _ => rng.choice(&pieces).unwrap().clone(),
        };
        mutate(&mut rng, &mut page);
        let kind = *rng
            .choice(&[None, Some("text/plain; version=0.0.4"), Some("application/openmetrics-text")])
            .unwrap();
        // Time goes backwards now and then.
        let time = rng.u64(1_795_462_200_000_000_000..1_795_462_300_000_000_000);
        match scraper.page(&page, kind, time) {
            Ok(otlp) => {
                taken += 1;
                let valid = Batch::new(Signal::Metrics, otlp, origin.clone(), Limits::default());
                assert!(valid.is_ok(), "{:?} made of {:?}", valid.err(), String::from_utf8_lossy(&page));
            }
            Err(error) => {
                refused += 1;
                assert!(error.line >= 1 && !error.problem.is_empty());
                assert!(!error.problem.contains('\n'), "{error}");
            }
        }
    }
    assert!(taken > wanted / 20 && refused > wanted / 20, "{taken} taken, {refused} refused");
}
