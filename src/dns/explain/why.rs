//! PURE. The reasons: who knows a name, what decides about it, and why the answer is as it is. Called by `explain`.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};

use super::{Decision, visible};
use crate::config::{Aaaa, Rule, RuleSteer, Via};
use crate::dns::{
    handler::View,
    line::shown,
    local::Holder,
    message::{Asked, Draft, Source},
    pipeline,
    special::Special,
};
use crate::steer::{When, Why};

/// Which part of the gate knows a name by itself, for a question of this type.
pub(super) fn known_here<T>(
    view: &View<T>,
    name: &Name,
    record_type: RecordType,
) -> Option<String> {
    if let Some(special) = pipeline::special_here(view, name, record_type) {
        return Some(format!("the list of special names: {}", meaning(special)));
    }
    if !view.local.owns(name, record_type) {
        return None;
    }
    Some(match view.local.holder(name, record_type) {
        Some(Holder::Zone(origin)) => format!("local data: the zone {}", shown(&origin)),
        Some(Holder::Hosts(file)) => format!("local data: the hosts file {}", file.display()),
        Some(Holder::Leases(file)) => format!("local data: the lease file {}", file.display()),
        None => "local data".to_owned(),
    })
}

/// Who is asked for a name that no part of the gate knows.
pub(super) fn known_outside<T>(view: &View<T>, name: &Name) -> String {
    match view.forwarded.domain(name) {
        Some(domain) => {
            let domain = shown(domain);
            format!("upstreams: the servers of {domain} (dns.upstream.zone)")
        }
        None => "upstreams: the name is not one of ours".to_owned(),
    }
}

fn meaning(special: Special) -> &'static str {
    match special {
        Special::LocalAddress => "the machine that asks, itself",
        Special::NxDomain => "never looked up outside (RFC 6761, 6762, 7686; internal: ICANN)",
        Special::EmptyZone => "private, and no local zone serves it (RFC 6303, 8375)",
        Special::Ipv4Only => "says that there is no NAT64 here (RFC 8880)",
        Special::Canary => {
            "asks whether this network wants its own DNS to be used, and is told that it does"
        }
        Special::NoData => "asks for designated resolvers (RFC 9462)",
        Special::Gate => "the gate, where the proxy's configuration is found",
        Special::Own => "the gate's own name",
    }
}

/// What decides whether a name outside leads to the gate.
pub(super) fn steering<T>(view: &View<T>, client: IpAddr, name: &Name) -> Decision {
    let steering = &view.steering;
    let verdict = match steering.when(client, name) {
        When::Never => "never",
        When::Ipv6Only => "names with AAAA and no A",
        When::Ipv6 => "names with AAAA",
        When::Any => "names with an address",
    };
    let (by, why) = match steering.why(client, name) {
        Why::Off => ("steer.mode", "steer.mode is \"off\"".to_owned()),
        Why::Mode => ("steer.mode", "no rule and no list names it".to_owned()),
        Why::Rule(number) => (
            "rule",
            format!("rule {number}: {}", rule(view, client, name)),
        ),
        Why::Never(suffix) => (
            "steer.never",
            format!("steer.never holds {}", shown(&suffix)),
        ),
        Why::Always(suffix) => (
            "steer.always",
            format!("steer.always holds {}", shown(&suffix)),
        ),
        Why::NeverFile(file, suffix) => (
            "steer.never-files",
            format!("{} holds {}", file.display(), shown(&suffix)),
        ),
        Why::AlwaysFile(file, suffix) => (
            "steer.always-files",
            format!("{} holds {}", file.display(), shown(&suffix)),
        ),
        Why::BuiltIn(entry) => (
            "built-in",
            format!(
                "the built-in list holds {} ({}; see {})",
                shown(&entry.suffix),
                entry.what,
                entry.source
            ),
        ),
    };
    Decision {
        verdict: verdict.to_owned(),
        by: by.to_owned(),
        why,
    }
}

/// What decides what becomes of its AAAA.
pub(super) fn aaaa<T>(view: &View<T>, client: IpAddr, name: &Name) -> Decision {
    let steering = &view.steering;
    let verdict = match steering.aaaa(client, name) {
        Aaaa::Withhold => "withhold",
        Aaaa::Pass => "pass",
    };
    let (by, why) = match (
        steering.rule_number(client, name),
        steering.rule(client, name),
    ) {
        (Some(number), Some(matching)) if matching.aaaa.is_some() => (
            "rule",
            format!("rule {number}: {}", rule(view, client, name)),
        ),
        (Some(number), Some(_)) => (
            "default",
            format!("rule {number} matches first and does not speak of aaaa, so AAAA is withheld"),
        ),
        _ => ("default", "no rule passes it".to_owned()),
    };
    Decision {
        verdict: verdict.to_owned(),
        by: by.to_owned(),
        why,
    }
}

