//! PURE. What upstreams said, for as long as they said it holds: positive answers (RFC 1035 section 3.2.1, RFC 8767
//! section 4) and negative ones (RFC 2308), for a while after their end (RFC 8767), and for what is below a name that does
//! not exist (RFC 8020); `failures` remembers what they failed at (RFC 9520). Bounded by a number of answers and by the
//! memory they take; the one that gives way is found by a clock hand (second chance), so that names asked once never push
//! out names asked often.
//!
//! Called by [`Resolver`](super::Resolver); the caller passes `now`, nothing here reads a clock.

mod denied;
mod failures;
mod shard;
mod size;
#[cfg(test)]
mod tests;
mod ttl;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};

use self::denied::{Denied, denies};
pub(super) use self::failures::{Failures, Remembered};
use self::shard::{Change, Entry, Seen, Shard};
use super::{Answer, Life, Question};
use crate::config::Cache as Bounds;

/// Locks that the answers are spread over.
const MAX_SHARDS: usize = 16;
/// Below so many answers per lock, fewer locks are used: a small cache must not be full in one corner only.
const MIN_PER_SHARD: usize = 256;
/// Likewise with memory, in bytes.
const MIN_BYTES_PER_SHARD: usize = 1 << 20;

/// The cache.
#[derive(Debug)]
pub struct Cache {
    bounds: Bounds,
    shards: Vec<Mutex<Shard>>,
    denied: Denied,
    hasher: RandomState,
    len: AtomicUsize,
    bytes: AtomicUsize,
}

/// What the cache knows of a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// An answer that holds.
    Fresh {
        /// The answer, its TTLs reduced by the time it has been here.
        answer: Answer,
        /// It is in use and soon at its end: to be asked for again. Said once for each answer.
        refresh: bool,
    },
    /// The name does not exist, because one above it does not.
    Denied(Answer),
    /// An answer that has expired, as it may be told while there is no newer one.
    Stale(Answer),
    /// Nothing.
    Nothing,
}

