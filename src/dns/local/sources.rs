//! PURE. All local data in the order of its weight: zones, hosts files, leases. Asked by the pipeline and by
//! [`OwnNames`](super::super::names::OwnNames).
//!
//! - What a zone has of a name counts alone. A name that its zone does not have may come from hosts files and leases:
//!   so devices join a domain whose fixed names are written down. Their answers have authority as the zone's.
//! - What a hosts file has of a name counts before leases.
//! - A name of one label is the name in the local domain, so far as hosts files or leases know it, except for what is asked
//!   about a zone, which would be a top-level domain: no client may take that over.
//! - The name of an address: a zone that is written for the address decides alone. Else the first name that a zone gives
//!   to it, then that of hosts files, then that of a lease, unless zone or hosts file know the lease's name otherwise.
//! - Negative answers live 60 s, so that a name is found soon after it appears.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, PTR, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::super::special;
use super::host_names::HostNames;
use super::key::Key;
use super::reverse::{self, Reverse};
use super::{LocalAnswer, Zones};
use crate::net::Family;

/// How long an answer from hosts files or leases, and a negative one that they may change, lives, in seconds.
const TTL: u32 = 60;

/// All local data. Cloning is cheap, and the clones follow the same files.
#[derive(Clone, Debug)]
pub struct Local {
    pub(super) zones: Zones,
    pub(super) domain: Name,
    /// Whether files are followed: then a name that is not there now may be there soon.
    follows: bool,
    pub(super) followed: Arc<ArcSwap<Followed>>,
}

/// What may change at any moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Followed {
    pub(super) hosts: Arc<HostNames>,
    pub(super) leases: Arc<HostNames>,
    /// How often something of it has changed.
    changes: u64,
}

impl From<Zones> for Local {
    fn from(zones: Zones) -> Self {
        Self::new(zones, Name::root(), false)
    }
}

impl Local {
    /// Zones, with no other names yet; `follows` says whether there will be.
    pub fn new(zones: Zones, domain: Name, follows: bool) -> Self {
        Self {
            zones,
            domain,
            follows,
            followed: Arc::default(),
        }
    }

    /// The zones.
    pub fn zones(&self) -> &Zones {
        &self.zones
    }

    /// Answers from these hosts files from now on.
    pub fn follow_hosts(&self, hosts: HostNames) {
        let hosts = Arc::new(hosts);
        self.followed.rcu(|held| Followed {
            hosts: Arc::clone(&hosts),
            leases: Arc::clone(&held.leases),
            changes: held.changes.wrapping_add(1),
        });
    }

    /// Answers from these leases from now on.
    pub fn follow_leases(&self, leases: HostNames) {
        let leases = Arc::new(leases);
        self.followed.rcu(|held| Followed {
            hosts: Arc::clone(&held.hosts),
            leases: Arc::clone(&leases),
            changes: held.changes.wrapping_add(1),
        });
    }

    /// How often hosts files or leases have changed. Who reads it before an answer knows later whether that may be another
    /// one now. It changes with them, and not a moment later: then who has seen the new answer could be told the old one.
    pub(in crate::dns) fn changes(&self) -> u64 {
        self.followed.load().changes
    }

    /// Whether the name is ours, for a question of this type.
    pub(in crate::dns) fn owns(&self, name: &Name, record_type: RecordType) -> bool {
        self.zones.zone_of(name) || self.beside_zones(name, record_type).is_some()
    }

    /// The answer to a question of class IN; `None` if nothing local knows the name.
    ///
    /// Owners in the answer are in lower case.
    pub(in crate::dns) fn answer(
        &self,
        name: &Name,
        record_type: RecordType,
    ) -> Option<LocalAnswer> {
        match self.zones.answer(name, record_type) {
            Some(answer) => Some(self.go_on(answer, name, record_type)),
            None => self.beside_zones(name, record_type),
        }
    }

    /// The loopback address of a family that a hosts file leads the name to, which clients are not told.
    pub(in crate::dns) fn loopback(&self, name: &Name, family: Family) -> Option<IpAddr> {
        self.followed.load().hosts.loopback(&Key::of(name), family)
    }

    /// Lets the negative answer of an empty zone live no longer than a name may take to appear.
    pub(in crate::dns) fn hurry(&self, answer: &mut LocalAnswer) {
        if self.follows {
            for record in &mut answer.authorities {
                record.ttl = record.ttl.min(TTL);
            }
        }
    }

    /// Fills in what the zones leave open: a name that its zone does not have, or an alias that leads out of them.
    fn go_on(&self, mut answer: LocalAnswer, name: &Name, record_type: RecordType) -> LocalAnswer {
        let end = match (&answer.chase, answer.denies()) {
            (Some(target), _) => target.clone(),
            (None, true) => answer.end(name),
            (None, false) => return answer,
        };
        let Some(rest) = self.named(&end, record_type) else {
            // The names of this domain are those that may appear.
            if answer.denies() && self.domain.zone_of(&end) {
                self.hurry(&mut answer);
            }
            return answer;
        };
        answer.chase = None;
        answer.rcode = rest.rcode;
        answer.answers.extend(rest.answers);
        answer.authorities = rest.authorities;
        answer
    }

    /// What is known of a name that is in no zone.
    pub(super) fn beside_zones(&self, name: &Name, record_type: RecordType) -> Option<LocalAnswer> {
        match reverse::parse(name) {
            Some(Reverse::Address(address)) => self.pointer(name, address, record_type),
            Some(Reverse::Network(range)) => {
                // Only in the ranges that are ours to deny do we know that there is nothing else.
                special::empty_zone(name)?;
                let followed = self.followed.load();
                let known = self.zones.has_pointers(&range)
                    || followed.hosts.pointers(&range).next().is_some()
                    || followed.leases.pointers(&range).next().is_some();
                known.then(|| self.no_data(name))
            }
            None if name.num_labels() == 1 => self.bare(name, record_type),
            None => self.named(name, record_type),
        }
    }

