//! The program under measurement: started with a configuration, asked for its counters, its CPU time and its memory.

use crate::load::get;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A child that ends with this value.
pub(crate) struct Process {
    child: Child,
}

/// Ports that were free a moment ago.
pub(crate) fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

impl Process {
    /// Starts a program on the first `cores` cores; the load and the endpoints run on all.
    pub(crate) fn start(program: &Path, arguments: &[&str], cores: usize) -> io::Result<Process> {
        let child = Command::new("taskset")
            .args(["-c", &format!("0-{}", cores - 1)])
            .arg(program)
            .args(arguments)
            .env("RUST_BACKTRACE", "0")
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Process { child })
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Seconds of CPU that it has used, user and kernel, all threads; the kernel counts in hundredths.
    pub(crate) fn cpu_seconds(&self) -> io::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name of the program may hold anything, but the last parenthesis ends it.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok());
        match (ticks(11), ticks(12)) {
            (Some(user), Some(system)) => Ok((user + system) / 100.0),
            _ => Err(io::Error::other("/proc/*/stat is not what was expected")),
        }
    }

    /// Nanoseconds in which the workers of the bridge ran, and in which they could have run but had no core.
    pub(crate) fn scheduled(&self) -> io::Result<[f64; 2]> {
        let mut sums = [0.0; 2];
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let thread = thread?.path();
            if std::fs::read_to_string(thread.join("comm"))?.starts_with("worker-") {
                let stat = std::fs::read_to_string(thread.join("schedstat"))?;
                let numbers = stat.split_whitespace().filter_map(|number| number.parse::<f64>().ok());
                sums.iter_mut().zip(numbers).for_each(|(sum, nanos)| *sum += nanos);
            }
        }
        Ok(sums)
    }

    /// Memory in MiB: `VmHWM:` is the most that it had, `VmRSS:` what it has.
    pub(crate) fn memory_mib(&self, field: &str) -> io::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|l| l.starts_with(field)).unwrap_or_default();
        let kib = line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok());
        kib.map(|kib| kib / 1024.0).ok_or_else(|| io::Error::other("/proc/*/status is not what was expected"))
    }

    /// Waits until the port takes connections.
    pub(crate) async fn listening(&self, address: SocketAddr) -> io::Result<()> {
        until(|| async move { tokio::net::TcpStream::connect(address).await.is_ok() }).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The sum of the series of one counter on the admin port of the bridge.
pub(crate) async fn counter(admin: SocketAddr, name: &str, label: &str) -> f64 {
    let page = get(admin, "/metrics").await.unwrap_or_default();
    page.lines()
        .filter(|l| l.starts_with(name) && l.contains(label))
        .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Asks again and again, for half a minute.
pub(crate) async fn until<F: Future<Output = bool>>(mut done: impl FnMut() -> F) -> io::Result<()> {
    let began = Instant::now();
    while !done().await {
        if began.elapsed() > Duration::from_secs(30) {
            return Err(io::Error::other("waited in vain for half a minute"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
