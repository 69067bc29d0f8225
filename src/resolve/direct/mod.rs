//! Questions asked over plain UDP without a task for each: who waits is told by the thread that asked. Only what is
//! as most things are goes this way: one server to begin with, up and asked over UDP, and an answer that
//! can be read in place (`simple`). Whatever else comes, or does not come, is left to the long way
//! ([`Resolver::lookup`]), which goes on with what the server said (`upstreams`), so that nothing is asked twice.
//!
//! `line` has the sockets. Called by [`Resolver`], for `dns`.

#[cfg(any(test, fuzzing))]
mod agreement;
mod binding;
#[cfg(fuzzing)]
pub mod fuzzing;
mod line;
mod reader;
mod simple;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hashbrown::HashTable;
use tokio::sync::oneshot;

pub use self::binding::Binding;
pub use self::line::Lines;
use self::line::Outcome;
pub(super) use self::line::{Peer, Said};
pub use self::simple::Simple;
use super::cache::{Cache, Failures, Key, Knowledge, Remembered, UDP_PAYLOAD};
use super::coalesce::MAX_FLIGHTS;
use super::upstreams::{Given, Heard, Servers};
use super::{Question, Resolver, count_entries, now};
use crate::telemetry::Metrics;

/// Who waits for an answer without a task.
pub trait Asker: Send {
    /// What the server said, or `None` where the long way has to be gone. What is to be done once for many is given back.
    fn told(self: Box<Self>, simple: Option<&Simple>) -> Option<fn()>;

    /// Whether it is counted already as one that the cache could not answer.
    fn is_counted(&self) -> bool {
        false
    }
}

/// What is asked so at the moment.
pub(super) struct Direct {
    rows: Mutex<HashTable<Arc<Row>>>,
    count: AtomicUsize,
    hasher: RandomState,
    cache: Arc<ArcSwap<Cache>>,
    failures: Arc<Failures>,
    epoch: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
}

/// One question that is asked, and who waits for the answer.
pub(super) struct Row {
    key: Key,
    question: Question,
    /// Name in lower case, type and class.
    wire: Box<[u8]>,
    direct: Arc<Direct>,
    servers: Arc<Servers>,
    index: usize,
    asked: Instant,
    until: Instant,
    /// Flushes before it.
    begun: u64,
    askers: Mutex<Vec<Box<dyn Asker>>>,
}

/// What became of a row that was to be added.
enum Insertion {
    Added,
    /// The same is asked already.
    Joined,
    /// There are as many as there may be.
    Full,
}

/// Questions that are to be sent, together.
#[derive(Debug, Default)]
pub struct Begun(Vec<Arc<Row>>);

impl Begun {
    /// Sends them on the sockets of this thread.
    pub fn send(&mut self, lines: &mut Lines) {
        if self.0.is_empty() {
            return;
        }
        let mut rest = std::mem::take(&mut self.0);
        while let Some(first) = rest.first() {
            let (servers, index) = (Arc::clone(&first.servers), first.index);
            let same = |row: &Arc<Row>| Arc::ptr_eq(&row.servers, &servers) && row.index == index;
            let (rows, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(same);
            match servers.peer(index) {
                Some(peer) => lines.send(peer, &rows),
                None => rows.iter().for_each(|row| row.told(Outcome::Lost)),
            }
            rest = others;
        }
        flush();
    }
}

/// Whoever still waits is told.
impl Drop for Begun {
    fn drop(&mut self) {
        let rest = std::mem::take(&mut self.0);
        rest.iter().for_each(|row| row.told(Outcome::Lost));
        flush();
    }
}

impl Direct {
    pub(super) fn new(
        cache: Arc<ArcSwap<Cache>>,
        failures: Arc<Failures>,
        epoch: Arc<AtomicU64>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            rows: Mutex::default(),
            count: AtomicUsize::new(0),
            hasher: RandomState::new(),
            cache,
            failures,
            epoch,
            metrics,
        }
    }

    /// Lets nobody else wait for the answers to what is asked at the moment.
    pub(super) fn forget(&self) {
        let mut rows = self.rows();
        rows.clear();
        self.count.store(0, Ordering::Release);
    }

