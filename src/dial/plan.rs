//! What a session would do, for the admin who wonders: the lookups are made and judged as in `reach`, and the race of
//! [`happy_eyeballs`](super::happy_eyeballs) says in which order it would try, but no connection is made.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::rr::Name;

use super::guard::Refusal;
use super::happy_eyeballs::{Input, Output};
use super::history::Over;
use super::names::LocalName;
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
        let mut plan = Plan {
            families,
            local: None,
            attempts: Vec::new(),
            refused: Vec::new(),
            failures: Vec::new(),
        };
        let (rules, names) = (&self.rules, &self.names);
        let mut race = rules.race(families);
        let near = rules.surroundings.near(now().into_std());
        let mut resolved = |family, addresses: Vec<IpAddr>, plan: &mut Plan| {
            let mut open = Vec::new();
            for address in addresses {
                match rules.judge(SocketAddr::new(address, target.port), &near) {
                    Ok(()) => open.push(address),
                    Err(why) => plan.refused.push((address, why)),
                }
            }
            rules.enter(&mut race, Over::Tcp, family, open);
        };
        match &target.host {
            Host::Name(name) => {
                plan.local = names
                    .local
                    .look_up(name, Family::V4)
                    .map(|known| match known {
                        LocalName::Addresses(_) => None,
                        LocalName::Alias(outside) => Some(outside),
                    });
                for family in [Family::V6, Family::V4] {
                    if !families.allow(family) {
                        resolved(family, Vec::new(), &mut plan);
                        continue;
                    }
                    let addresses = names.addresses(name, family).await;
                    let addresses = addresses.unwrap_or_else(|error| {
                        plan.failures.push((family, error));
                        Vec::new()
                    });
                    resolved(family, addresses, &mut plan);
                }
            }
            Host::Addr(address) => {
                let family = Family::of(*address);
                resolved(family, vec![*address], &mut plan);
                resolved(family.other(), Vec::new(), &mut plan);
            }
        }
        while let Output::Start(address) = race.poll(now().into_std()) {
            plan.attempts.push(address);
            race.note(Input::Failed(address), now().into_std());
        }
        plan
    }
}
