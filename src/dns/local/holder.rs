//! PURE. Which part of the local data knows a name: for people who wonder where an answer comes from. Asked by `explain`.

use std::path::PathBuf;

use hickory_proto::rr::{Name, RecordType};

use super::host_names::HostNames;
use super::key::Key;
use super::reverse::{self, Reverse};
use super::{Local, Zones};

/// A part of the local data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dns) enum Holder {
    /// The zone of this name.
    Zone(Name),
    /// A hosts file.
    Hosts(PathBuf),
    /// A lease file.
    Leases(PathBuf),
}

impl Local {
    /// Who gives the answer to a question; `None` if nothing local does.
    pub(in crate::dns) fn holder(&self, name: &Name, record_type: RecordType) -> Option<Holder> {
        if let Some(answer) = self.zones.answer(name, record_type) {
            let beside = || self.file_of(name).filter(|_| answer.answers.is_empty());
            let left_open = answer.denies().then(beside).flatten();
            return left_open.or_else(|| self.zones.origin(name).map(Holder::Zone));
        }
        self.beside_zones(name, record_type)?;
        match reverse::parse(name) {
            Some(Reverse::Address(address)) => {
                let followed = self.followed.load();
                if let Some((target, _)) = self.zones.pointer(address) {
                    return self.zones.origin(&target).map(Holder::Zone);
                }
                let by_host = followed.hosts.pointer(address);
                let by_host = by_host.and_then(|target| hosts(&followed.hosts, target));
                let by_lease = || leases(&followed.leases, followed.leases.pointer(address)?);
                by_host.or_else(by_lease)
            }
            Some(Reverse::Network(_)) => None,
            None if name.num_labels() == 1 => {
                let whole = name.clone().append_domain(&self.domain).ok()?;
                self.holder(&whole, record_type)
            }
            None => self.file_of(name),
        }
    }

    fn file_of(&self, name: &Name) -> Option<Holder> {
        let followed = self.followed.load();
        hosts(&followed.hosts, name).or_else(|| leases(&followed.leases, name))
    }
}

impl Zones {
    /// The zone that a name is in.
    fn origin(&self, name: &Name) -> Option<Name> {
        self.closest(&Key::of(name)).map(|zone| zone.origin.clone())
    }
}

fn hosts(names: &HostNames, name: &Name) -> Option<Holder> {
    names
        .file(&Key::of(name))
        .map(|file| Holder::Hosts(file.into()))
}

fn leases(names: &HostNames, name: &Name) -> Option<Holder> {
    names
        .file(&Key::of(name))
        .map(|file| Holder::Leases(file.into()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::leases::tests::DNSMASQ;
    use super::super::{HostNames, Leases};
    use super::*;

    const ZONE: &str = "$TTL 60\n@ SOA gate hostmaster 1 1 1 1 60\n@ NS gate\ngate A 192.168.1.2\n\
        alias CNAME laptop\n";

    #[test]
    fn every_answer_has_the_zone_or_the_file_that_gives_it() {
        let domain = Name::from_ascii("home.arpa.").unwrap();
        let zones = Zones::from_text(&[("home.arpa", ZONE)]).unwrap();
        let local = Local::new(zones.clone(), domain.clone(), true);
        let files = [
            ("one".into(), b"192.168.1.20 tv box.lan\n".to_vec()),
            ("two".into(), b"192.168.1.21 radio\n".to_vec()),
        ];
        let (names, notices) = HostNames::read(&files, &zones, &domain);
        assert_eq!(notices, []);
        local.follow_hosts(names);
        let (leased, _) = Leases::read(&[("leased".into(), DNSMASQ.into())]);
        local.follow_leases(leased.names(1_795_000_000, &domain, &HashSet::new()).names);
        let zone = || Some(Holder::Zone(domain.clone()));
        let hosts = |file: &str| Some(Holder::Hosts(file.into()));
        let leases = || Some(Holder::Leases("leased".into()));
        use RecordType as T;
        for (name, record_type, holder) in [
            ("gate.home.arpa.", T::A, zone()),
            ("nobody.home.arpa.", T::A, zone()),
            ("alias.home.arpa.", T::A, zone()),
            ("tv.home.arpa.", T::A, hosts("one")),
            ("TV.", T::AAAA, hosts("one")),
            ("box.lan.", T::MX, hosts("one")),
            ("radio.home.arpa.", T::A, hosts("two")),
            ("laptop.home.arpa.", T::A, leases()),
            ("laptop.", T::A, leases()),
            ("laptop.", T::MX, leases()),
            ("laptop.", T::NS, None),
            ("2.1.168.192.in-addr.arpa.", T::PTR, zone()),
            ("21.1.168.192.in-addr.arpa.", T::PTR, hosts("two")),
            ("50.1.168.192.in-addr.arpa.", T::PTR, leases()),
            ("99.1.168.192.in-addr.arpa.", T::PTR, None),
            ("www.example.", T::A, None),
        ] {
            let asked = Name::from_ascii(name).unwrap();
            assert_eq!(local.holder(&asked, record_type), holder, "{name}");
        }
    }
}
