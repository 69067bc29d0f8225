//! PURE. Names below `in-addr.arpa` (RFC 1035 section 3.5) and `ip6.arpa` (RFC 3596 section 2.5) as addresses.

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
}
