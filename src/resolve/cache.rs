//! PURE. What upstreams said, for as long as they said it holds: positive answers (RFC 1035 section 3.2.1, RFC 8767
//! section 4) and negative ones (RFC 2308). Bounded by a number of answers; the one that gives way is found by a
//! clock hand (second chance), so that names asked once never push out names asked often.
//!
//! Called by [`Resolver`](super::Resolver); the caller passes `now`, nothing here reads a clock.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::rr::{Name, Record};

use super::answer::{is_negative, negative_soa};
use super::{Answer, Question};
use crate::config::Cache as Bounds;

/// Locks that the answers are spread over.
const MAX_SHARDS: usize = 16;
/// Below so many answers per lock, fewer locks are used: a small cache must not be full in one corner only.
const MIN_PER_SHARD: usize = 256;
/// The longest TTL (RFC 2181 section 8).
const MAX_TTL: u32 = 0x7fff_ffff;

/// The cache.
#[derive(Debug)]
pub struct Cache {
    bounds: Bounds,
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    len: AtomicUsize,
}

#[derive(Debug)]
struct Shard {
    places: HashMap<Arc<Question>, usize>,
    entries: Vec<Entry>,
    capacity: usize,
    hand: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    question: Arc<Question>,
    answer: Arc<Answer>,
    stored: Instant,
    expires: Instant,
    asked_again: bool,
}

impl Cache {
    /// An empty cache. With `entries` at 0 it stays empty.
    pub fn new(bounds: Bounds) -> Self {
        let count = (bounds.entries / MIN_PER_SHARD).clamp(1, MAX_SHARDS);
        let shards = (0..count)
            .map(|index| {
                let extra = usize::from(index < bounds.entries % count);
                Mutex::new(Shard {
                    places: HashMap::new(),
                    entries: Vec::new(),
                    capacity: bounds.entries / count + extra,
                    hand: 0,
                })
            })
            .collect();
        Self {
            bounds,
            shards,
            hasher: RandomState::new(),
            len: AtomicUsize::new(0),
        }
    }

    /// A cache with other bounds that holds what still holds of this one, as far as there is room.
    pub fn resized(&self, bounds: Bounds, now: Instant) -> Self {
        let resized = Self::new(bounds);
        for shard in &self.shards {
            for entry in &lock(shard).entries {
                if entry.expires > now {
                    resized.put(entry.clone(), now);
                }
            }
        }
        resized
    }

    /// The bounds it was made with.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Answers held, expired ones that were not replaced yet included.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The answer, its TTLs reduced by the time it has been here. Records beside the answer itself whose own time
    /// is over are left out.
    pub fn get(&self, question: &Question, now: Instant) -> Option<Answer> {
        let (answer, stored) = {
            let mut shard = lock(self.shard(question)?);
            let place = *shard.places.get(question)?;
            let entry = shard.entries.get_mut(place)?;
            if entry.expires <= now {
                return None;
            }
            entry.asked_again = true;
            (Arc::clone(&entry.answer), entry.stored)
        };
        let age = seconds(now.saturating_duration_since(stored));
        Some(Answer {
            answers: aged(&answer.answers, age, true),
            authorities: aged(&answer.authorities, age, false),
            additionals: aged(&answer.additionals, age, false),
            extended_errors: answer.extended_errors.clone(),
            ..*answer
        })
    }

    /// Keeps an answer for a time, as [`Cache::settle`] gave it; says whether one that still held had to give way.
    pub fn insert(
        &self,
        question: &Question,
        answer: Arc<Answer>,
        lifetime: Duration,
        now: Instant,
    ) -> bool {
        let Some(expires) = now.checked_add(lifetime).filter(|expires| *expires > now) else {
            return false;
        };
        let entry = Entry {
            question: Arc::new(question.clone()),
            answer,
            stored: now,
            expires,
            asked_again: false,
        };
        self.put(entry, now)
    }

