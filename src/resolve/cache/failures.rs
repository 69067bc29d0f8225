//! PURE. What the servers failed at, for some seconds (RFC 9520), so that a name that nobody can resolve is not asked for
//! again and again. Bounded: of two halves, the older is forgotten when the younger is full.
//!
//! A server's own word is remembered for longer than silence, which may be over at any time; each time the same question
//! fails again, twice as long, up to a bound. While all servers are out of reach, it is not the name that fails: then
//! nothing is remembered for longer than a second, and names come back with the servers.

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::rr::Name;

use super::super::{Question, ResolveError};

/// Failures remembered in one half.
const HALF: usize = 4096;
/// How long a server's own word is remembered at first.
const SPOKEN: Duration = Duration::from_secs(2);
/// How long silence is.
const SILENT: Duration = Duration::from_secs(1);
/// How long either is at most; RFC 9520 section 3.2 allows five minutes.
const LONGEST: Duration = Duration::from_secs(30);
/// How long after that another failure counts as the next, and not as the first.
const IN_A_ROW: Duration = Duration::from_secs(30);
/// How long after a failure nobody waits for the servers who can be told a stale answer (RFC 8767 section 5, "failure
/// recheck timer"); they are asked meanwhile.
const RECHECK: Duration = Duration::from_secs(10);
/// How long after somebody has waited in vain for a newer answer nobody waits for others of the same name: what a client
/// is told may rest on several.
const IN_VAIN: Duration = Duration::from_secs(2);
/// What of a server's texts is remembered, in bytes of each and in number.
const TEXT: (usize, usize) = (256, 4);

/// The failures.
#[derive(Debug, Default)]
pub(in super::super) struct Failures {
    halves: Mutex<Halves>,
    count: AtomicUsize,
    in_vain: Mutex<HashMap<Name, Instant>>,
}

#[derive(Debug, Default)]
struct Halves {
    young: HashMap<Question, Failure>,
    old: HashMap<Question, Failure>,
}

#[derive(Debug)]
struct Failure {
    error: ResolveError,
    failed: Instant,
    held: Duration,
}

/// What is known of a question's failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Remembered {
    /// It failed, and is not to be asked again yet.
    Failed(ResolveError),
    /// It failed not long ago, and may be asked again.
    Lately,
    /// Nothing.
    Nothing,
}

