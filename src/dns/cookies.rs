//! The secrets of DNS cookies, and the clock: `cookie` does the rest. Called by `handler`.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs;

use super::cookie::{Cookie, Secrets, Standing};

/// How long a secret is used, in seconds (RFC 7873 section 7.1 asks for no more than 36 days). A cookie does not live
/// that long, so that the previous secret is all that is needed besides.
const ROTATION: u32 = 86_400;

/// The cookies of one process: all of its sockets agree, and a restart begins anew.
#[derive(Debug)]
pub(super) struct Cookies(Mutex<Option<Held>>);

#[derive(Debug)]
struct Held {
    secrets: Secrets,
    since: u32,
}

impl Cookies {
    pub(super) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The data of the option that answers a cookie, and what it is worth; `None` while the system has no randomness.
    pub(super) fn answer(&self, cookie: &Cookie, client: IpAddr) -> Option<(Vec<u8>, Standing)> {
        self.answer_at(cookie, client, now())
    }

    fn answer_at(&self, cookie: &Cookie, client: IpAddr, now: u32) -> Option<(Vec<u8>, Standing)> {
        // Every change is complete before anything can panic.
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let secrets = match &mut *held {
            Some(held) => {
                // A clock that was set back may be ahead of itself; the secret is then only used for longer.
                if now.wrapping_sub(held.since).cast_signed() >= ROTATION.cast_signed() {
                    held.secrets.rotate(random()?);
                    held.since = now;
                }
                held.secrets
            }
            empty => {
                let secrets = Secrets::new(random()?);
                *empty = Some(Held {
                    secrets,
                    since: now,
                });
                secrets
            }
        };
        drop(held);
        Some(secrets.answer(cookie, client, now))
    }
}

fn random() -> Option<[u8; 16]> {
    let mut secret = [0; 16];
    let random = aws_lc_rs::default_provider().secure_random;
    random.fill(&mut secret).ok()?;
    Some(secret)
}

/// Seconds since 1970, modulo 2^32 as in cookies.
fn now() -> u32 {
    #[expect(
        clippy::disallowed_methods,
        reason = "cookies carry the time of day, and this is the shell that reads it"
    )]
    let now = SystemTime::now();
    let seconds = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
    let low = seconds as u32;
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_do_not_share_a_secret_and_one_keeps_its_own_for_a_day_and_then_some() {
        let client: IpAddr = "192.168.1.50".parse().unwrap();
        let new = Cookie::read(&[7; 8]).unwrap();
        let cookies = Cookies::new();
        let (data, standing) = cookies.answer_at(&new, client, 100).unwrap();
        assert_eq!(standing, Standing::New);
        let learnt = Cookie::read(&data).unwrap();
        let (again, standing) = cookies.answer_at(&learnt, client, 101).unwrap();
        assert_eq!((again, standing), (data, Standing::Good));
        let (_, standing) = Cookies::new().answer_at(&learnt, client, 101).unwrap();
        assert_eq!(standing, Standing::Bad);

        let (late, _) = cookies.answer_at(&new, client, 100 + ROTATION - 1).unwrap();
        let late = Cookie::read(&late).unwrap();
        for (now, standing) in [(ROTATION, Standing::Good), (2 * ROTATION, Standing::Bad)] {
            let found = cookies.answer_at(&late, client, 100 + now).unwrap();
            assert_eq!(found.1, standing);
        }
    }
}
