//! PURE. Names with addresses, and addresses with names, as hosts files and DHCP leases give them.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use hickory_proto::rr::Name;

use super::key::Key;
use super::{ZoneProblem, Zones, from_hosts};
use crate::net::Family;

/// How many names are held of one kind of source; more are passed over. A large block list has half of them.
pub(super) const MAX_NAMES: usize = 1_000_000;
/// How many addresses of one name are held: what fits into an answer.
const MAX_ADDRESSES: usize = 32;

/// What one kind of source says.
#[derive(Debug)]
pub struct HostNames {
    names: HashMap<Box<[u8]>, Node>,
    pointers: BTreeMap<IpAddr, Name>,
    /// The files that were read, the one that is being read last.
    files: Vec<PathBuf>,
    /// How many of the names were told, and not only lie between a name and the domain.
    told: usize,
    most: usize,
}

impl Default for HostNames {
    fn default() -> Self {
        Self {
            names: HashMap::new(),
            pointers: BTreeMap::new(),
            files: Vec::new(),
            told: 0,
            most: MAX_NAMES,
        }
    }
}

/// What is known of a name.
#[derive(Debug, Default)]
struct Node {
    addresses: Vec<IpAddr>,
    told: bool,
    /// Whether a file leads it to 127.0.0.1, and to ::1: no address to tell clients, but the reason why it has none.
    loopback: [bool; 2],
    /// Which file told of it first.
    file: u32,
}

impl HostNames {
    /// Reads hosts files; with what is wrong in them, or in conflict with the zones. A name of one label is one of
    /// `domain`.
    pub fn read(
        files: &[(PathBuf, Vec<u8>)],
        zones: &Zones,
        domain: &Name,
    ) -> (Self, Vec<ZoneProblem>) {
        from_hosts::read(files, zones, domain)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.told
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.told == 0
    }

    /// What is told from now on stands in this file.
    pub(super) fn begin(&mut self, file: &Path) {
        if self.files.last().is_none_or(|last| last != file) {
            self.files.push(file.into());
        }
    }

    /// The file that told of a name first.
    pub(super) fn file(&self, key: &Key) -> Option<&Path> {
        let node = self.names.get(key.whole()).filter(|node| node.told)?;
        let place = usize::try_from(node.file).ok()?;
        self.files.get(place).map(PathBuf::as_path)
    }

    /// Tells of a name, with an address or without; whether there was room for it. Names between it and `domain` exist
    /// from now on, too (RFC 8020).
    pub(super) fn tell(&mut self, name: &Name, address: Option<IpAddr>, domain: &Name) -> bool {
        let key = Key::of(name);
        if !self.names.contains_key(key.whole()) {
            if self.told >= self.most {
                return false;
            }
            if domain.zone_of(name) {
                for labels in Key::of(domain).labels() + 1..key.labels() {
                    self.names.entry(key.suffix(labels).into()).or_default();
                }
            }
        }
        let node = self.names.entry(key.whole().into()).or_default();
        if !node.told {
            node.told = true;
            node.file = u32::try_from(self.files.len().saturating_sub(1)).unwrap_or(u32::MAX);
            self.told += 1;
        }
        if let Some(address) = address
            && !node.addresses.contains(&address)
        {
            if node.addresses.len() >= MAX_ADDRESSES {
                return false;
            }
            node.addresses.push(address);
        }
        true
    }

    /// Remembers that a name that was told is led to a loopback address.
    pub(super) fn lead_to_loopback(&mut self, name: &Name, address: IpAddr) {
        if let Some(node) = self.names.get_mut(Key::of(name).whole()) {
            let [ipv4, ipv6] = &mut node.loopback;
            *(if address.is_ipv4() { ipv4 } else { ipv6 }) = true;
        }
    }

    /// The loopback address of a family that a name is led to.
    pub(super) fn loopback(&self, key: &Key, family: Family) -> Option<IpAddr> {
        let [ipv4, ipv6] = self.names.get(key.whole())?.loopback;
        match family {
            Family::V4 => ipv4.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Family::V6 => ipv6.then_some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        }
    }

