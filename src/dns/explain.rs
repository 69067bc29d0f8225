//! What a client would be told of a name, and why: the truth, the rule or list that decides, the answer, and a
//! sentence for each. The answer is not described but made, by the pipeline itself. Called by `app` for the admin.

mod why;

use std::net::IpAddr;

use hickory_proto::op::{MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::HTTPS;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde::{Deserialize, Serialize};

use super::handler::{Handler, View};
use super::line::{rcode, shown};
use super::message::{Asked, ClientEdns, Draft, ede};
use super::truth::Truth;
use super::{pipeline, shape, svcb};
use crate::resolve::{Answer, ExtendedError, ResolveError};
use why::{aaaa, known_here, known_outside, steering, why};

/// What is explained where nobody named a type.
const TYPES: [RecordType; 3] = [RecordType::A, RecordType::AAAA, RecordType::HTTPS];

/// Everything about one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Explanation {
    /// The name.
    pub name: String,
    /// The client it is explained for.
    pub client: String,
    /// Where that came from: `asked for`, or the network that it was chosen from.
    pub client_from: String,
    /// Who knows the name, in a sentence.
    pub known_by: String,
    /// What upstreams say; none where they are not asked.
    pub truth: Vec<Told>,
    /// What decides whether the name leads to the gate; none where it is not one outside.
    pub steering: Option<Decision>,
    /// What decides what becomes of AAAA; likewise.
    pub aaaa: Option<Decision>,
    /// What the client is told.
    pub answers: Vec<Told>,
}

/// A decision and its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Decision {
    /// `never`, `names with AAAA and no A`, `names with AAAA`, `names with an address`; `withhold`, `pass`.
    pub verdict: String,
    /// What decided: `steer.mode`, `rule`, `steer.never`, `steer.never-files`, `steer.always`, `steer.always-files`,
    /// `built-in`, `default`.
    pub by: String,
    /// In a sentence.
    pub why: String,
}

/// An answer to one question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Told {
    /// The type asked for.
    #[serde(rename = "type")]
    pub record_type: String,
    /// The response code.
    pub rcode: String,
    /// AD.
    pub authentic: bool,
    /// Of the truth: whether the cache held it when it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<bool>,
    /// What was done, as in the query log; empty for the truth.
    pub done: String,
    /// The answer section.
    pub records: Vec<ShownRecord>,
    /// The authority section.
    pub authority: Vec<ShownRecord>,
    /// The Extended DNS Errors.
    pub extended_errors: Vec<ShownError>,
    /// Why it is so, in a sentence.
    pub why: String,
}

/// A record as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ShownRecord {
    /// Its owner.
    pub name: String,
    /// How long it lives, in seconds.
    pub ttl: u32,
    /// Its type.
    #[serde(rename = "type")]
    pub record_type: String,
    /// What it says.
    pub data: String,
}

/// An Extended DNS Error (RFC 8914).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ShownError {
    /// INFO-CODE.
    pub code: u16,
    /// EXTRA-TEXT.
    pub text: String,
}

