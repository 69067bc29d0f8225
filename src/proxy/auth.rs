//! Whether a name and a password are right: asked by `socks5` (RFC 1929) and `http` (Basic, RFC 7617) where
//! `proxy.users` names a file.
//!
//! Argon2 is slow on purpose: it runs on threads of its own, few at a time; what was right is remembered, so that a
//! request costs a hash in memory; a client that is wrong too often is not listened to for a while.

mod failures;
mod users;

use std::collections::HashSet;
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use rustix::rand::{GetRandomFlags, getrandom};
use siphasher::sip128::{Hasher128, SipHasher24};
use tokio::sync::Semaphore;

use self::failures::Failures;
#[cfg(test)]
pub(super) use self::users::tests::users as test_users;
pub use self::users::{HashError, UserProblem, Users};
use super::respond::{Failure, Kind};
use crate::telemetry::{LoginLabels, Metrics, Side};

/// Hashes computed at once at most: each takes a processor and some 20 MiB.
const AT_ONCE: usize = 2;

/// How long a client waits for its turn.
const TURN: Duration = Duration::from_secs(10);

/// Right pairs remembered at most. There is one for each line of the file, but old lines leave theirs behind.
const REMEMBERED: usize = 4096;

/// The check of names and passwords, for all listeners together; it outlives a reload.
#[derive(Debug)]
pub(super) struct Door {
    turns: Arc<Semaphore>,
    memory: Arc<Mutex<Memory>>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Memory {
    /// Of the hashes of what was right; made when it is first needed.
    key: Option<[u8; 16]>,
    right: HashSet<u128>,
    failures: Failures,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Right,
    Remembered,
    Wrong,
    /// The client was wrong too often.
    Limited,
    /// Its turn did not come in time.
    Busy,
}

impl Door {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let processors = available_parallelism().map_or(1, NonZero::get);
        Self {
            turns: Arc::new(Semaphore::new(at_once(processors))),
            memory: Arc::default(),
            metrics,
        }
    }

    /// Whether this is one of the users. It may take some time, and needs none of this thread's.
    ///
    /// # Errors
    ///
    /// A [`Failure`] of kind [`Kind::Login`] where it is not, [`Kind::Logins`] where the client tried too often, and
    /// [`Kind::Busy`] where too many others try.
    pub(super) async fn check(
        &self,
        users: &Arc<Users>,
        client: IpAddr,
        name: &[u8],
        password: &[u8],
    ) -> Result<(), Failure> {
        let outcome = self.outcome(users, client, name, password).await;
        let (word, result) = match outcome {
            Outcome::Right => ("right", Ok(())),
            Outcome::Remembered => ("remembered", Ok(())),
            Outcome::Wrong => (
                "wrong",
                Err((Kind::Login, "the name or the password is wrong")),
            ),
            Outcome::Limited => (
                "limited",
                Err((
                    Kind::Logins,
                    "the client gave a wrong name or password too often",
                )),
            ),
            Outcome::Busy => (
                "busy",
                Err((Kind::Busy, "too many passwords are being checked")),
            ),
        };
        self.count(word);
        result.map_err(|(kind, text)| match outcome {
            Outcome::Busy => Failure::new(kind, Side::Sekisho, text),
            _ => Failure::of_client(kind, text),
        })
    }

    /// The failure of a client that says no name where one is needed.
    pub(super) fn nameless(&self) -> Failure {
        self.count("missing");
        Failure::of_client(Kind::Login, "the proxy needs a name and a password")
    }

    fn count(&self, outcome: &'static str) {
        self.metrics
            .logins
            .get_or_create(&LoginLabels { outcome })
            .inc();
    }

    async fn outcome(
        &self,
        users: &Arc<Users>,
        client: IpAddr,
        name: &[u8],
        password: &[u8],
    ) -> Outcome {
        let Some(pair) = self.pair(users, name, password) else {
            return Outcome::Busy;
        };
        if self.memory().right.contains(&pair) {
            return Outcome::Remembered;
        }
        if self.memory().failures.are_too_many(client, now()) {
            return Outcome::Limited;
        }
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Outcome::Busy;
        };
        {
            let mut memory = self.memory();
            // A browser begins many connections at once, and the first of them has been checked by now.
            if memory.right.contains(&pair) {
                return Outcome::Remembered;
            }
            // Noted before it is known: a client that goes away meanwhile must not try for nothing.
            if !memory.failures.note(client, now()) {
                return Outcome::Limited;
            }
        }
        let (users, shared) = (Arc::clone(users), Arc::clone(&self.memory));
        let (name, password) = (name.to_vec(), password.to_vec());
        let checked = tokio::task::spawn_blocking(move || {
            let right = users.verify(&name, &password);
            if right {
                let mut memory = lock(&shared);
                memory.failures.take_back(client);
                memory.remember(pair);
            }
            // The turn lasts as long as the work, also where nobody waits for it any more.
            drop(turn);
            right
        });
        match checked.await {
            Ok(true) => Outcome::Right,
            Ok(false) => Outcome::Wrong,
            Err(_) => Outcome::Busy,
        }
    }

    /// What is remembered of a pair: a hash, together with the line in the file, so that a line that is changed or
    /// taken away makes it worthless. `None` while the system has no randomness.
    fn pair(&self, users: &Users, name: &[u8], password: &[u8]) -> Option<u128> {
        let mut memory = self.memory();
        let key = match memory.key {
            Some(key) => key,
            None => {
                let mut key = [0; 16];
                let filled = getrandom(&mut key, GetRandomFlags::empty()).ok()?;
                (filled == key.len()).then_some(())?;
                *memory.key.insert(key)
            }
        };
        drop(memory);
        let line = users.line(name).unwrap_or_default();
        let mut hashed = Vec::with_capacity(name.len() + line.len() + password.len() + 16);
        for part in [name, line.as_bytes(), password] {
            hashed.extend_from_slice(&part.len().to_be_bytes());
            hashed.extend_from_slice(part);
        }
        let mut hasher = SipHasher24::new_with_key(&key);
        std::hash::Hasher::write(&mut hasher, &hashed);
        Some(hasher.finish128().as_u128())
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        lock(&self.memory)
    }
}

