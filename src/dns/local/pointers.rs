//! PURE. The names of the addresses in local zones: reverse zones that nobody has to write.
//!
//! The first name that a zone file gives to an address is the name of the address; wildcards and glue below a
//! delegation name nothing. Where a zone is written for the address itself, that one decides, and this is not asked.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use hickory_proto::rr::Name;

use super::ZoneProblem;
use super::lookup::Zone;
use super::table::Place;

/// One address record of a zone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pub(super) address: IpAddr,
    pub(super) place: Place,
    pub(super) ttl: u32,
}

/// The names of addresses.
#[derive(Debug, Default)]
pub(super) struct Pointers {
    zones: Vec<(PathBuf, Arc<Zone>)>,
    /// In the order of the addresses.
    pointers: Vec<Pointer>,
}

#[derive(Clone, Copy, Debug)]
struct Pointer {
    address: IpAddr,
    zone: u32,
    place: Place,
    ttl: u32,
}

impl Pointers {
    /// Names the addresses of zones, and tells of those that another zone has named otherwise.
    pub(super) fn new(
        zones: Vec<(PathBuf, Arc<Zone>, Vec<Address>)>,
        notices: &mut Vec<ZoneProblem>,
    ) -> Self {
        let mut made = Self::default();
        let mut all = Vec::with_capacity(zones.iter().map(|(.., addresses)| addresses.len()).sum());
        for ((file, zone, addresses), number) in zones.into_iter().zip(0_u32..) {
            made.zones.push((file, zone));
            all.extend(addresses.into_iter().map(|address| Pointer {
                address: address.address,
                zone: number,
                place: address.place,
                ttl: address.ttl,
            }));
        }
        made.pointers.clone_from(&all);
        made.pointers.sort_by_key(|pointer| pointer.address);
        made.pointers.dedup_by_key(|pointer| pointer.address);
        made.pointers.shrink_to_fit();
        if made.zones.len() > 1 {
            let conflicts = all.iter().filter_map(|pointer| made.conflict(pointer));
            notices.extend(conflicts.take(MAX_NOTICES.saturating_sub(notices.len())));
        }
        made
    }

    /// What to tell of an address that another zone has named otherwise.
    fn conflict(&self, pointer: &Pointer) -> Option<ZoneProblem> {
        let ip = pointer.address;
        let held = self.held(ip).filter(|held| held.zone != pointer.zone)?;
        let (file, zone) = self.zone(pointer)?;
        let (other_file, other_zone) = self.zone(held)?;
        if zone.key(pointer.place) == other_zone.key(held.place) {
            return None;
        }
        Some(ZoneProblem {
            file: file.clone(),
            line: None,
            what: format!(
                "`{}` has `{ip}`, which is `{}` by `{}` and has only that name",
                zone.name(pointer.place),
                other_zone.name(held.place),
                other_file.display()
            ),
            write: format!(
                "write a reverse zone with the names you want, `{}`",
                zone_for(ip)
            ),
        })
    }

    /// The name of an address, and how long it lives.
    pub(super) fn pointer(&self, address: IpAddr) -> Option<(Name, u32)> {
        let found = self.held(address)?;
        let (_, zone) = self.zone(found)?;
        Some((zone.name(found.place), found.ttl))
    }

    /// Whether an address between these two has a name.
    pub(super) fn any(&self, range: &RangeInclusive<IpAddr>) -> bool {
        let first = self
            .pointers
            .partition_point(|pointer| pointer.address < *range.start());
        self.pointers
            .get(first)
            .is_some_and(|pointer| range.contains(&pointer.address))
    }

    fn held(&self, address: IpAddr) -> Option<&Pointer> {
        let found = self
            .pointers
            .binary_search_by_key(&address, |pointer| pointer.address);
        self.pointers.get(found.ok()?)
    }

    fn zone(&self, pointer: &Pointer) -> Option<&(PathBuf, Arc<Zone>)> {
        self.zones.get(usize::try_from(pointer.zone).ok()?)
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
    use super::super::Zones;

    const HEAD: &str = "$TTL 60\n@ SOA . . 1 1 1 1 60\n";

    #[test]
    fn the_first_name_of_an_address_counts_and_that_of_another_file_is_told() {
        let first = format!("{HEAD}nas A 192.168.1.10\nfiles A 192.168.1.10\nx A 192.168.1.3\n");
        let alone = Zones::from_text(&[("home.arpa", &first)]).unwrap();
        assert_eq!(alone.notices(), []);
        let second = format!("{HEAD}tv 30 A 192.168.1.11\nnas A 192.168.1.10\ny A 192.168.1.3\n");
        let zones = Zones::from_text(&[("home.arpa", &first), ("lan", &second)]).unwrap();
        let told: Vec<String> = zones.notices().iter().map(ToString::to_string).collect();
        let network = "write a reverse zone with the names you want, `1.168.192.in-addr.arpa.zone`";
        let told_of = |name, address, held| {
            format!(
                "lan.zone: `{name}` has `{address}`, which is `{held}` by `home.arpa.zone` and has only that name; \
                 {network}"
            )
        };
        assert_eq!(
            told,
            [
                told_of("nas.lan.", "192.168.1.10", "nas.home.arpa."),
                told_of("y.lan.", "192.168.1.3", "x.home.arpa."),
            ]
        );
        let pointer = |last| {
            let (name, ttl) = zones.pointer([192, 168, 1, last].into())?;
            Some((name.to_string(), ttl))
        };
        assert_eq!(pointer(10), Some(("nas.home.arpa.".into(), 60)));
        assert_eq!(pointer(11), Some(("tv.lan.".into(), 30)));
        assert_eq!(pointer(12), None);
        let any = |first, last| {
            zones.has_pointers(&([192, 168, 1, first].into()..=[192, 168, 1, last].into()))
        };
        assert!(any(0, 3) && any(3, 3) && any(4, 10) && any(11, 255));
        assert!(!any(0, 2) && !any(4, 9) && !any(12, 255));
    }
}
