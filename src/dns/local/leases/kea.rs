//! PURE. The lease files of Kea's memfile backend, `kea-leases4.csv` and `kea-leases6.csv`.

use std::net::IpAddr;

use super::{Lease, Read};

/// A valid lifetime that never ends (RFC 2131 section 3.3).
const INFINITE: u64 = 0xffff_ffff;

/// Where the columns are.
struct Columns {
    count: usize,
    lifetime: Option<usize>,
    expire: Option<usize>,
    host: Option<usize>,
    state: Option<usize>,
    prefix: Option<usize>,
}

/// Reads a file with this header.
pub(super) fn read(header: &str, text: &str) -> Read {
    let names: Vec<&str> = header.split(',').collect();
    let column = |name| names.iter().position(|held| *held == name);
    let columns = Columns {
        count: names.len(),
        lifetime: column("valid_lifetime"),
        expire: column("expire"),
        host: column("hostname"),
        state: column("state"),
        prefix: column("prefix_len"),
    };
    let mut read = Read::default();
    for line in text.lines().map(str::trim) {
        // The header stands once more where files were joined.
        if line.is_empty() || line.starts_with('#') || line.starts_with("address,") {
            continue;
        }
        match row(&columns, line) {
            Some((address, lease)) => read.tell(address, lease),
            None => read.strange += 1,
        }
    }
    read
}

/// The address of a row, and the lease if there is one.
fn row(columns: &Columns, line: &str) -> Option<(IpAddr, Option<Lease>)> {
    let fields: Vec<&str> = line.split(',').collect();
    if fields.len() < columns.count {
        return None;
    }
    let field = |column: Option<usize>| fields.get(column?).copied();
    let address = fields.first()?.parse().ok()?;
    let lifetime: u64 = field(columns.lifetime)?.parse().ok()?;
    let expire: u64 = field(columns.expire)?.parse().ok()?;
    let host = field(columns.host)?;
    let active = field(columns.state).is_none_or(|state| state == "0");
    let whole = field(columns.prefix).is_none_or(|length| length == "128");
    let lease = Lease {
        address,
        host: host.to_owned(),
        until: (lifetime != INFINITE).then_some(expire),
        since: expire.saturating_sub(lifetime),
    };
    // A lease that was given back lives on with a lifetime of 0.
    let told = active && whole && lifetime > 0 && !host.is_empty();
    Some((address, told.then_some(lease)))
}
