//! PURE. Finished answers, as bytes: what was made once for a question is told to everybody who asks it again, until one
//! of the truths that it rests on is to be looked at, or until something is changed. Asked by `fast`, filled by `handler`.
//!
//! Each has one allocation: key, message, and where its TTLs stand. Bounded by their number and by the memory they take; who
//! gives way is found by a clock hand (second chance). A change makes what was stored before it unreachable at once, by
//! the number in [`Moment`]; the memory is given back by and by. A reload makes a new store.

use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::num::NonZero;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hashbrown::HashTable;

use super::message::Lasting;
use super::wire::{Age, Finished, Key, Parts, Plain};
use crate::config::Cache as Bounds;
use crate::resolve::Life;

/// Locks that the answers are spread over, at most.
const MAX_SHARDS: usize = 64;
/// Below so many answers per lock, fewer locks are used: a small store must not be full in one corner only.
const MIN_PER_SHARD: usize = 256;
/// Likewise with memory, in bytes.
const MIN_BYTES_PER_SHARD: usize = 1 << 20;
/// The part of the memory of the cache that finished answers take besides.
const MEMORY_PART: usize = 4;
/// What a place takes besides its bytes: its entry with the list's room to grow, its row in the table, the allocator's
/// header.
const PLACE: usize = size_of::<Option<Entry>>() * 3 / 2 + 10 + 16;
/// How long an answer is told at most before it is made again.
const LONGEST: Duration = Duration::from_secs(3600);

/// When somebody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// The time.
    pub(super) now: Instant,
    /// How often something was changed that answers depend on. For one that is made, read before all else.
    pub(super) changes: u64,
}

/// What is counted of an answer whenever it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// NXDOMAIN; else NOERROR.
    pub(super) denied: bool,
    /// AAAA was taken out.
    pub(super) withheld: bool,
    /// It leads to the gate.
    pub(super) steered: bool,
    /// Addresses inside were taken out of what is outside.
    pub(super) rebound: bool,
    /// It rests on what upstreams said.
    pub(super) cached: bool,
}

/// The store.
#[derive(Debug)]
pub(super) struct Store {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    begun: OnceLock<Instant>,
}

#[derive(Debug)]
struct Entry {
    /// Key, message, places of the TTLs.
    bytes: Box<[u8]>,
    key: u16,
    parts: Parts,
    told: Told,
    /// Asked for since the hand last passed.
    used: bool,
    changes: u64,
    /// In milliseconds since the store began, as the next two.
    stored: u64,
    until: u64,
    /// The end of what it rests on; `None`: it has none, and its TTLs do not go down.
    ends: Option<NonZero<u64>>,
}

impl Entry {
    fn key(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.key)).unwrap_or_default()
    }

    fn holds(&self, time: u64, changes: u64) -> bool {
        self.changes == changes && time < self.until
    }

    fn age(&self, time: u64) -> Age {
        let seconds = |later: u64, earlier: u64| {
            u32::try_from(later.saturating_sub(earlier) / 1000).unwrap_or(u32::MAX)
        };
        match self.ends {
            Some(ends) => Age {
                age: seconds(time, self.stored),
                left: seconds(ends.get(), time),
            },
            None => Age {
                age: 0,
                left: u32::MAX,
            },
        }
    }

    fn size(&self) -> usize {
        self.bytes.len() + PLACE
    }
}

#[derive(Debug)]
struct Shard {
    table: HashTable<usize>,
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    hand: usize,
    capacity: usize,
    memory: usize,
    bytes: usize,
}

impl Store {
    /// An empty store beside a cache of these bounds.
    pub(super) fn new(bounds: &Bounds) -> Self {
        let memory = bounds.bytes / MEMORY_PART;
        let most = (bounds.entries / MIN_PER_SHARD).min(memory / MIN_BYTES_PER_SHARD);
        let count = most.clamp(1, MAX_SHARDS);
        let shard = || Shard {
            table: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            hand: 0,
            capacity: bounds.entries / count,
            memory: memory / count,
            bytes: 0,
        };
        Self {
            shards: (0..count).map(|_| Mutex::new(shard())).collect(),
            hasher: RandomState::new(),
            begun: OnceLock::new(),
        }
    }

