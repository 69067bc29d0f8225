//! Signed zones and a server on loopback that answers for them, each answer changed as a target wants.

mod home;

use std::time::{SystemTime, UNIX_EPOCH};

pub use home::{Change, Denial, Home, Outcome};

/// Seconds since 1970.
pub(crate) fn clock() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
