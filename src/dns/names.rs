//! PURE. The addresses of the names that are ours, for the parts that reach origins: what a client would be told of a
//! local or special name. Made by `app`, which gives it to the dialer.

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::rr::{Name, RData, RecordType};

use super::forwarded::Forwarded;
use super::local::{Local, LocalAnswer};
use super::special::{self, Special};
use crate::config::Lan;
use crate::net::Family;

/// The local data and the special names of one configuration.
#[derive(Clone, Debug)]
pub struct OwnNames {
    local: Local,
    forwarded: Forwarded,
    domain: Name,
    gate: Ipv4Addr,
}

/// What is known of a name of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnName {
    /// Its addresses; none where it has none, or does not exist.
    Addresses(Vec<IpAddr>),
    /// It is an alias of this name, which is not ours.
    Alias(Name),
}

impl OwnNames {
    /// The names of this local data and of this LAN, less those that have servers of their own.
    pub fn new(lan: &Lan, local: impl Into<Local>, forwarded: Forwarded) -> Self {
        Self {
            local: local.into(),
            forwarded,
            domain: lan.domain.clone(),
            gate: lan.address,
        }
    }

    /// What is known of a name; `None` where it is not ours. A name of one label stands for that name in the local
    /// domain, and is never one outside.
    ///
    /// A name that a hosts file leads to a loopback address has that one here, although no client is told it: it is for
    /// the guard of the dialer to refuse it, and to say so.
    pub fn look_up(&self, name: &Name, family: Family) -> Option<OwnName> {
        let known = self.told(name, family)?;
        if known != OwnName::Addresses(Vec::new()) {
            return Some(known);
        }
        let loopback = match name.num_labels() {
            1 => {
                let qualified = name.clone().append_domain(&self.domain).ok();
                qualified.and_then(|name| self.local.loopback(&name, family))
            }
            _ => self.local.loopback(name, family),
        };
        Some(OwnName::Addresses(loopback.into_iter().collect()))
    }

    /// What clients are told of it.
    fn told(&self, name: &Name, family: Family) -> Option<OwnName> {
        if name.num_labels() != 1 {
            return self.answer(name, family).map(addresses);
        }
        let qualified = name.clone().append_domain(&self.domain).ok()?;
        let known = self
            .answer(name, family)
            .or_else(|| self.answer(&qualified, family));
        Some(match known {
            Some(answer) => addresses(answer),
            None if self.forwarded.holds(&qualified) => OwnName::Alias(qualified),
            None => OwnName::Addresses(Vec::new()),
        })
    }

    /// Whether a name of ours is the gate.
    pub fn is_gate(&self, name: &Name) -> bool {
        match self.told(name, Family::V4) {
            Some(OwnName::Addresses(addresses)) => addresses.contains(&IpAddr::V4(self.gate)),
            Some(OwnName::Alias(_)) | None => false,
        }
    }

    fn answer(&self, name: &Name, family: Family) -> Option<LocalAnswer> {
        let record_type = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        let elsewhere = |special: Special| {
            special.yields_to(name, record_type, &self.local) || self.forwarded.takes(special, name)
        };
        match special::special(name, &self.domain) {
            Some(special) if !elsewhere(special) => {
                Some(special::answer(special, name, record_type, self.gate))
            }
            _ => self.local.answer(name, record_type),
        }
    }
}

fn addresses(answer: LocalAnswer) -> OwnName {
    if let Some(target) = answer.chase {
        return OwnName::Alias(target);
    }
    let addresses = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        });
    OwnName::Addresses(addresses.collect())
}

#[cfg(test)]
mod tests {
    use super::super::local::{HostNames, Zones};
    use super::*;
    use crate::net::Acl;

    const ZONE: &str = "$TTL 60\n@ SOA gate hostmaster 1 1 1 1 60\n@ NS gate\ngate A 192.168.1.2\nwww CNAME gate\n\
        nas A 192.168.1.10\nnas AAAA fd00::10\nshop CNAME www.example.com.\n";

