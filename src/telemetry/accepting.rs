//! What is told of connections that could not be accepted: a line a minute, whatever the crowd, and a count.
//!
//! Called by every listener of `dns`, `proxy` and `web`.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{Metrics, Sparing};

/// One for all listeners: what one of them lacks, they all lack.
static LINES: Mutex<Sparing> = Mutex::new(Sparing::of(1));

impl Metrics {
    /// Counts that a connection could not be accepted, and tells of it.
    pub fn accept_failed(&self, error: &io::Error) {
        self.accept_failures.inc();
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        #[expect(clippy::disallowed_methods, reason = "when a line was said")]
        let left_out = lines.say(Instant::now());
        drop(lines);
        if let Some(left_out) = left_out {
            tracing::warn!(
                %error,
                left_out,
                hint = "raise the limit on open files (`LimitNOFILE=`, `ulimit -n`), or lower proxy.max-sessions",
                "connections cannot be accepted, and wait"
            );
        }
    }
}