    /// What hosts files and leases know of a name of several labels.
    fn named(&self, name: &Name, record_type: RecordType) -> Option<LocalAnswer> {
        let followed = self.followed.load();
        let (hosts, leases) = (&followed.hosts, &followed.leases);
        let key = Key::of(name);
        let Some(addresses) = hosts.addresses(&key).or_else(|| leases.addresses(&key)) else {
            return (hosts.exists(&key) || leases.exists(&key)).then(|| self.no_data(name));
        };
        let record = |address: &IpAddr| match (address, record_type) {
            (IpAddr::V4(v4), RecordType::A | RecordType::ANY) => Some(RData::A(A(*v4))),
            (IpAddr::V6(v6), RecordType::AAAA) => Some(RData::AAAA(AAAA(*v6))),
            _ => None,
        };
        Some(self.told(name, addresses.iter().filter_map(record).collect()))
    }

    /// A name of one label as the one in the local domain.
    fn bare(&self, name: &Name, record_type: RecordType) -> Option<LocalAnswer> {
        let of_zone = matches!(
            record_type,
            RecordType::SOA
                | RecordType::NS
                | RecordType::DS
                | RecordType::CDS
                | RecordType::DNSKEY
                | RecordType::CDNSKEY
                | RecordType::RRSIG
                | RecordType::NSEC
                | RecordType::NSEC3
                | RecordType::NSEC3PARAM
        );
        let whole = name
            .clone()
            .append_domain(&self.domain)
            .ok()
            .filter(|_| !of_zone)?
            .to_lowercase();
        let followed = self.followed.load();
        let key = Key::of(&whole);
        followed
            .hosts
            .addresses(&key)
            .or_else(|| followed.leases.addresses(&key))?;
        let mut answer = self.answer(&whole, record_type)?;
        let mut owner = name.to_lowercase();
        owner.set_fqdn(true);
        for record in &mut answer.answers {
            if record.name == whole {
                record.name.clone_from(&owner);
            }
        }
        if answer.answers.is_empty() {
            answer.authorities = vec![negative(owner)];
        }
        Some(answer)
    }

    /// The name of an address that no zone is written for.
    fn pointer(
        &self,
        name: &Name,
        address: IpAddr,
        record_type: RecordType,
    ) -> Option<LocalAnswer> {
        let followed = self.followed.load();
        let by_zone = self.zones.pointer(address);
        let by_host = || {
            let target = followed.hosts.pointer(address)?;
            Some((target.clone(), TTL))
        };
        let by_lease = || {
            let target = followed.leases.pointer(address)?;
            let taken = followed.hosts.addresses(&Key::of(target)).is_some()
                || self
                    .zones
                    .answer(target, RecordType::A)
                    .is_some_and(|answer| !answer.denies());
            (!taken).then(|| (target.clone(), TTL))
        };
        let (target, ttl) = by_zone.or_else(by_host).or_else(by_lease)?;
        let asked = matches!(record_type, RecordType::PTR | RecordType::ANY);
        let data = asked.then_some(RData::PTR(PTR(target)));
        let mut answer = self.told(name, data.into_iter().collect());
        for record in &mut answer.answers {
            record.ttl = ttl;
        }
        Some(answer)
    }

    fn told(&self, name: &Name, data: Vec<RData>) -> LocalAnswer {
        if data.is_empty() {
            return self.no_data(name);
        }
        let mut owner = name.to_lowercase();
        owner.set_fqdn(true);
        let mut answer = LocalAnswer::empty();
        answer.answers = data
            .into_iter()
            .map(|data| Record::from_rdata(owner.clone(), TTL, data))
            .collect();
        answer
    }

    /// NODATA, with the SOA of the zone that the name is in, or else with one of our own.
    fn no_data(&self, name: &Name) -> LocalAnswer {
        let mut answer = LocalAnswer::empty();
        let soa = self.zones.negative(name).cloned().map_or_else(
            || {
                let apex = special::empty_zone(name)
                    .or_else(|| self.domain.zone_of(name).then(|| self.domain.clone()))
                    .filter(|apex| !apex.is_root());
                negative(apex.unwrap_or_else(|| name.to_lowercase()))
            },
            |mut soa| {
                soa.ttl = soa.ttl.min(TTL);
                soa
            },
        );
        answer.authorities.push(soa);
        answer
    }
}

/// A SOA for what no zone holds, with the mailbox and the timers of RFC 6303 section 3.
fn negative(mut apex: Name) -> Record {
    apex.set_fqdn(true);
    let name = |text| Name::from_ascii(text).unwrap_or_else(|_| Name::root());
    let soa = SOA::new(
        name("localhost."),
        name("nobody.invalid."),
        1,
        3600,
        1200,
        604_800,
        TTL,
    );
    Record::from_rdata(apex, TTL, RData::SOA(soa))
}

impl LocalAnswer {
    /// Whether it denies the name where its chain of CNAMEs ends.
    pub(super) fn denies(&self) -> bool {
        self.rcode == ResponseCode::NXDomain
    }

    /// Where the chain of CNAMEs from `name` ends.
    pub(super) fn end(&self, name: &Name) -> Name {
        let last = self.answers.last().map(|record| &record.data);
        match last {
            Some(RData::CNAME(target)) => target.0.to_lowercase(),
            _ => name.to_lowercase(),
        }
    }
}

#[cfg(test)]
mod tests;