/// The rule that matches, as it is written.
fn rule<T>(view: &View<T>, client: IpAddr, name: &Name) -> String {
    const MOST: usize = 3;
    let Some(rule) = view.steering.rule(client, name) else {
        return String::new();
    };
    let Rule {
        domains,
        domain_files,
        clients,
        aaaa,
        steer,
        send_proxy,
        families,
        via,
    } = rule;
    let list = |items: Vec<String>| {
        let mut text: Vec<String> = items
            .iter()
            .take(MOST)
            .map(|item| format!("\"{item}\""))
            .collect();
        if items.len() > MOST {
            text.push(format!("and {} more", items.len() - MOST));
        }
        format!("[{}]", text.join(", "))
    };
    let mut parts = Vec::new();
    if !domains.is_empty() {
        parts.push(format!(
            "domains = {}",
            list(domains.iter().map(shown).collect())
        ));
    }
    if !domain_files.is_empty() {
        let files = domain_files.iter().map(|file| file.display().to_string());
        parts.push(format!("domain-files = {}", list(files.collect())));
    }
    if let Some(clients) = clients {
        let networks = clients.networks().iter().map(ToString::to_string);
        parts.push(format!("clients = {}", list(networks.collect())));
    }
    match aaaa {
        Some(Aaaa::Withhold) => parts.push("aaaa = \"withhold\"".to_owned()),
        Some(Aaaa::Pass) => parts.push("aaaa = \"pass\"".to_owned()),
        None => {}
    }
    match steer {
        Some(RuleSteer::Never) => parts.push("steer = \"never\"".to_owned()),
        Some(RuleSteer::Always) => parts.push("steer = \"always\"".to_owned()),
        None => {}
    }
    if let Some(version) = send_proxy {
        parts.push(format!("send-proxy = \"{}\"", version.as_str()));
    }
    if let Some(families) = families {
        parts.push(format!("families = \"{}\"", families.as_str()));
    }
    match via {
        Some(Via::Direct) => parts.push("via = \"direct\"".to_owned()),
        Some(Via::Proxy(proxy)) => parts.push(format!("via = \"{proxy}\"")),
        None => {}
    }
    parts.join(", ")
}

/// Why the client is told this.
pub(super) fn why<T>(
    view: &View<T>,
    client: IpAddr,
    asked: &Asked,
    draft: &Draft,
    known_by: &str,
) -> String {
    let name = &asked.query.name;
    let record_type = asked.query.query_type;
    let known_by_us = draft.source == Source::Local;
    if !view.networks.contains(client) {
        return "the client is in none of lan.networks".to_owned();
    }
    match draft.done() {
        "local" | "special" if record_type == RecordType::ANY => {
            "ANY is answered with as little as possible (RFC 8482)".to_owned()
        }
        "local" | "special" => format!("told by {known_by}"),
        "steered" => {
            let decision = steering(view, client, name);
            format!("leads to the gate ({}): {}", decision.verdict, decision.why)
        }
        "rebind" => "addresses inside are taken out of what a name outside says".to_owned(),
        "withheld" if matches!(record_type, RecordType::HTTPS | RecordType::SVCB) => {
            "told without its IPv6 hints, as AAAA is withheld".to_owned()
        }
        "withheld" => format!("AAAA is withheld: {}", aaaa(view, client, name).why),
        "failed" if known_by_us => {
            format!("told by {known_by}, but its aliases do not end in an answer")
        }
        "failed" => match draft
            .extended_errors
            .iter()
            .find(|error| is_bogus(error.code))
        {
            Some(error) => format!(
                "what upstreams say of it does not hold (DNSSEC): {}",
                error.text.chars().flat_map(visible).collect::<String>()
            ),
            None => "no upstream gave an answer".to_owned(),
        },
        _ if draft.rcode == ResponseCode::NXDomain => "there is no such name".to_owned(),
        _ if matches!(
            record_type,
            RecordType::A | RecordType::HTTPS | RecordType::SVCB
        ) =>
        {
            match view.steering.when(client, name) {
                When::Never => format!("not steered: {}", steering(view, client, name).why),
                When::Ipv6Only => {
                    "told as it is: the name has A, or no AAAA that the gate could carry".to_owned()
                }
                When::Ipv6 => {
                    "told as it is: the name has no AAAA that the gate could carry".to_owned()
                }
                When::Any => {
                    "told as it is: the name has no address that the gate could carry".to_owned()
                }
            }
        }
        _ if record_type == RecordType::AAAA && !draft.answers.is_empty() => {
            format!("passed: {}", aaaa(view, client, name).why)
        }
        _ => "told as it is".to_owned(),
    }
}

/// Whether an Extended DNS Error is about validation (RFC 8914 sections 4.2, 4.3, and 4.6 to 4.13).
fn is_bogus(code: u16) -> bool {
    matches!(code, 1 | 2 | 5..=12 | 25 | 27)
}
