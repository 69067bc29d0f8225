//! PURE. In which order the addresses of one family are tried, as far as the addresses themselves say it: the
//! precedence of RFC 6724 section 2.1, by which transition mechanisms come after what is routed natively.
//!
//! The other rules of its section 6 are left out: most need the source that the kernel would take. An address without a
//! way to it (rule 1) fails at once, and costs no delay; longest prefixes (rule 9) undo what a name server meant by the
//! order of its answer.

use std::net::IpAddr;

/// Puts the addresses in order; those of the same precedence stay as they are.
pub(super) fn by_precedence(addresses: &mut [IpAddr]) {
    if addresses.len() > 1 {
        addresses.sort_by_key(|address| rank(*address));
    }
}

/// The smaller, the sooner.
fn rank(address: IpAddr) -> u8 {
    let IpAddr::V6(address) = address else {
        return 0;
    };
    match address.segments() {
        // 6to4.
        [0x2002, ..] => 1,
        // Teredo.
        [0x2001, 0, ..] => 2,
        // Unique local: where a name has a global address, too, that one is for those outside.
        [0xfc00..=0xfdff, ..] => 3,
        // IPv4-compatible, site-local, 6bone: all of them deprecated.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => 4,
        [0xfec0..=0xfeff, ..] | [0x3ffe, ..] => 4,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(addresses: &[&str]) -> Vec<String> {
        let mut list: Vec<IpAddr> = addresses.iter().map(|one| one.parse().unwrap()).collect();
        by_precedence(&mut list);
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn native_addresses_come_before_transition_and_unique_local_ones() {
        let order = [
            "2001:db8::2",
            "2001:db8::1",
            "2002:c000:201::1",
            "2001:0:102:304::1",
            "fd00::1",
            "fec0::1",
        ];
        let reversed: Vec<&str> = order.iter().rev().copied().collect();
        let mut expected = order.map(str::to_owned);
        // Among equals the order of the answer counts.
        expected.swap(0, 1);
        assert_eq!(
            ordered(&reversed),
            expected.map(|text| text.parse::<IpAddr>().unwrap().to_string())
        );
    }

    #[test]
    fn the_order_of_an_answer_of_ipv4_stays() {
        let order = ["203.0.113.9", "10.0.0.1", "203.0.113.1"];
        assert_eq!(ordered(&order), order);
        assert_eq!(ordered(&["::1", "2001:db8::1"]), ["::1", "2001:db8::1"]);
    }
}
