//! A page of metrics that Prometheus scrapes, in the text format and OpenMetrics.

mod config;
pub mod encode;
pub mod serve;

pub use config::{Config, ResourceLabels};
use encode::{Format, Ingested, Registry};
use hyper::StatusCode;
use muxbridge_core::config::Problems;
use muxbridge_core::{
    Batch, BuildContext, BuildError, Clock, Delivered, ExportError, Exporter, ExporterFactory, ExporterKind,
    Preview, Signal, Stop, names,
};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// What the registry lists.
pub const FACTORY: ExporterFactory = ExporterFactory::of::<Prometheus>();

/// The kind `prometheus`.
pub struct Prometheus;

impl ExporterKind for Prometheus {
    const NAME: &'static str = "prometheus";
    const SUMMARY: &'static str =
        "serves metrics as a page that Prometheus scrapes, in the text format and OpenMetrics";
    const SIGNALS: &'static [Signal] = &[Signal::Metrics];
    type Config = Config;
    type Exporter = PrometheusExporter;

    fn check(config: &Config, problems: &mut Problems) {
        config.check(problems);
    }

    fn preview(config: &Config, batches: &[Batch]) -> Option<Preview> {
        let mut preview = Preview::default();
        let mut registry = Registry::new(config.options());
        for batch in batches {
            // Nothing expires: no time passes between recorded batches.
            let ingested = registry.ingest(batch, 0);
            preview.dropped(ingested.dropped());
            preview.adjusted(ingested.adjusted());
        }
        preview.text = String::from_utf8(registry.render(Format::Text, 0)).ok()?;
        Some(preview)
    }

    fn build(config: Config, cx: &BuildContext) -> Result<PrometheusExporter, BuildError> {
        let address = config.address().map_err(|e| BuildError::new(format!("endpoint: {e}")))?;
        let bind = || serve::bind(address);
        let listener = match address.port() {
            0 => bind().map(Arc::new),
            _ => cx.sockets.listen(&format!("{address} 0"), &cx.id, bind),
        };
        let listener = listener.map_err(|e| {
            BuildError::new(format!(
                "endpoint: cannot listen on {address}: {e}. Another exporter may have the port; set endpoint to another one."
            ))
        })?;
        let address = listener.local_addr().unwrap_or(address);
        tracing::info!(exporter = cx.id, %address, path = config.path, "serving metrics");
        let pages = Pages::new(Registry::new(config.options()), cx.clock.clone());
        let stop = Stop::new();
        let (served, path, open) = (pages.clone(), config.path, config.enable_open_metrics);
        let answer = move |request: &hyper::Request<hyper::body::Incoming>| {
            if request.uri().path() != path {
                return serve::text(StatusCode::NOT_FOUND, format!("the page is at {path}\n"));
            }
            let wanted = Format::negotiate(&serve::accept(request.headers()));
            let format = if open { wanted } else { Format::Text };
            serve::page(request.headers(), served.render(format), format.content_type())
        };
        tokio::spawn(serve::serve(listener, config.max_connections, stop.clone(), answer));
        Ok(PrometheusExporter { pages, cx: cx.clone(), address, stop })
    }
}

/// A registry that is filled and read at the same time. A clone is the same one.
#[derive(Clone, Debug)]
pub struct Pages {
    registry: Arc<Mutex<Registry>>,
    clock: Clock,
}

impl Pages {
    /// Pages from this registry, with this clock.
    pub fn new(registry: Registry, clock: Clock) -> Self {
        Pages { registry: Arc::new(Mutex::new(registry)), clock }
    }

    /// Takes in a batch and says what became of its points.
    pub fn ingest(&self, batch: &Batch) -> Ingested {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).ingest(batch, self.clock.unix_nanos())
    }

    /// The page as it is now.
    pub fn render(&self, format: Format) -> Vec<u8> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).render(format, self.clock.unix_nanos())
    }

    /// Writes the families as they are now onto a page of somebody else.
    pub fn write(&self, page: &mut encode::Page) {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).write(page, self.clock.unix_nanos());
    }
}

/// Keeps the latest value of each series until it is scraped.
pub struct PrometheusExporter {
    pages: Pages,
    cx: BuildContext,
    address: SocketAddr,
    stop: Stop,
}

impl PrometheusExporter {
    /// Where the page is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Exporter for PrometheusExporter {
    async fn export(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        let ingested = self.pages.ingest(batch);
        let mut omitted = 0;
        for (reason, n) in ingested.dropped() {
            omitted += n;
            self.cx.counter(names::DROPPED, &[("signal", "metrics"), ("reason", reason)]).add(n);
        }
        for (reason, n) in ingested.adjusted() {
            self.cx.counter(names::ADJUSTED, &[("reason", reason)]).add(n);
        }
        Ok(Delivered { omitted, ..Delivered::default() })
    }

    async fn shutdown(&self) {
        self.stop.stop();
    }
}
