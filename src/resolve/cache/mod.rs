//! PURE. What upstreams said, for as long as they said it holds: positive answers (RFC 1035 section 3.2.1, RFC 8767
//! section 4) and negative ones (RFC 2308), for a while after their end (RFC 8767), and for what is below a name that does
//! not exist (RFC 8020); `failures` remembers what they failed at (RFC 9520). Bounded by a number of answers and by the
//! memory they take; the one that gives way is found by a clock hand (second chance), so that names asked once never push
//! out names asked often.
//!
//! Answers are kept as whole messages ([`wire`](super::wire)), one allocation each. Besides what upstreams said it keeps what
//! was made of it: an [`Audience`] is all those who are told the same of everything, and what one is told of a question
//! is the truth as it is, or a message of its own.
//!
//! Called by [`Resolver`](super::Resolver), and by `dns` for the audiences; the caller passes `now`, nothing here reads a clock.

mod denied;
mod entry;
mod failures;
mod key;
mod shard;
#[cfg(test)]
mod tests;
mod ttl;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};

use self::denied::{Denied, denies};
pub use self::entry::{Audience, UDP_PAYLOAD};
use self::entry::{Entry, milliseconds, pack};
pub(super) use self::failures::{Failures, Remembered};
pub use self::key::Key;
use self::shard::{Change, Shard, Time};
pub use self::ttl::{EXPIRED, is_stale};
use super::direct::Simple;
use super::wire::{Age, Finished, Parts};
use super::{Answer, Life, Question};
use crate::config::Cache as Bounds;

/// Locks that the answers are spread over.
const MAX_SHARDS: usize = 64;
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
    begun: OnceLock<Instant>,
    len: AtomicUsize,
    bytes: AtomicUsize,
}

/// Whether anything is known of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// Its answer, so that nobody need be asked.
    Known,
    /// An answer that holds no longer, and is told where no newer one comes.
    Expired,
    /// Nothing.
    Nothing,
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

/// What an audience is told of a question.
#[derive(Clone, Debug)]
pub struct Made {
    /// The message, as [`Finished::prepare`] left it ..
    pub message: Vec<u8>,
    /// .. and said that it is divided.
    pub parts: Parts,
    /// For how long; `None`: as long as nobody changes it, and its TTLs do not go down.
    pub life: Option<Life>,
    /// What is given back whenever it is told.
    pub notes: u8,
}

/// How long an answer is told at most before it is made again.
const LONGEST: Duration = Duration::from_secs(3600);

enum Seen {
    Fresh {
        answer: Answer,
        age: u32,
        refresh: bool,
    },
    Expired(Answer),
}

