//! The receiver `prometheus`: scrapes pages of metrics.

mod collector;
mod config;
mod credential;
mod endpoint;
mod failure;
mod fetch;
mod plan;
mod target;
#[cfg(test)]
mod tests;
mod ticks;

use crate::prometheus::PageLimits;
pub use collector::{Global, PrometheusConfig, PrometheusTls, Scheme, ScrapeConfig, StaticConfig};
pub use config::{Authorization, BasicAuth, Config, Target as TargetOption, TargetConfig};
use muxbridge_core::config::Problems;
use muxbridge_core::{
    BoxError, BuildContext, BuildError, Consumer, Receiver, ReceiverFactory, ReceiverKind, Signal, Stop,
};
use std::sync::Arc;
use target::Target;
use tokio::task::JoinSet;

/// What the registry lists.
pub const FACTORY: ReceiverFactory = ReceiverFactory::of::<Prometheus>();

/// The kind `prometheus`.
pub struct Prometheus;

impl ReceiverKind for Prometheus {
    const NAME: &'static str = "prometheus";
    const SUMMARY: &'static str = "scrapes pages of metrics, with workers behind one address told apart";
    const SIGNALS: &'static [Signal] = &[Signal::Metrics];
    const EVERY_WORKER: bool = false;
    type Config = Config;
    type Receiver = PrometheusReceiver;

    fn check(config: &Config, problems: &mut Problems) {
        plan::plans(config, problems);
    }

    fn build(config: Config, cx: &BuildContext) -> Result<PrometheusReceiver, BuildError> {
        let limits =
            PageLimits { body: config.max_body_bytes, samples: config.max_samples, ..PageLimits::default() };
        let plans = plan::plans(&config, &mut Problems::new());
        let targets =
            plans.into_iter().map(|plan| Target::new(plan, limits, cx)).collect::<Result<_, _>>()?;
        Ok(PrometheusReceiver { targets })
    }
}

/// Ready to scrape.
pub struct PrometheusReceiver {
    targets: Vec<Target>,
}

impl Receiver for PrometheusReceiver {
    async fn run(self, next: Arc<dyn Consumer>, stop: Stop) -> Result<(), BoxError> {
        let mut tasks = JoinSet::new();
        for target in self.targets {
            tasks.spawn(target.run(next.clone(), stop.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        Ok(())
    }
}
