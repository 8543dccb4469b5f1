//! How much memory the system lets this process have, where a container or a service says so.

use std::path::Path;

/// The limit of the control group in bytes; `None` if there is none.
pub(super) fn limit() -> Option<usize> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    limit_in(Path::new("/sys/fs/cgroup"), &groups)
}

/// Version 2 has one hierarchy, `0::/path`; in version 1 the one with the controller `memory` counts. In a container the
/// group of the process is the root of what it sees. Groups further up bind, too.
fn limit_in(root: &Path, groups: &str) -> Option<usize> {
    let mut found = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (top, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            c if c.split(',').any(|c| c == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        let own = top.join(path.trim_start_matches('/'));
        for directory in own.ancestors().take_while(|d| d.starts_with(&top)).chain([top.as_path()]) {
            let text = std::fs::read_to_string(directory.join(file)).unwrap_or_default();
            // Without a limit the file says "max", or a number that no machine has.
            let limit = text.trim().parse::<usize>().ok().filter(|bytes| *bytes < 1 << 50);
            found = [found, limit].into_iter().flatten().min();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::limit_in;

    #[test]
    fn the_tightest_limit_of_the_groups_above_counts_in_both_versions() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let file = root.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        assert_eq!(limit_in(root.path(), "0::/a/b\n"), None);
        write("a/b/memory.max", "max\n");
        assert_eq!(limit_in(root.path(), "0::/a/b\n"), None);
        write("a/memory.max", "268435456\n");
        assert_eq!(limit_in(root.path(), "0::/a/b\n"), Some(268_435_456));
        write("memory/x/memory.limit_in_bytes", "1000\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit_in(root.path(), "5:cpu,memory:/x\n4:cpuset:/y\n"), Some(1000));
        // In a container the path is that of the host, and the root is the group itself.
        write("memory.max", "2000");
        assert_eq!(limit_in(root.path(), "0::/docker/abc\n"), Some(2000));
    }
}
