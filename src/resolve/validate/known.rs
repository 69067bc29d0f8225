//! PURE. What was found out about zones, for as long as it holds: which are signed by which keys, and which names are
//! no zones. Bounded; the caller passes `now`. Called by `walk`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::rr::Name;

use super::reason::Bogus;
use super::sets::Zone;

/// Names that are remembered.
const MAX_NAMES: usize = 8192;
/// The longest time.
const MAX_LIFE: Duration = Duration::from_secs(86_400);
/// For how long a zone that does not hold is not looked at again (RFC 4035 section 4.7).
const BOGUS_LIFE: Duration = Duration::from_secs(15);

/// What a name is.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// A zone that is signed.
    Secure(Arc<Zone>),
    /// A zone that is not signed, and nothing below it is.
    Insecure,
    /// A name of the zone above it.
    Inside,
    /// There is no such name, nor one below it.
    Nothing,
    /// A zone that should be signed, and is not rightly.
    Bogus(Bogus),
}

/// The names, and until when.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<Name, (State, Instant)>>);

impl Known {
    /// What is known of a name.
    pub(super) fn get(&self, name: &Name, now: Instant) -> Option<State> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names
            .get(name)
            .filter(|(_, until)| *until > now)
            .map(|(state, _)| state.clone())
    }

    /// Forgets names of which `matches` is true.
    pub(super) fn forget(&self, matches: impl Fn(&Name) -> bool) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.retain(|name, _| !matches(name));
    }

    /// Remembers it for so many seconds. When all places are taken, those whose time is over make room, else all do:
    /// to find a zone again costs little.
    pub(super) fn put(&self, name: &Name, state: State, seconds: u32, now: Instant) {
        let life = match state {
            State::Bogus(_) => BOGUS_LIFE,
            _ => Duration::from_secs(seconds.into()).min(MAX_LIFE),
        };
        let Some(until) = now.checked_add(life).filter(|until| *until > now) else {
            return;
        };
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= MAX_NAMES {
            names.retain(|_, (_, until)| *until > now);
        }
        if names.len() >= MAX_NAMES {
            names.clear();
        }
        names.insert(name.to_lowercase(), (state, until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_forgotten_in_time_and_when_there_is_no_room() {
        #[expect(clippy::disallowed_methods, reason = "any time will do")]
        let start = Instant::now();
        let known = Known::default();
        let name = |index: usize| Name::from_ascii(format!("{index}.test.")).unwrap();
        known.put(&name(0), State::Inside, 10, start);
        assert!(
            known
                .get(&name(0), start + Duration::from_secs(9))
                .is_some()
        );
        assert!(
            known
                .get(&name(0), start + Duration::from_secs(10))
                .is_none()
        );
        for index in 0..=MAX_NAMES {
            known.put(&name(index), State::Insecure, 20, start);
        }
        let held = known.0.lock().unwrap().len();
        assert!((1..=MAX_NAMES).contains(&held));
    }
}
