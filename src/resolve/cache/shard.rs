//! PURE. One part of the cache behind one lock: answers by question and audience, bounded by their number and by the memory
//! they take. Who gives way is found by a clock hand (second chance). Called by the cache.

use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::time::Duration;

use hashbrown::HashTable;

use super::super::Question;
use super::entry::{Audience, Entry};
use super::key::Key;

/// Places that the hand looks ahead for one that holds nothing of use, before one that holds must give way.
const LOOK_AHEAD: usize = 32;
/// One answer takes at most this part of the memory, so that a few large ones do not push out thousands. Of the default
/// memory it is enough for the longest message ..
const LARGEST_PART: usize = 6;
/// .. or this much, where memory is small, but never more than half.
const LARGEST_LEAST: usize = 16 << 10;
/// Shorter lives than this are not worth asking for before their end.
const PREFETCH_LEAST: Duration = Duration::from_secs(10);
/// What is asked for again before its end has less left than this part of its life.
const PREFETCH_PART: u32 = 10;
/// What a place takes besides its bytes: its entry with the list's room to grow, its row in the table, the allocator's
/// header and rounding.
const PLACE: usize = size_of::<Option<Entry>>() * 3 / 2 + 10 + 16;
/// What the name of a denial takes besides, in the set of denied names.
const DENIAL: usize = 250;

/// What putting one in has changed.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// How many that still held had to go.
    pub(super) evicted: usize,
    /// What was kept, where it denies its name.
    pub(super) denied: Option<Question>,
    /// Those of the ones that went that denied their name.
    pub(super) undenied: Vec<Question>,
}

#[derive(Debug)]
pub(super) struct Shard {
    table: HashTable<u32>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    hand: usize,
    capacity: usize,
    memory: usize,
    bytes: usize,
    hasher: RandomState,
}

