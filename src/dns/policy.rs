//! PURE. What becomes of an answer, as one table: the type asked, the rules, and what the name has.
//!
//! The words are those of RPZ. Called by `pipeline`, which fetches what the table needs to know and carries out
//! what it says.

use std::net::IpAddr;

use hickory_proto::rr::RecordType;

use crate::config::{Aaaa, Config};
use crate::net::{Acl, embedded_v4, special_purpose};
use crate::steer::{Route, When};

/// What is done with the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Told as it is.
    Passthru,
    /// Told as if the type did not exist at this name.
    NoData,
    /// Replaced by our own record, which leads to the gate.
    LocalData,
}

/// Which addresses sessions of clients may go to, so far as the configuration says: what the egress guard refuses
/// must not be led to the gate, or a client that reaches the address by itself would lose it.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    allow: Acl,
    deny: Acl,
    lan: Acl,
}

impl Reach {
    /// The networks of a configuration.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            allow: config.egress.allow.clone(),
            deny: config.egress.deny.clone(),
            lan: config.lan.networks.clone(),
        }
    }

    /// Whether an address counts as one of the name's for [`action`].
    ///
    /// An address that only the client can reach is none for the gate. But under [`When::Ipv6Only`] every A does
    /// count: what a client reaches over IPv4 today is left to it.
    pub(super) fn counts(&self, when: When, address: IpAddr) -> bool {
        let address = address.to_canonical();
        // How filtering upstreams say that there is no address.
        if address.is_unspecified() {
            return false;
        }
        (when == When::Ipv6Only && address.is_ipv4()) || self.reaches(address)
    }

    /// In the order of the egress guard: `egress.deny` closes, `egress.allow` opens, the rest closes.
    fn reaches(&self, address: IpAddr) -> bool {
        let inner: Vec<IpAddr> = match address {
            IpAddr::V6(v6) => embedded_v4(v6).map(IpAddr::V4).collect(),
            IpAddr::V4(_) => Vec::new(),
        };
        let within =
            |list: &Acl| list.contains(address) || inner.iter().any(|one| list.contains(*one));
        if within(&self.deny) {
            return false;
        }
        if self.allow.contains(address) {
            return inner.iter().all(|one| self.reaches(*one));
        }
        !within(&self.lan) && special_purpose(address).is_none()
    }
}

/// Which families of addresses a name has, of those that [`Reach`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Has {
    /// It has A.
    pub(super) ipv4: bool,
    /// It has AAAA.
    pub(super) ipv6: bool,
}

/// Which addresses must be known before [`action`] can decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// None.
    Nothing,
    /// A, and AAAA only where there is no A.
    Ipv4ThenIpv6,
    /// AAAA.
    Ipv6,
    /// Both.
    Both,
}

/// Which addresses the table needs for a question of this type.
pub(super) fn needs(record_type: RecordType, when: When) -> Needs {
    match (record_type, when) {
        (_, When::Never) => Needs::Nothing,
        (RecordType::A | RecordType::HTTPS | RecordType::SVCB, When::Ipv6Only) => {
            Needs::Ipv4ThenIpv6
        }
        (RecordType::HTTPS | RecordType::SVCB, When::Ipv6) => Needs::Ipv6,
        // Where AAAA does not lead to the gate, A is what is told.
        (RecordType::A, When::Ipv6) => Needs::Both,
        (RecordType::A | RecordType::HTTPS | RecordType::SVCB, When::Any) => Needs::Both,
        _ => Needs::Nothing,
    }
}

