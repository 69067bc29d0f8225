//! PURE. Names below `in-addr.arpa` (RFC 1035 section 3.5) and `ip6.arpa` (RFC 3596 section 2.5) as addresses.

use std::cmp;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use hickory_proto::rr::Name;

/// What a reverse name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reverse {
    /// One address.
    Address(IpAddr),
    /// All addresses below it.
    Network(RangeInclusive<IpAddr>),
}

/// What a name stands for; `None` for `in-addr.arpa` and `ip6.arpa` themselves, names below an address, and all others.
pub(super) fn parse(name: &Name) -> Option<Reverse> {
    let mut labels = name.iter().rev();
    if !labels.next()?.eq_ignore_ascii_case(b"arpa") {
        return None;
    }
    let family = labels.next()?;
    if family.eq_ignore_ascii_case(b"in-addr") {
        ipv4(labels)
    } else if family.eq_ignore_ascii_case(b"ip6") {
        ipv6(labels)
    } else {
        None
    }
}

/// All addresses whose names are below zones.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// In order, without one in another.
    ranges: Vec<RangeInclusive<IpAddr>>,
}

impl Ranges {
    /// What the zones of these names cover.
    pub(super) fn of<'a>(origins: impl Iterator<Item = &'a Name>) -> Self {
        let mut ranges: Vec<_> = origins.flat_map(covered).collect();
        // Two of them are apart, or one holds the other.
        ranges.sort_by_key(|range| (*range.start(), cmp::Reverse(*range.end())));
        ranges.dedup_by(|next, held| held.contains(next.start()));
        Self { ranges }
    }

    /// Whether the name of an address is below one of the zones.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let after = self
            .ranges
            .partition_point(|range| *range.start() <= address);
        after
            .checked_sub(1)
            .and_then(|at| self.ranges.get(at))
            .is_some_and(|range| range.contains(&address))
    }
}

/// The addresses whose names are below a name.
fn covered(name: &Name) -> Vec<RangeInclusive<IpAddr>> {
    let all_ipv4 = || Ipv4Addr::UNSPECIFIED.into()..=Ipv4Addr::BROADCAST.into();
    let all_ipv6 = || Ipv6Addr::UNSPECIFIED.into()..=Ipv6Addr::from_bits(u128::MAX).into();
    let is = |text: &[&str]| {
        name.iter().len() == text.len()
            && name
                .iter()
                .zip(text)
                .all(|(label, text)| label.eq_ignore_ascii_case(text.as_bytes()))
    };
    if is(&[]) || is(&["arpa"]) {
        return vec![all_ipv4(), all_ipv6()];
    }
    if is(&["in-addr", "arpa"]) {
        return vec![all_ipv4()];
    }
    if is(&["ip6", "arpa"]) {
        return vec![all_ipv6()];
    }
    match parse(name) {
        Some(Reverse::Address(address)) => vec![address..=address],
        Some(Reverse::Network(range)) => vec![range],
        None => Vec::new(),
    }
}

fn ipv4<'a>(labels: impl Iterator<Item = &'a [u8]>) -> Option<Reverse> {
    let (mut bits, mut given) = (0_u32, 0_u32);
    for label in labels {
        bits = (bits << 8) | u32::from(octet(label)?);
        given += 1;
        if given > 4 {
            return None;
        }
    }
    let open = 32 - 8 * given;
    let first = match given {
        0 => return None,
        4 => return Some(Reverse::Address(Ipv4Addr::from_bits(bits).into())),
        _ => bits << open,
    };
    let last = first | ((1 << open) - 1);
    Some(Reverse::Network(
        Ipv4Addr::from_bits(first).into()..=Ipv4Addr::from_bits(last).into(),
    ))
}

/// A decimal octet; with a leading zero it is another name.
fn octet(label: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(label).ok()?;
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    text.parse().ok().filter(|_| plain && !padded)
}

fn ipv6<'a>(labels: impl Iterator<Item = &'a [u8]>) -> Option<Reverse> {
    let (mut bits, mut given) = (0_u128, 0_u32);
    for label in labels {
        let [digit] = label else {
            return None;
        };
        bits = (bits << 4) | u128::from(char::from(*digit).to_digit(16)?);
        given += 1;
        if given > 32 {
            return None;
        }
    }
    let open = 128 - 4 * given;
    let first = match given {
        0 => return None,
        32 => return Some(Reverse::Address(Ipv6Addr::from_bits(bits).into())),
        _ => bits << open,
    };
    let last = first | ((1 << open) - 1);
    Some(Reverse::Network(
        Ipv6Addr::from_bits(first).into()..=Ipv6Addr::from_bits(last).into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Option<String> {
        Some(match parse(&Name::from_ascii(text).unwrap())? {
            Reverse::Address(address) => address.to_string(),
            Reverse::Network(range) => format!("{}-{}", range.start(), range.end()),
        })
    }

    #[test]
    fn a_reverse_name_is_an_address_or_a_network() {
        for (text, expected) in [
            ("10.1.168.192.in-addr.arpa.", Some("192.168.1.10")),
            ("10.1.168.192.IN-ADDR.ARPA.", Some("192.168.1.10")),
            ("168.192.in-addr.arpa.", Some("192.168.0.0-192.168.255.255")),
            (
                "d.f.ip6.arpa.",
                Some("fd00::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ),
            ("in-addr.arpa.", None),
            ("ip6.arpa.", None),
            ("x.10.1.168.192.in-addr.arpa.", None),
            ("1.10.1.168.192.in-addr.arpa.", None),
            ("010.1.168.192.in-addr.arpa.", None),
            ("256.1.168.192.in-addr.arpa.", None),
            ("df.ip6.arpa.", None),
            ("nas.home.arpa.", None),
            (".", None),
        ] {
            assert_eq!(said(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn every_address_is_found_under_its_name() {
        for text in [
            "0.0.0.0",
            "255.255.255.255",
            "192.168.1.10",
            "::",
            "fd00::a",
            "2001:db8::1",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(parse(&Name::from(address)), Some(Reverse::Address(address)));
        }
    }

    #[test]
    fn an_address_is_covered_exactly_where_its_name_is_below_a_zone() {
        let addresses: Vec<IpAddr> = [
            "0.0.0.0",
            "10.0.0.1",
            "192.168.0.255",
            "192.168.1.0",
            "192.168.1.10",
            "192.168.2.1",
            "255.255.255.255",
            "::",
            "fd00::a",
            "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db8::1",
        ]
        .map(|text| text.parse().unwrap())
        .into();
        for texts in [
            &["home.arpa."][..],
            &["arpa."],
            &["ip6.arpa."],
            &["IN-ADDR.arpa.", "d.f.ip6.arpa."],
            &[
                "1.168.192.in-addr.arpa.",
                "168.192.in-addr.arpa.",
                "10.in-addr.arpa.",
            ],
            &[
                "10.1.168.192.in-addr.arpa.",
                "x.0.1.168.192.in-addr.arpa.",
                "home.arpa.",
            ],
            &["01.168.192.in-addr.arpa.", "df.ip6.arpa."],
            &[],
        ] {
            let origins: Vec<Name> = texts
                .iter()
                .map(|text| Name::from_ascii(text).unwrap())
                .collect();
            let ranges = Ranges::of(origins.iter());
            for &address in &addresses {
                let name = Name::from(address);
                let below = origins.iter().any(|origin| origin.zone_of(&name));
                assert_eq!(ranges.contains(address), below, "{address} {texts:?}");
            }
        }
    }
}
