//! Who is told the same of everything: the clients that the rules cannot tell apart, under one view, until something
//! changes that answers depend on. Asked by `fast`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::resolve::cache::Audience;

/// So many are told apart at once, at most; the clients of others take the long way.
const MOST: usize = 1024;

/// The audiences of one view, by what the rules can tell of a client.
#[derive(Debug)]
pub(super) struct Audiences {
    number: u32,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// In the order in which they came.
    policies: HashMap<u64, u32>,
    /// After how many changes they are audiences.
    changes: u64,
    /// As many as they need, since these changes.
    generations: Vec<u32>,
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
    /// A number that no other view has.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// The audience after so many changes; `None` where there are too many, or where there was another change meanwhile.
    pub(super) fn of(&self, policy: u64, changes: u64) -> Option<Audience> {
        // Every change is complete before anything can panic.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if changes < table.changes {
            return None;
        }
        if changes > table.changes {
            table.changes = changes;
            table.generations.clear();
        }
        let count = table.policies.len();
        let place = match table.policies.get(&policy) {
            Some(place) => *place,
            None if count >= MOST => return None,
            None => {
                let place = u32::try_from(count).ok()?;
                table.policies.insert(policy, place);
                place
            }
        };
        let block = usize::try_from(place / Audience::GROUPS).ok()?;
        while table.generations.len() <= block {
            table.generations.push(next());
        }
        let generation = *table.generations.get(block)?;
        Some(Audience::group(generation, place % Audience::GROUPS))
    }
}

/// A number that nothing here has had, in this process; not 0, for some four billion times.
fn next() -> u32 {
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
            assert!(audience.is_some() && !seen.contains(&audience));
            seen.push(audience);
        }
        for policy in [0, 1] {
            assert_eq!(one.of(policy, 0), None, "what began before the change");
        }
        assert!(!seen.contains(&one.of(1, 1)));
    }

    #[test]
    fn there_is_a_bound_and_all_below_it_are_told_apart() {
        let audiences = Audiences::default();
        let most = u64::try_from(MOST).unwrap();
        let mut seen = Vec::new();
        for policy in 0..most {
            let audience = audiences.of(policy, 0).expect("below the bound");
            assert!(!seen.contains(&audience), "{policy}");
            seen.push(audience);
        }
        assert_eq!(audiences.of(most, 0), None);
        assert_eq!(audiences.of(0, 0), seen.first().copied());
    }
}