impl Cache {
    /// An empty cache. With `entries` at 0 it stays empty.
    pub fn new(bounds: Bounds) -> Self {
        let hasher = RandomState::new();
        let most = (bounds.entries / MIN_PER_SHARD).min(bounds.bytes / MIN_BYTES_PER_SHARD);
        let count = most.clamp(1, MAX_SHARDS);
        let shards = (0..count)
            .map(|index| {
                let extra = usize::from(index < bounds.entries % count);
                let capacity = bounds.entries / count + extra;
                Mutex::new(Shard::new(capacity, bounds.bytes / count, hasher.clone()))
            })
            .collect();
        Self {
            bounds,
            shards,
            denied: Denied::default(),
            hasher,
            begun: OnceLock::new(),
            len: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// A cache with other bounds that holds what may still be told of this one, as far as there is room.
    pub fn resized(&self, bounds: Bounds, now: Instant) -> Self {
        let resized = Self {
            begun: self.begun.clone(),
            ..Self::new(bounds)
        };
        let time = resized.time(now);
        for shard in &self.shards {
            for entry in lock(shard).iter() {
                if !time.is_over(entry) {
                    resized.put(&entry.key(), entry.clone(), now);
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
        let expired = match self.look(question, self.bounds.prefetch, now) {
            Some(Seen::Fresh {
                answer,
                age,
                refresh,
            }) => {
                return Found::Fresh {
                    answer: ttl::aged(answer, age),
                    refresh,
                };
            }
            Some(Seen::Expired(answer)) => Some(answer),
            None => None,
        };
        if let Some(answer) = self.denial(question, least, now) {
            return Found::Denied(answer);
        }
        match expired {
            Some(answer) => Found::Stale(ttl::stale(answer, &self.bounds)),
            None => Found::Nothing,
        }
    }

    /// The answer to this very question, if it holds, with the TTLs with which it was put in, and whether to ask for it
    /// again (as [`Found::Fresh`]): for who does not care for TTLs.
    pub fn fresh(&self, question: &Question, now: Instant) -> Option<(Answer, bool)> {
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
            Seen::Fresh { answer, age, .. } => Some(ttl::aged(answer, age)),
            Seen::Expired(_) => None,
        }
    }

    /// How long the answer to this very question holds from now on; `None` where there is none that does, or where it
    /// should be asked for again.
    pub fn life(&self, question: &Question, now: Instant) -> Option<Life> {
        let key = Key::of(question);
        let time = self.time(now);
        let (mut shard, hash) = self.shard(&key)?;
        let entry = shard.truth(hash, &key)?;
        let until = Time::refresh(entry, self.bounds.prefetch);
        let left = entry.expires().checked_sub(time.now)?;
        let (stored, answer) = (entry.stored, entry.answer()?);
        drop(shard);
        // Who looks then leaves these records out.
        let beside = answer.authorities.iter().chain(&answer.additionals);
        let beside = beside.map(|record| stored + u64::from(record.ttl) * 1000);
        let told = beside.fold(until, u64::min).checked_sub(time.now)?;
        (told > 0).then_some(Life {
            told: Duration::from_millis(told),
            left: Duration::from_millis(left),
        })
    }

    /// Keeps an answer for a time, as [`Cache::settle`] gave it; says how many that still held had to give way. One that
    /// is larger than a fair part of the memory is not kept.
    pub fn insert(
        &self,
        question: &Question,
        answer: &Answer,
        lifetime: Duration,
        now: Instant,
    ) -> usize {
        let key = Key::of(question);
        let left = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        let packed = (left > 0).then(|| pack(question, answer)).flatten();
        let Some((message, parts)) = packed else {
            // What it replaces is no longer what the servers say.
            self.remove(question);
            return 0;
        };
        let entry = Entry {
            bytes: message.into_boxed_slice(),
            parts,
            stored: self.time(now).now,
            audience: Audience::NOBODY,
            told: 0,
            notes: 0,
            left: left.min(u32::MAX - 1),
            bits: key.bits(),
            truth: true,
            denies: denies(question, answer),
            asked_again: false,
            refreshed: false,
        };
        self.put(&key, entry, now)
    }

    /// What is known of a question, without a look at what that is.
    pub fn knowledge(
        &self,
        question: &Question,
        key: &Key,
        least: impl FnOnce() -> usize,
        now: Instant,
    ) -> Knowledge {
        let time = self.time(now);
        let held = self.shard(key).and_then(|(mut shard, hash)| {
            let truth = shard.truth(hash, key).filter(|entry| !time.is_over(entry));
            truth.map(|entry| entry.expires() > time.now)
        });
        match held {
            Some(true) => Knowledge::Known,
            _ if self.denial(question, least, now).is_some() => Knowledge::Known,
            Some(false) => Knowledge::Expired,
            None => Knowledge::Nothing,
        }
    }

    /// Keeps an answer that was read in place, as long as it says; otherwise as [`Cache::insert`].
    pub(super) fn insert_simple(&self, key: &Key, simple: &Simple, now: Instant) -> usize {
        if simple.left == 0 {
            self.change(key, |shard, hash| shard.remove(hash, key));
            return 0;
        }
        let entry = Entry {
            bytes: simple.message.as_slice().into(),
            parts: simple.parts,
            stored: self.time(now).now,
            audience: Audience::NOBODY,
            told: 0,
            notes: 0,
            left: simple.left.min(u32::MAX - 1),
            bits: key.bits(),
            truth: true,
            denies: simple.denied && simple.aliases == 0 && simple.end.len() > 1,
            asked_again: false,
            refreshed: false,
        };
        self.put(key, entry, now)
    }

    /// How long an answer holds that was just put in for so many seconds.
    pub fn life_of(&self, seconds: u32) -> Life {
        let left = Duration::from_secs(seconds.into());
        Life {
            told: Duration::from_millis(Time::refresh_after(seconds, self.bounds.prefetch)),
            left,
        }
    }

    /// Lets an audience be told the truth as it is: this, which was just put in for the question, unless something else has
    /// been since.
    pub fn pass(
        &self,
        key: &Key,
        audience: Audience,
        finished: &Finished<'_>,
        notes: u8,
        now: Instant,
    ) {
        let (prefetch, time) = (self.bounds.prefetch, self.time(now));
        self.change(key, |shard, hash| {
            let same = |truth: &&mut Entry| truth.finished().is_as(finished);
            let Some(truth) = shard.truth(hash, key).filter(same) else {
                return Change::default();
            };
            let told = Time::refresh(truth, prefetch).saturating_sub(truth.stored);
            let told = u32::try_from(told).unwrap_or(u32::MAX);
            truth.tell_to(audience, notes, told, time.now);
            shard.remove_made(hash, key, audience)
        });
    }

    /// Tells an audience the answer to a question, where there is one that holds: by what `tell` makes of it, its age and
    /// its notes.
    pub fn tell<R>(
        &self,
        key: &Key,
        audience: Audience,
        now: Instant,
        tell: impl FnOnce(Finished<'_>, Age, u8) -> Option<R>,
    ) -> Option<R> {
        let time = self.time(now);
        let (mut shard, hash) = self.shard(key)?;
        let entry = shard.told(hash, key, audience)?;
        if entry.told_until() <= time.now {
            return None;
        }
        tell(entry.finished(), entry.age(time.now), entry.notes)
    }

    /// Keeps what an audience is told of a question. Where that is what upstreams said, it is not kept twice.
    pub fn keep(&self, key: &Key, audience: Audience, made: Made, now: Instant) {
        let time = self.time(now);
        let life = made.life.unwrap_or(Life::MAX);
        let told = u32::try_from(milliseconds(life.told.min(LONGEST))).unwrap_or(u32::MAX);
        let left = match made.life {
            Some(life) => u32::try_from(life.left.as_secs()).map_or(u32::MAX - 1, |left| left),
            None => u32::MAX,
        };
        let as_truth = |truth: &Entry| {
            made.life.is_some()
                && truth.expires() > time.now
                && truth
                    .finished()
                    .is_as(&Finished::new(&made.message, made.parts))
        };
        let mut marked = false;
        self.change(key, |shard, hash| {
            let Some(truth) = shard.truth(hash, key).filter(|truth| as_truth(truth)) else {
                return Change::default();
            };
            let age = time.now.saturating_sub(truth.stored);
            let told = told.saturating_add(u32::try_from(age).unwrap_or(u32::MAX));
            truth.tell_to(audience, made.notes, told, time.now);
            marked = true;
            shard.remove_made(hash, key, audience)
        });
        if marked {
            return;
        }
        let entry = Entry {
            bytes: made.message.into_boxed_slice(),
            parts: made.parts,
            stored: time.now,
            audience,
            told,
            notes: made.notes,
            left,
            bits: key.bits(),
            truth: false,
            denies: false,
            asked_again: false,
            refreshed: false,
        };
        self.put(key, entry, now);
    }

    /// Forgets the answer to this very question.
    pub fn remove(&self, question: &Question) {
        let key = Key::of(question);
        self.change(&key, |shard, hash| shard.remove(hash, &key));
    }

    /// Forgets the answers that rest on a name of which `matches` is true: the one asked, or the owner of a record that
    /// answers it, as along CNAMEs. Says how many there were. What was made of answers is all forgotten.
    pub fn forget(&self, matches: impl Fn(&Name) -> bool) -> usize {
        let rests_on = |entry: &Entry| {
            let answer = entry.truth.then(|| entry.answer()).flatten();
            let (Some(answer), Some(question)) = (answer, entry.question()) else {
                return true;
            };
            let owners = answer.answers.iter().map(|record| &record.name);
            std::iter::once(&question.name).chain(owners).any(&matches)
        };
        let change = |shard: &Mutex<Shard>| {
            let mut shard = lock(shard);
            self.count(&mut shard, |shard| shard.forget(rests_on))
        };
        self.shards.iter().map(|shard| change(shard).evicted).sum()
    }

    /// Brings an upstream's TTLs within the bounds and says how long the answer may be kept; zero: not at all.
    ///
    /// A positive answer holds as long as the shortest record of its answer section. A negative one holds as long as
    /// its SOA says (RFC 2308 section 5: the lesser of TTL and MINIMUM), and not at all without a SOA of the name's
    /// zone; `min_ttl` is not applied to it, because a name that is about to be made would be missed for longer.
    pub fn settle(&self, question: &Question, answer: &mut Answer) -> Duration {
        ttl::settle(&self.bounds, question, answer)
    }

    /// What denies a name above this one.
    fn denial(
        &self,
        question: &Question,
        least: impl FnOnce() -> usize,
        now: Instant,
    ) -> Option<Answer> {
        if !self.bounds.nxdomain_cut || self.denied.is_empty() {
            return None;
        }
        self.denied
            .above(question, least())
            .iter()
            .find_map(|denied| {
                let answer = self.get(denied, now)?;
                (!self.exists(denied, now)).then_some(answer)
            })
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
        let key = Key::of(question);
        let time = self.time(now);
        let (mut shard, hash) = self.shard(&key)?;
        let entry = shard.truth(hash, &key)?;
        if time.is_over(entry) {
            return None;
        }
        let fresh = entry.expires() > time.now;
        let refresh =
            fresh && prefetch && !entry.refreshed && time.now > Time::refresh(entry, prefetch);
        entry.refreshed |= refresh;
        let age = entry.age(time.now).age;
        // Read without the lock.
        let entry = entry.clone();
        drop(shard);
        let answer = entry.answer()?;
        Some(if fresh {
            Seen::Fresh {
                answer,
                age,
                refresh,
            }
        } else {
            Seen::Expired(answer)
        })
    }

    fn put(&self, key: &Key, entry: Entry, now: Instant) -> usize {
        let time = self.time(now);
        self.change(key, |shard, hash| shard.put(hash, key, entry, time))
            .evicted
    }

    /// Changes a shard and what is counted of it.
    fn change(&self, key: &Key, change: impl FnOnce(&mut Shard, u64) -> Change) -> Change {
        match self.shard(key) {
            Some((mut shard, hash)) => self.count(&mut shard, |shard| change(shard, hash)),
            None => Change::default(),
        }
    }

    fn count(&self, shard: &mut Shard, change: impl FnOnce(&mut Shard) -> Change) -> Change {
        let (len, bytes) = (shard.len(), shard.bytes());
        let change = change(shard);
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

    fn time(&self, now: Instant) -> Time {
        let begun = self.begun.get_or_init(|| now);
        Time {
            now: milliseconds(now.saturating_duration_since(*begun)),
            stale: milliseconds(self.bounds.stale),
        }
    }

    fn shard(&self, key: &Key) -> Option<(MutexGuard<'_, Shard>, u64)> {
        let hash = self.hasher.hash_one(key);
        // The table goes by the lowest bits and the highest seven.
        let count = u64::try_from(self.shards.len()).ok()?;
        let index = usize::try_from((hash >> 32).checked_rem(count)?).ok()?;
        Some((lock(self.shards.get(index)?), hash))
    }
}

/// No code that holds the lock leaves a shard half changed, so a panic elsewhere does not spoil it.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