    /// Names an address, which keeps the name that it has; returns that one.
    pub(super) fn point(&mut self, address: IpAddr, name: &Name) -> &Name {
        self.pointers
            .entry(address)
            .or_insert_with(|| name.to_lowercase())
    }

    /// The addresses of a name that was told; `None` where it was not.
    pub(super) fn addresses(&self, key: &Key) -> Option<&[IpAddr]> {
        self.names
            .get(key.whole())
            .filter(|node| node.told)
            .map(|node| node.addresses.as_slice())
    }

    /// Whether the name exists, be it only because of one below it.
    pub(super) fn exists(&self, key: &Key) -> bool {
        self.names.contains_key(key.whole())
    }

    /// The name of an address.
    pub(super) fn pointer(&self, address: IpAddr) -> Option<&Name> {
        self.pointers.get(&address)
    }

    /// The addresses that have a name, between two.
    pub(super) fn pointers(
        &self,
        range: &std::ops::RangeInclusive<IpAddr>,
    ) -> impl Iterator<Item = (&IpAddr, &Name)> {
        self.pointers.range(range.clone())
    }
}

/// The name that a word of a hosts file or a lease stands for: letters, digits, `-` and, within, `_`; in lower case
/// and without the dot at the end. `None` for all else.
pub(super) fn host_name(word: &str) -> Option<Name> {
    let word = word.strip_suffix('.').unwrap_or(word);
    let label_is_sound = |label: &str| {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(letters)
    };
    if !word.split('.').all(label_is_sound) {
        return None;
    }
    let mut name = Name::from_ascii(word).ok()?.to_lowercase();
    name.set_fqdn(true);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        host_name(text).unwrap()
    }

    #[test]
    fn a_name_is_found_with_its_addresses_and_those_above_it_exist() {
        let mut names = HostNames::default();
        let address: IpAddr = "192.168.1.10".parse().unwrap();
        let domain = name("home.arpa");
        assert!(names.tell(&name("a.b.home.arpa"), Some(address), &domain));
        assert!(names.tell(&name("A.b.home.arpa"), Some(address), &domain));
        assert!(names.tell(&name("ad.example"), None, &domain));
        assert_eq!(names.len(), 2);
        let key = |text| Key::of(&name(text));
        assert_eq!(names.addresses(&key("a.B.home.arpa")), Some(&[address][..]));
        assert_eq!(names.addresses(&key("b.home.arpa")), None);
        assert!(names.exists(&key("b.home.arpa")));
        assert!(!names.exists(&key("home.arpa")) && !names.exists(&key("example")));
    }

    #[test]
    fn the_addresses_of_a_name_are_bounded() {
        let mut names = HostNames::default();
        for last in 1..=40_u8 {
            let told = names.tell(
                &name("x"),
                Some([10, 0, 0, last].into()),
                &name("home.arpa"),
            );
            assert_eq!(told, last <= 32);
        }
    }

    #[test]
    fn names_are_bounded_and_those_that_are_known_still_get_addresses() {
        let mut names = HostNames {
            most: 2,
            ..HostNames::default()
        };
        let domain = name("home.arpa");
        let told = ["a.home.arpa", "b.example", "c", "b.example"].map(|text| {
            let address = [10, 0, 0, 1].into();
            names.tell(&name(text), Some(address), &domain)
        });
        assert_eq!(told, [true, true, false, true]);
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn only_host_names_are_names() {
        for word in ["nas", "NAS.home.arpa.", "a-b", "_dmarc.example", "1"] {
            assert!(host_name(word).is_some(), "{word}");
        }
        let long = "a".repeat(64);
        for word in [
            "",
            ".",
            "a..b",
            "*",
            "a b",
            "a\\.b",
            "b\u{fc}ro",
            "a/b",
            "a\0",
            long.as_str(),
        ] {
            assert_eq!(host_name(word), None, "{word}");
        }
    }
}
