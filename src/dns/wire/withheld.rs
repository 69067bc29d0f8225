//! PURE. AAAA withheld from a message that was read in place: the aliases as they are, the SOA of the zone where they end, and
//! why (RFC 2308 section 2.2, RFC 8914), as `withhold` has it.

use super::super::message::ede;
use super::super::withhold::WITHHELD;
use crate::resolve::Simple;
use crate::resolve::cache::UDP_PAYLOAD;
use crate::resolve::wire::{Finished, HEADER, Parts, TYPE_OPT, name_length};

/// The code of an option of Extended DNS Errors.
const EDE: u16 = 15;

/// The message without its addresses, with this SOA record (on the wire, not compressed), whose TTL is a bound of ours.
pub(in crate::dns) fn withheld(simple: &Simple, soa: &[u8]) -> Option<(Vec<u8>, Parts)> {
    let mut message = simple.message.get(..simple.aliases_end)?.to_vec();
    let counts = message.get_mut(6..HEADER)?;
    let [aliases0, aliases1] = simple.aliases.to_be_bytes();
    counts.copy_from_slice(&[aliases0, aliases1, 0, 1, 0, 1]);
    let ttl = message.len() + name_length(soa)? + 4;
    message.extend_from_slice(soa);
    let opt = message.len();
    let data = u16::try_from(2 + WITHHELD.len()).ok()?;
    message.extend([0, TYPE_OPT[0], TYPE_OPT[1]]);
    message.extend(UDP_PAYLOAD.to_be_bytes());
    message.extend([0; 4]);
    for number in [data + 4, EDE, data, ede::FILTERED] {
        message.extend(number.to_be_bytes());
    }
    message.extend(WITHHELD.bytes());
    let finished = simple.finished();
    let parts = Finished::parts(finished.question().len(), opt, message.len(), 1)?;
    let aliases = finished.ttl_places().take(simple.aliases.into());
    for place in aliases.chain([ttl]) {
        message.extend(u16::try_from(place).ok()?.to_be_bytes());
    }
    Some((message, parts))
}