impl Failures {
    /// What is known of a question.
    pub(in super::super) fn of(&self, question: &Question, now: Instant) -> Remembered {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Remembered::Nothing;
        }
        let halves = self.lock();
        match halves.find(question) {
            Some(failure) if failure.failed + failure.held > now => {
                Remembered::Failed(failure.error.clone())
            }
            Some(failure) if failure.failed + RECHECK > now => Remembered::Lately,
            _ => Remembered::Nothing,
        }
    }

    /// Remembers a failure; `all_dead` when no server was known to be in reach. Our own fault is not remembered.
    pub(in super::super) fn note(
        &self,
        question: &Question,
        error: &ResolveError,
        all_dead: bool,
        now: Instant,
    ) {
        let (first, network) = match error {
            ResolveError::Failed { .. } | ResolveError::Bogus { .. } => (SPOKEN, false),
            ResolveError::Timeout | ResolveError::Unreachable(_) => (SILENT, true),
            ResolveError::Overload(_) => return,
        };
        let mut halves = self.lock();
        let again = halves
            .find(question)
            .filter(|last| last.failed + last.held + IN_A_ROW > now)
            .map_or(first, |last| (2 * last.held).clamp(first, LONGEST));
        let failure = Failure {
            error: short(error),
            failed: now,
            held: if network && all_dead { SILENT } else { again },
        };
        halves.old.remove(question);
        halves.young.insert(question.clone(), failure);
        if halves.young.len() >= HALF {
            halves.old = mem::take(&mut halves.young);
        }
        self.recount(&halves);
    }

    /// A question has been answered.
    pub(in super::super) fn answered(&self, question: &Question) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut halves = self.lock();
        halves.young.remove(question);
        halves.old.remove(question);
        self.recount(&halves);
    }

    /// Forgets those of names of which `matches` is true, and says how many there were.
    pub(in super::super) fn forget(&self, matches: impl Fn(&Name) -> bool) -> usize {
        let mut halves = self.lock();
        let before = halves.len();
        halves.young.retain(|question, _| !matches(&question.name));
        halves.old.retain(|question, _| !matches(&question.name));
        self.recount(&halves);
        before - halves.len()
    }

    /// Somebody has waited in vain for a newer answer about a name.
    pub(in super::super) fn in_vain(&self, name: &Name, now: Instant) {
        let mut names = self.in_vain.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= HALF {
            names.retain(|_, since| *since + IN_VAIN > now);
        }
        if names.len() < HALF {
            names.insert(name.clone(), now);
        }
    }

    /// Whether that was a moment ago.
    pub(in super::super) fn was_in_vain(&self, name: &Name, now: Instant) -> bool {
        let names = self.in_vain.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(name).is_some_and(|since| *since + IN_VAIN > now)
    }

    fn recount(&self, halves: &Halves) {
        self.count.store(halves.len(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Halves> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Halves {
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    fn find(&self, question: &Question) -> Option<&Failure> {
        self.young.get(question).or_else(|| self.old.get(question))
    }
}

/// The error with texts of bounded length.
fn short(error: &ResolveError) -> ResolveError {
    let mut error = error.clone();
    if let ResolveError::Failed {
        extended_errors, ..
    } = &mut error
    {
        extended_errors.truncate(TEXT.1);
        for told in extended_errors {
            let mut end = TEXT.0.min(told.text.len());
            while !told.text.is_char_boundary(end) {
                end -= 1;
            }
            told.text.truncate(end);
            told.text.shrink_to_fit();
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::ResponseCode;
    use hickory_proto::rr::RecordType;

    use super::super::super::ExtendedError;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[expect(clippy::disallowed_methods, reason = "any start will do")]
    fn start() -> Instant {
        Instant::now()
    }

    fn question(text: &str) -> Question {
        Question {
            name: Name::from_ascii(text).unwrap(),
            record_type: RecordType::A,
            dnssec_ok: false,
            checking_disabled: false,
        }
    }

    fn servfail() -> ResolveError {
        ResolveError::Failed {
            rcode: ResponseCode::ServFail,
            extended_errors: vec![ExtendedError {
                code: 6,
                text: "bogus".to_owned(),
            }],
        }
    }

    /// For how many whole seconds after `now` the question is not asked again.
    fn held(failures: &Failures, question: &Question, now: Instant) -> u64 {
        let failed = |seconds: &u64| {
            let at = now + Duration::from_secs(*seconds);
            matches!(failures.of(question, at), Remembered::Failed(_))
        };
        (0..400).find(|seconds| !failed(seconds)).unwrap()
    }

    #[test]
    fn a_word_is_held_for_longer_than_silence_and_either_doubles() {
        for (error, expected) in [
            (servfail(), [2, 4, 8, 16, 30]),
            (ResolveError::Timeout, [1, 2, 4, 8, 16]),
            (
                ResolveError::Unreachable("refused".to_owned()),
                [1, 2, 4, 8, 16],
            ),
        ] {
            let (failures, question) = (Failures::default(), question("a.example."));
            let mut now = start();
            for expected in expected {
                failures.note(&question, &error, false, now);
                assert_eq!(
                    failures.of(&question, now),
                    Remembered::Failed(error.clone())
                );
                assert_eq!(held(&failures, &question, now), expected, "{error}");
                now += Duration::from_secs(expected);
            }
            now += 2 * IN_A_ROW;
            failures.note(&question, &error, false, now);
            assert_eq!(held(&failures, &question, now), expected[0], "{error}");
        }
    }

    #[test]
    fn while_all_servers_are_dead_no_name_is_held_for_longer_than_a_second() {
        let (failures, question) = (Failures::default(), question("a.example."));
        let mut now = start();
        for _ in 0..5 {
            failures.note(&question, &ResolveError::Timeout, true, now);
            assert_eq!(held(&failures, &question, now), 1);
            now += 2 * SECOND;
        }
    }

    #[test]
    fn our_own_fault_is_not_remembered_and_an_answer_ends_it() {
        let (failures, question) = (Failures::default(), question("a.example."));
        let now = start();
        let overload = ResolveError::Overload("too many".to_owned());
        failures.note(&question, &overload, false, now);
        assert_eq!(failures.of(&question, now), Remembered::Nothing);
        failures.note(&question, &servfail(), false, now);
        let lately = failures.of(&question, now + 6 * SECOND);
        assert_eq!(lately, Remembered::Lately);
        let other = Question {
            dnssec_ok: true,
            ..question.clone()
        };
        assert_eq!(failures.of(&other, now), Remembered::Nothing);
        failures.answered(&question);
        assert_eq!(failures.of(&question, now), Remembered::Nothing);
        failures.note(&question, &servfail(), false, now);
        assert_eq!(failures.forget(|_| true), 1);
        assert_eq!(failures.of(&question, now), Remembered::Nothing);
    }

    #[test]
    fn the_bound_holds_in_number_and_in_text_and_the_youngest_stay() {
        let (failures, now) = (Failures::default(), start());
        let long = ResolveError::Failed {
            rcode: ResponseCode::ServFail,
            extended_errors: vec![
                ExtendedError {
                    code: 22,
                    text: "\u{e9}".repeat(300),
                };
                9
            ],
        };
        for index in 0..3 * HALF {
            let question = question(&format!("n{index}.example."));
            failures.note(&question, &long, false, now);
            assert!(failures.lock().len() <= 2 * HALF);
            let Remembered::Failed(ResolveError::Failed {
                extended_errors, ..
            }) = failures.of(&question, now)
            else {
                panic!("the youngest is remembered");
            };
            assert_eq!(extended_errors.len(), TEXT.1);
            assert!(extended_errors.iter().all(|told| told.text.len() <= TEXT.0));
        }
    }
}
