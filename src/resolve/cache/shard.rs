//! PURE. One part of the cache behind one lock: answers by question, bounded by their number and by the memory they take.
//! Who gives way is found by a clock hand (second chance). Called by the cache.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::{Answer, Life, Question};

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
/// What a place takes besides the answer: its entry with the list's room to grow, and its row in the table.
const PLACE: usize = size_of::<Option<Entry>>() * 3 / 2 + 28;

/// What is kept.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) question: Arc<Question>,
    pub(super) answer: Arc<Answer>,
    pub(super) stored: Instant,
    pub(super) expires: Instant,
    /// The end of the time in which it is told although it has expired.
    pub(super) ends: Instant,
    /// The memory it takes.
    pub(super) bytes: usize,
    /// Whether it says that its name does not exist.
    pub(super) denies: bool,
    /// Asked for since the hand last passed.
    pub(super) asked_again: bool,
    /// Has been asked for before its end.
    pub(super) refreshed: bool,
}

/// What is found.
#[derive(Debug)]
pub(super) enum Seen {
    /// An answer that holds since then; `refresh` once, when it should be asked for again.
    Fresh {
        answer: Arc<Answer>,
        stored: Instant,
        refresh: bool,
    },
    /// One that does not hold any more.
    Expired(Arc<Answer>),
}

/// What putting one in has changed.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// How many that still held had to go.
    pub(super) evicted: usize,
    /// What was kept, where it denies its name.
    pub(super) denied: Option<Arc<Question>>,
    /// Those of the ones that went that denied their name.
    pub(super) undenied: Vec<Arc<Question>>,
}

#[derive(Debug)]
pub(super) struct Shard {
    places: HashMap<Arc<Question>, usize>,
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    hand: usize,
    capacity: usize,
    memory: usize,
    bytes: usize,
}

impl Shard {
    pub(super) fn new(capacity: usize, memory: usize) -> Self {
        Self {
            places: HashMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            hand: 0,
            capacity,
            memory,
            bytes: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Answers held.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The memory that they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is held.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    /// What is known of a question; counts as use of it.
    pub(super) fn look(
        &mut self,
        question: &Question,
        prefetch: bool,
        now: Instant,
    ) -> Option<Seen> {
        let place = *self.places.get(question)?;
        let entry = self.entries.get_mut(place)?.as_mut()?;
        if entry.ends <= now {
            return None;
        }
        entry.asked_again = true;
        if entry.expires <= now {
            return Some(Seen::Expired(Arc::clone(&entry.answer)));
        }
        let life = entry.expires.saturating_duration_since(entry.stored);
        let left = entry.expires.saturating_duration_since(now);
        let refresh = prefetch
            && !entry.refreshed
            && life >= PREFETCH_LEAST
            && left.saturating_mul(PREFETCH_PART) < life;
        entry.refreshed |= refresh;
        Some(Seen::Fresh {
            answer: Arc::clone(&entry.answer),
            stored: entry.stored,
            refresh,
        })
    }

    /// How long the answer to a question holds from now on; `None` where it does not, or where [`Self::look`] would say
    /// that it should be asked for again.
    pub(super) fn life(&self, question: &Question, prefetch: bool, now: Instant) -> Option<Life> {
        let entry = self.held(*self.places.get(question)?)?;
        let life = entry.expires.saturating_duration_since(entry.stored);
        let age = now.saturating_duration_since(entry.stored);
        // Who looks then leaves these records out.
        let beside = entry
            .answer
            .authorities
            .iter()
            .chain(&entry.answer.additionals);
        let beside = beside.map(|record| Duration::from_secs(record.ttl.into()));
        let refresh = if prefetch && life >= PREFETCH_LEAST {
            life.saturating_sub(life / PREFETCH_PART)
        } else {
            life
        };
        let told = beside.fold(refresh, Duration::min).checked_sub(age)?;
        let left = life.saturating_sub(age);
        (!told.is_zero()).then_some(Life { told, left })
    }

    /// Puts an answer in, in the place of an older one to the same question, or where others give way.
    pub(super) fn put(&mut self, mut entry: Entry, now: Instant) -> Change {
        let mut change = Change::default();
        entry.bytes += PLACE;
        let replaced = self.places.get(&entry.question).copied();
        if let Some(place) = replaced {
            self.take(place, &mut change);
        }
        if entry.bytes > self.largest() || self.capacity == 0 {
            return change;
        }
        while self.places.len() >= self.capacity || self.bytes + entry.bytes > self.memory {
            let Some(place) = self.give_way(now) else {
                return change;
            };
            if let Some(gone) = self.take(place, &mut change)
                && gone.expires > now
            {
                change.evicted += 1;
            }
        }
        let place = self.free.pop().unwrap_or(self.entries.len());
        self.places.insert(Arc::clone(&entry.question), place);
        self.bytes += entry.bytes;
        change.denied = entry.denies.then(|| Arc::clone(&entry.question));
        match self.entries.get_mut(place) {
            Some(held) => *held = Some(entry),
            None => self.entries.push(Some(entry)),
        }
        change
    }

    /// Takes out the answer to a question.
    pub(super) fn remove(&mut self, question: &Question) -> Change {
        let mut change = Change::default();
        if let Some(&place) = self.places.get(question) {
            self.take(place, &mut change);
        }
        change
    }

    /// Takes out what `matches`.
    pub(super) fn forget(&mut self, matches: impl Fn(&Entry) -> bool) -> Change {
        let mut change = Change::default();
        for place in 0..self.entries.len() {
            if self.held(place).is_some_and(&matches) {
                self.take(place, &mut change);
                change.evicted += 1;
            }
        }
        if self.places.is_empty() {
            *self = Self::new(self.capacity, self.memory);
        }
        change
    }

    /// The largest answer that is kept.
    fn largest(&self) -> usize {
        (self.memory / LARGEST_PART).max(LARGEST_LEAST.min(self.memory / 2))
    }

    fn held(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place)?.as_ref()
    }

    fn take(&mut self, place: usize, change: &mut Change) -> Option<Entry> {
        let gone = self.entries.get_mut(place).and_then(mem::take)?;
        self.places.remove(&gone.question);
        self.free.push(place);
        self.bytes = self.bytes.saturating_sub(gone.bytes);
        if gone.denies {
            change.undenied.push(Arc::clone(&gone.question));
        }
        Some(gone)
    }

    /// The place of the next answer that has come to its end, or else of the next that nobody asked for since the hand
    /// last passed.
    fn give_way(&mut self, now: Instant) -> Option<usize> {
        let count = self.entries.len();
        if self.places.is_empty() {
            return None;
        }
        let ahead = (self.hand..self.hand + LOOK_AHEAD.min(count)).map(|place| place % count);
        let mut ahead =
            ahead.filter(|place| self.held(*place).is_some_and(|entry| entry.ends <= now));
        if let Some(place) = ahead.next() {
            return Some(place);
        }
        for _ in 0..=2 * count {
            let place = self.hand;
            self.hand = (place + 1) % count;
            if let Some(entry) = self.entries.get_mut(place).and_then(Option::as_mut) {
                if entry.asked_again && entry.ends > now {
                    entry.asked_again = false;
                    continue;
                }
                return Some(place);
            }
        }
        None
    }
}