impl Memory {
    fn remember(&mut self, pair: u128) {
        if self.right.len() >= REMEMBERED {
            self.right.clear();
        }
        self.right.insert(pair);
    }
}

/// Hashes computed at once: half of the processors are left to others.
fn at_once(processors: usize) -> usize {
    (processors / 2).clamp(1, AT_ONCE)
}

/// The name and the password of a Basic credential (RFC 7617 section 2); `None` for anything else.
pub(super) fn basic(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut name = BASE64.decode(rest.trim_ascii()).ok()?;
    let colon = name.iter().position(|byte| *byte == b':')?;
    let password = name.split_off(colon + 1);
    name.pop();
    Some((name, password))
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    // Every change is complete before anything can panic.
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this module that reads the clock; the table of failures takes `now`"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::test_users as users;
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 2));

    fn door() -> Door {
        Door::new(Arc::new(Metrics::new()))
    }

    #[tokio::test]
    async fn what_was_right_is_remembered_until_its_line_changes() {
        let door = door();
        let ann = users(&[("ann", "secret")]);
        for expected in [Outcome::Right, Outcome::Remembered] {
            let outcome = door.outcome(&ann, CLIENT, b"ann", b"secret").await;
            assert_eq!(outcome, expected);
        }
        let outcome = door.outcome(&ann, CLIENT, b"ann", b"secret2").await;
        assert_eq!(outcome, Outcome::Wrong);
        for users in [users(&[("ann", "another")]), users(&[("bob", "secret")])] {
            let outcome = door.outcome(&users, CLIENT, b"ann", b"secret").await;
            assert_eq!(outcome, Outcome::Wrong);
        }
    }

    #[tokio::test]
    async fn who_is_wrong_too_often_waits_and_keeps_nobody_else_out() {
        let door = door();
        let ann = users(&[("ann", "secret")]);
        let mut wrong = 0;
        while door.outcome(&ann, CLIENT, b"ann", b"guess").await == Outcome::Wrong {
            wrong += 1;
            assert!(wrong < 100, "no bound");
        }
        assert_eq!(wrong, failures::BURST);
        let limited = door.check(&ann, CLIENT, b"ann", b"secret").await;
        assert_eq!(limited.unwrap_err().kind, Kind::Logins);
        let right = door.outcome(&ann, OTHER, b"ann", b"secret").await;
        assert_eq!(right, Outcome::Right);
        // What is remembered needs no try.
        let right = door.outcome(&ann, CLIENT, b"ann", b"secret").await;
        assert_eq!(right, Outcome::Remembered);
    }

    #[tokio::test]
    async fn many_at_once_with_the_right_password_are_no_failures() {
        let door = Arc::new(door());
        let ann = users(&[("ann", "secret")]);
        let tries: Vec<_> = (0..50)
            .map(|_| {
                let (door, ann) = (Arc::clone(&door), Arc::clone(&ann));
                tokio::spawn(async move { door.check(&ann, CLIENT, b"ann", b"secret").await })
            })
            .collect();
        for one in tries {
            one.await.unwrap().unwrap();
        }
    }

    #[test]
    fn hashes_leave_half_of_the_processors_to_others() {
        let at_once = [1, 2, 3, 4, 64].map(at_once);
        assert_eq!(at_once, [1, 1, 1, 2, 2]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut memory = Memory::default();
        for pair in 0..10_000 {
            memory.remember(pair);
            assert!(memory.right.len() <= REMEMBERED);
            assert!(memory.right.contains(&pair));
        }
    }

    #[test]
    fn basic_credentials_are_read_strictly() {
        let pair = |name: &str, password: &str| Some((name.into(), password.into()));
        for (value, expected) in [
            ("Basic YW5uOnNlY3JldA==", pair("ann", "secret")),
            ("basic  YW5uOnNlY3JldA== ", pair("ann", "secret")),
            ("Basic YW5uOnM6ZQ==", pair("ann", "s:e")),
            ("Basic Og==", pair("", "")),
            ("Basic YW5u", None),
            ("Basic YW5uOnNlY3JldA", None),
            ("Basic YW5u\u{0}", None),
            ("Bearer YW5uOnNlY3JldA==", None),
            ("Basic", None),
            ("", None),
        ] {
            assert_eq!(basic(value.as_bytes()), expected, "{value:?}");
        }
    }
}
