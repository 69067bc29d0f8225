//! PURE. `ipv6hint` taken out of the service bindings of a message that was read in place, as `svcb` does it.

use crate::resolve::wire::{Finished, Parts};
use crate::resolve::{Binding, Simple};

/// The message without the hints; `None` where there are none.
pub(in crate::dns) fn without_ipv6_hints(simple: &Simple) -> Option<(Vec<u8>, Parts)> {
    let finished = simple.finished();
    let whole = finished.message(true);
    let aliases = usize::from(simple.aliases);
    let mut message = Vec::with_capacity(whole.len() + 2 * (aliases + simple.records));
    let mut places: Vec<usize> = finished.ttl_places().take(aliases).collect();
    let mut from = 0;
    let mut cut = 0;
    for place in finished.ttl_places().skip(aliases) {
        // After the TTL come the length and the data.
        let begin = place + 6;
        let length = *whole.get(place + 4..begin)?.first_chunk::<2>()?;
        let length = u16::from_be_bytes(length);
        let data = whole.get(begin..begin + usize::from(length))?;
        let hint = Binding::read(data)?.ipv6;
        places.push(place - cut);
        message.extend_from_slice(whole.get(from..place + 4)?);
        let gone = hint.clone().map_or(0, |hint| hint.len());
        let left = length - u16::try_from(gone).ok()?;
        message.extend(left.to_be_bytes());
        let hint = hint.unwrap_or(data.len()..data.len());
        message.extend_from_slice(data.get(..hint.start)?);
        message.extend_from_slice(data.get(hint.end..)?);
        from = begin + data.len();
        cut += gone;
    }
    if cut == 0 {
        return None;
    }
    let opt = finished.message(false).len() - cut;
    message.extend_from_slice(whole.get(from..)?);
    let parts = Finished::parts(finished.question().len(), opt, message.len(), 0)?;
    for place in places {
        message.extend(u16::try_from(place).ok()?.to_be_bytes());
    }
    Some((message, parts))
}