    /// Appends the answer to a query, where there is one that holds and is no longer than `limit`.
    pub(super) fn tell(
        &self,
        key: &Key,
        query: &Plain<'_>,
        moment: Moment,
        limit: u16,
        out: &mut Vec<u8>,
    ) -> Option<Told> {
        let time = self.time(moment.now);
        let hash = self.hasher.hash_one(key.bytes());
        let mut shard = self.shard(hash)?;
        let place = shard.place(hash, key.bytes())?;
        let entry = shard.entries.get_mut(place)?.as_mut()?;
        if !entry.holds(time, moment.changes) {
            return None;
        }
        entry.used = true;
        let message = entry.bytes.get(usize::from(entry.key)..)?;
        Finished::new(message, entry.parts).tell(query, entry.age(time), limit, out)?;
        Some(entry.told)
    }

    /// Keeps an answer, as [`Finished::prepare`] left it.
    pub(super) fn keep(
        &self,
        key: &Key,
        message: &[u8],
        parts: Parts,
        told: Told,
        moment: Moment,
        lasting: Lasting,
    ) {
        let life = match lasting {
            Lasting::Not => return,
            Lasting::Always => Life::MAX,
            Lasting::For(life) => life,
        };
        let Ok(key_length) = u16::try_from(key.bytes().len()) else {
            return;
        };
        let stored = self.time(moment.now);
        let after = |life| stored.saturating_add(milliseconds(life));
        let entry = Entry {
            bytes: [key.bytes(), message].concat().into(),
            key: key_length,
            parts,
            told,
            used: false,
            changes: moment.changes,
            stored,
            until: after(life.told.min(LONGEST)),
            ends: NonZero::new(after(life.left)).filter(|_| lasting != Lasting::Always),
        };
        let hash = self.hasher.hash_one(key.bytes());
        if let Some(mut shard) = self.shard(hash) {
            shard.put(hash, entry, moment, stored, &self.hasher);
        }
    }

    /// Answers held, and the memory they take.
    #[cfg(test)]
    fn held(&self) -> (usize, usize) {
        let sizes = self.shards.iter().map(|shard| {
            let shard = lock(shard);
            (shard.table.len(), shard.bytes)
        });
        sizes.fold((0, 0), |(len, bytes), (more, also)| {
            (len + more, bytes + also)
        })
    }

    fn time(&self, now: Instant) -> u64 {
        let begun = self.begun.get_or_init(|| now);
        milliseconds(now.saturating_duration_since(*begun))
    }

    fn shard(&self, hash: u64) -> Option<MutexGuard<'_, Shard>> {
        // The table goes by the lowest bits and the highest seven.
        let count = u64::try_from(self.shards.len()).ok()?;
        let index = (hash >> 32).checked_rem(count)?;
        self.shards.get(usize::try_from(index).ok()?).map(lock)
    }
}

impl Shard {
    fn place(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let same = |place: &usize| self.held(*place).is_some_and(|entry| entry.key() == key);
        self.table.find(hash, same).copied()
    }