    fn names() -> OwnNames {
        let zones = Zones::from_text(&[("home.arpa", ZONE)]).unwrap();
        names_of(zones, Forwarded::default())
    }

    fn names_of(zones: Zones, forwarded: Forwarded) -> OwnNames {
        let domain = Name::from_ascii("home.arpa.").unwrap();
        let hosts = b"192.168.1.20 tv box.lan\n192.168.1.2 router.lan\n".to_vec();
        let (hosts, _) = HostNames::read(&[("hosts".into(), hosts)], &zones, &domain);
        let local = Local::new(zones, domain.clone(), true);
        local.follow_hosts(hosts);
        OwnNames::new(
            &Lan {
                address: Ipv4Addr::new(192, 168, 1, 2),
                networks: Acl::default(),
                domain,
                allow_public: false,
            },
            local,
            forwarded,
        )
    }

    fn look_up(name: &str, family: Family) -> Option<OwnName> {
        names().look_up(&Name::from_ascii(name).unwrap(), family)
    }

    fn found(addresses: &[&str]) -> Option<OwnName> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap());
        Some(OwnName::Addresses(addresses.collect()))
    }

    #[test]
    fn names_of_ours_are_known_without_asking_and_others_are_not() {
        for (name, family, expected) in [
            ("nas.home.arpa.", Family::V4, found(&["192.168.1.10"])),
            ("nas.home.arpa.", Family::V6, found(&["fd00::10"])),
            ("NAS.", Family::V4, found(&["192.168.1.10"])),
            ("www.home.arpa.", Family::V4, found(&["192.168.1.2"])),
            ("no.home.arpa.", Family::V4, found(&[])),
            ("nobody.", Family::V4, found(&[])),
            ("tv.", Family::V4, found(&["192.168.1.20"])),
            ("tv.home.arpa.", Family::V4, found(&["192.168.1.20"])),
            ("tv.home.arpa.", Family::V6, found(&[])),
            ("box.lan.", Family::V4, found(&["192.168.1.20"])),
            ("wpad.", Family::V4, found(&["192.168.1.2"])),
            ("sekisho.home.arpa.", Family::V4, found(&["192.168.1.2"])),
            ("sekisho.", Family::V6, found(&[])),
            ("localhost.", Family::V4, found(&["127.0.0.1"])),
            ("printer.local.", Family::V4, found(&[])),
            ("www.example.com.", Family::V4, None),
        ] {
            assert_eq!(look_up(name, family), expected, "{name}");
        }
        let outside = Name::from_ascii("www.example.com.").unwrap();
        assert_eq!(
            look_up("shop.home.arpa.", Family::V4),
            Some(OwnName::Alias(outside))
        );
    }

    #[test]
    fn names_with_servers_of_their_own_are_asked_of_them() {
        let forwarded = Forwarded::of(&["home.arpa."]);
        let names = names_of(Zones::default(), forwarded);
        let look_up = |text| names.look_up(&Name::from_ascii(text).unwrap(), Family::V4);
        let nas = Name::from_ascii("nas.home.arpa.").unwrap();
        assert_eq!(look_up("nas.home.arpa."), None);
        assert_eq!(look_up("nas."), Some(OwnName::Alias(nas)));
        assert_eq!(look_up("wpad.home.arpa."), found(&["192.168.1.2"]));
        assert_eq!(look_up("localhost."), found(&["127.0.0.1"]));
    }

    #[test]
    fn a_name_that_leads_to_the_gate_is_the_gate() {
        let is_gate = |name| names().is_gate(&Name::from_ascii(name).unwrap());
        assert!(is_gate("gate.home.arpa.") && is_gate("www.home.arpa.") && is_gate("gate."));
        assert!(is_gate("router.lan.") && !is_gate("tv."));
        assert!(is_gate("sekisho.home.arpa.") && is_gate("sekisho."));
        assert!(!is_gate("nas.home.arpa.") && !is_gate("www.example.com."));
    }
}
