//! The process's own bound on open files, and the bounds of the configuration that must fit below it.
//!
//! A session that finds no descriptor fails, and so does a question to an upstream: sessions therefore wait before they
//! take what DNS and the administrator need. Called at the start and for each new state.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::Config;

/// Descriptors that are not sessions at most: listeners, DNS sockets, pipes, files. Where few are to be had, half of
/// them.
const OTHERS: u64 = 1024;

/// Of so many descriptors, one may be a DNS connection.
const PER_DNS_CONNECTION: u64 = 16;

/// Raises the soft limit on open files to the hard one; what it is then.
pub(super) fn raise_open_files() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return u64::MAX;
    };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// The configuration with no more sessions, at two descriptors each, and DNS connections than there are descriptors for;
/// warns where that is fewer sessions than were asked for.
pub(super) fn within(config: &Config, open_files: u64) -> Config {
    let mut config = config.clone();
    let wanted = config.proxy.max_sessions;
    fit(&mut config, open_files);
    let sessions = config.proxy.max_sessions;
    if sessions < wanted {
        tracing::warn!(
            open_files,
            sessions,
            wanted,
            "the limit on open files is too low for proxy.max-sessions, and fewer are served at once; raise it \
             (`LimitNOFILE=`, `ulimit -n`) or allow fewer sessions"
        );
    }
    config
}

/// PURE.
fn fit(config: &mut Config, open_files: u64) {
    let sessions = (open_files - OTHERS.min(open_files / 2)) / 2;
    let connections = open_files / PER_DNS_CONNECTION;
    let lower = |bound: &mut usize, most: u64| {
        *bound = (*bound).min(usize::try_from(most).unwrap_or(usize::MAX).max(1));
    };
    lower(&mut config.proxy.max_sessions, sessions);
    lower(&mut config.dns.max_connections, connections);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Interfaces;

    fn defaults() -> Config {
        let interfaces = Interfaces::of(&[("eth0", "192.168.1.2/24")], Some("eth0"));
        Config::parse("", None, &interfaces, "nameserver 192.0.2.53\n").unwrap()
    }

    #[test]
    fn sessions_and_dns_connections_leave_descriptors_for_the_rest() {
        for (open_files, sessions, connections) in [
            (0, 1, 1),
            (64, 16, 4),
            (256, 64, 16),
            (1024, 256, 64),
            (20_000, 9488, 512),
            (524_288, 16_384, 512),
            (u64::MAX, 16_384, 512),
        ] {
            let mut config = defaults();
            fit(&mut config, open_files);
            let fitted = (config.proxy.max_sessions, config.dns.max_connections);
            assert_eq!(fitted, (sessions, connections), "{open_files}");
        }
    }
}