impl Cache {
    /// An empty cache. With `entries` at 0 it stays empty.
    pub fn new(bounds: Bounds) -> Self {
        let most = (bounds.entries / MIN_PER_SHARD).min(bounds.bytes / MIN_BYTES_PER_SHARD);
        let count = most.clamp(1, MAX_SHARDS);
        let shards = (0..count)
            .map(|index| {
                let extra = usize::from(index < bounds.entries % count);
                let capacity = bounds.entries / count + extra;
                Mutex::new(Shard::new(capacity, bounds.bytes / count))
            })
            .collect();
        Self {
            bounds,
            shards,
            denied: Denied::default(),
            hasher: RandomState::new(),
            len: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// A cache with other bounds that holds what may still be told of this one, as far as there is room.
    pub fn resized(&self, bounds: Bounds, now: Instant) -> Self {
        let resized = Self::new(bounds);
        for shard in &self.shards {
            for entry in lock(shard).iter() {
                let mut entry = entry.clone();
                entry.ends = end(entry.expires, &bounds);
                if entry.ends > now {
                    resized.put(entry, now);
                }
            }
        }
        resized
    }

    /// The bounds it was made with.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Answers held, those included whose time is over and that did not give way yet.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// The memory that they are estimated to take.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is known of a question. A name above it that does not exist counts where it has at least `least` labels:
    /// what is asked of other servers says nothing about this name.
    pub fn find(&self, question: &Question, least: impl FnOnce() -> usize, now: Instant) -> Found {
        let seen = self.look(question, self.bounds.prefetch, now);
        let expired = match seen {
            Some(Seen::Fresh {
                answer,
                stored,
                refresh,
            }) => {
                return Found::Fresh {
                    answer: ttl::aged(&answer, now.saturating_duration_since(stored)),
                    refresh,
                };
            }
            Some(Seen::Expired(answer)) => Some(answer),
            None => None,
        };
        if self.bounds.nxdomain_cut && !self.denied.is_empty() {
            for denied in self.denied.above(question, least()) {
                if let Some(answer) = self.get(&denied, now)
                    && !self.exists(&denied, now)
                {
                    return Found::Denied(answer);
                }
            }
        }
        match expired {
            Some(answer) => Found::Stale(ttl::stale(&answer, &self.bounds)),
            None => Found::Nothing,
        }
    }

    /// The answer to this very question, if it holds, with the TTLs with which it was put in, and whether to ask for it
    /// again (as [`Found::Fresh`]): for who does not care for TTLs, so that nothing is copied.
    pub fn fresh(&self, question: &Question, now: Instant) -> Option<(Arc<Answer>, bool)> {
        match self.look(question, self.bounds.prefetch, now)? {
            Seen::Fresh {
                answer, refresh, ..
            } => Some((answer, refresh)),
            Seen::Expired(_) => None,
        }
    }

    /// The answer to this very question, if it holds: its TTLs reduced by the time it has been here, without records
    /// beside the answer itself whose own time is over.
    pub fn get(&self, question: &Question, now: Instant) -> Option<Answer> {
        match self.look(question, false, now)? {
            Seen::Fresh { answer, stored, .. } => {
                Some(ttl::aged(&answer, now.saturating_duration_since(stored)))
            }
            Seen::Expired(_) => None,
        }
    }

    /// How long the answer to this very question holds from now on; `None` where there is none that does, or where it
    /// should be asked for again. No use of it.
    pub fn life(&self, question: &Question, now: Instant) -> Option<Life> {
        lock(self.shard(question)?).life(question, self.bounds.prefetch, now)
    }

    /// Keeps an answer for a time, as [`Cache::settle`] gave it; says how many that still held had to give way. One that
    /// is larger than a fair part of the memory is not kept.
    pub fn insert(
        &self,
        question: &Question,
        answer: Arc<Answer>,
        lifetime: Duration,
        now: Instant,
    ) -> usize {
        let Some(expires) = now.checked_add(lifetime).filter(|expires| *expires > now) else {
            // What it replaces is no longer what the servers say.
            self.remove(question);
            return 0;
        };
        let denies = denies(question, &answer);
        let denial = if denies { size::of_denial(question) } else { 0 };
        let entry = Entry {
            bytes: size::of(question, &answer) + denial,
            denies,
            question: Arc::new(question.clone()),
            answer,
            stored: now,
            expires,
            ends: end(expires, &self.bounds),
            asked_again: false,
            refreshed: false,
        };
        self.put(entry, now)
    }

    /// Forgets the answer to this very question.
    pub fn remove(&self, question: &Question) {
        if let Some(shard) = self.shard(question) {
            self.change(shard, |shard| shard.remove(question));
        }
    }

    /// Forgets the answers that rest on a name of which `matches` is true: the one asked, or the owner of a record that
    /// answers it, as along CNAMEs. Says how many there were.
    pub fn forget(&self, matches: impl Fn(&Name) -> bool) -> usize {
        let rests_on = |entry: &Entry| {
            let owners = entry.answer.answers.iter().map(|record| &record.name);
            std::iter::once(&entry.question.name)
                .chain(owners)
                .any(&matches)
        };
        let change = |shard: &Mutex<Shard>| self.change(shard, |shard| shard.forget(rests_on));
        self.shards.iter().map(|shard| change(shard).evicted).sum()
    }

    /// Brings an upstream's TTLs within the bounds and says how long the answer may be kept; zero: not at all.
    ///
    /// A positive answer holds as long as the shortest record of its answer section. A negative one holds as long as
    /// its SOA says (RFC 2308 section 5: the lesser of TTL and MINIMUM), and not at all without a SOA of the name's
    /// zone; `min_ttl` is not applied to it, because a name that is about to be made would be missed for longer.
    pub fn settle(&self, question: &Question, answer: &mut Answer) -> Duration {
        // What is kept for long is kept without room to spare.
        answer.answers.shrink_to_fit();
        answer.authorities.shrink_to_fit();
        answer.additionals.shrink_to_fit();
        ttl::settle(&self.bounds, question, answer)
    }

    /// Whether a server has said that the name has addresses, too: some deny names for one type of records only (RFC 4074
    /// section 4.2), and such a denial must not reach further than itself.
    fn exists(&self, denied: &Question, now: Instant) -> bool {
        [RecordType::A, RecordType::AAAA]
            .into_iter()
            .any(|record_type| {
                let question = Question {
                    record_type,
                    ..denied.clone()
                };
                match self.look(&question, false, now) {
                    Some(Seen::Fresh { answer, .. }) => answer.rcode == ResponseCode::NoError,
                    _ => false,
                }
            })
    }

    fn look(&self, question: &Question, prefetch: bool, now: Instant) -> Option<Seen> {
        lock(self.shard(question)?).look(question, prefetch, now)
    }

    fn put(&self, entry: Entry, now: Instant) -> usize {
        let Some(shard) = self.shard(&entry.question) else {
            return 0;
        };
        self.change(shard, |shard| shard.put(entry, now)).evicted
    }

    /// Changes a shard and what is counted of it.
    fn change(&self, shard: &Mutex<Shard>, change: impl FnOnce(&mut Shard) -> Change) -> Change {
        let mut shard = lock(shard);
        let (len, bytes) = (shard.len(), shard.bytes());
        let change = change(&mut shard);
        // Wrapping: one is taken off after the other was added, by whichever thread.
        self.len
            .fetch_add(shard.len().wrapping_sub(len), Ordering::Relaxed);
        self.bytes
            .fetch_add(shard.bytes().wrapping_sub(bytes), Ordering::Relaxed);
        for question in &change.undenied {
            self.denied.remove(question);
        }
        if let Some(question) = &change.denied {
            self.denied.insert(question);
        }
        change
    }

    fn shard(&self, question: &Question) -> Option<&Mutex<Shard>> {
        let hash = self.hasher.hash_one(question);
        let count = u64::try_from(self.shards.len()).ok()?;
        self.shards
            .get(usize::try_from(hash.checked_rem(count)?).ok()?)
    }
}

/// The end of the time in which an answer may be told.
fn end(expires: Instant, bounds: &Bounds) -> Instant {
    expires.checked_add(bounds.stale).unwrap_or(expires)
}

/// No code that holds the lock leaves a shard half changed, so a panic elsewhere does not spoil it.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
