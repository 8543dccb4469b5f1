//! A configuration file, or the environment, turned into checked component configurations.
//!
//! Loading never touches the world: `validate` and `run` go through the same code, and every problem is reported at
//! once, each with its path, the value and what to write instead.

pub(crate) mod environment;
mod fingerprint;
mod service;
mod substitute;
#[cfg(test)]
mod tests;

use crate::pipeline::settings::{BatchSettings, RetryOnFailure, SendingQueue};
use crate::registry::Registry;
use muxbridge_core::config::{Problems, parse, suggest, unknown_key};
use muxbridge_core::{ErasedExporter, ErasedProcessor, ErasedReceiver, Signal};
use serde_json::{Map, Value};
pub(crate) use service::{AdminSettings, BatchProcessor, Durability, LogFormat, Service};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// A checked configuration: everything in it can be built.
pub(crate) struct Config {
    pub(crate) receivers: BTreeMap<String, Box<dyn ErasedReceiver>>,
    pub(crate) processors: BTreeMap<String, Box<dyn ErasedProcessor>>,
    pub(crate) exporters: BTreeMap<String, ExporterConfig>,
    pub(crate) pipelines: Vec<PipelineConfig>,
    pub(crate) service: Service,
    /// What was written for each component, by its path, to tell what a reload changes. Only comparable in one process.
    pub(crate) fingerprints: BTreeMap<String, u64>,
    /// Files that it refers to as `${file:...}`.
    pub(crate) files: Vec<PathBuf>,
    /// What is odd but no error, for example a component that no pipeline uses.
    pub(crate) warnings: Vec<String>,
}

/// An exporter with the settings that the pipeline keeps for it.
pub(crate) struct ExporterConfig {
    pub(crate) kind: Box<dyn ErasedExporter>,
    pub(crate) signals: &'static [Signal],
    pub(crate) queue: SendingQueue,
    pub(crate) retry: RetryOnFailure,
}

/// One entry of `service.pipelines`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PipelineConfig {
    pub(crate) id: String,
    pub(crate) signal: Signal,
    pub(crate) receivers: Vec<String>,
    pub(crate) processors: Vec<String>,
    pub(crate) exporters: Vec<String>,
}

/// The processor that the Collector has for batching. Here it sets the batching of the exporters behind it.
pub(crate) const BATCH: &str = "batch";
/// What `muxbridge components` says about it.
pub(crate) const BATCH_SUMMARY: &str = "joins batches: sets sending_queue.batch of the exporters behind it";

/// Reads YAML. Environment variables are substituted afterwards, in scalars only, so that a value cannot change the
/// structure of the file.
pub(crate) fn load(
    yaml: &str,
    variables: &dyn Fn(&str) -> Option<String>,
    registry: &Registry,
) -> Result<Config, Problems> {
    let mut problems = Problems::new();
    // Without the lines around a mistake: a secret may stand on them, and this goes into logs.
    let options = serde_saphyr::options! { with_snippet: false };
    let mut tree: Value = match serde_saphyr::from_str_with_options(yaml, options) {
        Ok(tree) => tree,
        Err(error) => {
            problems.add("", format!("not valid YAML: {error}"));
            return Err(problems);
        }
    };
    let files = substitute::substitute(&mut tree, variables, &mut problems);
    from_tree(tree, registry, problems).map(|config| Config { files, ..config })
}

/// Checks a whole configuration that is already a tree.
pub(crate) fn from_tree(
    tree: Value,
    registry: &Registry,
    mut problems: Problems,
) -> Result<Config, Problems> {
    let Value::Object(mut root) = tree else {
        problems
            .add("", "the file is empty or not a map; it needs receivers, exporters and service.pipelines");
        return Err(problems);
    };
    let fingerprints = fingerprint::of(&root);
    let mut section = |key: &str, problems: &mut Problems| match root.remove(key) {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(map)) => map,
        Some(_) => {
            problems.add(key, "is not a map of component ids");
            Map::new()
        }
    };
    let receivers = section("receivers", &mut problems);
    let processors = section("processors", &mut problems);
    let exporters = section("exporters", &mut problems);
    let mut service = section("service", &mut problems);
    let pipelines = service.remove("pipelines").unwrap_or(Value::Null);
    for (key, _) in root {
        problems.add(&key, unknown_section(&key));
    }

    let mut loader = Loader { registry, warnings: Vec::new(), batch: BTreeMap::new() };
    let known = [keys(&receivers), keys(&processors), keys(&exporters)];
    let service = problems.at("service", |problems| {
        let service = parse::<Service>(&Value::Object(service), problems).unwrap_or_default();
        service.check(problems);
        service.check_own_spans(&receivers, problems);
        service
    });
    let receivers = loader.receivers(receivers, &mut problems);
    let processors = loader.processors(processors, &mut problems);
    let mut exporters = loader.exporters(exporters, &mut problems);
    let mut pipelines =
        problems.at("service", |p| p.at("pipelines", |p| pipeline_list(pipelines, &known, p)));
    loader.map_batch(&mut pipelines, &mut exporters);
    loader.unused(&pipelines, &known);
    loader.signals(&mut problems, &pipelines, &exporters);
    if problems.is_empty() {
        let warnings = loader.warnings;
        let files = Vec::new();
        Ok(Config { receivers, processors, exporters, pipelines, service, fingerprints, files, warnings })
    } else {
        Err(problems)
    }
}

