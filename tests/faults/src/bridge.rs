//! The built program as a child: its configuration, its signals, what its admin port says.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Retries that are quick enough for a test.
pub(crate) const QUICK_RETRY: &str = "retry_on_failure: {initial_interval: 20ms, max_interval: 200ms}, sending_queue: {batch: {flush_timeout: 5ms}}";

/// How long anything that must happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The log of a bridge, in the directory of its setup.
const LOG: &str = "bridge.log";

/// What a bridge is started with, once or many times over the same data directory.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    program: PathBuf,
    /// Where the configuration and the log go.
    pub(crate) dir: PathBuf,
    /// The data directory, as the bridge sees it.
    pub(crate) data: PathBuf,
    pub(crate) http: u16,
    pub(crate) grpc: u16,
    admin: u16,
    /// Ids of exporters with their options.
    pub(crate) exporters: Vec<(String, String)>,
    /// More lines of `service`, one for each element.
    pub(crate) service: Vec<String>,
    /// The signal and processors of the pipeline.
    pub(crate) signal: &'static str,
    pub(crate) processors: Vec<&'static str>,
    /// Words before the program: another one that executes it.
    pub(crate) prefix: Vec<String>,
}

/// A port on which nobody listens. It is none of those that the system hands out: a server that is started later, or a
/// connection that asks whether the bridge listens yet, would be given the very port that the bridge is to have.
pub(crate) fn port() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32_768);
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(|| fastrand::u16(1_024..first.max(1_025)))
        .take(1_000)
        .find(free)
        .expect("a free port")
}

/// Whether a program can be run here.
pub(crate) fn have(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|path| path.join(program).is_file())
}

/// The end of what the bridges of this directory wrote to their log.
pub(crate) fn last_words(dir: &Path) -> String {
    let text = std::fs::read(dir.join(LOG)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(4_000)..]).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n    ")
}

impl Setup {
    /// Traces to the exporters that are added later, everything below `dir`.
    pub(crate) fn new(program: &Path, dir: &Path) -> Self {
        Setup {
            program: program.to_owned(),
            dir: dir.to_owned(),
            data: dir.join("data"),
            http: port(),
            grpc: port(),
            admin: port(),
            exporters: Vec::new(),
            service: Vec::new(),
            signal: "traces",
            processors: Vec::new(),
            prefix: Vec::new(),
        }
    }

    /// Sends to this exporter, too.
    pub(crate) fn to(&mut self, id: &str, options: impl Into<String>) {
        self.exporters.push((id.to_owned(), options.into()));
    }

    /// The same on other ports and with another log, as a second process would be.
    pub(crate) fn beside(&self) -> Self {
        let dir = self.dir.join("beside");
        std::fs::create_dir_all(&dir).expect("a directory");
        Setup { dir, http: port(), grpc: port(), admin: port(), ..self.clone() }
    }

    /// Ids of the exporters.
    pub(crate) fn ids(&self) -> Vec<&str> {
        self.exporters.iter().map(|(id, _)| id.as_str()).collect()
    }

    /// Where the configuration is.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.join("bridge.yaml")
    }

    /// The configuration.
    pub(crate) fn yaml(&self) -> String {
        let mut yaml = format!(
            "receivers:\n  otlp:\n    protocols:\n      http: {{endpoint: '127.0.0.1:{}'}}\n      \
             grpc: {{endpoint: '127.0.0.1:{}'}}\nprocessors: {{modelmuxer: {{}}}}\nexporters:\n",
            self.http, self.grpc
        );
        for (id, options) in &self.exporters {
            yaml.push_str(&format!("  {id}: {{{options}}}\n"));
        }
        yaml.push_str(&format!(
            "service:\n  admin: {{endpoint: '127.0.0.1:{}'}}\n  workers: 2\n  data_dir: '{}'\n",
            self.admin,
            self.data.display()
        ));
        if !self.service.iter().any(|line| line.starts_with("shutdown_timeout")) {
            yaml.push_str("  shutdown_timeout: 2s\n");
        }
        self.service.iter().for_each(|line| yaml.push_str(&format!("  {line}\n")));
        yaml.push_str(&format!(
            "  pipelines: {{{}: {{receivers: [otlp], processors: [{}], exporters: [{}]}}}}\n",
            self.signal,
            self.processors.join(", "),
            self.ids().join(", ")
        ));
        yaml
    }

    /// Starts the program and does not wait for it.
    pub(crate) fn start(&self) -> Bridge {
        std::fs::write(self.file(), self.yaml()).expect("the configuration can be written");
        let log = OpenOptions::new().create(true).append(true).open(self.dir.join(LOG)).expect("a log");
        let mut words: Vec<String> = Vec::new();
        if have("setpriv") {
            // The kernel ends it, should this program be killed.
            words.extend(["setpriv", "--pdeathsig", "KILL"].map(str::to_owned));
        }
        words.extend(self.prefix.iter().cloned());
        words.push(self.program.display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["run", "--config"]).arg(self.file());
        command.env_remove("STATE_DIRECTORY").stdin(Stdio::null());
        let child = command.stdout(log.try_clone().expect("a log")).stderr(log).spawn();
        let child = child.unwrap_or_else(|e| panic!("{}: {e}", words.join(" ")));
        Bridge { child, setup: self.clone(), began: Instant::now() }
    }

    /// Starts the program and waits until it takes telemetry.
    pub(crate) async fn start_ready(&self) -> Result<Bridge, String> {
        let mut bridge = self.start();
        bridge.ready().await?;
        Ok(bridge)
    }
}

