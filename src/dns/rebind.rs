//! PURE. Protection against DNS rebinding: a name outside that answers with an address inside would let a page of a
//! stranger's web site speak with the devices of this house under its own name.
//!
//! Such addresses are taken out of every section and out of hints (RFC 9460 section 7.3), in whatever form they come.
//! Judged is the name that was asked for, never the end of its CNAMEs: a stranger's alias of an allowed name would
//! else be allowed, too. Carrier-grade NAT (100.64.0.0/10, RFC 6598) passes unless the clients live in it: providers
//! answer with it for services of their own, and it leads out of the house. Called by `pipeline`.

use std::net::IpAddr;

use hickory_proto::rr::{Name, Record, RecordType};

use super::message::{Draft, ede};
use super::svcb::strip_hints;
use super::withhold::unsign;
use crate::config::Config;
use crate::net::{Acl, special_purpose};
use crate::steer::SuffixSet;

/// Which names may carry which addresses.
#[derive(Clone, Debug)]
pub(super) struct Rebinding {
    allowed: SuffixSet,
    lan: Acl,
}

impl Rebinding {
    /// What a configuration allows: `dns.rebind-allow`, and the domains with servers of their own.
    pub(super) fn new(config: &Config) -> Self {
        let own = config.dns.upstream.zones.iter().map(|zone| &zone.domain);
        Self {
            allowed: config.dns.rebind_allow.iter().chain(own).cloned().collect(),
            lan: config.lan.networks.clone(),
        }
    }

    /// Whether a name may carry any address.
    pub(super) fn allows(&self, name: &Name) -> bool {
        self.allowed.contains(name)
    }

    /// Why the name must not carry the address; `None` where it may.
    pub(super) fn refusal(&self, name: &Name, address: IpAddr) -> Option<&'static str> {
        self.inside(address).filter(|_| !self.allows(name))
    }

    /// The kind of an address inside; `None` for one outside. NAT64, 6to4 and mapped ones are judged by what they
    /// carry.
    fn inside(&self, address: IpAddr) -> Option<&'static str> {
        special_purpose(address).filter(|kind| match *kind {
            "this network" | "unspecified" | "private" | "loopback" | "link-local"
            | "site-local" | "unique local" | "IPv4-compatible" => true,
            "carrier-grade NAT" => self.lan.contains(address),
            _ => false,
        })
    }

    /// Takes out what `name` must not carry, with the signatures over what was changed.
    pub(super) fn protect(&self, name: &Name, draft: &mut Draft) {
        let mut first: Option<(IpAddr, &'static str)> = None;
        let mut unwanted = |address: IpAddr| {
            let kind = self.inside(address);
            first = first.or_else(|| kind.map(|kind| (address, kind)));
            kind.is_some()
        };
        if self.allows(name) {
            return;
        }
        let signed = protect_section(&mut draft.answers, &mut unwanted)
            | protect_section(&mut draft.authorities, &mut unwanted);
        protect_section(&mut draft.additionals, &mut unwanted);
        draft.authentic &= !signed;
        if let Some((address, kind)) = first {
            draft.rebound = true;
            draft.say(
                ede::BLOCKED,
                &format!("{address} ({kind}) removed; see dns.rebind-allow"),
            );
        }
    }
}

fn protect_section(records: &mut Vec<Record>, unwanted: &mut impl FnMut(IpAddr) -> bool) -> bool {
    let mut changed: Vec<(Name, RecordType)> = Vec::new();
    records.retain_mut(|record| {
        let removed = record.data.ip_addr().is_some_and(&mut *unwanted);
        if removed || strip_hints(&mut record.data, &mut *unwanted) {
            changed.push((record.name.clone(), record.record_type()));
        }
        !removed
    });
    unsign(records, &changed);
    !changed.is_empty()
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::ResponseCode;

    use super::super::testing::{config, lines, name, record};
    use super::*;
    use crate::config::{Mode, Names};

    fn rebinding() -> Rebinding {
        let mut config = config(Mode::Off, Names::All);
        config.dns.rebind_allow = vec![name("plex.direct")];
        Rebinding::new(&config)
    }

    #[test]
    fn an_address_inside_is_refused_in_every_disguise_and_one_outside_is_not() {
        let rebinding = rebinding();
        for (address, refused) in [
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("192.168.1.9", true),
            ("127.0.0.1", true),
            ("0.0.0.0", true),
            ("0.1.2.3", true),
            ("169.254.169.254", true),
            ("::", true),
            ("::1", true),
            ("fe80::1", true),
            ("fd00::1", true),
            ("fec0::1", true),
            ("::ffff:10.0.0.1", true),
            ("64:ff9b::192.168.1.1", true),
            ("2002:c0a8:101::1", true),
            ("::192.168.1.1", true),
            ("192.0.2.1", false),
            ("172.32.0.1", false),
            ("100.64.0.1", false),
            ("198.18.0.1", false),
            ("2001:db8::1", false),
            ("64:ff9b::192.0.2.1", false),
            ("::ffff:192.0.2.1", false),
        ] {
            let address = address.parse().unwrap();
            let told = rebinding.refusal(&name("a.example"), address);
            assert_eq!(told.is_some(), refused, "{address}");
            assert_eq!(rebinding.refusal(&name("x.Plex.direct"), address), None);
        }
    }

    #[test]
    fn clients_in_carrier_grade_nat_are_protected_there_too() {
        let mut config = config(Mode::Off, Names::All);
        config.lan.networks = Acl::new(["100.64.1.0/24".parse().unwrap()]);
        let rebinding = Rebinding::new(&config);
        let refused = |text: &str| {
            let address = text.parse().unwrap();
            rebinding.refusal(&name("a.example"), address).is_some()
        };
        assert!(refused("100.64.1.9") && !refused("100.64.2.9"));
    }

    #[test]
    fn the_dot_allows_every_name() {
        let mut config = config(Mode::Off, Names::All);
        config.dns.rebind_allow = vec![Name::root()];
        let address = "192.168.1.9".parse().unwrap();
        let told = Rebinding::new(&config).refusal(&name("a.example"), address);
        assert_eq!(told, None);
    }

    #[test]
    fn every_section_and_every_hint_loses_the_address_and_keeps_the_rest() {
        let mut draft = Draft::empty(ResponseCode::NoError);
        draft.authentic = true;
        let all = [
            "a.example. A 192.0.2.1",
            "a.example. A 192.168.1.1",
            "a.example. HTTPS 1 . mandatory=ipv4hint alpn=h2 ipv4hint=10.0.0.1",
            "b.example. HTTPS 1 . ipv4hint=10.0.0.1,192.0.2.1 ipv6hint=fd00::1,2001:db8::1",
        ];
        draft.answers = all.into_iter().map(record).collect();
        draft.additionals = vec![record("c.example. AAAA fd00::1")];
        rebinding().protect(&name("a.example"), &mut draft);
        assert_eq!(
            lines(&draft.answers),
            lines(
                &[
                    "a.example. A 192.0.2.1",
                    "a.example. HTTPS 1 . alpn=h2",
                    "b.example. HTTPS 1 . ipv4hint=192.0.2.1 ipv6hint=2001:db8::1",
                ]
                .map(record)
            )
        );
        assert!(draft.additionals.is_empty() && draft.rebound && !draft.authentic);
        assert_eq!(draft.extended_errors.len(), 1);
        assert_eq!(draft.extended_errors[0].code, 15);
        assert!(draft.extended_errors[0].text.starts_with("192.168.1.1 "));
    }
}