impl Shard {
    pub(super) fn new(capacity: usize, memory: usize, hasher: RandomState) -> Self {
        Self {
            table: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            hand: 0,
            capacity: capacity.min(u32::MAX as usize),
            memory,
            bytes: 0,
            hasher,
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Answers held.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The memory that they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is held.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    /// What upstreams said to a question; counts as use of it.
    pub(super) fn truth(&mut self, hash: u64, key: &Key) -> Option<&mut Entry> {
        let place = self.find(hash, |entry| entry.truth && entry.is_about(key))?;
        let entry = self.entries.get_mut(place)?.as_mut()?;
        entry.asked_again = true;
        Some(entry)
    }

    /// What is told these of a question as it is; counts as use of it.
    pub(super) fn told(&mut self, hash: u64, key: &Key, audience: Audience) -> Option<&Entry> {
        let place = self.find(hash, |entry| {
            entry.audience.holds(audience) && entry.is_about(key)
        })?;
        let entry = self.entries.get_mut(place)?.as_mut()?;
        entry.asked_again = true;
        Some(entry)
    }

    /// Puts an answer in, in the place of an older one like it, or where others give way.
    pub(super) fn put(&mut self, hash: u64, key: &Key, mut entry: Entry, time: Time) -> Change {
        let mut change = Change::default();
        let replaced = self.find(hash, |held| {
            held.truth == entry.truth
                && (entry.truth || held.audience == entry.audience)
                && held.is_about(key)
        });
        if let Some(place) = replaced {
            self.take(place, &mut change);
        }
        // They are told this now, and not the truth any more.
        if !entry.truth
            && let Some(place) = self.find(hash, |held| {
                held.truth && held.audience.holds(entry.audience) && held.is_about(key)
            })
            && let Some(Some(truth)) = self.entries.get_mut(place)
        {
            truth.audience.leave_out(entry.audience);
        }
        let size = size(&entry);
        if size > self.largest() || self.capacity == 0 {
            return change;
        }
        while self.table.len() >= self.capacity || self.bytes + size > self.memory {
            let Some(place) = self.give_way(time) else {
                return change;
            };
            if let Some(gone) = self.take(place, &mut change)
                && gone.truth
                && gone.expires() > time.now
            {
                change.evicted += 1;
            }
        }
        change.denied = entry.denies.then(|| entry.question()).flatten();
        entry.denies = change.denied.is_some();
        let place = match self.free.pop() {
            Some(place) => place,
            None => match u32::try_from(self.entries.len()) {
                Ok(place) => place,
                Err(_) => return change,
            },
        };
        self.bytes += size;
        match self.entries.get_mut(place as usize) {
            Some(held) => *held = Some(entry),
            None => self.entries.push(Some(entry)),
        }
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.table.insert_unique(hash, place, |place| {
            let entry = entries.get(*place as usize).and_then(Option::as_ref);
            entry.map_or(0, |entry| hasher.hash_one(entry.key()))
        });
        change
    }

    /// Takes out what upstreams said to a question.
    pub(super) fn remove(&mut self, hash: u64, key: &Key) -> Change {
        let mut change = Change::default();
        if let Some(place) = self.find(hash, |entry| entry.truth && entry.is_about(key)) {
            self.take(place, &mut change);
        }
        change
    }

    /// Takes out what was made of the answer to a question for these.
    pub(super) fn remove_made(&mut self, hash: u64, key: &Key, audience: Audience) -> Change {
        let mut change = Change::default();
        let made = |entry: &Entry| !entry.truth && entry.audience == audience;
        if let Some(place) = self.find(hash, |entry| made(entry) && entry.is_about(key)) {
            self.take(place, &mut change);
        }
        change
    }

    /// Takes out what `matches`, and says how much of it was the truth.
    pub(super) fn forget(&mut self, matches: impl Fn(&Entry) -> bool) -> Change {
        let mut change = Change::default();
        for place in 0..self.entries.len() {
            if self.held(place).is_some_and(&matches)
                && let Some(gone) = self.take(place, &mut change)
                && gone.truth
            {
                change.evicted += 1;
            }
        }
        if self.table.is_empty() {
            let hasher = self.hasher.clone();
            *self = Self::new(self.capacity, self.memory, hasher);
        }
        change
    }

    /// The largest answer that is kept.
    fn largest(&self) -> usize {
        (self.memory / LARGEST_PART).max(LARGEST_LEAST.min(self.memory / 2))
    }

    fn find(&self, hash: u64, matches: impl Fn(&Entry) -> bool) -> Option<usize> {
        let place = self.table.find(hash, |place| {
            self.held(*place as usize).is_some_and(&matches)
        })?;
        Some(*place as usize)
    }

    fn held(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place)?.as_ref()
    }

    fn take(&mut self, place: usize, change: &mut Change) -> Option<Entry> {
        let gone = self.entries.get_mut(place).and_then(mem::take)?;
        let hash = self.hasher.hash_one(gone.key());
        let index = u32::try_from(place).ok()?;
        if let Ok(row) = self.table.find_entry(hash, |held| *held == index) {
            row.remove();
        }
        self.free.push(index);
        self.bytes = self.bytes.saturating_sub(size(&gone));
        if gone.denies {
            change.undenied.extend(gone.question());
        }
        Some(gone)
    }

    /// The place of the next answer that has come to its end, or else of the next that nobody asked for since the hand
    /// last passed.
    fn give_way(&mut self, time: Time) -> Option<usize> {
        let count = self.entries.len();
        if self.table.is_empty() {
            return None;
        }
        let ahead = (self.hand..self.hand + LOOK_AHEAD.min(count)).map(|place| place % count);
        let mut ahead =
            ahead.filter(|place| self.held(*place).is_some_and(|entry| time.is_over(entry)));
        if let Some(place) = ahead.next() {
            return Some(place);
        }
        for _ in 0..=2 * count {
            let place = self.hand;
            self.hand = (place + 1) % count;
            if let Some(entry) = self.entries.get_mut(place).and_then(Option::as_mut) {
                if entry.asked_again && !time.is_over(entry) {
                    entry.asked_again = false;
                    continue;
                }
                return Some(place);
            }
        }
        None
    }
}

/// What time it is for the cache, in milliseconds since it began, and how long after its end a truth may be told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    pub(super) now: u64,
    pub(super) stale: u64,
}

impl Time {
    /// Whether an answer is of no use any more.
    pub(super) fn is_over(self, entry: &Entry) -> bool {
        let end = if entry.truth {
            entry.expires().saturating_add(self.stale)
        } else {
            entry.told_until()
        };
        end <= self.now
    }

    /// When a truth is to be asked for again: at its end, or with `prefetch` before it.
    pub(super) fn refresh(entry: &Entry, prefetch: bool) -> u64 {
        entry
            .stored
            .saturating_add(Self::refresh_after(entry.left, prefetch))
    }

    /// Likewise, counted from when it was put in for so many seconds.
    pub(super) fn refresh_after(left: u32, prefetch: bool) -> u64 {
        let life = u64::from(left) * 1000;
        if prefetch && life >= super::entry::milliseconds(PREFETCH_LEAST) {
            life - life / u64::from(PREFETCH_PART)
        } else {
            life
        }
    }
}

/// The memory that it takes.
fn size(entry: &Entry) -> usize {
    entry.bytes.len() + PLACE + if entry.denies { DENIAL } else { 0 }
}