    /// Waits for what is told of a question that is asked at the moment; `None` where it is not.
    pub(super) fn join(&self, question: &Question) -> Option<oneshot::Receiver<()>> {
        let (teller, told) = oneshot::channel();
        let asker = || -> Option<Box<dyn Asker>> { Some(Box::new(Task(teller))) };
        self.add(&Key::of(question), asker).ok()?;
        Some(told)
    }

    /// Adds somebody who waits for the answer to a question that is asked at the moment; given back where it is not.
    fn add<F: FnOnce() -> Option<Box<dyn Asker>>>(&self, key: &Key, asker: F) -> Result<(), F> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Err(asker);
        }
        let hash = self.hasher.hash_one(key);
        let rows = self.rows();
        match rows.find(hash, |row| row.key == *key) {
            Some(row) => {
                row.askers().extend(asker());
                Ok(())
            }
            None => Err(asker),
        }
    }

    /// Adds a row, or who waits for it to that of a thread that was faster.
    fn insert(&self, row: &Arc<Row>) -> Insertion {
        let hash = self.hasher.hash_one(&row.key);
        let mut rows = self.rows();
        if let Some(held) = rows.find(hash, |held| held.key == row.key) {
            held.askers().append(&mut row.askers());
            return Insertion::Joined;
        }
        if rows.len() >= MAX_FLIGHTS {
            return Insertion::Full;
        }
        rows.insert_unique(hash, Arc::clone(row), |row| self.hasher.hash_one(&row.key));
        self.count.store(rows.len(), Ordering::Release);
        Insertion::Added
    }

    /// Takes a row out, and those who wait with it.
    fn take(&self, row: &Row) -> Vec<Box<dyn Asker>> {
        let hash = self.hasher.hash_one(&row.key);
        let mut rows = self.rows();
        // After a flush, the row of this question may be a younger one.
        let own = |held: &Arc<Row>| std::ptr::eq(&raw const **held, row);
        if let Ok(held) = rows.find_entry(hash, own) {
            held.remove();
        }
        self.count.store(rows.len(), Ordering::Release);
        std::mem::take(&mut *row.askers())
    }

    fn rows(&self) -> MutexGuard<'_, HashTable<Arc<Row>>> {
        // Every change is complete before anything can panic.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was said, unless something was forgotten since it was asked for.
    fn keep(&self, row: &Row, simple: &Simple) {
        if self.epoch.load(Ordering::Acquire) != row.begun {
            return;
        }
        self.failures.answered(&row.question);
        let cache = self.cache.load();
        let evicted = cache.insert_simple(&row.key, simple, now());
        // A flush that began meanwhile may have passed by this place already.
        if self.epoch.load(Ordering::Acquire) != row.begun {
            cache.remove(&row.question);
        }
        let evicted = u64::try_from(evicted).unwrap_or(u64::MAX);
        self.metrics.cache_evictions.inc_by(evicted);
        count_entries(&self.metrics, &cache);
    }
}

impl Row {
    /// Name in lower case, type and class.
    fn question(&self) -> &[u8] {
        &self.wire
    }

    /// Until when the answer is waited for.
    fn until(&self) -> Instant {
        self.until
    }

    /// Until when the long way waits for it.
    fn end(&self) -> Instant {
        self.asked + self.servers.timeout()
    }

    fn askers(&self) -> MutexGuard<'_, Vec<Box<dyn Asker>>> {
        self.askers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves what the server said to who goes the long way, unless something was forgotten since it was asked.
    fn leave(&self, said: Heard) {
        let is_still = || self.direct.epoch.load(Ordering::Acquire) == self.begun;
        if !is_still() {
            return;
        }
        let given = Given {
            index: self.index,
            asked: self.asked,
            said,
        };
        self.servers.give(&self.question, given);
        // A flush that began meanwhile may have passed by this place already.
        if !is_still() {
            self.servers.forget_given();
        }
    }

