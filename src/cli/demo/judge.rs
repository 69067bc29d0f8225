//! PURE. What the demo saw of each name, judged by what a gate promises: what must be withheld is withheld, what must
//! be steered is steered, and sessions leave by IPv6 first. Called by `steps`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_proto::op::ResponseCode;
use serde::Serialize;

use super::Place;
use super::client::{Answer, ClientError, Reached};
use crate::config::Mode;
use crate::net::Family;
use crate::telemetry::Inbound;

/// Extended DNS Errors (RFC 8914) that a gate gives.
pub(super) const FORGED_ANSWER: u16 = 4;
pub(super) const FILTERED: u16 = 17;

/// The longest that a client may remember what depends on the gate, in seconds.
const LONGEST_TTL: u32 = 60;

/// Where the gate listens, and how it steers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gate {
    /// DNS over UDP.
    pub dns: SocketAddr,
    /// Forward proxy.
    pub http: SocketAddr,
    /// Transparent TLS, taken to the port of the TLS origins.
    pub tls: Option<SocketAddr>,
    /// Transparent HTTP.
    pub plain: Option<SocketAddr>,
    /// What steered names are answered with.
    pub address: Ipv4Addr,
    /// `steer.mode`; with `address`, every name (`steer.names = "all"`).
    pub mode: Mode,
}

impl Gate {
    /// Whether a name is to be answered with the gate's address.
    pub(super) fn steers(&self, place: Place) -> bool {
        match self.mode {
            Mode::Off => false,
            Mode::Ipv6Only => place.has_ipv6() && !place.has_ipv4(),
            Mode::Address => place.exists(),
        }
    }

    /// One that is not there.
    #[cfg(test)]
    pub(super) fn nowhere(mode: Mode) -> Self {
        let nowhere = (Ipv4Addr::LOCALHOST, 1).into();
        Self {
            dns: nowhere,
            http: nowhere,
            tls: None,
            plain: None,
            address: Ipv4Addr::LOCALHOST,
            mode,
        }
    }
}

/// One name, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    /// What is special about the name.
    pub place: Place,
    /// The name.
    pub name: &'static str,
    /// What the world says.
    pub world: World,
    /// What the client is told by the gate.
    pub told: Told,
    /// How its sessions went.
    pub sessions: Vec<Session>,
    /// What did not hold; empty where all is well.
    pub failures: Vec<String>,
}

impl Row {
    /// Whether everything held.
    pub(super) fn ok(&self) -> bool {
        self.failures.is_empty()
    }
}

/// What the world's DNS server says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct World {
    /// Whether the name exists.
    pub exists: bool,
    /// A.
    pub a: Vec<Ipv4Addr>,
    /// AAAA.
    pub aaaa: Vec<Ipv6Addr>,
    /// Whether its HTTPS record carries `ipv6hint`.
    pub ipv6_hint: bool,
}

/// What the gate's DNS server says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Told {
    /// Whether the name exists.
    pub exists: bool,
    /// A.
    pub a: Vec<Ipv4Addr>,
    /// Whether A is the gate's address instead of the real one.
    pub steered: bool,
    /// AAAA; expected to be empty.
    pub aaaa: Vec<Ipv6Addr>,
    /// Whether AAAA was withheld, by the extended error 17.
    pub withheld: bool,
    /// Whether its HTTPS record carries `ipv6hint`.
    pub ipv6_hint: bool,
    /// Extended DNS Errors with A.
    pub a_errors: Vec<u16>,
    /// Extended DNS Errors with AAAA.
    pub aaaa_errors: Vec<u16>,
}

/// One session through the gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Session {
    /// How it came to the gate: `connect`, `forward`, `tls`, `http`.
    pub inbound: &'static str,
    /// The family by which it left, as the origin saw it.
    pub family: Option<String>,
    /// The proxy's status where it refused.
    pub status: Option<u16>,
    /// Why it failed.
    pub error: Option<String>,
    /// By which family it should have left; `None` where it should be refused.
    pub expected: Option<&'static str>,
}

