//! Who is told the same of everything: the clients that the rules cannot tell apart, under one view, until something
//! changes that answers depend on. Asked by `fast`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::resolve::cache::Audience;

/// So many are told apart at once, at most; the clients of others take the long way.
const MOST: usize = 1024;

/// The audiences of one view, by what the rules can tell of a client; each with the number of changes since which it is
/// one.
#[derive(Debug)]
pub(super) struct Audiences {
    number: Audience,
    table: Mutex<HashMap<u64, (u64, Audience)>>,
}

impl Default for Audiences {
    fn default() -> Self {
        Self {
            number: next(),
            table: Mutex::default(),
        }
    }
}

impl Audiences {
    /// A number that those of no other view have.
    pub(super) fn number(&self) -> Audience {
        self.number
    }

    /// The audience after so many changes; `None` where there are too many, or where there was another change meanwhile.
    pub(super) fn of(&self, policy: u64, changes: u64) -> Option<Audience> {
        // Every change is complete before anything can panic.
        let mut held = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get(&policy) {
            Some(&(at, audience)) if at == changes => return Some(audience),
            Some(&(at, _)) if at > changes => return None,
            None if held.len() >= MOST => return None,
            _ => {}
        }
        let audience = next();
        held.insert(policy, (changes, audience));
        Some(audience)
    }
}

/// A number that no audience has had, in this process.
fn next() -> Audience {
    static LAST: AtomicU32 = AtomicU32::new(0);
    LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_stays_until_something_changes_and_is_never_that_of_before() {
        let (one, other) = (Audiences::default(), Audiences::default());
        let first = one.of(0, 0);
        assert_eq!(one.of(0, 0), first);
        let mut seen = vec![first];
        for (audiences, policy, changes) in [(&one, 1, 0), (&other, 0, 0), (&one, 0, 1)] {
            let audience = audiences.of(policy, changes);
            assert!(audience.is_some_and(|number| number != 0));
            assert!(!seen.contains(&audience));
            seen.push(audience);
        }
        assert_eq!(one.of(0, 0), None, "what began before the change");
        assert_eq!(one.of(1, 0), seen[1], "what has not heard of it yet");
    }

    #[test]
    fn there_is_a_bound() {
        let audiences = Audiences::default();
        let most = u64::try_from(MOST).unwrap();
        assert!((0..most).all(|policy| audiences.of(policy, 0).is_some()));
        assert_eq!(audiences.of(most, 0), None);
        assert!(audiences.of(0, 0).is_some());
    }
}