    /// Forgets the answers that rest on a name of which `matches` is true: the one asked, or the owner of a record that
    /// answers it, as along CNAMEs. Says how many there were.
    pub fn forget(&self, matches: impl Fn(&Name) -> bool) -> usize {
        let mut forgotten = 0;
        for shard in &self.shards {
            let mut shard = lock(shard);
            let before = shard.entries.len();
            let held = mem::take(&mut shard.entries);
            shard.places.clear();
            shard.hand = 0;
            for entry in held {
                let owners = entry.answer.answers.iter().map(|record| &record.name);
                if !std::iter::once(&entry.question.name)
                    .chain(owners)
                    .any(&matches)
                {
                    let place = shard.entries.len();
                    shard.places.insert(Arc::clone(&entry.question), place);
                    shard.entries.push(entry);
                }
            }
            forgotten += before - shard.entries.len();
        }
        self.len.fetch_sub(forgotten, Ordering::Relaxed);
        forgotten
    }

    /// Brings an upstream's TTLs within the bounds and says how long the answer may be kept; zero: not at all.
    ///
    /// A positive answer holds as long as the shortest record of its answer section. A negative one holds as long as
    /// its SOA says (RFC 2308 section 5: the lesser of TTL and MINIMUM), and not at all without a SOA of the name's
    /// zone; `min_ttl` is not applied to it, because a name that is about to be made would be missed for longer.
    pub fn settle(&self, question: &Question, answer: &mut Answer) -> Duration {
        let least = seconds(self.bounds.min_ttl);
        let most = seconds(self.bounds.max_ttl).max(least);
        for section in [
            &mut answer.answers,
            &mut answer.authorities,
            &mut answer.additionals,
        ] {
            for record in section {
                // One with the highest bit set is a long one, not zero (RFC 8767 section 4).
                record.ttl = record.ttl.clamp(least, most);
            }
        }
        let positive = answer.answers.iter().map(|record| record.ttl).min();
        if !is_negative(question, answer) {
            return Duration::from_secs(positive.unwrap_or(0).into());
        }
        let Some((ttl, soa)) = negative_soa(question, answer) else {
            return Duration::ZERO;
        };
        let negative = ttl
            .min(soa.minimum)
            .min(seconds(self.bounds.max_negative_ttl));
        // MINIMUM stays, or the SOA's signature would not hold; the TTL alone bounds it for the client.
        for record in &mut answer.authorities {
            record.ttl = record.ttl.min(negative);
        }
        Duration::from_secs(negative.min(positive.unwrap_or(u32::MAX)).into())
    }

    fn put(&self, entry: Entry, now: Instant) -> bool {
        let Some(shard) = self.shard(&entry.question) else {
            return false;
        };
        let mut shard = lock(shard);
        let before = shard.entries.len();
        let evicted = shard.put(entry, now);
        if shard.entries.len() > before {
            self.len.fetch_add(1, Ordering::Relaxed);
        }
        evicted
    }

    fn shard(&self, question: &Question) -> Option<&Mutex<Shard>> {
        let hash = self.hasher.hash_one(question);
        let count = u64::try_from(self.shards.len()).ok()?;
        self.shards
            .get(usize::try_from(hash.checked_rem(count)?).ok()?)
    }
}

impl Shard {
    fn put(&mut self, entry: Entry, now: Instant) -> bool {
        if let Some(&place) = self.places.get(&entry.question) {
            if let Some(held) = self.entries.get_mut(place) {
                *held = entry;
            }
            return false;
        }
        if self.entries.len() < self.capacity {
            self.places
                .insert(Arc::clone(&entry.question), self.entries.len());
            self.entries.push(entry);
            return false;
        }
        let place = self.give_way(now);
        let Some(held) = self.entries.get_mut(place) else {
            return false;
        };
        self.places.insert(Arc::clone(&entry.question), place);
        let old = mem::replace(held, entry);
        self.places.remove(&old.question);
        old.expires > now
    }

    /// The place of the next answer that has expired or that nobody asked for since the hand last passed.
    fn give_way(&mut self, now: Instant) -> usize {
        let count = self.entries.len();
        for _ in 0..count {
            let place = self.hand;
            self.hand = (place + 1) % count;
            if let Some(entry) = self.entries.get_mut(place)
                && entry.asked_again
                && entry.expires > now
            {
                entry.asked_again = false;
                continue;
            }
            return place;
        }
        self.hand
    }
}