impl Session {
    /// A session to `host` that went, or did not go, and the family by which it should have gone.
    pub(super) fn new(
        inbound: Inbound,
        result: Result<Reached, ClientError>,
        expected: Option<Family>,
        host: &str,
    ) -> Self {
        let secure = matches!(inbound, Inbound::Connect | Inbound::Tls);
        let mut session = Self {
            inbound: inbound.as_str(),
            family: None,
            status: None,
            error: None,
            expected: expected.map(Family::as_str),
        };
        match result {
            Ok(reached) => {
                session.error = if reached.name != host {
                    Some(format!("reached `{}`", reached.name))
                } else if reached.tls != secure {
                    Some("reached the wrong port".to_owned())
                } else {
                    None
                };
                session.family = Some(reached.family);
            }
            Err(error) => {
                if let ClientError::Status { status, .. } = &error {
                    session.status = Some(status.as_u16());
                }
                session.error = Some(error.to_string());
            }
        }
        session
    }

    /// Whether it went as it should. What cannot be reached must be refused by the proxy in words of HTTP; a
    /// transparent listener can only close.
    pub(super) fn ok(&self) -> bool {
        if self.expected.is_some() {
            return self.error.is_none() && self.family.as_deref() == self.expected;
        }
        let explicit = [Inbound::Forward, Inbound::Connect];
        let asked = explicit
            .iter()
            .any(|inbound| inbound.as_str() == self.inbound);
        let refused = self
            .status
            .is_some_and(|status| (500..600).contains(&status));
        self.family.is_none() && (refused || !asked)
    }
}

/// The three answers about a name; `None` where there was none.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// A.
    pub(super) a: Option<Answer>,
    /// AAAA.
    pub(super) aaaa: Option<Answer>,
    /// HTTPS (RFC 9460).
    pub(super) https: Option<Answer>,
}

impl Answers {
    fn exists(&self) -> bool {
        [&self.a, &self.aaaa]
            .into_iter()
            .all(|answer| matches!(answer, Some(answer) if answer.rcode == ResponseCode::NoError))
    }

    /// The A records.
    pub(super) fn ipv4(&self) -> Vec<Ipv4Addr> {
        let addresses = self.a.iter().flat_map(|answer| &answer.addresses);
        addresses
            .filter_map(|address| match address {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            })
            .collect()
    }

    /// From every answer, because AAAA must not come with another type either.
    fn ipv6(&self) -> Vec<Ipv6Addr> {
        let answers = [&self.a, &self.aaaa, &self.https].into_iter().flatten();
        answers
            .flat_map(|answer| &answer.addresses)
            .filter_map(|address| match address {
                IpAddr::V4(_) => None,
                IpAddr::V6(address) => Some(*address),
            })
            .collect()
    }

    fn ipv6_hint(&self) -> bool {
        self.https.as_ref().is_some_and(|answer| answer.ipv6_hint)
    }

    /// As what the world says.
    pub(super) fn world(&self) -> World {
        World {
            exists: self.exists(),
            a: self.ipv4(),
            aaaa: self.ipv6(),
            ipv6_hint: self.ipv6_hint(),
        }
    }

    /// As what the gate at this address says, where the world says `real`.
    pub(super) fn told(&self, gate: Ipv4Addr, real: &[Ipv4Addr]) -> Told {
        let errors = |answer: &Option<Answer>| {
            answer
                .as_ref()
                .map(|answer| answer.extended_errors.clone())
                .unwrap_or_default()
        };
        let a = self.ipv4();
        let (a_errors, aaaa_errors) = (errors(&self.a), errors(&self.aaaa));
        Told {
            exists: self.exists(),
            // Where the machine has one loopback address only, the real one is the gate's as well.
            steered: a == [gate] && (a != real || a_errors.contains(&FORGED_ANSWER)),
            a,
            aaaa: self.ipv6(),
            withheld: aaaa_errors.contains(&FILTERED),
            ipv6_hint: self.ipv6_hint(),
            a_errors,
            aaaa_errors,
        }
    }
}