/// The table. `has` counts for the types that [`needs`] asks it for, and for AAAA itself.
pub(super) fn action(record_type: RecordType, aaaa: Aaaa, when: When, has: Has) -> Action {
    match record_type {
        RecordType::AAAA if aaaa == Aaaa::Withhold && has.ipv6 => Action::NoData,
        RecordType::A | RecordType::HTTPS | RecordType::SVCB => {
            match when.route(has.ipv4, has.ipv6) {
                Route::Gate => Action::LocalData,
                Route::Direct => Action::Passthru,
            }
        }
        _ => Action::Passthru,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use super::*;
    use crate::config::{Mode, Names};

    const NEITHER: Has = Has {
        ipv4: false,
        ipv6: false,
    };
    const IPV4: Has = Has {
        ipv4: true,
        ipv6: false,
    };
    const IPV6: Has = Has {
        ipv4: false,
        ipv6: true,
    };
    const BOTH: Has = Has {
        ipv4: true,
        ipv6: true,
    };

    #[test]
    fn the_table_of_actions_holds_for_addresses_and_service_bindings() {
        use Action::{LocalData, Passthru};
        for (when, neither, ipv4, ipv6, both) in [
            (When::Never, Passthru, Passthru, Passthru, Passthru),
            (When::Ipv6Only, Passthru, Passthru, LocalData, Passthru),
            (When::Ipv6, Passthru, Passthru, LocalData, LocalData),
            (When::Any, Passthru, LocalData, LocalData, LocalData),
        ] {
            for record_type in [RecordType::A, RecordType::HTTPS, RecordType::SVCB] {
                for (has, expected) in
                    [(NEITHER, neither), (IPV4, ipv4), (IPV6, ipv6), (BOTH, both)]
                {
                    assert_eq!(
                        action(record_type, Aaaa::Withhold, when, has),
                        expected,
                        "{record_type} {when:?} {has:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_address_counts_where_the_gate_could_reach_it() {
        let mut config = config(Mode::Address, Names::All);
        let acl = |network: &str| Acl::new([network.parse().unwrap()]);
        let closed = Reach::new(&config);
        config.egress.allow = acl("10.1.0.0/16");
        config.egress.deny = acl("203.0.113.0/24");
        let ruled = Reach::new(&config);
        for (address, by_default, by_rule, ipv6_only) in [
            ("198.51.100.1", true, true, true),
            ("2001:db8::1", true, true, true),
            ("203.0.113.1", true, false, true),
            ("64:ff9b::203.0.113.1", true, false, true),
            ("192.168.1.1", false, false, true),
            ("10.1.2.3", false, true, true),
            ("10.2.0.1", false, false, true),
            ("127.0.0.1", false, false, true),
            ("100.64.0.1", false, false, true),
            ("::ffff:192.168.1.1", false, false, true),
            ("fd00::1", false, false, false),
            ("fe80::1", false, false, false),
            ("64:ff9b::192.168.1.1", false, false, false),
            ("0.0.0.0", false, false, false),
            ("::", false, false, false),
        ] {
            let address = address.parse().unwrap();
            for when in [When::Any, When::Ipv6] {
                assert_eq!(closed.counts(when, address), by_default, "{address}");
                assert_eq!(ruled.counts(when, address), by_rule, "{address}");
            }
            assert_eq!(
                closed.counts(When::Ipv6Only, address),
                ipv6_only,
                "{address}"
            );
        }
    }

    #[test]
    fn an_allowed_network_opens_the_lan_too() {
        let mut config = config(Mode::Address, Names::All);
        config.egress.allow = Acl::new(["192.168.1.0/24".parse().unwrap()]);
        let address = "192.168.1.9".parse().unwrap();
        assert!(Reach::new(&config).counts(When::Any, address));
    }

    #[test]
    fn aaaa_is_withheld_in_every_mode_unless_a_rule_passes_it_or_there_is_none() {
        for when in [When::Never, When::Ipv6Only, When::Ipv6, When::Any] {
            for has in [IPV6, BOTH] {
                assert_eq!(
                    action(RecordType::AAAA, Aaaa::Withhold, when, has),
                    Action::NoData
                );
                assert_eq!(
                    action(RecordType::AAAA, Aaaa::Pass, when, has),
                    Action::Passthru
                );
            }
            for has in [NEITHER, IPV4] {
                assert_eq!(
                    action(RecordType::AAAA, Aaaa::Withhold, when, has),
                    Action::Passthru
                );
            }
        }
    }

    #[test]
    fn other_types_are_told_as_they_are_and_need_no_addresses() {
        for record_type in [
            RecordType::MX,
            RecordType::TXT,
            RecordType::SOA,
            RecordType::Unknown(4711),
        ] {
            assert_eq!(needs(record_type, When::Any), Needs::Nothing);
            assert_eq!(
                action(record_type, Aaaa::Withhold, When::Any, BOTH),
                Action::Passthru
            );
        }
        assert_eq!(needs(RecordType::AAAA, When::Any), Needs::Nothing);
        assert_eq!(needs(RecordType::A, When::Never), Needs::Nothing);
    }
}
