//! Level 2, PURE: the one list that decides what goes through the gate.
//!
//! It has two readers, which must not disagree: DNS (is this A answered with the gate's address?) and PAC (`PROXY` or
//! `DIRECT`?). Called by `dns` and `web`; a reload makes a new one.

mod matcher;

use std::net::IpAddr;

use hickory_proto::rr::Name;

pub use matcher::SuffixSet;

use crate::config::{Aaaa, Config, Mode, Names, Rule, RuleSteer};

/// The names that are never steered, whatever the configuration says: one suffix a line, with its reason.
const BUILT_IN_NEVER: &str = include_str!("never.txt");

/// Where a name leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To the real addresses.
    Direct,
    /// To the gate.
    Gate,
}

/// What must be true of a name for it to be steered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing: it is not steered.
    Never,
    /// It has AAAA and no A.
    Ipv6Only,
    /// It has AAAA.
    Ipv6,
    /// It has an address.
    Any,
}

impl When {
    /// The route of a name that has, or has not, addresses of each family.
    pub fn route(self, has_ipv4: bool, has_ipv6: bool) -> Route {
        let gate = match self {
            Self::Never => false,
            Self::Ipv6Only => has_ipv6 && !has_ipv4,
            Self::Ipv6 => has_ipv6,
            Self::Any => has_ipv4 || has_ipv6,
        };
        if gate { Route::Gate } else { Route::Direct }
    }
}

/// The list.
#[derive(Clone, Debug)]
pub struct Steering {
    mode: When,
    built_in: SuffixSet,
    never: SuffixSet,
    always: SuffixSet,
    rules: Vec<CompiledRule>,
}

#[derive(Clone, Debug)]
struct CompiledRule {
    domains: Option<SuffixSet>,
    rule: Rule,
}

impl CompiledRule {
    fn matches(&self, client: IpAddr, name: &Name) -> bool {
        self.domains
            .as_ref()
            .is_none_or(|domains| domains.contains(name))
            && self
                .rule
                .clients
                .as_ref()
                .is_none_or(|clients| clients.contains(client))
    }
}

impl Steering {
    /// The list that a configuration asks for.
    pub fn new(config: &Config) -> Self {
        let mode = match (config.steer.mode, config.steer.names) {
            (Mode::Off, _) => When::Never,
            (Mode::Ipv6Only, _) => When::Ipv6Only,
            (Mode::Address, Names::Ipv6) => When::Ipv6,
            (Mode::Address, Names::All) => When::Any,
        };
        Self {
            mode,
            built_in: SuffixSet::from_lines(BUILT_IN_NEVER),
            never: config.steer.never.iter().cloned().collect(),
            always: config.steer.always.iter().cloned().collect(),
            rules: config
                .rules
                .iter()
                .map(|rule| CompiledRule {
                    domains: (!rule.domains.is_empty())
                        .then(|| rule.domains.iter().cloned().collect()),
                    rule: rule.clone(),
                })
                .collect(),
        }
    }

    /// When a name is steered for a client. The first rule that matches decides, if it says so; then `steer.never`,
    /// `steer.always`, the built-in list and the mode. With steering off nothing is ever steered.
    pub fn when(&self, client: IpAddr, name: &Name) -> When {
        if self.mode == When::Never {
            return When::Never;
        }
        match self.rule(client, name).and_then(|rule| rule.steer) {
            Some(RuleSteer::Never) => return When::Never,
            Some(RuleSteer::Always) => return When::Any,
            None => {}
        }
        if self.never.contains(name) {
            When::Never
        } else if self.always.contains(name) {
            When::Any
        } else if self.built_in.contains(name) {
            When::Never
        } else {
            self.mode
        }
    }

    /// What becomes of AAAA for this client and name.
    pub fn aaaa(&self, client: IpAddr, name: &Name) -> Aaaa {
        self.rule(client, name)
            .and_then(|rule| rule.aaaa)
            .unwrap_or(Aaaa::Withhold)
    }

    /// Suffixes that this client reaches without the gate, for PAC.
    pub fn direct_suffixes(&self, client: IpAddr) -> Vec<Name> {
        let ruled = self
            .rules
            .iter()
            .map(|compiled| &compiled.rule)
            .filter(|rule| rule.steer == Some(RuleSteer::Never))
            .filter(|rule| {
                rule.clients
                    .as_ref()
                    .is_none_or(|clients| clients.contains(client))
            })
            .flat_map(|rule| rule.domains.iter());
        let mut suffixes: Vec<Name> = self.never.iter().chain(ruled).cloned().collect();
        suffixes.sort();
        suffixes.dedup();
        suffixes
    }