/// What does not hold in the gate's answers.
pub(super) fn judge_answers(
    place: Place,
    world: &World,
    told: &Answers,
    gate: &Gate,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            failures.push(what.to_owned());
        }
    };
    let (Some(a), Some(aaaa)) = (&told.a, &told.aaaa) else {
        return failures;
    };
    let rcode = if place.exists() {
        ResponseCode::NoError
    } else {
        ResponseCode::NXDomain
    };
    must(
        a.rcode == rcode && aaaa.rcode == rcode,
        if place.exists() {
            "the gate must answer NOERROR for A and AAAA"
        } else {
            "the gate must answer NXDOMAIN for A and AAAA"
        },
    );
    must(told.ipv6().is_empty(), "the gate must tell no IPv6 address");
    must(!told.ipv6_hint(), "the gate must take `ipv6hint` out");
    if gate.steers(place) {
        must(
            told.ipv4() == [gate.address],
            "A must be the gate's address",
        );
        must(
            a.extended_errors.contains(&FORGED_ANSWER),
            "A must carry the extended error 4 (Forged Answer)",
        );
        must(
            a.ttl.is_some_and(|ttl| ttl <= LONGEST_TTL),
            "A must be remembered for at most 60 s",
        );
    } else {
        must(told.ipv4() == world.a, "A must be the real one");
    }
    if place.has_ipv6() {
        must(
            aaaa.extended_errors.contains(&FILTERED),
            "AAAA must carry the extended error 17 (Filtered)",
        );
        must(
            aaaa.soa_ttl.is_some_and(|ttl| ttl <= LONGEST_TTL),
            "AAAA must come with the zone's SOA, TTL at most 60 s",
        );
    }
    failures
}

/// By which family a session to a name should leave; `None` where nothing can be reached.
pub(super) fn expected(place: Place, has_ipv6: bool) -> Option<Family> {
    match place {
        Place::Dual if has_ipv6 => Some(Family::V6),
        Place::Six => has_ipv6.then_some(Family::V6),
        Place::Dual | Place::Four | Place::Dead6 => Some(Family::V4),
        Place::Gone => None,
    }
}