fn keys(map: &Map<String, Value>) -> Vec<String> {
    map.keys().cloned().collect()
}

fn unknown_section(key: &str) -> String {
    match key {
        "extensions" => {
            "there are no extensions: health, readiness and metrics are at service.admin, and bearertokenauth and basicauth \
             are written where they are used, as auth: { bearer: .. } or auth: { basic: .. } of a receiver's protocol"
                .to_owned()
        }
        "connectors" => "there are no connectors".to_owned(),
        _ => unknown_key(key, ["receivers", "processors", "exporters", "service"].into_iter()),
    }
}

struct Loader<'r> {
    registry: &'r Registry,
    warnings: Vec<String>,
    /// The `batch` processors by id.
    batch: BTreeMap<String, BatchSettings>,
}

impl Loader<'_> {
    fn receivers(
        &self,
        map: Map<String, Value>,
        problems: &mut Problems,
    ) -> BTreeMap<String, Box<dyn ErasedReceiver>> {
        let factories = self.registry.receivers();
        each(map, "receivers", problems, |kind, value, problems| {
            let Some(factory) = factories.iter().find(|f| f.name == kind) else {
                problems.add("", unknown_component("receiver", kind, factories.iter().map(|f| f.name)));
                return None;
            };
            (factory.parse)(&value, problems)
        })
    }

    fn processors(
        &mut self,
        map: Map<String, Value>,
        problems: &mut Problems,
    ) -> BTreeMap<String, Box<dyn ErasedProcessor>> {
        let factories = self.registry.processors();
        let mut rest = Map::new();
        for (id, value) in map {
            if id.split('/').next() == Some(BATCH) {
                let settings =
                    problems.at("processors", |p| p.at(&id, |p| parse::<BatchProcessor>(&value, p)));
                self.batch.insert(id, settings.unwrap_or_default().into());
            } else {
                rest.insert(id, value);
            }
        }
        each(rest, "processors", problems, |kind, value, problems| {
            let Some(factory) = factories.iter().find(|f| f.name == kind) else {
                let names = factories.iter().map(|f| f.name).chain([BATCH]);
                problems.add("", unknown_component("processor", kind, names));
                return None;
            };
            (factory.parse)(&value, problems)
        })
    }

    fn exporters(
        &self,
        map: Map<String, Value>,
        problems: &mut Problems,
    ) -> BTreeMap<String, ExporterConfig> {
        let factories = self.registry.exporters();
        each(map, "exporters", problems, |kind, mut value, problems| {
            let Some(factory) = factories.iter().find(|f| f.name == kind) else {
                problems.add("", unknown_component("exporter", kind, factories.iter().map(|f| f.name)));
                return None;
            };
            let mut shared =
                |key| value.as_object_mut().and_then(|map| map.remove(key)).unwrap_or(Value::Null);
            let (queue, retry) = (shared("sending_queue"), shared("retry_on_failure"));
            let queue = problems.at("sending_queue", |problems| {
                let queue = parse::<SendingQueue>(&queue, problems).unwrap_or_default();
                queue.check(problems);
                queue
            });
            let retry = problems.at("retry_on_failure", |problems| {
                let retry = parse::<RetryOnFailure>(&retry, problems).unwrap_or_default();
                retry.check(problems);
                retry
            });
            let kind = (factory.parse)(&value, problems)?;
            Some(ExporterConfig { kind, signals: factory.signals, queue, retry })
        })
    }

    /// A `batch` processor becomes the batching of the exporters behind it, and leaves the pipeline.
    fn map_batch(
        &mut self,
        pipelines: &mut [PipelineConfig],
        exporters: &mut BTreeMap<String, ExporterConfig>,
    ) {
        for pipeline in pipelines {
            let Some(settings) = pipeline.processors.iter().find_map(|id| self.batch.get(id)).cloned() else {
                continue;
            };
            pipeline.processors.retain(|id| !self.batch.contains_key(id));
            for id in &pipeline.exporters {
                if let Some(exporter) = exporters.get_mut(id) {
                    exporter.queue.batch = settings.clone();
                }
            }
        }
    }

    fn unused(&mut self, pipelines: &[PipelineConfig], known: &[Vec<String>; 3]) {
        let used = |pick: fn(&PipelineConfig) -> &Vec<String>| -> BTreeSet<&String> {
            pipelines.iter().flat_map(pick).collect()
        };
        let sections = [
            ("receivers", used(|p| &p.receivers), &known[0]),
            ("processors", used(|p| &p.processors), &known[1]),
            ("exporters", used(|p| &p.exporters), &known[2]),
        ];
        for (section, used, defined) in sections {
            for id in defined.iter().filter(|id| !used.contains(id) && !self.batch.contains_key(*id)) {
                self.warnings.push(format!("{section}.{id}: no pipeline uses it, so it is not started"));
            }
        }
    }

    fn signals(
        &self,
        problems: &mut Problems,
        pipelines: &[PipelineConfig],
        exporters: &BTreeMap<String, ExporterConfig>,
    ) {
        for pipeline in pipelines {
            for (position, id) in pipeline.exporters.iter().enumerate() {
                if let Some(exporter) = exporters.get(id)
                    && !exporter.signals.contains(&pipeline.signal)
                {
                    let can: Vec<&str> = exporter.signals.iter().map(|s| s.as_str()).collect();
                    problems.add(
                        &format!("service.pipelines.{}.exporters[{position}]", pipeline.id),
                        format!("{id:?} cannot send {}; it sends {}", pipeline.signal, can.join(", ")),
                    );
                }
            }
        }
    }
}