    /// The first rule that matches.
    pub fn rule(&self, client: IpAddr, name: &Name) -> Option<&Rule> {
        self.rules
            .iter()
            .find(|compiled| compiled.matches(client, name))
            .map(|compiled| &compiled.rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Interfaces;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 50));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 51));

    fn steering(text: &str) -> Steering {
        let interfaces = Interfaces::of(&[("eth0", "192.168.1.2/24")], Some("eth0"));
        Steering::new(&Config::parse(text, None, &interfaces, "nameserver 192.0.2.53\n").unwrap())
    }

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    #[test]
    fn each_mode_steers_what_its_table_says() {
        let dual = (true, true);
        let six = (false, true);
        let four = (true, false);
        let none = (false, false);
        for (text, expected) in [
            ("mode = \"off\"", [false, false, false]),
            ("mode = \"ipv6-only\"", [false, true, false]),
            ("mode = \"address\"", [true, true, true]),
            ("mode = \"address\"\nnames = \"ipv6\"", [true, true, false]),
        ] {
            let when = steering(&format!("[steer]\n{text}")).when(CLIENT, &name("www.example."));
            for ((has_ipv4, has_ipv6), gate) in [dual, six, four].into_iter().zip(expected) {
                assert_eq!(
                    when.route(has_ipv4, has_ipv6) == Route::Gate,
                    gate,
                    "{text} {has_ipv4} {has_ipv6}"
                );
            }
            assert_eq!(when.route(none.0, none.1), Route::Direct, "{text}");
        }
    }

    #[test]
    fn a_rule_comes_before_the_lists_and_the_lists_before_the_mode() {
        let steering = steering(
            "[steer]\nmode = \"address\"\nnever = [\"example\"]\nalways = [\"pool.ntp.org\", \"shop.example\"]\n\
             [[rule]]\ndomains = [\"a.example\"]\nclients = [\"192.168.1.50\"]\nsteer = \"always\"\n\
             [[rule]]\ndomains = [\"tv.test.net\"]\nsteer = \"never\"\naaaa = \"pass\"\n",
        );
        assert_eq!(steering.when(CLIENT, &name("a.example.")), When::Any);
        assert_eq!(steering.when(OTHER, &name("a.example.")), When::Never);
        assert_eq!(steering.when(CLIENT, &name("www.example.")), When::Never);
        assert_eq!(steering.when(CLIENT, &name("shop.example.")), When::Never);
        assert_eq!(steering.when(CLIENT, &name("2.pool.ntp.org.")), When::Any);
        assert_eq!(steering.when(CLIENT, &name("time.apple.com.")), When::Never);
        assert_eq!(steering.when(CLIENT, &name("www.example.net.")), When::Any);
        assert_eq!(steering.when(CLIENT, &name("x.TV.test.net.")), When::Never);
    }

    #[test]
    fn the_first_rule_that_matches_decides_alone() {
        let steering = steering(
            "[[rule]]\nclients = [\"192.168.1.50\"]\nsteer = \"never\"\n[[rule]]\naaaa = \"pass\"\n",
        );
        assert_eq!(steering.aaaa(CLIENT, &name("a.example.")), Aaaa::Withhold);
        assert_eq!(steering.aaaa(OTHER, &name("a.example.")), Aaaa::Pass);
        assert_eq!(steering.when(OTHER, &name("a.example.")), When::Ipv6Only);
    }

    #[test]
    fn with_steering_off_not_even_a_rule_steers() {
        let mut off = steering("[[rule]]\nsteer = \"always\"\n");
        off.mode = When::Never;
        assert_eq!(off.when(CLIENT, &name("a.example.")), When::Never);
    }

    #[test]
    fn pac_gets_the_suffixes_that_are_never_steered_for_its_client() {
        let steering = steering(
            "[steer]\nnever = [\"b.example\", \"a.example\"]\n\
             [[rule]]\ndomains = [\"c.example\"]\nclients = [\"192.168.1.50\"]\nsteer = \"never\"\n",
        );
        assert_eq!(
            steering.direct_suffixes(CLIENT),
            [name("a.example."), name("b.example."), name("c.example.")]
        );
        assert_eq!(
            steering.direct_suffixes(OTHER),
            [name("a.example."), name("b.example.")]
        );
    }

    #[test]
    fn every_line_of_the_built_in_list_is_a_name() {
        let lines = BUILT_IN_NEVER
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim())
            .filter(|line| !line.is_empty());
        let set = SuffixSet::from_lines(BUILT_IN_NEVER);
        let mut count = 0;
        for line in lines {
            assert!(
                crate::net::Host::parse(line)
                    .is_ok_and(|host| matches!(host, crate::net::Host::Name(_))),
                "{line}"
            );
            assert!(set.contains(&name(line)), "{line}");
            count += 1;
        }
        assert_eq!(
            set.iter().count(),
            count,
            "a suffix stands in the list twice"
        );
    }
}
