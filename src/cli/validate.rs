//! `muxbridge validate`: the same checks as at start, and nothing else.

use super::{Failure, print, say};
use crate::registry::Registry;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The configuration file (YAML).
    file: PathBuf,
}

pub(crate) fn run(arguments: &Arguments, registry: &Registry) -> Result<(), Failure> {
    let config = super::load(&arguments.file, registry)?;
    config.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    let mut text = String::new();
    for p in &config.pipelines {
        let stages = [&p.receivers, &p.processors, &p.exporters].map(|ids| ids.join(", "));
        let stages: Vec<String> = stages.into_iter().filter(|s| !s.is_empty()).collect();
        text.push_str(&format!("{}: {}\n", p.id, stages.join(" -> ")));
    }
    print(&text)?;
    print(&format!("{}: ok\n", arguments.file.display()))
}
