//! How many file descriptors connections may take, so that some are left for the logs on the disk and the destinations.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For files, for the connections to destinations, and for the admin port.
const RESERVED: u64 = 64;
/// What connections get in any case.
const LEAST: u64 = 16;

/// The most connections of one of the two protocols. Raises the limit of this process to the one that it may not pass,
/// as programs that listen are expected to.
pub(super) fn for_connections() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised =
        current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    share(if raised { maximum } else { current })
}

/// `None`: there is no limit.
fn share(limit: Option<u64>) -> usize {
    let half = limit.map_or(u64::MAX, |limit| limit.saturating_sub(RESERVED) / 2).max(LEAST);
    usize::try_from(half).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn the_two_protocols_leave_some_over() {
        assert_eq!([Some(128), Some(1024), Some(10)].map(share), [32, 480, 16]);
        assert_eq!(share(None), usize::MAX);
    }
}