/// A running bridge. Dropped, it is killed.
pub(crate) struct Bridge {
    child: Child,
    pub(crate) setup: Setup,
    began: Instant,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // One that is stopped (SIGSTOP) dies of SIGKILL, too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bridge {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How long it took until it takes telemetry.
    pub(crate) async fn ready(&mut self) -> Result<Duration, String> {
        loop {
            if TcpStream::connect(("127.0.0.1", self.setup.http)).await.is_ok() {
                return Ok(self.began.elapsed());
            }
            if let Some(status) = self.exited() {
                return Err(format!("the bridge ended instead of starting: {status}"));
            }
            if self.began.elapsed() > PATIENCE {
                return Err(format!("the bridge does not listen after {PATIENCE:?}"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// An error if it has ended by itself.
    pub(crate) fn alive(&mut self) -> Result<(), String> {
        match self.exited() {
            None => Ok(()),
            Some(status) => Err(format!("the bridge ended by itself: {status}")),
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits until SIGSTOP has reached every thread: calls into the kernel end first.
    pub(crate) async fn stopped(&self) -> Result<(), String> {
        let began = Instant::now();
        let tasks = format!("/proc/{}/task", self.child.id());
        loop {
            let entries = std::fs::read_dir(&tasks).map_err(|e| format!("{tasks}: {e}"))?;
            let state = |entry: std::fs::DirEntry| {
                std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default()
            };
            // The name is in brackets and may hold anything; the state follows.
            if entries.flatten().map(state).all(|s| s.rsplit(") ").next().is_some_and(|s| s.starts_with('T')))
            {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err("it does not stop".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// SIGKILL: nothing in the process gets to run any more. An error if it had ended before.
    pub(crate) fn kill(mut self) -> Result<(), String> {
        self.alive()?;
        let _ = self.child.kill();
        let _ = self.child.wait();
        Ok(())
    }

    /// SIGTERM; the exit code and how long it took.
    pub(crate) async fn terminate(mut self, patience: Duration) -> Result<(Option<i32>, Duration), String> {
        self.signal(Signal::TERM);
        let began = Instant::now();
        let status = self.ended(patience).await?;
        Ok((status.code(), began.elapsed()))
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self, patience: Duration) -> Result<ExitStatus, String> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.exited() {
                return Ok(status);
            }
            if began.elapsed() > patience {
                return Err(format!("it still runs {patience:?} later"));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Status and body of a page of the admin port.
    pub(crate) async fn page(&self, path: &str) -> Option<(u16, String)> {
        let get = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.setup.admin)).await.ok()?;
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.ok()?;
            let status = answer.split(' ').nth(1)?.parse().ok()?;
            Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
        };
        tokio::time::timeout(Duration::from_secs(10), get).await.ok().flatten()
    }

    /// The sum of our own counters of this name whose labels contain all of these.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let page = self.page("/metrics").await.map(|p| p.1).unwrap_or_default();
        value(&page, name, labels)
    }

    /// Waits until this holds.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        patience: Duration,
        mut done: impl FnMut() -> bool,
    ) -> Result<Duration, String> {
        let began = Instant::now();
        while !done() {
            self.alive()?;
            if began.elapsed() > patience {
                return Err(format!("waited {patience:?} in vain until {what}"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(began.elapsed())
    }

    /// Waits until nothing is queued for these exporters.
    pub(crate) async fn drained(
        &mut self,
        exporters: &[&str],
        patience: Duration,
    ) -> Result<Duration, String> {
        let began = Instant::now();
        loop {
            self.alive()?;
            let page = self.page("/metrics").await.map(|p| p.1).unwrap_or_default();
            let queued = |id: &&str| value(&page, "muxbridge_exporter_queued{", &[&component(id)]);
            let queued: Vec<u64> = exporters.iter().map(queued).collect();
            if !page.is_empty() && queued.iter().sum::<u64>() == 0 {
                return Ok(began.elapsed());
            }
            if began.elapsed() > patience {
                return Err(format!("after {patience:?} {queued:?} are still queued for {exporters:?}"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Every item that a destination was to get is sent, dropped, omitted or queued, and nothing else, as soon as no
    /// request is on its way between two of these.
    pub(crate) async fn adds_up(&self) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let page = self.page("/metrics").await.ok_or("no page of metrics")?.1;
            let wrong = self.setup.ids().into_iter().find_map(|id| does_not_add_up(&page, id));
            match wrong {
                None => return Ok(()),
                Some(error) if began.elapsed() > PATIENCE => return Err(error),
                Some(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let file = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        line.and_then(|l| l.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()).unwrap_or_default()
            * 1024
    }
}

/// What is wrong with the counters of a destination.
fn does_not_add_up(page: &str, id: &str) -> Option<String> {
    let [enqueued, sent, dropped, omitted, queued] = [
        "muxbridge_exporter_enqueued_total",
        "muxbridge_exporter_sent_total",
        "muxbridge_dropped_total",
        "muxbridge_omitted_total",
        "muxbridge_exporter_queued{",
    ]
    .map(|name| value(page, name, &[&component(id)]));
    (enqueued != sent + dropped + omitted + queued).then(|| {
        format!(
            "{id}: enqueued {enqueued} is not sent {sent} + dropped {dropped} + omitted {omitted} + queued {queued}"
        )
    })
}

/// The label of an exporter.
pub(crate) fn component(id: &str) -> String {
    format!("component=\"{id}\"")
}

/// The sum over a page of the counters of this name whose labels contain all of these.
pub(crate) fn value(page: &str, name: &str, labels: &[&str]) -> u64 {
    page.lines()
        .filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// A copy of a directory with everything below it.
pub(crate) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            let (mut source, mut target) = (File::open(entry.path())?, File::create(target)?);
            std::io::copy(&mut source, &mut target)?;
        }
    }
    Ok(())
}
