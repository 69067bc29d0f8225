//! Level 2, PURE apart from [`Lists::load`]: the one list that decides what goes through the gate.
//!
//! It has two readers, which must not disagree: DNS (is this A answered with the gate's address?) and PAC (`PROXY` or
//! `DIRECT`?). Called by `dns` and `web`; a reload makes a new one.

mod lists;
mod matcher;

use std::net::IpAddr;
use std::path::Path;

use hickory_proto::rr::Name;

pub use lists::{BuiltIn, ListProblem, Lists};
pub use matcher::SuffixSet;

use crate::config::{Aaaa, Config, Mode, Names, Rule, RuleSteer};
use crate::net::Host;
use lists::List;

/// The names that are never steered, whatever the configuration says: one suffix a line, with its reason and source.
const BUILT_IN_NEVER: &str = include_str!("never.txt");

/// How many suffixes of files PAC is told of: more would make its file too long for browsers. A name beyond them goes
/// through the proxy, which reaches it as well.
const MOST_IN_PAC: usize = 1000;

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

/// Why a name is steered so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why<'a> {
    /// `steer.mode` is `off`.
    Off,
    /// The rule with this number, from 1.
    Rule(usize),
    /// This suffix in `steer.never`.
    Never(Name),
    /// This suffix in a file of `steer.never-files`.
    NeverFile(&'a Path, Name),
    /// This suffix in `steer.always`.
    Always(Name),
    /// This suffix in a file of `steer.always-files`.
    AlwaysFile(&'a Path, Name),
    /// The list that is built in.
    BuiltIn(&'a BuiltIn),
    /// `steer.mode` and `steer.names`.
    Mode,
}

/// The list.
#[derive(Clone, Debug)]
pub struct Steering {
    mode: When,
    built_in: SuffixSet,
    reasons: Vec<BuiltIn>,
    never: SuffixSet,
    never_files: Vec<List>,
    always: SuffixSet,
    always_files: Vec<List>,
    rules: Vec<CompiledRule>,
}

#[derive(Clone, Debug)]
struct CompiledRule {
    /// `None` matches every name.
    domains: Option<(SuffixSet, Vec<List>)>,
    rule: Rule,
}

impl CompiledRule {
    fn matches(&self, client: IpAddr, name: &Name) -> bool {
        self.matches_client(client)
            && self.domains.as_ref().is_none_or(|(domains, files)| {
                domains.contains(name) || files.iter().any(|list| list.suffixes.contains(name))
            })
    }

    /// A session to an address has no name that a domain could match.
    fn matches_session(&self, client: IpAddr, host: &Host) -> bool {
        match host {
            Host::Name(name) => self.matches(client, name),
            Host::Addr(_) => self.domains.is_none() && self.matches_client(client),
        }
    }

    fn matches_client(&self, client: IpAddr) -> bool {
        self.rule
            .clients
            .as_ref()
            .is_none_or(|clients| clients.contains(client))
    }
}

impl Steering {
    /// The list that a configuration and its files ask for.
    pub fn new(config: &Config, lists: Lists) -> Self {
        let mode = match (config.steer.mode, config.steer.names) {
            (Mode::Off, _) => When::Never,
            (Mode::Ipv6Only, _) => When::Ipv6Only,
            (Mode::Address, Names::Ipv6) => When::Ipv6,
            (Mode::Address, Names::All) => When::Any,
        };
        let reasons = lists::built_in(BUILT_IN_NEVER);
        let mut files = lists.rules.into_iter();
        let rules = config.rules.iter().map(|rule| {
            let files = files.next().unwrap_or_default();
            let everything = rule.domains.is_empty() && rule.domain_files.is_empty();
            CompiledRule {
                domains: (!everything).then(|| (rule.domains.iter().cloned().collect(), files)),
                rule: rule.clone(),
            }
        });
        Self {
            mode,
            rules: rules.collect(),
            built_in: reasons.iter().map(|entry| entry.suffix.clone()).collect(),
            reasons,
            never: config.steer.never.iter().cloned().collect(),
            never_files: lists.never,
            always: config.steer.always.iter().cloned().collect(),
            always_files: lists.always,
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
        if self.never.contains(name) || holder(&self.never_files, name).is_some() {
            When::Never
        } else if self.always.contains(name) || holder(&self.always_files, name).is_some() {
            When::Any
        } else if self.built_in.contains(name) {
            When::Never
        } else {
            self.mode
        }
    }

    /// Why [`Steering::when`] says what it says.
    pub fn why(&self, client: IpAddr, name: &Name) -> Why<'_> {
        if self.mode == When::Never {
            return Why::Off;
        }
        if let Some(number) = self.rule_number(client, name)
            && self
                .rule(client, name)
                .is_some_and(|rule| rule.steer.is_some())
        {
            return Why::Rule(number);
        }
        let in_files = |files| {
            let list: &List = holder(files, name)?;
            Some((list.file.as_path(), list.suffixes.closest(name)?))
        };
        if let Some(suffix) = self.never.closest(name) {
            Why::Never(suffix)
        } else if let Some((file, suffix)) = in_files(&self.never_files) {
            Why::NeverFile(file, suffix)
        } else if let Some(suffix) = self.always.closest(name) {
            Why::Always(suffix)
        } else if let Some((file, suffix)) = in_files(&self.always_files) {
            Why::AlwaysFile(file, suffix)
        } else if let Some(suffix) = self.built_in.closest(name)
            && let Some(entry) = self.reasons.iter().find(|entry| entry.suffix == suffix)
        {
            Why::BuiltIn(entry)
        } else {
            Why::Mode
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
            .filter(|compiled| compiled.rule.steer == Some(RuleSteer::Never))
            .filter(|compiled| compiled.matches_client(client));
        let files = ruled
            .clone()
            .filter_map(|compiled| compiled.domains.as_ref())
            .flat_map(|(_, files)| files)
            .chain(&self.never_files)
            .flat_map(|list| list.suffixes.iter())
            .take(MOST_IN_PAC);
        let mut suffixes: Vec<Name> = self
            .never
            .iter()
            .chain(ruled.flat_map(|compiled| compiled.rule.domains.iter().cloned()))
            .chain(files)
            .collect();
        suffixes.sort();
        suffixes.dedup();
        suffixes
    }

    /// What the rules can tell a client by: two clients with the same are told the same of every name. `None` where there
    /// are more rules for clients than it has bits.
    pub fn view_of(&self, client: IpAddr) -> Option<u64> {
        let mut for_clients = self
            .rules
            .iter()
            .filter(|compiled| compiled.rule.clients.is_some());
        let mut view = 0;
        // The bits come first: at their end, no rule is taken that none is left for.
        for (bit, compiled) in (0..u64::BITS).zip(for_clients.by_ref()) {
            view |= u64::from(compiled.matches_client(client)) << bit;
        }
        for_clients.next().is_none().then_some(view)
    }

    /// The first rule that matches.
    pub fn rule(&self, client: IpAddr, name: &Name) -> Option<&Rule> {
        self.rules
            .iter()
            .find(|compiled| compiled.matches(client, name))
            .map(|compiled| &compiled.rule)
    }

    /// The first rule that matches a session to this host, with its number from 1. One with domains matches only names.
    pub fn session_rule(&self, client: IpAddr, host: &Host) -> Option<(usize, &Rule)> {
        self.rules
            .iter()
            .zip(1..)
            .find(|(compiled, _)| compiled.matches_session(client, host))
            .map(|(compiled, number)| (number, &compiled.rule))
    }

    /// All rules, in the order of the configuration.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(|compiled| &compiled.rule)
    }

    /// Its number, from 1, in the order of the configuration.
    pub fn rule_number(&self, client: IpAddr, name: &Name) -> Option<usize> {
        let matches = |compiled: &CompiledRule| compiled.matches(client, name);
        Some(self.rules.iter().position(matches)? + 1)
    }
}

/// The first file that holds a name.
fn holder<'a>(files: &'a [List], name: &Name) -> Option<&'a List> {
    files.iter().find(|list| list.suffixes.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Interfaces;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 50));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 51));

    fn steering(text: &str) -> Steering {
        let interfaces = Interfaces::of(&[("eth0", "192.168.1.2/24")], Some("eth0"));
        let config = Config::parse(text, None, &interfaces, "nameserver 192.0.2.53\n").unwrap();
        Steering::new(&config, Lists::default())
    }

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    #[test]
    fn clients_are_told_apart_by_every_rule_or_not_at_all() {
        let one: IpAddr = "192.168.1.50".parse().unwrap();
        let other: IpAddr = "192.168.1.51".parse().unwrap();
        for count in [1, 63, 64, 65, 66, 130] {
            let rule = |last| {
                format!(
                    "[[rule]]\ndomains = [\"a.example\"]\nclients = [\"192.168.1.{last}\"]\naaaa = \"pass\"\n"
                )
            };
            let mut text = rule(7).repeat(count - 1);
            text.push_str(&rule(50));
            let steering = steering(&text);
            let views = (steering.view_of(one), steering.view_of(other));
            match count <= 64 {
                true => assert!(views.0.is_some() && views.0 != views.1, "{count}"),
                false => assert_eq!(views, (None, None), "{count}"),
            }
        }
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
    fn a_session_to_an_address_meets_only_rules_without_domains() {
        let steering = steering(
            "[[rule]]\ndomains = [\".\"]\nvia = \"direct\"\n\
             [[rule]]\nclients = [\"192.168.1.50\"]\nvia = \"http://192.0.2.1:3128\"\n",
        );
        let number = |client, host: &Host| Some(steering.session_rule(client, host)?.0);
        let address = Host::Addr(IpAddr::from([203, 0, 113, 1]));
        assert_eq!(number(CLIENT, &address), Some(2));
        assert_eq!(number(OTHER, &address), None);
        assert_eq!(number(OTHER, &Host::Name(name("a.example."))), Some(1));
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
    fn files_stand_beside_the_lists_that_they_belong_to() {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("never.txt", "bank.example\n"),
            ("always.txt", "shop.example\npool.ntp.org\n"),
            ("tv.txt", "tv.example\n"),
        ] {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        let text = "[steer]\nnever-files = [\"never.txt\"]\nalways-files = [\"always.txt\"]\n\
                    [[rule]]\ndomains = [\"film.example\"]\ndomain-files = [\"tv.txt\"]\naaaa = \"pass\"\nsteer = \"never\"\n";
        let interfaces = Interfaces::of(&[("eth0", "192.168.1.2/24")], Some("eth0"));
        let file = folder.path().join("sekisho.toml");
        let config =
            Config::parse(text, Some(&file), &interfaces, "nameserver 192.0.2.53\n").unwrap();
        let steering = Steering::new(&config, Lists::load(&config).unwrap());
        let never = folder.path().join("never.txt");
        let always = folder.path().join("always.txt");
        for (host, when, why) in [
            (
                "a.bank.example.",
                When::Never,
                Why::NeverFile(&never, name("bank.example.")),
            ),
            (
                "shop.example.",
                When::Any,
                Why::AlwaysFile(&always, name("shop.example.")),
            ),
            (
                "pool.ntp.org.",
                When::Any,
                Why::AlwaysFile(&always, name("pool.ntp.org.")),
            ),
            ("tv.example.", When::Never, Why::Rule(1)),
            ("film.example.", When::Never, Why::Rule(1)),
            ("other.example.", When::Ipv6Only, Why::Mode),
        ] {
            assert_eq!(steering.when(CLIENT, &name(host)), when, "{host}");
            assert_eq!(steering.why(CLIENT, &name(host)), why, "{host}");
        }
        assert_eq!(steering.aaaa(CLIENT, &name("tv.example.")), Aaaa::Pass);
        assert_eq!(
            steering.aaaa(CLIENT, &name("bank.example.")),
            Aaaa::Withhold
        );
        assert_eq!(
            steering.direct_suffixes(CLIENT),
            [
                name("bank.example."),
                name("film.example."),
                name("tv.example.")
            ]
        );
    }

    #[test]
    fn every_line_of_the_built_in_list_is_a_name_with_a_reason_and_a_source() {
        let lines = BUILT_IN_NEVER
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let entries = lists::built_in(BUILT_IN_NEVER);
        assert_eq!(entries.len(), lines.count());
        let steering = steering("");
        assert_eq!(
            steering.built_in.len(),
            entries.len(),
            "a suffix stands in the list twice"
        );
        for entry in &entries {
            assert!(!entry.what.is_empty(), "{entry:?}");
            assert!(entry.source.starts_with("https://"), "{entry:?}");
            assert!(!entry.source.contains(' '), "{entry:?}");
            let below = name("x").append_domain(&entry.suffix).unwrap();
            assert_eq!(steering.why(CLIENT, &below), Why::BuiltIn(entry));
        }
    }
}
