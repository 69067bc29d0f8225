//! What a session would do, for the admin who wonders: the lookups are made and judged as in `reach`, and the race of
//! [`happy_eyeballs`](super::happy_eyeballs) says in which order it would try, but no connection is made.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::rr::Name;

use super::guard::Refusal;
use super::happy_eyeballs::{Input, Output};
use super::history::Over;
use super::names::LocalName;
use super::rules::Rules;
use super::{Addresses, Dialer, now};
use crate::config::{Families, Rule};
use crate::net::{Family, Host, Target};
use crate::resolve::ResolveError;

/// What a session to a target would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Over which families, in which order.
    pub families: Families,
    /// Whether the network knows the name by itself; the name outside where it is an alias of one.
    pub local: Option<Option<Name>>,
    /// The addresses that would be tried, in the order of the attempts if each but the last fails.
    pub attempts: Vec<IpAddr>,
    /// Those that the guard closes, and why.
    pub refused: Vec<(IpAddr, Refusal)>,
    /// The lookups that failed.
    pub failures: Vec<(Family, ResolveError)>,
}

impl Dialer {
    /// What a session to the target would do, without doing it: the lookups are made, no connection is.
    /// `rule` is the first one that matches the session.
    pub async fn explain(&self, target: &Target, rule: Option<&Rule>) -> Plan {
        let families = self.rules.families(rule);
        let mut plan = self.rules.plan(target, families, &self.names).await;
        if let Host::Name(name) = &target.host {
            let known = self.names.local.look_up(name, Family::V4);
            plan.local = known.map(|known| match known {
                LocalName::Addresses(_) => None,
                LocalName::Alias(outside) => Some(outside),
            });
        }
        plan
    }
}

impl Rules {
    async fn plan(&self, target: &Target, families: Families, names: &impl Addresses) -> Plan {
        let mut plan = Plan {
            families,
            local: None,
            attempts: Vec::new(),
            refused: Vec::new(),
            failures: Vec::new(),
        };
        let mut race = self.race(families);
        let near = self.surroundings.near(now().into_std());
        for family in [Family::V6, Family::V4] {
            let addresses = match &target.host {
                _ if !families.allow(family) => Vec::new(),
                Host::Name(name) => {
                    let addresses = names.addresses(name, family).await;
                    addresses.unwrap_or_else(|error| {
                        plan.failures.push((family, error));
                        Vec::new()
                    })
                }
                Host::Addr(address) if Family::of(*address) == family => vec![*address],
                Host::Addr(_) => Vec::new(),
            };
            let mut open = Vec::new();
            for address in addresses {
                match self.judge(SocketAddr::new(address, target.port), &near) {
                    Ok(()) => open.push(address),
                    Err(why) => plan.refused.push((address, why)),
                }
            }
            self.enter(&mut race, Over::Tcp, family, open);
        }
        while let Output::Start(address) = race.poll(now().into_std()) {
            plan.attempts.push(address);
            race.note(Input::Failed(address), now().into_std());
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{both, four, rules, six};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn families_that_a_rule_leaves_out_are_tried_of_no_name_and_no_address() {
        use Families::{Ipv4First, Ipv4Only, Ipv6First, Ipv6Only};
        let rules = rules(&[]);
        let literal = |address| Target::new(Host::from(address), 443);
        let name = Target::parse("a.example:443", None).unwrap();
        for (target, families, expected) in [
            (name.clone(), Ipv6First, &[six(), four()][..]),
            (name.clone(), Ipv4First, &[four(), six()]),
            (name.clone(), Ipv6Only, &[six()]),
            (name, Ipv4Only, &[four()]),
            (literal(four()), Ipv6First, &[four()]),
            (literal(six()), Ipv4First, &[six()]),
            (literal(four()), Ipv4Only, &[four()]),
            (literal(four()), Ipv6Only, &[]),
            (literal(six()), Ipv4Only, &[]),
        ] {
            let plan = rules.plan(&target, families, &both()).await;
            assert_eq!(plan.attempts, expected, "{target} {families:?}");
            assert_eq!(plan.refused, [], "{target} {families:?}");
        }
    }
}