/// What did not go as it should.
pub(super) fn judge_sessions(sessions: &[Session]) -> Vec<String> {
    let wrong = sessions.iter().filter(|session| !session.ok());
    wrong
        .map(|session| {
            let expected = session.expected.map_or_else(
                || "must be refused".to_owned(),
                |family| format!("must leave by {family}"),
            );
            let got = match (&session.family, &session.error) {
                (_, Some(error)) => error.clone(),
                (Some(family), None) => format!("left by {family}"),
                (None, None) => "failed".to_owned(),
            };
            format!("{} {expected}: {got}", session.inbound)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(addresses: &[&str], extended_errors: &[u16]) -> Option<Answer> {
        Some(Answer {
            rcode: ResponseCode::NoError,
            addresses: addresses
                .iter()
                .map(|address| address.parse().unwrap())
                .collect(),
            ttl: (!addresses.is_empty()).then_some(60),
            ipv6_hint: false,
            soa_ttl: addresses.is_empty().then_some(60),
            extended_errors: extended_errors.to_vec(),
        })
    }

    fn judged(place: Place, told: &Answers, mode: Mode) -> Vec<String> {
        let real: Vec<Ipv4Addr> = vec!["127.0.0.2".parse().unwrap()];
        let a = if place.has_ipv4() { real } else { Vec::new() };
        let world = World {
            exists: place.exists(),
            a,
            ..World::default()
        };
        judge_answers(place, &world, told, &Gate::nowhere(mode))
    }

    #[test]
    fn answers_as_promised_are_good_in_every_mode() {
        let real = || Answers {
            a: answer(&["127.0.0.2"], &[]),
            aaaa: answer(&[], &[17]),
            https: answer(&[], &[]),
        };
        let steered = || Answers {
            a: answer(&["127.0.0.1"], &[4]),
            ..real()
        };
        for (place, told, mode) in [
            (Place::Dual, real(), Mode::Off),
            (Place::Dual, real(), Mode::Ipv6Only),
            (Place::Dual, steered(), Mode::Address),
            (Place::Six, steered(), Mode::Ipv6Only),
            (
                Place::Six,
                Answers {
                    a: answer(&[], &[]),
                    ..real()
                },
                Mode::Off,
            ),
            (
                Place::Four,
                Answers {
                    aaaa: answer(&[], &[]),
                    ..real()
                },
                Mode::Ipv6Only,
            ),
        ] {
            assert_eq!(
                judged(place, &told, mode),
                Vec::<String>::new(),
                "{place:?} {mode:?}"
            );
        }
    }

    #[test]
    fn every_broken_promise_is_told() {
        let good = || Answers {
            a: answer(&["127.0.0.2"], &[]),
            aaaa: answer(&[], &[17]),
            https: answer(&[], &[]),
        };
        let with = |change: &dyn Fn(&mut Answers)| {
            let mut told = good();
            change(&mut told);
            told
        };
        for (told, word) in [
            (
                with(&|told| told.aaaa = answer(&["::1"], &[17])),
                "no IPv6 address",
            ),
            (with(&|told| told.aaaa = answer(&[], &[])), "17"),
            (
                with(&|told| told.a = answer(&["127.0.0.1"], &[])),
                "real one",
            ),
            (
                with(&|told| told.https.as_mut().unwrap().ipv6_hint = true),
                "ipv6hint",
            ),
            (
                with(&|told| told.aaaa.as_mut().unwrap().soa_ttl = Some(300)),
                "SOA",
            ),
            (
                with(&|told| told.aaaa.as_mut().unwrap().rcode = ResponseCode::NXDomain),
                "NOERROR",
            ),
        ] {
            let failures = judged(Place::Dual, &told, Mode::Ipv6Only);
            assert!(
                failures
                    .iter()
                    .any(|failure| failure.to_uppercase().contains(&word.to_uppercase())),
                "{word}: {failures:?}"
            );
        }
    }

    #[test]
    fn sessions_leave_by_ipv6_where_it_works_and_a_machine_without_it_is_no_failure() {
        for (place, with, without) in [
            (Place::Dual, Some(Family::V6), Some(Family::V4)),
            (Place::Six, Some(Family::V6), None),
            (Place::Four, Some(Family::V4), Some(Family::V4)),
            (Place::Dead6, Some(Family::V4), Some(Family::V4)),
            (Place::Gone, None, None),
        ] {
            assert_eq!(
                (expected(place, true), expected(place, false)),
                (with, without),
                "{place:?}"
            );
        }
    }

    #[test]
    fn a_session_to_the_wrong_origin_did_not_hold() {
        let reached = |name: &str, tls| Reached {
            name: name.to_owned(),
            family: "ipv6".to_owned(),
            peer: IpAddr::V6(Ipv6Addr::LOCALHOST),
            tls,
        };
        let session =
            |reached| Session::new(Inbound::Tls, Ok(reached), Some(Family::V6), "a.example");
        assert!(session(reached("a.example", true)).ok());
        assert!(!session(reached("b.example", true)).ok());
        assert!(!session(reached("a.example", false)).ok());
        let told = judge_sessions(&[session(reached("b.example", true))]);
        assert_eq!(told, ["tls must leave by ipv6: reached `b.example`"]);
    }

    #[test]
    fn what_cannot_be_reached_must_be_refused_in_words() {
        let refused = |status| ClientError::Status {
            status,
            proxy_status: None,
        };
        let silent = || ClientError::Timeout;
        let ok = |inbound, error| Session::new(inbound, Err(error), None, "a.example").ok();
        assert!(ok(Inbound::Forward, refused(http::StatusCode::BAD_GATEWAY)));
        assert!(!ok(Inbound::Forward, refused(http::StatusCode::FORBIDDEN)));
        assert!(!ok(Inbound::Connect, silent()));
        assert!(ok(Inbound::Tls, silent()));
    }
}
