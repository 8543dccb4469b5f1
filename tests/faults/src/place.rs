//! Places that exist for one check: file systems in a mount namespace that ends with the process that holds it.

use crate::bridge::have;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A process that holds a mount namespace. When it ends, whatever is mounted there is gone; dropped, it is ended, and the
/// kernel ends it if this program is killed.
pub(crate) struct Holder {
    child: Child,
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Holder {
    /// Runs this shell command in a new namespace. The error says what is missing.
    pub(crate) fn new(mount: &str) -> Result<Holder, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("mounting needs root".to_owned());
        }
        if let Some(program) = ["unshare", "nsenter", "setpriv"].into_iter().find(|p| !have(p)) {
            return Err(format!("{program} is not installed"));
        }
        let script = format!("{mount} && echo ready && exec sleep 86400");
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("unshare: {e}"))?;
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let _ = stdout.read_line(&mut line);
        let stderr = child.stderr.take().expect("a pipe");
        let holder = Holder { child };
        if line.trim() == "ready" {
            return Ok(holder);
        }
        let mut why = String::new();
        let _ = BufReader::new(stderr).read_line(&mut why);
        Err(format!("no mount namespace of its own: {}", why.trim()))
    }

    /// A directory of this namespace, as it is seen from outside.
    pub(crate) fn outside(&self, path: &Path) -> PathBuf {
        let path = path.strip_prefix("/").unwrap_or(path);
        Path::new("/proc").join(self.child.id().to_string()).join("root").join(path)
    }

    /// What to write before a program so that it runs inside.
    pub(crate) fn prefix(&self) -> Vec<String> {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.child.id());
        ["nsenter", &namespace].map(str::to_owned).to_vec()
    }
}

/// A control group that bounds memory. Dropped, it is removed; its processes have ended by then.
pub(crate) struct Group {
    directory: PathBuf,
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.directory);
    }
}

impl Group {
    /// For this many bytes; the error says what is missing.
    pub(crate) fn new(bytes: u64) -> Result<Group, String> {
        let first = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"];
        let limits = ["memory.limit_in_bytes", "memory.max"];
        let name = format!("faults-{}", std::process::id());
        let mut why = "no control groups".to_owned();
        for (parent, limit) in first.into_iter().zip(limits) {
            let directory = Path::new(parent).join(&name);
            if let Err(error) = std::fs::create_dir(&directory) {
                why = format!("{}: {error}", directory.display());
                continue;
            }
            let group = Group { directory };
            match std::fs::write(group.directory.join(limit), bytes.to_string()) {
                Ok(()) => return Ok(group),
                Err(error) => why = format!("{}: {error}", group.directory.join(limit).display()),
            }
        }
        Err(why)
    }

    /// What to write before a program so that it runs inside.
    pub(crate) fn prefix(&self) -> Vec<String> {
        let enter = format!("echo $$ > '{}/cgroup.procs' && exec \"$@\"", self.directory.display());
        ["sh", "-c", &enter, "sh"].map(str::to_owned).to_vec()
    }
}