fn each<T>(
    map: Map<String, Value>,
    section: &str,
    problems: &mut Problems,
    mut load: impl FnMut(&str, Value, &mut Problems) -> Option<T>,
) -> BTreeMap<String, T> {
    problems.at(section, |problems| {
        let mut loaded = BTreeMap::new();
        for (id, value) in map {
            let kind = id.split('/').next().unwrap_or(&id).to_owned();
            let component = problems.at(&id, |problems| {
                if id.split('/').nth(1).is_some_and(str::is_empty) || id.matches('/').count() > 1 {
                    problems.add("", format!("{id:?} is not an id; write type or type/name"));
                    return None;
                }
                load(&kind, value, problems)
            });
            if let Some(component) = component {
                loaded.insert(id, component);
            }
        }
        loaded
    })
}

fn unknown_component<'n>(what: &str, kind: &str, names: impl Iterator<Item = &'n str>) -> String {
    match (what, kind) {
        ("processor", "memory_limiter") => {
            "there is no memory_limiter: every queue and receiver has its own bound (sending_queue.max_size_mib); \
             delete it here and in the pipelines"
                .to_owned()
        }
        ("receiver", "hostmetrics") => "there is no receiver for the host; run it beside, and send to otlp".to_owned(),
        ("exporter", "logging") => "the exporter \"logging\" is called \"debug\"".to_owned(),
        ("exporter", "otlp_http" | "otlp/http") => "the exporter is called \"otlphttp\"".to_owned(),
        _ => format!("there is no {what} {kind:?}{}", suggest(kind, names)),
    }
}

/// The lists of one pipeline, as written.
#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawPipeline {
    /// Ids of receivers.
    receivers: Vec<String>,
    /// Ids of processors, in the order in which batches pass them.
    processors: Vec<String>,
    /// Ids of exporters; each gets every batch.
    exporters: Vec<String>,
}

fn pipeline_list(value: Value, known: &[Vec<String>; 3], problems: &mut Problems) -> Vec<PipelineConfig> {
    let Value::Object(map) = value else {
        problems.add("", "is missing; write at least one pipeline, for example traces: {receivers: [otlp], exporters: [debug]}");
        return Vec::new();
    };
    if map.is_empty() {
        problems.add("", "is empty; write at least one pipeline");
    }
    let mut pipelines = Vec::new();
    for (id, value) in map {
        let name = id.split('/').next().unwrap_or(&id);
        let Some(signal) = Signal::ALL.into_iter().find(|s| s.as_str() == name) else {
            let names = Signal::ALL.iter().map(|s| s.as_str());
            problems.add(&id, format!("{name:?} is not a signal{}", suggest(name, names)));
            continue;
        };
        problems.at(&id, |problems| {
            let Some(raw) = parse::<RawPipeline>(&value, problems) else { return };
            let lists = [
                ("receivers", &raw.receivers),
                ("processors", &raw.processors),
                ("exporters", &raw.exporters),
            ];
            for ((key, list), defined) in lists.into_iter().zip(known) {
                if list.is_empty() && key != "processors" {
                    problems.add(key, "is empty; a pipeline needs at least one");
                }
                for (position, id) in list.iter().enumerate().filter(|(_, id)| !defined.contains(id)) {
                    let hint = suggest(id, defined.iter().map(String::as_str));
                    problems.add(
                        &format!("{key}[{position}]"),
                        format!("{id:?} is not defined under {key}{hint}"),
                    );
                }
            }
            pipelines.push(PipelineConfig {
                id: id.clone(),
                signal,
                receivers: raw.receivers,
                processors: raw.processors,
                exporters: raw.exporters,
            });
        });
    }
    pipelines
}
