//! Waiting for a thing itself, with a deadline, instead of for a time that should be enough.

use std::thread;
use std::time::{Duration, Instant};

/// How long the home may take to do anything that is not a download.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Looks until there is something to see.
///
/// # Panics
///
/// When the deadline passes first; `what` says what did not happen.
pub(crate) fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a deadline for real processes; there is no clock to pause"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
