//! The process's own bound on open files.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors that are not sessions: listeners, DNS sockets, pipes, files.
const OTHERS: u64 = 4096;

/// Raises the soft limit on open files to the hard one, and warns where that is too low for the sessions allowed:
/// each takes two descriptors.
pub(super) fn raise_open_files(max_sessions: usize) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    let now = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    let wanted = 2 * max_sessions as u64 + OTHERS;
    if now < wanted {
        tracing::warn!(
            open_files = now,
            wanted,
            "the limit on open files is too low for proxy.max-sessions; raise it (`LimitNOFILE=`, `ulimit -n`) or allow fewer sessions"
        );
    }
}
