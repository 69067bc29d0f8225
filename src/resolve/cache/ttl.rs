//! PURE. Time in answers: how long one holds (RFC 1035 section 3.2.1, RFC 2308 section 5, RFC 8767 section 4), and what
//! its TTLs are when it is told later. Called by the cache.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::Record;

use super::super::answer::{is_negative, negative_soa};
use super::super::{Answer, ExtendedError, Question};
use crate::config::Cache as Bounds;

/// The longest TTL (RFC 2181 section 8).
const MAX_TTL: u32 = 0x7fff_ffff;
/// The TTL of what has expired (RFC 8767 section 4).
const STALE_TTL: u32 = 30;
/// INFO-CODE of a stale answer (RFC 8914 section 4.4).
const STALE: u16 = 3;
/// INFO-CODE of a stale denial (RFC 8914 section 4.20).
const STALE_NXDOMAIN: u16 = 19;
/// What is said beside them.
pub const EXPIRED: &str = "expired, and no newer answer yet";

/// See [`Cache::settle`](super::Cache::settle).
pub(super) fn settle(bounds: &Bounds, question: &Question, answer: &mut Answer) -> Duration {
    let least = seconds(bounds.min_ttl);
    let most = seconds(bounds.max_ttl).max(least);
    for record in records(answer) {
        // One with the highest bit set is a long one, not zero (RFC 8767 section 4).
        record.ttl = record.ttl.clamp(least, most);
    }
    let positive = answer.answers.iter().map(|record| record.ttl).min();
    if !is_negative(question, answer) {
        return Duration::from_secs(positive.unwrap_or(0).into());
    }
    let Some((ttl, soa)) = negative_soa(question, answer) else {
        return Duration::ZERO;
    };
    let negative = ttl.min(soa.minimum).min(seconds(bounds.max_negative_ttl));
    // MINIMUM stays, or the SOA's signature would not hold; the TTL alone bounds it for the client.
    for record in &mut answer.authorities {
        record.ttl = record.ttl.min(negative);
    }
    Duration::from_secs(negative.min(positive.unwrap_or(u32::MAX)).into())
}

/// The answer as it is after this time: TTLs reduced, records beside the answer itself whose own time is over left out.
pub(super) fn aged(mut answer: Answer, age: u32) -> Answer {
    if age > 0 {
        answer.authorities.retain(|record| record.ttl > age);
        answer.additionals.retain(|record| record.ttl > age);
        for record in records(&mut answer) {
            record.ttl = record.ttl.saturating_sub(age);
        }
    }
    answer
}

/// The answer as it is told after its end (RFC 8767 section 4). Nobody vouches for it any more: AD is cleared.
pub(super) fn stale(mut stale: Answer, bounds: &Bounds) -> Answer {
    let ttl = STALE_TTL.min(seconds(bounds.max_ttl).max(1));
    for record in records(&mut stale) {
        record.ttl = ttl;
    }
    stale.authentic = false;
    stale.extended_errors.push(ExtendedError {
        code: match stale.rcode {
            ResponseCode::NXDomain => STALE_NXDOMAIN,
            _ => STALE,
        },
        text: EXPIRED.to_owned(),
    });
    stale
}

/// Whether an answer is told although it has expired here; servers say the same of theirs by the code alone.
pub fn is_stale(answer: &Answer) -> bool {
    answer
        .extended_errors
        .iter()
        .any(|error| error.text == EXPIRED && [STALE, STALE_NXDOMAIN].contains(&error.code))
}

fn records(answer: &mut Answer) -> impl Iterator<Item = &mut Record> {
    let sections = [
        &mut answer.answers,
        &mut answer.authorities,
        &mut answer.additionals,
    ];
    sections.into_iter().flatten()
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs())
        .unwrap_or(MAX_TTL)
        .min(MAX_TTL)
}
