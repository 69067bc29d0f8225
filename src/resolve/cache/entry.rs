//! PURE. One answer as it is kept: a whole message in one allocation, and what is known of it. Called by `shard`.

use std::time::Duration;

use hickory_proto::op::{Edns, MessageType, Metadata, OpCode, Query, emit_message_parts};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::serialize::binary::BinEncoder;

use super::super::answer::{EXTENDED_ERROR, extended_errors};
use super::super::read::read_message;
use super::super::wire::{Age, Finished, Parts};
use super::super::{Answer, Question};
use super::key::Key;

/// The largest UDP payload that we send and say that we take, in bytes: it passes every path unfragmented. Messages are
/// told with it as they are kept.
pub const UDP_PAYLOAD: u16 = 1232;

/// Whom an answer is told as it is, without another look at what it was made of: some of the groups of a generation. Those
/// of another generation are never told what these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audience {
    generation: u32,
    /// A bit each.
    groups: u32,
}

impl Audience {
    /// So many groups has a generation.
    pub const GROUPS: u32 = u32::BITS;
    pub(super) const NOBODY: Self = Self {
        generation: 0,
        groups: 0,
    };

    /// One group, by its number below [`Self::GROUPS`].
    pub fn group(generation: u32, number: u32) -> Self {
        Self {
            generation,
            groups: 1_u32.checked_shl(number).unwrap_or(0),
        }
    }

    /// Whether the other one belongs to it.
    pub(super) fn holds(self, other: Self) -> bool {
        self.generation == other.generation && self.groups & other.groups != 0
    }

    /// Leaves the other one out.
    pub(super) fn leave_out(&mut self, other: Self) {
        if self.generation == other.generation {
            self.groups &= !other.groups;
        }
    }
}

/// What is kept. Times are in milliseconds since the cache began, where nothing else is said.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// As [`Finished::prepare`] left it.
    pub(super) bytes: Box<[u8]>,
    pub(super) parts: Parts,
    pub(super) stored: u64,
    /// Whom it is told as it is, ..
    pub(super) audience: Audience,
    /// .. for how long, ..
    pub(super) told: u32,
    /// .. and what is to be counted then; not the cache's to read.
    pub(super) notes: u8,
    /// How long what it says holds, in seconds; `u32::MAX`: it has no end, and its TTLs do not go down.
    pub(super) left: u32,
    /// DO and CD.
    pub(super) bits: u8,
    /// What upstreams said; else what was made of it for the audience.
    pub(super) truth: bool,
    /// Says that its name does not exist.
    pub(super) denies: bool,
    /// Asked for since the hand last passed.
    pub(super) asked_again: bool,
    /// Has been asked for before its end.
    pub(super) refreshed: bool,
}

impl Entry {
    pub(super) fn finished(&self) -> Finished<'_> {
        Finished::new(&self.bytes, self.parts)
    }

    /// Whether it answers the question of this key.
    pub(super) fn is_about(&self, key: &Key) -> bool {
        self.bits == key.bits()
            && self
                .finished()
                .question()
                .split_last_chunk::<2>()
                .map(|(it, _)| it)
                == Some(key.bytes())
    }

    /// Name and type, by which it is found.
    pub(super) fn key(&self) -> Key {
        let question = self.finished().question();
        Key::of_wire(question, self.bits & 1 != 0, self.bits & 2 != 0)
    }

    /// Its question.
    pub(super) fn question(&self) -> Option<Question> {
        let message = read_message(self.finished().message(true)).ok()?;
        let query = message.queries.into_iter().next()?;
        Some(Question {
            record_type: query.query_type,
            name: query.name,
            dnssec_ok: self.bits & 1 != 0,
            checking_disabled: self.bits & 2 != 0,
        })
    }

    /// The answer, with the TTLs with which it was put in.
    pub(super) fn answer(&self) -> Option<Answer> {
        let message = read_message(self.finished().message(true)).ok()?;
        Some(Answer {
            rcode: message.metadata.response_code,
            authentic: message.metadata.authentic_data,
            answers: message.answers,
            authorities: message.authorities,
            additionals: message.additionals,
            extended_errors: extended_errors(message.edns.as_ref()),
        })
    }

    /// The end of what it says.
    pub(super) fn expires(&self) -> u64 {
        match self.left {
            u32::MAX => u64::MAX,
            left => self.stored.saturating_add(u64::from(left) * 1000),
        }
    }

    /// Tells it to these, too, for so long since it was put in, and no longer to the others. Those who were told it by other
    /// notes, or whose time is over, are not told it any more.
    pub(super) fn tell_to(&mut self, audience: Audience, notes: u8, told: u32, now: u64) {
        let is_told = self.told_until() > now && self.notes == notes;
        if is_told && self.audience != audience && self.audience.generation == audience.generation {
            self.audience.groups |= audience.groups;
            self.told = self.told.min(told);
            return;
        }
        self.audience = audience;
        self.notes = notes;
        self.told = told;
    }

    /// Until when it is told as it is.
    pub(super) fn told_until(&self) -> u64 {
        self.stored.saturating_add(self.told.into())
    }

    /// Its age at this time.
    pub(super) fn age(&self, time: u64) -> Age {
        let seconds = |later: u64, earlier: u64| {
            u32::try_from(later.saturating_sub(earlier) / 1000).unwrap_or(u32::MAX)
        };
        match self.left {
            u32::MAX => Age {
                age: 0,
                left: u32::MAX,
            },
            _ => Age {
                age: seconds(time, self.stored),
                left: seconds(self.expires(), time),
            },
        }
    }
}

/// An answer of upstreams as a message; `None` where it has no room in one.
pub(super) fn pack(question: &Question, answer: &Answer) -> Option<(Vec<u8>, Parts)> {
    let mut metadata = Metadata::new(0, MessageType::Response, OpCode::Query);
    metadata.recursion_desired = true;
    metadata.recursion_available = true;
    metadata.checking_disabled = question.checking_disabled;
    metadata.authentic_data = answer.authentic;
    metadata.response_code = answer.rcode;
    let query = Query::query(question.name.to_lowercase(), question.record_type);
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_PAYLOAD)
        .set_dnssec_ok(question.dnssec_ok);
    for error in &answer.extended_errors {
        let data = [&error.code.to_be_bytes(), error.text.as_bytes()].concat();
        let option = EdnsOption::Unknown(EXTENDED_ERROR, data);
        edns.options_mut().insert(option);
    }
    let mut message = Vec::with_capacity(512);
    let mut encoder = BinEncoder::new(&mut message);
    let header = emit_message_parts(
        &metadata,
        &mut std::iter::once(&query),
        &mut answer.answers.iter(),
        &mut answer.authorities.iter(),
        &mut answer.additionals.iter(),
        Some(&edns),
        None,
        &mut encoder,
    )
    .ok()?;
    if header.metadata.truncation {
        return None;
    }
    let parts = Finished::prepare(&mut message, 0)?;
    Some((message, parts))
}

/// A time of our own as what is kept of it.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
