//! What is on its way, and how long it took: IDs of open questions, and a histogram of latencies. Used by `load` and
//! `stream`.

/// Open questions of one socket. An ID is a place and how often it was used, so that a late answer is not taken for
/// that of the next question in its place.
#[derive(Debug)]
pub(crate) struct Flight {
    places: Vec<Place>,
    free: Vec<u16>,
    /// From one use of a place to the next.
    step: u16,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    id: u16,
    /// When it was asked, in ns; nothing where it is free.
    asked: Option<u64>,
}

impl Flight {
    /// For at most as many questions at once; made a power of two.
    pub(crate) fn new(most: u16) -> Self {
        let step = most.clamp(1, 1 << 14).next_power_of_two();
        let place = |id| Place { id, asked: None };
        Self {
            places: (0..step).map(place).collect(),
            free: (0..step).rev().collect(),
            step,
        }
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The ID of a question that is asked now; none where there is no room.
    pub(crate) fn ask(&mut self, now: u64) -> Option<u16> {
        let number = self.free.pop()?;
        let place = &mut self.places[usize::from(number)];
        place.id = place.id.wrapping_add(self.step);
        place.asked = Some(now);
        Some(place.id)
    }

    /// How long the question took, where it is open; its place is free then.
    pub(crate) fn close(&mut self, id: u16, now: u64) -> Option<u64> {
        let number = id % self.step;
        let place = &mut self.places[usize::from(number)];
        let asked = place.asked.filter(|_| place.id == id)?;
        place.asked = None;
        self.free.push(number);
        Some(now.saturating_sub(asked))
    }

    /// Gives up those asked before `limit`, and says how many.
    pub(crate) fn expire(&mut self, limit: u64) -> usize {
        let mut expired = 0;
        for (place, number) in self.places.iter_mut().zip(0..) {
            if place.asked.is_some_and(|asked| asked < limit) {
                place.asked = None;
                self.free.push(number);
                expired += 1;
            }
        }
        expired
    }
}

/// Each power of two is divided into as many buckets, so that a figure is off by 1.6 % at most.
const PARTS: u64 = 64;

/// Counts of latencies.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn add(&mut self, ns: u64) {
        let bucket = bucket(ns);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The latency that this share of all does not exceed, in µs.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let wanted = self.total as f64 * share;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen as f64 >= wanted {
                return lowest(bucket) as f64 / 1000.0;
            }
        }
        0.0
    }
}

fn bucket(ns: u64) -> usize {
    let shift = u64::from((ns / PARTS).checked_ilog2().unwrap_or(0));
    usize::try_from(shift * PARTS + (ns >> shift)).unwrap_or(usize::MAX)
}

/// The least that a bucket holds.
fn lowest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / PARTS).saturating_sub(1);
    (bucket - shift * PARTS) << shift
}

/// What came of asking.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Of the answers that say something.
    pub(crate) latency: Histogram,
    /// Answers that say only that there is none: SERVFAIL, REFUSED and such.
    pub(crate) failed: usize,
    /// Questions without an answer.
    pub(crate) lost: usize,
    /// From the beginning to the last answer, in s.
    pub(crate) seconds: f64,
}

impl Outcome {
    /// Takes one answer down, of a question that took `ns`.
    pub(crate) fn take(&mut self, message: &[u8], ns: u64) {
        if crate::message::is_answer(message) {
            self.latency.add(ns);
        } else {
            self.failed += 1;
        }
    }

    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.latency.total() as f64 / self.seconds.max(1e-9)
    }
}