impl<T: Truth> Handler<T> {
    /// Explains a name to a client (one of the LAN where none is named), for one type or for A, AAAA and HTTPS.
    pub async fn explain(
        &self,
        name: &Name,
        record_type: Option<RecordType>,
        client: Option<IpAddr>,
    ) -> Explanation {
        let view = self.view();
        let (client, client_from) = match client {
            Some(client) => (client.to_canonical(), "asked for".to_owned()),
            None => some_client(&view),
        };
        let types = record_type.map_or_else(|| TYPES.to_vec(), |only| vec![only]);
        // The three types go the same way.
        let known_by = known_here(&view, name, record_type.unwrap_or(RecordType::A));
        let outside = known_by.is_none();
        let mut explanation = Explanation {
            name: shown(name),
            client: client.to_string(),
            client_from,
            known_by: known_by.unwrap_or_else(|| known_outside(&view, name)),
            truth: Vec::new(),
            steering: outside.then(|| steering(&view, client, name)),
            aaaa: outside.then(|| aaaa(&view, client, name)),
            answers: Vec::new(),
        };
        // Before any lookup: one of them may answer another.
        let held = types
            .into_iter()
            .map(|record_type| {
                let asked = asked(name, record_type);
                let cached = view.resolver.holds(&asked.question(name, record_type));
                (asked, cached)
            })
            .collect::<Vec<_>>();
        for (asked, cached) in held {
            let record_type = asked.query.query_type;
            if outside {
                let question = asked.question(name, record_type);
                let truth = view.resolver.lookup(&question).await;
                let told = the_truth(&view, name, record_type, truth);
                explanation.truth.push(Told {
                    cached: Some(cached),
                    ..told
                });
            }
            let draft = if view.networks.contains(client) {
                pipeline::run(&view, client, &asked).await
            } else {
                Draft::empty(ResponseCode::Refused).because(ede::PROHIBITED, "not a client network")
            };
            let why = why(&view, client, &asked, &draft, &explanation.known_by);
            explanation.answers.push(the_answer(&asked, draft, why));
        }
        explanation
    }
}

/// An address that a client may have.
fn some_client<T>(view: &View<T>) -> (IpAddr, String) {
    let lan = view
        .networks
        .networks()
        .iter()
        .find(|network| network.contains(&IpAddr::V4(view.gate)))
        .or_else(|| view.networks.networks().first());
    let client = lan.and_then(|network| {
        let mut hosts = network.hosts();
        let address = hosts.find(|address| *address != IpAddr::V4(view.gate))?;
        Some((address, format!("an address of lan.networks, {network}")))
    });
    client.unwrap_or_else(|| {
        let gate = IpAddr::V4(view.gate);
        (
            gate,
            "the gate itself; lan.networks holds no other address".to_owned(),
        )
    })
}

fn asked(name: &Name, record_type: RecordType) -> Asked {
    let mut metadata = Metadata::new(0, MessageType::Query, OpCode::Query);
    metadata.recursion_desired = true;
    metadata.authentic_data = true;
    Asked {
        metadata,
        query: Query::query(name.clone(), record_type),
        edns: Some(ClientEdns {
            payload: 1232,
            dnssec_ok: false,
        }),
    }
}

fn the_truth<T>(
    view: &View<T>,
    name: &Name,
    record_type: RecordType,
    truth: Result<Answer, ResolveError>,
) -> Told {
    let mut why = String::new();
    match &truth {
        Ok(answer) => {
            for address in answer
                .answers
                .iter()
                .filter_map(|record| record.data.ip_addr())
            {
                if let Some(kind) = view.rebinding.refusal(name, address) {
                    why = format!("{address} is {kind}, which a name outside must not lead to");
                }
            }
            if answer
                .extended_errors
                .iter()
                .any(|error| ede::STALE.contains(&error.code))
            {
                why = "stale: from the cache, after its end".to_owned();
            }
        }
        Err(error) => why = error.to_string(),
    }
    let draft = truth.map_or_else(Draft::from, Draft::from);
    Told {
        record_type: record_type.to_string(),
        rcode: rcode(draft.rcode),
        authentic: draft.authentic,
        cached: None,
        done: String::new(),
        records: draft.answers.iter().map(record).collect(),
        authority: draft.authorities.iter().map(record).collect(),
        extended_errors: errors(&draft.extended_errors),
        why,
    }
}

fn the_answer(asked: &Asked, draft: Draft, why: String) -> Told {
    let done = draft.done().to_owned();
    let extended_errors = errors(&draft.extended_errors);
    let reply = shape::shape(asked, draft);
    Told {
        record_type: asked.query.query_type.to_string(),
        rcode: rcode(reply.metadata.response_code),
        authentic: reply.metadata.authentic_data,
        cached: None,
        done,
        records: reply.answers.iter().map(record).collect(),
        authority: reply.authorities.iter().map(record).collect(),
        extended_errors,
        why,
    }
}

