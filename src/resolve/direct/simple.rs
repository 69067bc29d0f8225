//! PURE. A server's message read in place, where it is as most are: the aliases of the name in their order, then addresses, or
//! nothing and the SOA that says so (RFC 1035 section 4.1, RFC 2308 section 2). Everything else is for
//! [`answer`](super::super::answer), which this must agree with. Called by `direct`.

use std::time::Duration;

use super::binding::Binding;
use super::reader::Reader;
use crate::config::Cache as Bounds;
use crate::resolve::cache::UDP_PAYLOAD;
use crate::resolve::wire::{Finished, HEADER, Parts, TYPE_AND_CLASS, TYPE_OPT, owner_length};

const A: [u8; 2] = [0, 1];
const NS: [u8; 2] = [0, 2];
const CNAME: [u8; 2] = [0, 5];
const SOA: [u8; 2] = [0, 6];
const AAAA: [u8; 2] = [0, 28];
const IN: [u8; 2] = [0, 1];
const HTTPS: [u8; 2] = [0, 65];
/// A pointer to the name of the question.
const THE_QUESTION: [u8; 2] = [0xc0, 12];
/// Longer chains of aliases are read the long way.
const MAX_ALIASES: usize = 8;
/// More records are compared the long way, each with each.
const MAX_RECORDS: usize = 24;
/// The longest TTL (RFC 2181 section 8).
const MAX_TTL: u32 = 0x7fff_ffff;

/// What a server said, as it is kept.
#[derive(Clone, Debug)]
pub struct Simple {
    /// The message, as [`Finished::prepare`] would leave it.
    pub message: Vec<u8>,
    /// How it is divided.
    pub parts: Parts,
    /// How long it holds, in seconds; 0: it is not kept.
    pub left: u32,
    /// NXDOMAIN.
    pub denied: bool,
    /// Records of the type asked for, at the end of the aliases.
    pub records: usize,
    /// The aliases before them, ..
    pub aliases: u16,
    /// .. and where these end in the message.
    pub aliases_end: usize,
    /// The name at the end of the aliases, in lower case.
    pub end: Box<[u8]>,
    /// How many octets of that name stand before the zone that it is in, where the server said which that is.
    pub zone: Option<usize>,
}

