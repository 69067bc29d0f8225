//! PURE. Lists of networks, and the address ranges that are never "the outside".

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// A list of networks that an address is in, or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl(Vec<IpNet>);

impl Acl {
    /// The list of these networks, each once.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let mut list = Vec::new();
        for network in networks {
            if !list.contains(&network) {
                list.push(network);
            }
        }
        Self(list)
    }

    /// Whether one of the networks holds the address; an IPv4-mapped address counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The networks, in the order given.
    pub fn networks(&self) -> &[IpNet] {
        &self.0
    }
}

/// Why an address is never a place on the public internet (the registries of RFC 6890), or `None` where it may be one.
///
/// An IPv6 address that carries IPv4 ones ([`embedded_v4`]) is judged by those too.
pub fn special_purpose(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6).or_else(|| embedded_v4(v6).find_map(special_v4)),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (0, ..) => Some("this network"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some("private"),
        (100, 64..=127, _) => Some("carrier-grade NAT"),
        (127, ..) => Some("loopback"),
        (169, 254, _) => Some("link-local"),
        (192, 0, 0) => Some("protocol assignment"),
        (198, 18..=19, _) => Some("benchmarking"),
        (224..=239, ..) => Some("multicast"),
        (240.., ..) => Some("reserved"),
        _ => None,
    }
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unspecified() {
        return Some("unspecified");
    }
    if address.is_loopback() {
        return Some("loopback");
    }
    match address.segments() {
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xfec0..=0xfeff, ..] => Some("site-local"),
        [0xfc00..=0xfdff, ..] => Some("unique local"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        [0x0100, 0, 0, 0, ..] => Some("discard-only"),
        [0, 0, 0, 0, 0, 0, ..] => Some("IPv4-compatible"),
        [0x64, 0xff9b, 1, ..] => Some("local-use NAT64"),
        [0x2001, 0, ..] => Some("Teredo"),
        // Of the rest, only 2000::/3 is given out (RFC 4291 section 2.4); NAT64 is judged by what it carries.
        [0x2000..=0x3fff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => None,
        _ => Some("reserved"),
    }
}

/// The IPv4 addresses that an IPv6 address leads to, or may lead to:
///
/// - NAT64 (RFC 6052), by 64:ff9b::/96, and by 64:ff9b:1::/48 (RFC 8215), where each length of prefix has its own place;
/// - 6to4 (RFC 3056), 2002::/16;
/// - Teredo (RFC 4380), 2001::/32: the client, whose bits are turned over, and its server;
/// - IPv4-compatible (RFC 4291 section 2.5.5.1), ::/96.
///
/// IPv4-mapped addresses are IPv4 addresses: make them canonical first.
pub fn embedded_v4(address: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let bytes = address.octets();
    let at = |places: [usize; 4]| {
        places
            .map(|place| bytes.get(place).copied().unwrap_or(0))
            .into()
    };
    let last = || Some(at([12, 13, 14, 15]));
    let found: [Option<Ipv4Addr>; 3] = match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => [last(), None, None],
        // RFC 6052 section 2.2: after the address there are only zeros.
        [0x64, 0xff9b, 1, .., 0] => {
            let real = |address: Ipv4Addr| (address.octets()[0] != 0).then_some(address);
            let short = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12]];
            short.map(|places| real(at(places)))
        }
        [0x64, 0xff9b, 1, ..] => [last(), None, None],
        [0x2002, ..] => [Some(at([2, 3, 4, 5])), None, None],
        [0x2001, 0, ..] => {
            let client = !u32::from(at([12, 13, 14, 15]));
            [Some(client.into()), Some(at([4, 5, 6, 7])), None]
        }
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => [last(), None, None],
        _ => [None; 3],
    };
    found.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_does_not_walk_around_the_list() {
        let acl = Acl::new(["192.168.1.0/24".parse().unwrap()]);
        assert!(acl.contains("192.168.1.9".parse().unwrap()));
        assert!(acl.contains("::ffff:192.168.1.9".parse().unwrap()));
        assert!(!acl.contains("192.168.2.9".parse().unwrap()));
        assert!(!acl.contains("2001:db8::1".parse().unwrap()));
        assert!(!Acl::default().contains("192.168.1.9".parse().unwrap()));
    }

    #[test]
    fn every_way_to_carry_ipv4_is_seen_through() {
        let found = |text: &str| -> Vec<String> {
            let carried = embedded_v4(text.parse().unwrap());
            carried.map(|address| address.to_string()).collect()
        };
        for (text, carried) in [
            ("64:ff9b::192.0.2.33", vec!["192.0.2.33"]),
            ("2002:c000:221::1", vec!["192.0.2.33"]),
            // The example of RFC 4380 section 4.
            (
                "2001:0:4136:e378:8000:63bf:3fff:fdd2",
                vec!["192.0.2.45", "65.54.227.120"],
            ),
            ("::192.0.2.33", vec!["192.0.2.33"]),
            // The table of RFC 6052 section 2.4, below the prefix of RFC 8215.
            ("64:ff9b:1:c000:2:2100::", vec!["192.0.2.33"]),
            ("64:ff9b:1:0:c0:2:2100:0", vec!["192.0.2.33"]),
            ("64:ff9b:1::192.0.2.33", vec!["192.0.2.33"]),
            ("2001:db8::1", vec![]),
            ("::", vec![]),
            ("::1", vec![]),
        ] {
            assert!(
                carried
                    .iter()
                    .all(|one| found(text).contains(&(*one).to_owned())),
                "{text}: {:?}",
                found(text)
            );
            assert_eq!(carried.is_empty(), found(text).is_empty(), "{text}");
        }
        // The shorter prefix of two that fit is not known: both are judged.
        assert!(found("64:ff9b:1:12c0:0:221::").contains(&"192.0.2.33".to_owned()));
    }

    #[test]
    fn special_addresses_are_known_in_every_disguise() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.255.1",
            "192.168.1.1",
            "198.18.0.5",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::192.168.1.1",
            "64:ff9b:1::1",
            "2002:c0a8:0101::1",
            "::10.0.0.1",
            "2001::1",
            // IPv4-translated (RFC 2765), which translators on the path take for IPv4; SRv6; and what nobody has.
            "::ffff:0:192.168.1.1",
            "64:ff9b:2::1",
            "5f00::1",
            "1fff::1",
            "4000::1",
            "fe00::1",
        ] {
            assert!(special_purpose(text.parse().unwrap()).is_some(), "{text}");
        }
        for text in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1",
            "2001:db8::1",
            "192.0.2.1",
            "64:ff9b::1.1.1.1",
        ] {
            assert_eq!(special_purpose(text.parse().unwrap()), None, "{text}");
        }
    }
}
