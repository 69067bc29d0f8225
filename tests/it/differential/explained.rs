//! Where the gate differs from unbound even when it withholds nothing, and why.

use std::net::IpAddr;

use super::client::Question;
use super::compare::{Difference, Part, far, set};
use super::wire::{A, AA, AAAA, ANY, CNAME, DNAME, RRSIG, Record, name};
use super::world::SPECIAL;

/// A difference that is meant.
pub(super) struct Explained {
    /// Why.
    pub(super) why: &'static str,
    /// Whether this explains one.
    pub(super) fits: fn(&Difference<'_>) -> bool,
}

/// All of them.
pub(super) const EXPLAINED: [Explained; 5] = [
    Explained {
        why: "ANY is answered with one HINFO record (RFC 8482); unbound asks, and tells what there is",
        fits: |it| {
            let answer = &it.ours.whole().sections[0];
            it.question.kind == ANY
                && matches!(&answer[..], [hinfo] if hinfo.data == b"\x07RFC8482\0")
        },
    },
    Explained {
        why: "special names have an answer of the gate's own (contract, section 1); unbound asks for most of them, and \
              has zones with SOA and NS for others",
        fits: |it| it.ours.whole().flags & AA != 0 && is_special(it.question),
    },
    Explained {
        why: "an address inside is taken out of what is outside (rebinding); unbound does so only where told to",
        fits: |it| {
            let (we, they) = (it.ours.whole(), it.theirs.whole());
            let mut left = they.sections[0].clone();
            left.retain(|record| !is_inside(record));
            let fewer = left.len() < they.sections[0].len();
            // And the signature over what was changed.
            left.retain(|record| record.kind != RRSIG || record.about() != it.question.kind);
            let none_left = left.iter().all(|record| record.kind != it.question.kind);
            // Where nothing is left, the answer is NODATA with SOA.
            fewer
                && set(&left) == set(&we.sections[0])
                && (it.part == Part::Answer || it.part == Part::Denial && none_left)
                && we.ede().is_none_or(|code| code == 15)
        },
    },
    Explained {
        why: "a CNAME made of a DNAME lasts as long as that (RFC 6672 section 3.1), but unbound gives it a TTL of 0 the \
              first time, and what the gate got from its upstream so it tells so",
        fits: |it| {
            let (we, they) = (it.ours.whole(), it.theirs.whole());
            let made = we.of(DNAME).next().is_some();
            let of = |far: Vec<&Record>| far.iter().all(|record| record.kind == CNAME);
            it.part == Part::Ttl && made && of(far(we, they, it.slack))
        },
    },
    Explained {
        why: "addresses of a key exchanger (RFC 2230) are not passed on: nobody uses KX, and what is not known to be \
              asked for is not told",
        fits: |it| {
            const KX: u16 = 36;
            it.part == Part::Beside
                && it.question.kind == KX
                && it.ours.whole().sections[2].is_empty()
                && it.theirs.whole().sections[2]
                    .iter()
                    .all(|record| matches!(record.kind, A | AAAA | RRSIG))
        },
    },
];

/// Whether this is an address that nobody outside has.
pub(super) fn is_inside(record: &Record) -> bool {
    let address = match record.kind {
        A => record
            .data
            .first_chunk::<4>()
            .map(|octets| IpAddr::from(*octets)),
        AAAA => record
            .data
            .first_chunk::<16>()
            .map(|octets| IpAddr::from(*octets)),
        _ => None,
    };
    address.is_some_and(|address| match address {
        IpAddr::V4(v4) => {
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.octets()[0] == 0
        }
        IpAddr::V6(v6) => {
            v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.is_loopback()
                || v6.is_unspecified()
        }
    })
}

/// Whether the name asked for is in the list.
fn is_special(question: &Question) -> bool {
    let lower = question.name.to_ascii_lowercase();
    SPECIAL.iter().any(|special| name(special) == lower)
}