impl Simple {
    /// Reads the answer to this question (name in lower case, type, class), whose own question has the same bytes at the
    /// same place; `None` where it is not simple.
    pub fn read(question: &[u8], reply: &[u8], bounds: &Bounds) -> Option<Self> {
        let start = HEADER + question.len();
        let reader = Reader {
            message: reply,
            question_end: start,
        };
        let header = reply.first_chunk::<HEADER>()?;
        let [
            _,
            _,
            high,
            low,
            0,
            1,
            answers0,
            answers1,
            authority0,
            authority1,
            more0,
            more1,
        ] = *header
        else {
            return None;
        };
        let code = low & 0x0f;
        if high & 0xfa != 0x80 || code != 0 && code != 3 {
            return None;
        }
        let kind: [u8; 2] = *question
            .get(question.len().checked_sub(TYPE_AND_CLASS)?..)?
            .first_chunk()?;
        // Other types keep addresses beside them, or have other rules.
        if ![A, AAAA, HTTPS].contains(&kind) {
            return None;
        }
        if reply.get(HEADER..start)? != question {
            return None;
        }
        let (mut current, _) = reader.name(HEADER, &[])?;
        let mut place = HEADER;
        let least = seconds(bounds.min_ttl);
        let most = seconds(bounds.max_ttl).max(least);
        let mut at = start;
        let mut aliases = 0_u16;
        let mut aliases_end = start;
        let mut seen = Vec::new();
        let mut places: Vec<(usize, u32)> = Vec::with_capacity(8);
        let mut data: Vec<&[u8]> = Vec::new();
        for _ in 0..u16::from_be_bytes([answers0, answers1]) {
            let after = reader.after(at, &current, place, &places)?;
            let record = reader.record(after)?;
            if record.class != IN {
                return None;
            }
            // Each client is told the name in its own spelling, which a name that is spelt out would not have.
            if aliases == 0 && reply.get(at..at + 2) != Some(&THE_QUESTION) {
                return None;
            }
            places.push((record.ttl_place, record.ttl.clamp(least, most)));
            if record.kind == CNAME && data.is_empty() {
                aliases += 1;
                let (target, end) = reader.name(record.data, &places)?;
                seen.push(current);
                let loops = seen.iter().any(|seen| seen.bytes() == target.bytes());
                if loops || seen.len() > MAX_ALIASES || end != record.end {
                    return None;
                }
                (current, place) = (target, record.data);
                aliases_end = record.end;
            } else if record.kind == kind {
                let bytes = reply.get(record.data..record.end)?;
                let good = match kind {
                    A => bytes.len() == 4,
                    AAAA => bytes.len() == 16,
                    // What stands before one of these may be cut out, so it must not be pointed to, nor past it.
                    _ => {
                        let owner = reader.pointer(at).filter(|_| after == at + 2);
                        owner.is_some_and(|to| to < aliases_end) && Binding::read(bytes).is_some()
                    }
                };
                // The same one twice is kept once.
                if !good || data.contains(&bytes) || data.len() >= MAX_RECORDS {
                    return None;
                }
                data.push(bytes);
            } else {
                return None;
            }
            at = record.end;
        }
        let kept = at;
        let (mut zone, mut soa) = (None, None);
        for _ in 0..u16::from_be_bytes([authority0, authority1]) {
            let begin = at;
            let (owner, after) = reader.name(begin, &places)?;
            let record = reader.record(after)?;
            at = record.end;
            match record.kind {
                NS if record.class == IN && soa.is_none() => {
                    zone = Some(owner).filter(|zone| zone.is_above(&current));
                }
                SOA if record.class == IN
                    && soa.is_none()
                    && begin == kept
                    && owner.is_above(&current) =>
                {
                    soa = Some(record);
                }
                _ => return None,
            }
        }
        let mut opt = false;
        for _ in 0..u16::from_be_bytes([more0, more1]) {
            let after = at + owner_length(reply.get(at..)?)?;
            let record = reader.record(after)?;
            if record.kind == TYPE_OPT {
                let plain = is_plain_opt(reply.get(record.data..record.end)?);
                if opt || !plain || after != at + 1 || record.ttl >> 24 != 0 {
                    return None;
                }
                opt = true;
            } else if kind == HTTPS {
                // Addresses of the name itself are kept beside it.
                let (owner, _) = reader.name(at, &places)?;
                if owner.bytes() == current.bytes() {
                    return None;
                }
            }
            at = record.end;
        }
        if at != reply.len() {
            return None;
        }
        let positive = places.iter().map(|(_, ttl)| *ttl).min();
        let mut end = kept;
        let left = match (data.is_empty(), soa) {
            (false, None) if code == 0 => positive?,
            (true, Some(soa)) => {
                let minimum =
                    u32::from_be_bytes(*reply.get(soa.end.checked_sub(4)?..)?.first_chunk()?);
                let ttl = soa.ttl.clamp(least, most);
                let negative = ttl.min(minimum).min(seconds(bounds.max_negative_ttl));
                places.push((soa.ttl_place, ttl.min(negative)));
                if !reader.is_soa(&soa, &places) {
                    return None;
                }
                end = soa.end;
                negative.min(positive.unwrap_or(u32::MAX))
            }
            // Records beside a denial, a referral, or nothing that says for how long: the other way judges that.
            _ => return None,
        };
        let negative = data.is_empty();
        let mut message = Vec::with_capacity(end + 11 + 2 * places.len());
        message.extend([0, 0, 0x81, 0x80 | code, 0, 1, answers0, answers1, 0]);
        message.extend([u8::from(negative), 0, 1]);
        message.extend_from_slice(reply.get(HEADER..end)?);
        for (place, ttl) in &places {
            let ttl_bytes = message.get_mut(*place..)?.first_chunk_mut::<4>()?;
            *ttl_bytes = ttl.to_be_bytes();
        }
        message.extend_from_slice(&OUR_OPT);
        let parts = Finished::parts(question.len(), end, message.len(), 0)?;
        for (place, _) in &places {
            message.extend(u16::try_from(*place).ok()?.to_be_bytes());
        }
        let zone = zone.map(|zone| current.bytes().len() - zone.bytes().len());
        Some(Self {
            message,
            parts,
            left,
            denied: code == 3,
            records: data.len(),
            aliases,
            aliases_end,
            end: current.bytes().into(),
            zone,
        })
    }

    /// As it is kept.
    pub fn finished(&self) -> Finished<'_> {
        Finished::new(&self.message, self.parts)
    }

    /// The data of the records that were asked for.
    pub fn data(&self) -> impl Iterator<Item = &[u8]> {
        let aliases = usize::from(self.aliases);
        let places = self
            .finished()
            .ttl_places()
            .skip(aliases)
            .take(self.records);
        places.filter_map(|place| {
            let length = self.message.get(place + 4..)?.first_chunk::<2>()?;
            let length = usize::from(u16::from_be_bytes(*length));
            self.message.get(place + 6..place + 6 + length)
        })
    }

    /// The name of the zone at the end of the aliases, where the server said which it is.
    pub fn zone(&self) -> Option<&[u8]> {
        self.end.get(self.zone?..)
    }
}

/// The OPT record of what is kept.
const OUR_OPT: [u8; 11] = {
    let [size0, size1] = UDP_PAYLOAD.to_be_bytes();
    [0, TYPE_OPT[0], TYPE_OPT[1], size0, size1, 0, 0, 0, 0, 0, 0]
};

/// Whether its options say nothing that is passed on.
fn is_plain_opt(mut options: &[u8]) -> bool {
    const EXTENDED_ERROR: [u8; 2] = [0, 15];
    while let Some(([code0, code1, length0, length1], rest)) = options.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([*length0, *length1]));
        match rest.get(length..) {
            Some(rest) if [*code0, *code1] != EXTENDED_ERROR => options = rest,
            _ => return false,
        }
    }
    options.is_empty()
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs())
        .unwrap_or(MAX_TTL)
        .min(MAX_TTL)
}
