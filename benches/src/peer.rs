//! Other programs that take OTLP over gRPC and send it on, under the same load as the bridge's scenario `pass`.

use crate::endpoints;
use crate::load::{Load, Protocol};
use crate::payload::Sources;
use crate::process::{Process, free_port, until};
use crate::run::{Round, round};
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A peer: its name and its command line. Where `{otlp}` and `{http}` stand, the addresses are put that it is to listen on
/// and to send to.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    command: Vec<String>,
}

impl std::str::FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, command) = text.split_once('=').ok_or("NAME=PROGRAM ARGUMENTS...")?;
        let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        for word in ["{otlp}", "{http}"] {
            if !command.iter().any(|argument| argument.contains(word)) {
                return Err(format!("{word} stands nowhere in the command"));
            }
        }
        Ok(Peer { name: name.to_owned(), command })
    }
}

impl Peer {
    /// One round with `requests` requests.
    pub(crate) async fn round(&self, sources: &Sources, requests: u64) -> io::Result<Round> {
        let (http, counts) = endpoints::http().await?;
        let otlp = free_port()?;
        let fill =
            |word: &String| word.replace("{otlp}", &otlp.to_string()).replace("{http}", &http.to_string());
        let words: Vec<String> = self.command.iter().map(fill).collect();
        let Some((program, arguments)) = words.split_first() else {
            return Err(io::Error::other("a peer without a program"));
        };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let process = Process::start(Path::new(program), &arguments, 1)?;
        process.listening(otlp).await.map_err(|e| io::Error::other(format!("{}: {e}", self.name)))?;
        let load = Load {
            protocol: Protocol::Grpc,
            to: otlp,
            sources: sources.clone(),
            metrics: false,
            in_flight: 16,
            connections: 1,
        };
        let bytes = || counts.bytes.load(Relaxed);
        load.run(0, 100).await?;
        settled(bytes).await?;
        let before = (process.cpu_seconds()?, bytes());
        let outcome = load.run(100, requests).await?;
        settled(bytes).await?;
        let cpu = process.cpu_seconds()? - before.0;
        round(&outcome, requests, cpu, bytes() - before.1, &process)
    }
}

/// A peer does not say what it holds: everything has arrived when nothing has come for a second. The bytes of an item in
/// the table show whether it was everything.
async fn settled(bytes: impl Fn() -> u64) -> io::Result<()> {
    let last = std::cell::Cell::new(0);
    until(|| async {
        last.set(bytes());
        tokio::time::sleep(Duration::from_secs(1)).await;
        last.get() > 0 && bytes() == last.get()
    })
    .await
}
