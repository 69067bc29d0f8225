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
/// An IPv6 address that carries an IPv4 one (mapped, NAT64 of RFC 6052, 6to4 of RFC 3056) is judged by that too.
pub fn special_purpose(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6).or_else(|| embedded_v4(v6).and_then(special_v4)),
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
        _ => None,
    }
}

/// The IPv4 address inside a NAT64 (64:ff9b::/96) or 6to4 (2002::/16) address.
pub fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bytes = address.octets();
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            Some(Ipv4Addr::new(bytes[12], bytes[13], bytes[14], bytes[15]))
        }
        [0x2002, ..] => Some(Ipv4Addr::new(bytes[2], bytes[3], bytes[4], bytes[5])),
        _ => None,
    }
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
