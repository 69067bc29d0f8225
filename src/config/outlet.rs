//! PURE. `[egress.ipv4]` and `[egress.ipv6]`: by which of this machine's doors the sessions of a family leave.

use std::net::IpAddr;

use super::file::Section;
use super::value::Wrong;
use crate::net::Family;

/// The longest name of an interface, in bytes (Linux: `IFNAMSIZ` less its final zero).
const LONGEST_INTERFACE: usize = 15;

/// How the sockets of one family leave; by default the kernel decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlet {
    /// The address that they are bound to; of the family.
    pub source: Option<IpAddr>,
    /// The interface that they are bound to (`SO_BINDTODEVICE`).
    pub interface: Option<String>,
    /// The mark that the kernel's rules see (`SO_MARK`); 0 is none.
    pub mark: u32,
}

impl Outlet {
    /// Reads `[egress.ipv4]` or `[egress.ipv6]`.
    pub(super) fn read(mut section: Section<'_, '_>, family: Family) -> Option<Self> {
        let source = section.text("source", "auto", |text| source(text, family));
        let interface = section.text("interface", "auto", interface);
        let mark = section.number("mark", 0, 0..u32::MAX);
        section.finish();
        Some(Self {
            source: source?,
            interface: interface?,
            mark,
        })
    }
}

fn source(text: &str, family: Family) -> Result<Option<IpAddr>, Wrong> {
    if text == "auto" {
        return Ok(None);
    }
    let (what, example) = match family {
        Family::V4 => (
            "an IPv4 address that sessions can come from",
            "an address of this machine, such as \"192.0.2.1\", or \"auto\"",
        ),
        Family::V6 => (
            "an IPv6 address that sessions can come from",
            "an address of this machine, such as \"2001:db8::1\", or \"auto\"",
        ),
    };
    let usable = |address: &IpAddr| {
        Family::of(*address) == family
            && !address.is_unspecified()
            && !address.is_multicast()
            && match address {
                IpAddr::V4(v4) => !v4.is_broadcast(),
                // One for the link says nothing without the link.
                IpAddr::V6(v6) => v6.to_ipv4_mapped().is_none() && !v6.is_unicast_link_local(),
            }
    };
    let address = text.parse().ok().filter(usable);
    address
        .map(Some)
        .ok_or_else(|| Wrong::value(text, what, example))
}

fn interface(text: &str) -> Result<Option<String>, Wrong> {
    if text == "auto" {
        return Ok(None);
    }
    // What the kernel takes for a name.
    let fits = (1..=LONGEST_INTERFACE).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text
            .bytes()
            .any(|byte| matches!(byte, b'/' | b':' | 0) || byte.is_ascii_whitespace());
    if fits {
        Ok(Some(text.to_owned()))
    } else {
        Err(Wrong::value(
            text,
            "the name of an interface",
            "one that `ip link` shows, such as \"eth0\", or \"auto\"",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_address_of_its_family_that_a_packet_can_come_from() {
        let four = |text| source(text, Family::V4);
        let six = |text| source(text, Family::V6);
        assert_eq!(four("auto"), Ok(None));
        assert_eq!(four("192.0.2.1"), Ok(Some("192.0.2.1".parse().unwrap())));
        assert_eq!(six("2001:db8::1"), Ok(Some("2001:db8::1".parse().unwrap())));
        assert_eq!(six("fd00::1"), Ok(Some("fd00::1".parse().unwrap())));
        for wrong in [
            "",
            "eth0",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "2001:db8::1",
            "192.0.2.1/24",
        ] {
            assert!(four(wrong).is_err(), "{wrong}");
        }
        for wrong in [
            "::",
            "ff02::1",
            "192.0.2.1",
            "::ffff:192.0.2.1",
            "fe80::1",
            "fe80::1%eth0",
        ] {
            assert!(six(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_interface_is_what_the_kernel_takes_for_a_name() {
        assert_eq!(interface("auto"), Ok(None));
        for name in ["eth0", "wan.100", "wg-home", "ppp0", "fifteen-letters"] {
            assert_eq!(interface(name), Ok(Some(name.to_owned())), "{name}");
        }
        for wrong in ["", ".", "..", "eth 0", "a/b", "eth0:1", "sixteen-letters-"] {
            assert!(interface(wrong).is_err(), "{wrong}");
        }
    }
}