    /// Tells those who wait what has become of the question.
    fn told(&self, outcome: Outcome<'_>) {
        let mut said = None;
        let simple = match outcome {
            Outcome::Answer(reply) => {
                let bounds = *self.direct.cache.load().bounds();
                let simple = Simple::read(&self.wire, reply, &bounds);
                if simple.is_none() {
                    said = Some(Heard::Said(Said::Message(reply.to_vec())));
                }
                simple
            }
            Outcome::Said(what) => {
                said = Some(Heard::Said(what));
                None
            }
            Outcome::Silence(late) => {
                said = Some(Heard::Nothing(late));
                None
            }
            Outcome::Lost => None,
        };
        if let Some(simple) = &simple {
            self.servers.answered(self.index, self.asked);
            self.direct.keep(self, simple);
        }
        if let Some(said) = said {
            self.leave(said);
        }
        let askers = self.direct.take(self);
        if simple.is_some() {
            // Whoever goes the long way is counted there.
            let count = askers.iter().filter(|asker| !asker.is_counted()).count();
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            self.direct.metrics.cache_misses.inc_by(count);
        }
        for asker in askers {
            if let Some(flush) = asker.told(simple.as_ref()) {
                remember(flush);
            }
        }
    }
}

/// A task that waits.
struct Task(oneshot::Sender<()>);

impl Asker for Task {
    fn told(self: Box<Self>, _simple: Option<&Simple>) -> Option<fn()> {
        // It may have gone.
        self.0.send(()).ok();
        None
    }

    fn is_counted(&self) -> bool {
        true
    }
}

impl Resolver {
    /// Begins to ask a question over UDP without a task, with whoever asks the same just now: `asker` will be told, after
    /// [`Begun::send`]. False where the long way has to be gone.
    pub fn begin(
        &self,
        question: &Question,
        key: &Key,
        wire: &[u8],
        begun: &mut Begun,
        asker: impl FnOnce() -> Option<Box<dyn Asker>>,
    ) -> bool {
        if self.validator.load().is_some() {
            return false;
        }
        // What is flushed from here on is not kept.
        let epoch = self.epoch.load(Ordering::Acquire);
        let now = now();
        let realm = || self.realm(&question.name);
        let knowledge = self.cache.load().knowledge(question, key, realm, now);
        if knowledge == Knowledge::Known
            || knowledge == Knowledge::Expired && self.failures.was_in_vain(&question.name, now)
            || !matches!(self.failures.of(question, now), Remembered::Nothing)
            || self.flights.has(question)
        {
            return false;
        }
        let asker = match self.direct.add(key, asker) {
            Ok(()) => return true,
            Err(asker) => asker,
        };
        let Some((servers, index, patience)) = self.upstreams.load().plain(question, now) else {
            return false;
        };
        let mut wire: Box<[u8]> = wire.into();
        if let Some(name) = wire.len().checked_sub(super::wire::TYPE_AND_CLASS)
            && let Some(name) = wire.get_mut(..name)
        {
            name.make_ascii_lowercase();
        }
        let row = Arc::new(Row {
            key: key.clone(),
            question: question.clone(),
            wire,
            direct: Arc::clone(&self.direct),
            servers,
            index,
            asked: now,
            until: now + patience.max(Duration::from_millis(1)),
            begun: epoch,
            askers: Mutex::new(asker().into_iter().collect()),
        });
        match self.direct.insert(&row) {
            Insertion::Full => {
                for asker in self.direct.take(&row) {
                    asker.told(None);
                }
            }
            Insertion::Joined => {}
            Insertion::Added => {
                row.servers.begun(index, now);
                begun.0.push(row);
            }
        }
        true
    }
}

thread_local! {
    /// What is to be done once for all that were told.
    static OWED: RefCell<Vec<fn()>> = const { RefCell::new(Vec::new()) };
}

fn remember(flush: fn()) {
    OWED.with_borrow_mut(|owed| {
        if !owed.iter().any(|held| std::ptr::fn_addr_eq(*held, flush)) {
            owed.push(flush);
        }
    });
}

/// Does what is to be done once for all that were told on this thread.
fn flush() {
    for flush in OWED.with_borrow_mut(std::mem::take) {
        flush();
    }
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("question", &self.question)
            .finish_non_exhaustive()
    }
}
