//! PURE. The names that do not exist, by name alone: below them nothing exists either (RFC 8020). Called by the cache,
//! which keeps the answers themselves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};

use super::super::{Answer, Question};

/// Labels of the longest name, and one for the root.
const DEPTHS: usize = 129;

/// The denied names, each with the question whose answer denies it.
#[derive(Debug)]
pub(super) struct Denied {
    table: RwLock<Table>,
    count: AtomicUsize,
}

#[derive(Debug)]
struct Table {
    names: HashMap<Key, Question>,
    /// How many there are of so many labels: most names are above nothing that is denied.
    depths: [usize; DEPTHS],
}

/// Proofs belong to an answer that was asked for with DO, and what CD lets through is not for those without.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    name: Name,
    dnssec_ok: bool,
    checking_disabled: bool,
}

impl Key {
    fn new(name: Name, like: &Question) -> Self {
        Self {
            name,
            dnssec_ok: like.dnssec_ok,
            checking_disabled: like.checking_disabled,
        }
    }
}

/// Whether an answer denies the name of its question. Behind a CNAME it would be another name, and who is asked for a
/// DS may have been asked instead of the domain's own servers.
pub(super) fn denies(question: &Question, answer: &Answer) -> bool {
    answer.rcode == ResponseCode::NXDomain
        && answer.answers.is_empty()
        && !question.name.is_root()
        && question.record_type != RecordType::DS
}

impl Default for Denied {
    fn default() -> Self {
        Self {
            table: RwLock::new(Table {
                names: HashMap::new(),
                depths: [0; DEPTHS],
            }),
            count: AtomicUsize::new(0),
        }
    }
}

impl Denied {
    /// A question whose answer denies its name.
    pub(super) fn insert(&self, question: &Question) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let key = Key::new(question.name.clone(), question);
        if table.names.insert(key, question.clone()).is_none() {
            if let Some(depth) = table.depths.get_mut(question.name.iter().len()) {
                *depth += 1;
            }
            self.count.store(table.names.len(), Ordering::Relaxed);
        }
    }

    /// A question whose answer is no longer kept. The same name may be denied by the answer to another, which stays.
    pub(super) fn remove(&self, question: &Question) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let key = Key::new(question.name.clone(), question);
        if table.names.get(&key).is_some_and(|held| *held == *question) {
            table.names.remove(&key);
            if let Some(depth) = table.depths.get_mut(question.name.iter().len()) {
                *depth = depth.saturating_sub(1);
            }
            self.count.store(table.names.len(), Ordering::Relaxed);
        }
    }

    /// Whether no name is denied; without a lock.
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// The questions whose answers deny a name above this one, of at least so many labels.
    pub(super) fn above(&self, question: &Question, least: usize) -> Vec<Question> {
        let mut found = Vec::new();
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        for depth in least.max(1)..question.name.iter().len() {
            if table.depths.get(depth).is_some_and(|count| *count > 0)
                && let Some(denied) = table
                    .names
                    .get(&Key::new(question.name.trim_to(depth), question))
            {
                found.push(denied.clone());
            }
        }
        found
    }
}