fn record(record: &Record) -> ShownRecord {
    let data = match &record.data {
        RData::HTTPS(HTTPS(binding)) | RData::SVCB(binding) => svcb::presentation(binding),
        data => data.to_string(),
    };
    ShownRecord {
        name: shown(&record.name),
        ttl: record.ttl,
        record_type: record.record_type().to_string(),
        data: data.chars().flat_map(visible).collect(),
    }
}

fn errors(errors: &[ExtendedError]) -> Vec<ShownError> {
    let shown = |error: &ExtendedError| ShownError {
        code: error.code,
        text: error.text.chars().flat_map(visible).collect(),
    };
    errors.iter().map(shown).collect()
}

/// A character of a stranger, so that it does nothing to a terminal.
fn visible(character: char) -> impl Iterator<Item = char> {
    let escaped = character.is_control().then(|| character.escape_default());
    let plain = (!character.is_control()).then_some(character);
    escaped.into_iter().flatten().chain(plain)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::forwarded::Forwarded;
    use super::super::local::Zones;
    use super::super::testing::{World, config, name, view};
    use super::*;
    use crate::config::{Aaaa, Config, Mode, Names, Rule};
    use crate::telemetry::Metrics;

    const ZONE: &[&str] = &[
        "example. SOA ns.example. admin.example. 7 3600 600 86400 900",
        "both.example. A 192.0.2.1",
        "both.example. AAAA 2001:db8::1",
        "six.example. AAAA 2001:db8::6",
        "evil.example. A 192.168.1.1",
        "time.apple.com. AAAA 2001:db8::7",
    ];

    fn handler(config: &Config) -> Handler<World> {
        handler_of(config, World::new(ZONE))
    }

    fn handler_of(config: &Config, world: World) -> Handler<World> {
        let zone = "$TTL 1h\n@ SOA gate hostmaster 1 1h 15m 1w 1m\n@ NS gate\ngate A 192.168.1.2\n";
        let zones = Zones::from_text(&[("home.arpa", zone)]).unwrap();
        Handler::new(view(config, zones, world), Arc::new(Metrics::new()))
    }

    async fn explained(config: &Config, owner: &str, record_type: RecordType) -> Explanation {
        handler(config)
            .explain(&name(owner), Some(record_type), None)
            .await
    }

    #[tokio::test]
    async fn each_case_is_told_with_its_reason() {
        let mut config = config(Mode::Ipv6Only, Names::All);
        config.rules.push(Rule {
            domains: vec![name("both.example.")],
            aaaa: Some(Aaaa::Pass),
            ..Rule::default()
        });
        for (owner, record_type, done, by, why) in [
            (
                "both.example.",
                RecordType::A,
                "passed",
                "steer.mode",
                "the name has A",
            ),
            (
                "both.example.",
                RecordType::AAAA,
                "passed",
                "steer.mode",
                "rule 1: domains = [\"both.example\"], aaaa = \"pass\"",
            ),
            (
                "six.example.",
                RecordType::A,
                "steered",
                "steer.mode",
                "leads to the gate",
            ),
            (
                "six.example.",
                RecordType::AAAA,
                "withheld",
                "steer.mode",
                "no rule passes it",
            ),
            (
                "time.apple.com.",
                RecordType::A,
                "passed",
                "built-in",
                "https://support.apple.com/",
            ),
            (
                "evil.example.",
                RecordType::A,
                "rebind",
                "steer.mode",
                "inside",
            ),
        ] {
            let told = explained(&config, owner, record_type).await;
            assert_eq!(told.answers[0].done, done, "{told:#?}");
            assert_eq!(told.steering.as_ref().unwrap().by, by, "{told:#?}");
            assert!(told.answers[0].why.contains(why), "{told:#?}");
            assert_eq!(told.truth.len(), 1);
        }
        let evil = explained(&config, "evil.example.", RecordType::A).await;
        assert!(
            evil.truth[0].why.contains("192.168.1.1 is private"),
            "{evil:#?}"
        );
    }

    #[tokio::test]
    async fn what_does_not_hold_is_told_apart_from_what_nobody_answered() {
        let bogus = ResolveError::Bogus {
            code: 7,
            text: "the signature over both.example. A has\u{1b} expired".to_owned(),
        };
        for (error, why) in [
            (
                bogus,
                "what upstreams say of it does not hold (DNSSEC): the signature over both.example. A has\\u{1b} expired",
            ),
            (ResolveError::Timeout, "no upstream gave an answer"),
        ] {
            let world = World::new(ZONE).broken("both.example.", RecordType::A, error);
            let told = handler_of(&config(Mode::Off, Names::All), world)
                .explain(&name("both.example."), Some(RecordType::A), None)
                .await;
            assert_eq!(told.answers[0].why, why, "{told:#?}");
        }
    }

    #[tokio::test]
    async fn service_bindings_are_shown_as_master_files_have_them() {
        let line = "both.example. HTTPS 1 . alpn=h2,h3 port=8443";
        let world = World::new(&[line]);
        let told = handler_of(&config(Mode::Off, Names::All), world)
            .explain(&name("both.example."), Some(RecordType::HTTPS), None)
            .await;
        let shown = &told.answers[0].records[0];
        assert_eq!(shown.data, "1 . alpn=h2,h3 port=8443", "{told:#?}");
    }

    #[tokio::test]
    async fn names_of_ours_are_told_from_where_they_are_known_and_nobody_is_asked() {
        let config = config(Mode::Ipv6Only, Names::All);
        for (owner, done, known_by) in [
            ("gate.home.arpa.", "local", "the zone home.arpa"),
            ("wpad.", "special", "special names: the gate"),
            ("_dns.resolver.arpa.", "special", "designated resolvers"),
            ("a.test.", "special", "never looked up"),
        ] {
            let told = explained(&config, owner, RecordType::A).await;
            assert_eq!(told.answers[0].done, done, "{told:#?}");
            assert!(told.known_by.contains(known_by), "{told:#?}");
            assert!(told.truth.is_empty() && told.steering.is_none() && told.aaaa.is_none());
        }
    }

    #[tokio::test]
    async fn a_name_outside_is_known_by_the_servers_of_its_domain() {
        let mut world = view(
            &config(Mode::Off, Names::All),
            Zones::default(),
            World::new(ZONE),
        );
        world.forwarded = Forwarded::of(&["example.", "corp.example.", "168.192.in-addr.arpa."]);
        let handler = Handler::new(world, Arc::new(Metrics::new()));
        for (owner, known_by) in [
            (
                "both.example.",
                "upstreams: the servers of example (dns.upstream.zone)",
            ),
            (
                "x.corp.example.",
                "upstreams: the servers of corp.example (dns.upstream.zone)",
            ),
            (
                "9.1.168.192.in-addr.arpa.",
                "upstreams: the servers of 168.192.in-addr.arpa (dns.upstream.zone)",
            ),
            (
                "www.test.invalid.",
                "the list of special names: never looked up outside (RFC 6761, 6762, 7686; internal: ICANN)",
            ),
            ("other.", "upstreams: the name is not one of ours"),
        ] {
            let told = handler
                .explain(&name(owner), Some(RecordType::PTR), None)
                .await;
            assert_eq!(told.known_by, known_by, "{owner}");
        }
    }

    #[tokio::test]
    async fn three_types_are_explained_to_a_client_of_the_lan_unless_told_otherwise() {
        let config = config(Mode::Ipv6Only, Names::All);
        let handler = handler(&config);
        let told = handler.explain(&name("both.example."), None, None).await;
        let types: Vec<&str> = told
            .answers
            .iter()
            .map(|told| told.record_type.as_str())
            .collect();
        assert_eq!(types, ["A", "AAAA", "HTTPS"]);
        assert_eq!(told.client, "192.168.1.1");
        assert!(told.client_from.contains("192.168.1.0/24"));
        let stranger = "203.0.113.9".parse().ok();
        let told = handler
            .explain(&name("both.example."), None, stranger)
            .await;
        assert_eq!(told.answers[0].rcode, "REFUSED");
        assert_eq!(told.answers[0].extended_errors[0].code, 18);
    }
}
