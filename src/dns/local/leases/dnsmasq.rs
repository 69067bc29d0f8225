//! PURE. dnsmasq's lease file (`dhcp-leasefile`), which it writes anew at every change.

use super::{Lease, Read};

/// A smaller number cannot be a time: it is the length of the lease, as dnsmasq writes it where there is no clock
/// (`HAVE_BROKEN_RTC`).
const EARLIEST: u64 = 1_000_000_000;

/// Reads a file.
pub(super) fn read(text: &str) -> Read {
    let mut read = Read::default();
    for line in text.split_inclusive('\n') {
        // A line that does not end is being written.
        let Some(line) = line.strip_suffix('\n') else {
            continue;
        };
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if words.is_empty() || words.first() == Some(&"duid") {
            continue;
        }
        match lease(&words) {
            Some(lease) if lease.host == "*" => read.tell(lease.address, None),
            Some(lease) => read.tell(lease.address, Some(lease)),
            None => read.strange += 1,
        }
    }
    read
}

fn lease(words: &[&str]) -> Option<Lease> {
    let [expiry, _, address, host, ..] = words else {
        return None;
    };
    let until = expiry
        .parse()
        .ok()
        .map(|until: u64| (until >= EARLIEST).then_some(until))?;
    Some(Lease {
        address: address.parse().ok()?,
        host: (*host).to_owned(),
        until,
        // The file does not say when a lease began; the one that was renewed last ends last.
        since: until.unwrap_or(u64::MAX),
    })
}
