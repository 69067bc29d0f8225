//! PURE. What a race has lost on its way, and the error that it comes to if it wins nothing.

use std::io;
use std::net::IpAddr;

use super::error::DialError;
use super::guard::Refusal;
use crate::config::Families;
use crate::net::Target;
use crate::resolve::ResolveError;

/// What went wrong so far.
#[derive(Debug, Default)]
pub(super) struct Losses {
    pub(super) refused: Option<(IpAddr, Refusal)>,
    /// What a rule says that a family was left out by.
    pub(super) left_out: Option<Families>,
    pub(super) lookup: Option<ResolveError>,
    pub(super) attempts: Vec<(IpAddr, io::Error)>,
}

impl Losses {
    /// The error of a race that was given up.
    pub(super) fn into_error(self, target: &Target) -> DialError {
        let target = target.clone();
        if !self.attempts.is_empty() {
            return DialError::of_attempts(target, self.attempts);
        }
        if let Some((address, why)) = self.refused {
            return DialError::Refused {
                target,
                address,
                why,
            };
        }
        match (self.lookup, self.left_out) {
            (Some(source), _) => DialError::Resolve { target, source },
            (None, Some(families)) => DialError::LeftOut { target, families },
            (None, None) => DialError::NotFound { target },
        }
    }
}
