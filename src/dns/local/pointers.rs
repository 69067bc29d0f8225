//! PURE. The names of the addresses in local zones: reverse zones that nobody has to write.
//!
//! The first name that a zone file gives to an address is the name of the address; wildcards and glue below a
//! delegation name nothing. Where a zone is written for the address itself, that one decides, and this is not asked.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use hickory_proto::rr::Name;

use super::ZoneProblem;

/// One address record of a zone.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) address: IpAddr,
    pub(super) name: Name,
    pub(super) ttl: u32,
}

/// The names of addresses.
#[derive(Debug, Default)]
pub(super) struct Pointers {
    names: BTreeMap<IpAddr, Pointer>,
    files: Vec<PathBuf>,
}

#[derive(Debug)]
struct Pointer {
    name: Name,
    ttl: u32,
    file: usize,
}

impl Pointers {
    /// Names the addresses of one zone that have no name yet, and tells of those that another zone has named otherwise.
    pub(super) fn add(
        &mut self,
        file: &Path,
        addresses: Vec<Address>,
        notices: &mut Vec<ZoneProblem>,
    ) {
        let this = self.files.len();
        self.files.push(file.into());
        let first_of_other =
            |pointer: &Pointer, name: &Name| pointer.file != this && pointer.name != *name;
        for address in addresses {
            let ip = address.address;
            let held = self.names.entry(ip).or_insert_with(|| Pointer {
                name: address.name.clone(),
                ttl: address.ttl,
                file: this,
            });
            if first_of_other(held, &address.name) && notices.len() < MAX_NOTICES {
                let other = self
                    .files
                    .get(held.file)
                    .map_or_else(String::new, |file| file.display().to_string());
                notices.push(ZoneProblem {
                    file: file.into(),
                    line: None,
                    what: format!(
                        "`{}` has `{ip}`, which is `{}` by `{other}` and has only that name",
                        address.name, held.name
                    ),
                    write: format!(
                        "write a reverse zone with the names you want, `{}`",
                        zone_for(ip)
                    ),
                });
            }
        }
    }

    /// The name of an address, and how long it lives.
    pub(super) fn pointer(&self, address: IpAddr) -> Option<(&Name, u32)> {
        let found = self.names.get(&address)?;
        Some((&found.name, found.ttl))
    }

    /// Whether an address between these two has a name.
    pub(super) fn any(&self, range: &RangeInclusive<IpAddr>) -> bool {
        self.names.range(range.clone()).next().is_some()
    }
}

/// How much is told of all zones together.
const MAX_NOTICES: usize = 50;

/// The name of the file that would hold the reverse zone of an address's network, of the size that LANs have.
fn zone_for(address: IpAddr) -> String {
    let labels = match address {
        IpAddr::V4(_) => 1,
        IpAddr::V6(_) => 16,
    };
    let whole = Name::from(address);
    let kept = usize::from(whole.num_labels()).saturating_sub(labels);
    format!("{}zone", whole.trim_to(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_an_address_counts_and_that_of_another_file_is_told() {
        let address = |name: &str| Address {
            address: [192, 168, 1, 10].into(),
            name: Name::from_ascii(name).unwrap(),
            ttl: 60,
        };
        let mut pointers = Pointers::default();
        let mut notices = Vec::new();
        let first = vec![address("nas.home.arpa."), address("files.home.arpa.")];
        pointers.add(Path::new("a.zone"), first, &mut notices);
        assert_eq!(notices, []);
        pointers.add(Path::new("b.zone"), vec![address("nas.lan.")], &mut notices);
        assert_eq!(
            notices.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "b.zone: `nas.lan.` has `192.168.1.10`, which is `nas.home.arpa.` by `a.zone` and has only that name; \
                 write a reverse zone with the names you want, `1.168.192.in-addr.arpa.zone`"
            ]
        );
        let found = pointers.pointer([192, 168, 1, 10].into()).unwrap();
        assert_eq!(found.0.to_string(), "nas.home.arpa.");
    }
}
