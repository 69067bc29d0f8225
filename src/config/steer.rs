//! PURE. `[steer]` and `[[rule]]`: which names go through the gate, and which AAAA are withheld.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hickory_proto::rr::Name;
use serde::Serialize;

use super::families::Families;
use super::file::Section;
use super::value::{self, Wrong};
use super::via::{self, Via};
use crate::net::{Acl, ProxyVersion};

/// Which names go through the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steer {
    /// How clients are pointed to the gate.
    pub mode: Mode,
    /// Which names that are.
    pub names: Names,
    /// The longest TTL of a steered answer.
    pub ttl: Duration,
    /// Suffixes never steered, besides the built-in list.
    pub never: Vec<Name>,
    /// Suffixes always steered.
    pub always: Vec<Name>,
    /// Files of more suffixes never steered, one a line.
    pub never_files: Vec<PathBuf>,
    /// Files of more suffixes always steered.
    pub always_files: Vec<PathBuf>,
}

/// How clients are pointed to the gate by DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Not at all: explicit proxy and PAC only.
    Off,
    /// Names that have AAAA only are answered with the gate's address.
    Ipv6Only,
    /// Every name is answered with the gate's address.
    Address,
}

/// Which names are steered in [`Mode::Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Names {
    /// Those with AAAA.
    Ipv6,
    /// Every name with an address.
    All,
}

/// An exception; every matcher that is present must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Suffixes; where there are neither these nor files of them, every name matches.
    pub domains: Vec<Name>,
    /// Files of more suffixes, one a line.
    pub domain_files: Vec<PathBuf>,
    /// Clients; `None` matches every client.
    pub clients: Option<Acl>,
    /// What becomes of AAAA; `None` leaves it to the default (withhold).
    pub aaaa: Option<Aaaa>,
    /// Whether the name is steered; `None` leaves it to `[steer]`.
    pub steer: Option<RuleSteer>,
    /// Whether origins are told by the PROXY protocol for whom a session is.
    pub send_proxy: Option<ProxyVersion>,
    /// Over which families its sessions leave; `None` leaves it to `egress.prefer`.
    pub families: Option<Families>,
    /// The upstream proxy of its sessions; `None` leaves it to `egress.via`.
    pub via: Option<Via>,
}

/// What becomes of AAAA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aaaa {
    /// Taken out of every answer.
    Withhold,
    /// Passed to the client.
    Pass,
}

/// What a rule says about steering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuleSteer {
    /// Never to the gate.
    Never,
    /// To the gate if the name has any address.
    Always,
}

impl Steer {
    /// Reads `[steer]`.
    pub(super) fn read(mut section: Section<'_, '_>, folder: Option<&Path>) -> Option<Self> {
        let mode = section.text("mode", "ipv6-only", |text| {
            value::word(
                text,
                &[
                    ("off", Mode::Off),
                    ("ipv6-only", Mode::Ipv6Only),
                    ("address", Mode::Address),
                ],
            )
        });
        let names = section.text("names", "default", |text| {
            value::word(
                text,
                &[
                    ("default", None),
                    ("ipv6", Some(Names::Ipv6)),
                    ("all", Some(Names::All)),
                ],
            )
        });
        if let (Some(mode), Some(Some(_))) = (mode, names)
            && mode != Mode::Address
        {
            section.report(
                "names",
                Wrong::new(
                    "it says something only where mode is \"address\"",
                    "write \"default\", or mode = \"address\"",
                ),
            );
        }
        let ttl = section.text("ttl", "60s", value::some_duration);
        let never = section.texts("never", &[], value::domain);
        let always = section.texts("always", &[], value::domain);
        let never_files = section.texts("never-files", &[], |text| value::path(text, folder));
        let always_files = section.texts("always-files", &[], |text| value::path(text, folder));
        if mode == Some(Mode::Off) && !always.is_empty() {
            section.report(
                "always",
                Wrong::new(
                    "nothing is steered while mode is \"off\"",
                    "take it out, or write mode = \"ipv6-only\"",
                ),
            );
        }
        for both in always.iter().filter(|name| never.contains(name)) {
            section.report(
                "always",
                Wrong::new(
                    format!("`{both}` stands in steer.never, too"),
                    "take one out",
                ),
            );
        }
        section.finish();
        Some(Self {
            mode: mode?,
            names: names?.unwrap_or(Names::All),
            ttl: ttl?,
            never,
            always,
            never_files,
            always_files,
        })
    }
}

impl Rule {
    /// Whether it says anything about how sessions leave.
    pub fn has_own_way(&self) -> bool {
        self.via.is_some() || self.families.is_some()
    }

    /// Reads one `[[rule]]`.
    pub(super) fn read(
        mut section: Section<'_, '_>,
        mode: Option<Mode>,
        folder: Option<&Path>,
    ) -> Option<Self> {
        let domains = section.texts("domains", &[], value::domain);
        let domain_files = section.texts("domain-files", &[], |text| value::path(text, folder));
        let clients = section.texts("clients", &[], value::network);
        for key in ["domains", "domain-files", "clients"] {
            if section.is_empty_list(key) {
                section.report(
                    key,
                    Wrong::new(
                        "an empty list matches nothing",
                        "take the key out to match everything",
                    ),
                );
            }
        }
        let aaaa = section.is_written("aaaa");
        let aaaa = section
            .text("aaaa", "withhold", |text| {
                value::word(text, &[("withhold", Aaaa::Withhold), ("pass", Aaaa::Pass)])
            })
            .map(|value| aaaa.then_some(value));
        let steer = section.is_written("steer");
        let steer = section
            .text("steer", "never", |text| {
                value::word(
                    text,
                    &[("never", RuleSteer::Never), ("always", RuleSteer::Always)],
                )
            })
            .map(|value| steer.then_some(value));
        let send_proxy = section.is_written("send-proxy");
        let send_proxy = section
            .text("send-proxy", "v2", |text| {
                value::word(text, &[("v1", ProxyVersion::V1), ("v2", ProxyVersion::V2)])
            })
            .map(|value| send_proxy.then_some(value));
        let families = section.is_written("families");
        let families = section
            .text("families", "ipv6-first", Families::parse)
            .map(|value| families.then_some(value));
        let via = section.is_written("via");
        let via = section
            .text("via", "direct", via::via)
            .map(|value| via.then_some(value));
        if aaaa == Some(None)
            && steer == Some(None)
            && families == Some(None)
            && via == Some(None)
            && send_proxy == Some(None)
        {
            section.report(
                "aaaa",
                Wrong::new(
                    "the rule says nothing",
                    "write aaaa = \"pass\", steer = \"never\" or via = \"direct\"",
                ),
            );
        }
        if mode == Some(Mode::Off) && steer == Some(Some(RuleSteer::Always)) {
            section.report(
                "steer",
                Wrong::new(
                    "nothing is steered while steer.mode is \"off\"",
                    "take it out, or write steer.mode = \"ipv6-only\"",
                ),
            );
        }
        let has_clients = section.is_written("clients");
        section.finish();
        Some(Self {
            domains,
            domain_files,
            clients: has_clients.then(|| Acl::new(clients)),
            aaaa: aaaa?,
            steer: steer?,
            send_proxy: send_proxy?,
            families: families?,
            via: via?,
        })
    }
}
