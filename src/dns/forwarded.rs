//! PURE. The domains with servers of their own (`[[dns.upstream.zone]]`), so far as they concern special names. Asked by
//! the pipeline and by `names`, before a name is refused as special.

use hickory_proto::rr::Name;

use super::special::{self, Special};
use crate::config::Dns;

/// The domains with servers of their own.
#[derive(Clone, Debug, Default)]
pub struct Forwarded(Vec<Name>);

impl Forwarded {
    /// The domains of a configuration.
    pub fn new(dns: &Dns) -> Self {
        let zones = dns.upstream.zones.iter();
        Self(zones.map(|zone| zone.domain.clone()).collect())
    }

    /// Whether a name that is special in this way is asked of the servers of its domain: a private reverse zone, say.
    /// Servers for something above, such as the root, were not meant for it.
    pub(super) fn takes(&self, special: Special, name: &Name) -> bool {
        special.yields_to_zones() && self.holds(name)
    }

    /// The longest of the domains that a name lies in.
    pub(super) fn domain(&self, name: &Name) -> Option<&Name> {
        let domains = self.0.iter().filter(|domain| domain.zone_of(name));
        domains.max_by_key(|domain| domain.num_labels())
    }

    /// Whether a name lies in such a domain, and nothing between them is special.
    pub(super) fn holds(&self, name: &Name) -> bool {
        let apex = special::apex(name).map_or(0, Name::num_labels);
        let mut domains = self.0.iter();
        domains.any(|domain| domain.zone_of(name) && domain.num_labels() >= apex)
    }
}

#[cfg(test)]
impl Forwarded {
    pub(super) fn of(domains: &[&str]) -> Self {
        let domains = domains.iter().map(Name::from_ascii);
        Self(domains.map(Result::unwrap).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn takes(domain: &str, asked: &str) -> bool {
        let forwarded = Forwarded::of(&[domain]);
        let asked = name(asked);
        let special = special::special(&asked, &name("home.arpa.")).expect("a special name");
        forwarded.takes(special, &asked)
    }

    #[test]
    fn refused_names_go_to_the_servers_of_their_domain() {
        for (domain, asked) in [
            ("168.192.in-addr.arpa.", "5.1.168.192.in-addr.arpa."),
            ("1.168.192.in-addr.arpa.", "5.1.168.192.IN-ADDR.arpa."),
            ("home.arpa.", "home.arpa."),
            ("home.arpa.", "nas.home.arpa."),
            ("d.f.ip6.arpa.", "1.d.f.ip6.arpa."),
            ("local.", "dc.local."),
        ] {
            assert!(takes(domain, asked), "{asked}");
        }
    }

    #[test]
    fn other_names_and_those_below_something_wider_stay_here() {
        for (domain, asked) in [
            ("1.168.192.in-addr.arpa.", "5.2.168.192.in-addr.arpa."),
            ("arpa.", "nas.home.arpa."),
            (".", "5.1.168.192.in-addr.arpa."),
            ("localhost.", "localhost."),
            ("home.arpa.", "wpad.home.arpa."),
            ("ipv4only.arpa.", "ipv4only.arpa."),
            ("resolver.arpa.", "_dns.resolver.arpa."),
            ("icloud.com.", "mask.icloud.com."),
        ] {
            assert!(!takes(domain, asked), "{asked}");
        }
    }
}