/// No code that holds the lock leaves a shard half changed, so a panic elsewhere does not spoil it.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn aged(records: &[Record], age: u32, keep_expired: bool) -> Vec<Record> {
    records
        .iter()
        .filter(|record| keep_expired || record.ttl > age || age == 0)
        .map(|record| {
            let mut record = record.clone();
            record.ttl = record.ttl.saturating_sub(age);
            record
        })
        .collect()
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs())
        .unwrap_or(MAX_TTL)
        .min(MAX_TTL)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::op::ResponseCode;
    use hickory_proto::rr::rdata::{CNAME, SOA};
    use hickory_proto::rr::{RData, RecordType};

    use super::*;

    const BOUNDS: Bounds = Bounds {
        entries: 1000,
        min_ttl: Duration::ZERO,
        max_ttl: Duration::from_secs(86_400),
        max_negative_ttl: Duration::from_secs(3_600),
        bytes: 1 << 20,
        stale: Duration::ZERO,
        prefetch: false,
        nxdomain_cut: false,
    };

    #[expect(clippy::disallowed_methods, reason = "any start will do")]
    fn start() -> Instant {
        Instant::now()
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn question(text: &str) -> Question {
        Question {
            name: name(text),
            record_type: RecordType::A,
            dnssec_ok: false,
            checking_disabled: false,
        }
    }

    fn a(owner: &str, ttl: u32) -> Record {
        Record::from_rdata(
            name(owner),
            ttl,
            RData::A(Ipv4Addr::new(192, 0, 2, 1).into()),
        )
    }

    fn cname(owner: &str, target: &str, ttl: u32) -> Record {
        Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
    }

    fn soa(owner: &str, ttl: u32, minimum: u32) -> Record {
        let soa = SOA::new(name("ns."), name("root."), 1, 2, 3, 4, minimum);
        Record::from_rdata(name(owner), ttl, RData::SOA(soa))
    }

    fn answer(answers: Vec<Record>, authorities: Vec<Record>) -> Answer {
        Answer {
            rcode: ResponseCode::NoError,
            authentic: false,
            answers,
            authorities,
            additionals: Vec::new(),
            extended_errors: Vec::new(),
        }
    }

    fn store(cache: &Cache, text: &str, mut answer: Answer, now: Instant) -> bool {
        let question = question(text);
        let lifetime = cache.settle(&question, &mut answer);
        cache.insert(&question, Arc::new(answer), lifetime, now)
    }

    #[test]
    fn an_answer_ages_and_ends_with_its_shortest_record() {
        let (cache, now) = (Cache::new(BOUNDS), start());
        let records = vec![cname("a.example.", "b.example.", 300), a("b.example.", 60)];
        store(&cache, "a.example.", answer(records, vec![]), now);
        let ttls = |at| {
            let answer: Option<Answer> = cache.get(&question("a.example."), after(now, at));
            answer.map(|answer| answer.answers.iter().map(|record| record.ttl).collect())
        };
        assert_eq!(ttls(0), Some(vec![300, 60]));
        assert_eq!(ttls(59), Some(vec![241, 1]));
        assert_eq!(ttls(60), None::<Vec<u32>>);
    }

    #[test]
    fn case_does_not_matter_but_type_do_and_cd_do() {
        let (cache, now) = (Cache::new(BOUNDS), start());
        store(
            &cache,
            "a.example.",
            answer(vec![a("a.example.", 60)], vec![]),
            now,
        );
        let base = question("A.eXample.");
        assert!(cache.get(&base, now).is_some());
        for other in [
            Question {
                record_type: RecordType::AAAA,
                ..base.clone()
            },
            Question {
                dnssec_ok: true,
                ..base.clone()
            },
            Question {
                checking_disabled: true,
                ..base
            },
        ] {
            assert_eq!(cache.get(&other, now), None, "{other:?}");
        }
    }

    #[test]
    fn ttls_are_brought_within_the_bounds_also_in_what_is_shown() {
        let cache = Cache::new(Bounds {
            min_ttl: Duration::from_secs(10),
            max_ttl: Duration::from_secs(100),
            ..BOUNDS
        });
        for (ttl, shown) in [(0, 10), (50, 50), (1000, 100), (u32::MAX, 100)] {
            let mut answer = answer(vec![a("a.example.", ttl)], vec![]);
            let lifetime = cache.settle(&question("a.example."), &mut answer);
            assert_eq!(lifetime, Duration::from_secs(shown.into()), "{ttl}");
            assert_eq!(answer.answers[0].ttl, shown);
        }
    }

    #[test]
    fn an_answer_with_a_ttl_of_zero_is_not_kept() {
        let (cache, now) = (Cache::new(BOUNDS), start());
        store(
            &cache,
            "a.example.",
            answer(vec![a("a.example.", 0)], vec![]),
            now,
        );
        assert!(cache.is_empty());
    }

    #[test]
    fn a_negative_answer_holds_as_long_as_its_soa_says() {
        let cache = Cache::new(BOUNDS);
        let cases = [
            (vec![], vec![soa("example.", 900, 300)], 300),
            (vec![], vec![soa("example.", 60, 300)], 60),
            (vec![], vec![soa("example.", 90_000, 90_000)], 3_600),
            (vec![], vec![], 0),
            (vec![], vec![soa("other.", 900, 300)], 0),
            (
                vec![cname("a.example.", "b.other.", 20)],
                vec![soa("other.", 900, 300)],
                20,
            ),
            (vec![cname("a.example.", "b.other.", 20)], vec![], 0),
        ];
        for rcode in [ResponseCode::NoError, ResponseCode::NXDomain] {
            for (answers, authorities, lifetime) in cases.clone() {
                let mut answer = answer(answers, authorities);
                answer.rcode = rcode;
                let shown = format!("{answer:?}");
                let got = cache.settle(&question("a.example."), &mut answer);
                assert_eq!(got, Duration::from_secs(lifetime), "{shown}");
            }
        }
    }

    #[test]
    fn the_soa_of_a_negative_answer_tells_the_client_no_more_than_we_keep() {
        let (cache, now) = (Cache::new(BOUNDS), start());
        let negative = answer(vec![], vec![soa("example.", 90_000, 90_000)]);
        store(&cache, "a.example.", negative, now);
        let got = cache.get(&question("a.example."), after(now, 600)).unwrap();
        assert_eq!(got.authorities[0].ttl, 3_000);
        let signed = soa("example.", 90_000, 90_000).data;
        assert_eq!(got.authorities[0].data, signed, "else no signature holds");
    }

    #[test]
    fn never_more_answers_than_the_bound_and_those_asked_for_stay() {
        let cache = Cache::new(Bounds {
            entries: 10,
            ..BOUNDS
        });
        let now = start();
        let record = |text: &str| answer(vec![a(text, 60)], vec![]);
        store(&cache, "often.example.", record("often.example."), now);
        let mut evicted = 0;
        for index in 0..100 {
            assert!(cache.get(&question("often.example."), now).is_some());
            let text = format!("n{index}.example.");
            evicted += usize::from(store(&cache, &text, record(&text), now));
            assert!(cache.len() <= 10);
        }
        assert_eq!((cache.len(), evicted), (10, 91));
    }

    #[test]
    fn what_has_expired_gives_way_first_and_is_no_eviction() {
        let cache = Cache::new(Bounds {
            entries: 2,
            ..BOUNDS
        });
        let now = start();
        let record = |text: &str, ttl| answer(vec![a(text, ttl)], vec![]);
        store(&cache, "short.example.", record("short.example.", 10), now);
        store(&cache, "long.example.", record("long.example.", 100), now);
        cache.get(&question("short.example."), now);
        cache.get(&question("long.example."), now);
        let later = after(now, 20);
        let evicted = store(&cache, "new.example.", record("new.example.", 100), later);
        assert!(!evicted);
        assert!(cache.get(&question("long.example."), later).is_some());
        assert!(cache.get(&question("new.example."), later).is_some());
    }

    #[test]
    fn other_bounds_keep_what_fits_and_zero_keeps_nothing() {
        let (cache, now) = (Cache::new(BOUNDS), start());
        for index in 0..50 {
            let text = format!("n{index}.example.");
            store(&cache, &text, answer(vec![a(&text, 60)], vec![]), now);
        }
        let bounds = |entries| Bounds { entries, ..BOUNDS };
        assert_eq!(cache.resized(bounds(100_000), now).len(), 50);
        assert_eq!(cache.resized(bounds(7), now).len(), 7);
        assert_eq!(cache.resized(bounds(0), now).len(), 0);
        assert_eq!(cache.resized(BOUNDS, after(now, 60)).len(), 0);
        let total = |entries| {
            let cache = Cache::new(bounds(entries));
            let shards = cache.shards.iter();
            shards.map(|shard| lock(shard).capacity).sum::<usize>()
        };
        assert_eq!([total(0), total(5), total(100_003)], [0, 5, 100_003]);
    }
}