    fn held(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place)?.as_ref()
    }

    fn put(
        &mut self,
        hash: u64,
        entry: Entry,
        moment: Moment,
        time: u64,
        hasher: &impl BuildHasher,
    ) {
        if let Some(place) = self.place(hash, entry.key()) {
            self.take(place, hasher);
        }
        // One answer takes at most a part, so that a few large ones do not push out thousands.
        if self.capacity == 0 || entry.size() > self.memory / 6 {
            return;
        }
        while self.table.len() >= self.capacity || self.bytes + entry.size() > self.memory {
            let Some(place) = self.give_way(time, moment.changes) else {
                return;
            };
            self.take(place, hasher);
        }
        self.bytes += entry.size();
        let place = self.free.pop().unwrap_or(self.entries.len());
        match self.entries.get_mut(place) {
            Some(held) => *held = Some(entry),
            None => self.entries.push(Some(entry)),
        }
        let entries = &self.entries;
        self.table.insert_unique(hash, place, |place| {
            let entry = entries.get(*place).and_then(Option::as_ref);
            hasher.hash_one(entry.map(Entry::key).unwrap_or_default())
        });
    }

    fn take(&mut self, place: usize, hasher: &impl BuildHasher) {
        let Some(gone) = self.entries.get_mut(place).and_then(mem::take) else {
            return;
        };
        let hash = hasher.hash_one(gone.key());
        if let Ok(row) = self.table.find_entry(hash, |held| *held == place) {
            row.remove();
        }
        self.bytes = self.bytes.saturating_sub(gone.size());
        self.free.push(place);
    }

    /// The place of the next answer that does not hold, or that nobody asked for since the hand last passed.
    fn give_way(&mut self, time: u64, changes: u64) -> Option<usize> {
        let count = self.entries.len();
        for _ in 0..=2 * count {
            let place = self.hand;
            self.hand = if place + 1 < count { place + 1 } else { 0 };
            if let Some(entry) = self.entries.get_mut(place).and_then(Option::as_mut) {
                if entry.used && entry.holds(time, changes) {
                    entry.used = false;
                    continue;
                }
                return Some(place);
            }
        }
        None
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// No code that holds the lock leaves a shard half changed, so a panic elsewhere does not spoil it.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Edns, Message, MessageType};
    use hickory_proto::rr::RecordType;

    use super::super::testing::{config, query, record};
    use super::*;
    use crate::config::{Mode, Names};

    fn bounds(entries: usize, bytes: usize) -> Bounds {
        let mut bounds = config(Mode::Off, Names::All).dns.cache;
        bounds.entries = entries;
        bounds.bytes = bytes;
        bounds
    }

    fn start() -> Instant {
        super::super::handler::now()
    }

    fn at(start: Instant, milliseconds: u64) -> Moment {
        Moment {
            now: start + Duration::from_millis(milliseconds),
            changes: 0,
        }
    }

    fn keep(store: &Store, number: usize, moment: Moment, lasting: Lasting) {
        keep_capped(store, number, moment, lasting, 0);
    }

    fn keep_capped(store: &Store, number: usize, moment: Moment, lasting: Lasting, capped: usize) {
        let owner = format!("n{number}.example.");
        let asked = query(&owner, RecordType::A).to_vec().unwrap();
        let mut answer = query(&owner, RecordType::A);
        answer.metadata.message_type = MessageType::Response;
        answer.answers.push(record(&format!("{owner} A 192.0.2.1")));
        answer.set_edns(Edns::new());
        let mut message = answer.to_vec().unwrap();
        let parts = Finished::prepare(&mut message, capped).unwrap();
        let key = Plain::read(&asked).unwrap().key(0);
        store.keep(&key, &message, parts, Told::default(), moment, lasting);
    }

    /// As the cache would say it, of a truth that is not to be looked at before a tenth of its life is left.
    fn seconds(seconds: u64) -> Lasting {
        Lasting::For(Life {
            told: Duration::from_millis(seconds * 900),
            left: Duration::from_secs(seconds),
        })
    }

    /// The TTL of the answer.
    fn ask(store: &Store, number: usize, moment: Moment) -> Option<u32> {
        let asked = query(&format!("N{number}.example."), RecordType::A);
        let packet = asked.to_vec().unwrap();
        let plain = Plain::read(&packet).unwrap();
        let mut out = Vec::new();
        store.tell(&plain.key(0), &plain, moment, 512, &mut out)?;
        let answer = Message::from_vec(&out).unwrap();
        assert_eq!(answer.queries, asked.queries);
        Some(answer.answers[0].ttl)
    }

    #[test]
    fn an_answer_is_told_with_its_ttl_going_down_until_a_tenth_of_its_life_is_left() {
        let (store, start) = (Store::new(&bounds(10, 1 << 20)), start());
        keep(&store, 1, at(start, 500), seconds(300));
        for (milliseconds, ttl) in [
            (500, Some(300)),
            (1499, Some(300)),
            (1500, Some(299)),
            (270_499, Some(31)),
            (270_500, None),
        ] {
            assert_eq!(
                ask(&store, 1, at(start, milliseconds)),
                ttl,
                "{milliseconds}"
            );
        }
        assert_eq!(ask(&store, 2, at(start, 500)), None);
    }

    #[test]
    fn a_capped_ttl_goes_down_only_where_less_is_left() {
        let (store, start) = (Store::new(&bounds(10, 1 << 20)), start());
        keep_capped(&store, 1, at(start, 0), seconds(400), 1);
        for (milliseconds, ttl) in [
            (0, Some(300)),
            (100_000, Some(300)),
            (101_000, Some(299)),
            (359_000, Some(41)),
            (360_000, None),
        ] {
            assert_eq!(
                ask(&store, 1, at(start, milliseconds)),
                ttl,
                "{milliseconds}"
            );
        }
    }

    #[test]
    fn what_always_holds_keeps_its_ttl_and_what_does_not_hold_is_not_kept() {
        let (store, start) = (Store::new(&bounds(10, 1 << 20)), start());
        keep(&store, 1, at(start, 0), Lasting::Always);
        keep(&store, 2, at(start, 0), Lasting::Not);
        keep(&store, 3, at(start, 0), seconds(0));
        assert_eq!(ask(&store, 1, at(start, 3_599_999)), Some(300));
        assert_eq!(ask(&store, 1, at(start, 3_600_000)), None);
        assert_eq!(ask(&store, 2, at(start, 0)), None);
        assert_eq!(ask(&store, 3, at(start, 0)), None);
    }

    #[test]
    fn a_change_makes_what_was_there_unreachable_and_what_was_begun_before_it() {
        let (store, start) = (Store::new(&bounds(10, 1 << 20)), start());
        let changed = Moment {
            changes: 1,
            ..at(start, 0)
        };
        keep(&store, 1, at(start, 0), Lasting::Always);
        assert_eq!(ask(&store, 1, changed), None);
        keep(&store, 1, at(start, 0), Lasting::Always);
        assert_eq!(ask(&store, 1, changed), None);
        keep(&store, 1, changed, Lasting::Always);
        assert_eq!(ask(&store, 1, changed), Some(300));
        assert_eq!(store.held().0, 1);
    }

    #[test]
    fn neither_bound_is_passed_and_what_is_asked_again_stays() {
        let one = PLACE + 150;
        for (entries, bytes) in [(8, 1 << 20), (1000, MEMORY_PART * 8 * one)] {
            let (store, start) = (Store::new(&bounds(entries, bytes)), start());
            let now = at(start, 0);
            for number in 0..200 {
                keep(&store, number, now, Lasting::Always);
                assert_eq!(ask(&store, 0, now), Some(300), "{number}");
                let (held, taken) = store.held();
                assert!(
                    held <= entries && taken <= bytes / MEMORY_PART,
                    "{held} {taken}"
                );
            }
            assert!(store.held().0 >= 6, "{:?}", store.held());
        }
    }

    #[test]
    fn with_no_room_nothing_is_kept() {
        for (entries, bytes) in [(0, 1 << 20), (10, 0)] {
            let (store, start) = (Store::new(&bounds(entries, bytes)), start());
            keep(&store, 1, at(start, 0), Lasting::Always);
            assert_eq!(ask(&store, 1, at(start, 0)), None);
        }
    }

    /// A model of the store, and random steps: what is told was kept last for that name, after the last change, and its
    /// time is not over.
    #[test]
    fn whatever_happens_nothing_is_told_that_does_not_hold() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        let (store, start) = (Store::new(&bounds(24, 1 << 20)), start());
        let mut kept: [Option<(u64, u64, u32)>; 40] = [None; 40];
        let (mut milliseconds, mut changes, mut told) = (0, 0, 0);
        for _ in 0..20_000 {
            let number = usize::try_from(random(40)).unwrap();
            let moment = Moment {
                changes,
                ..at(start, milliseconds)
            };
            match random(20) {
                0 => milliseconds += random(5000),
                1 if random(10) == 0 => changes += 1,
                2..=6 => {
                    let life = u32::try_from(random(60)).unwrap();
                    keep(&store, number, moment, seconds(life.into()));
                    kept[number] = Some((milliseconds, changes, life));
                }
                _ => {
                    if let Some(ttl) = ask(&store, number, moment) {
                        let (stored, at_change, life) = kept[number].expect("it was kept");
                        let age = milliseconds - stored;
                        assert_eq!(at_change, changes);
                        assert!(age < u64::from(life) * 900, "{age} {life}");
                        assert_eq!(u64::from(ttl), 300 - age / 1000);
                        told += 1;
                    }
                }
            }
            assert!(store.held().0 <= 24);
        }
        assert!(told > 1000, "{told}");
    }
}
