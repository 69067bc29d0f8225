//! The resolver with `dns.dnssec` against signed zones on loopback.

mod forged;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use self::world::{Chain, NSEC3, OPT_OUT, Server, Tamper, World, Zone, address, alias, name};
use super::super::{Answer, Question, ResolveError, Resolver, Trust};
use super::TrustAnchors;
use crate::config::{Config, Dns, Server as Upstream, Strategy, Transport, UpstreamZone};
use crate::net::Interfaces;
use crate::telemetry::{DnssecLabels, Metrics};

/// A resolver, and whom it asks.
struct Home {
    server: Server,
    resolver: Resolver,
    dns: Dns,
}

/// The root, `test.`, and below that `secure.test.` and `insecure.test.`, which is not signed.
fn zones(chain: Chain) -> Vec<Zone> {
    let secure = Zone::new(
        "secure.test.",
        chain,
        vec![
            address("www.secure.test."),
            address("*.wild.secure.test."),
            address("here.wild.secure.test."),
            address("below.empty.secure.test."),
            alias("out.secure.test.", "www.insecure.test."),
            alias("in.secure.test.", "www.secure.test."),
            alias("nowhere.secure.test.", "missing.secure.test."),
        ],
    );
    let insecure = Zone::unsigned("insecure.test.", vec![address("www.insecure.test.")]);
    let mut above = secure.delegation();
    above.extend(insecure.delegation());
    let test = Zone::new("test.", chain, above);
    let root = Zone::new(".", Chain::Nsec, test.delegation());
    vec![root, test, secure, insecure]
}

async fn home_with(zones: Vec<Zone>, tamper: Option<Tamper>, trust: Option<&str>) -> Home {
    let file = trust.map_or_else(|| zones[0].anchor(), ToOwned::to_owned);
    let zones = Arc::new(zones);
    let server = Server::start(World { zones, tamper }).await;
    let interfaces = Interfaces::of(&[("eth0", "192.168.1.2/24")], Some("eth0"));
    let config = Config::parse("", None, &interfaces, "nameserver 192.0.2.53\n");
    let mut dns = config.unwrap().dns;
    dns.upstream.servers = vec![Upstream {
        transport: Transport::Tcp,
        address: server.address,
        name: None,
        path: None,
    }];
    dns.upstream.timeout = Duration::from_secs(20);
    let resolver = Resolver::new(&dns, &Trust::nobody(), Arc::new(Metrics::new()));
    let anchors = TrustAnchors::parse(&file).unwrap();
    resolver.validate_by(&dns, Some(anchors));
    Home {
        server,
        resolver,
        dns,
    }
}

async fn home(chain: Chain) -> Home {
    home_with(zones(chain), None, None).await
}

fn question(owner: &str, record_type: RecordType) -> Question {
    Question {
        name: name(owner),
        record_type,
        dnssec_ok: false,
        checking_disabled: false,
    }
}

impl Home {
    async fn ask(&self, owner: &str, record_type: RecordType) -> Result<Answer, ResolveError> {
        self.resolver.lookup(&question(owner, record_type)).await
    }

    async fn code(&self, owner: &str, record_type: RecordType) -> u16 {
        match self.ask(owner, record_type).await {
            Err(ResolveError::Bogus { code, .. }) => code,
            other => panic!("{owner} {record_type}: {other:?}"),
        }
    }

    fn counted(&self, result: &'static str) -> u64 {
        let counter = &self.resolver.metrics.dnssec_answers;
        counter.get_or_create(&DnssecLabels { result }).get()
    }
}

#[tokio::test]
async fn what_is_signed_and_what_is_proved_not_to_be_there_is_secure() {
    for chain in [Chain::Nsec, NSEC3] {
        let home = home(chain).await;
        for (owner, record_type, rcode, count) in [
            (".", RecordType::SOA, ResponseCode::NoError, 1),
            ("test.", RecordType::DNSKEY, ResponseCode::NoError, 1),
            ("secure.test.", RecordType::DS, ResponseCode::NoError, 1),
            ("secure.test.", RecordType::NS, ResponseCode::NoError, 1),
            ("WWW.secure.test.", RecordType::A, ResponseCode::NoError, 1),
            ("in.secure.test.", RecordType::A, ResponseCode::NoError, 2),
            (
                "a.wild.secure.test.",
                RecordType::A,
                ResponseCode::NoError,
                1,
            ),
            (
                "a.b.wild.secure.test.",
                RecordType::A,
                ResponseCode::NoError,
                1,
            ),
            (
                "a.wild.secure.test.",
                RecordType::MX,
                ResponseCode::NoError,
                0,
            ),
            ("www.secure.test.", RecordType::MX, ResponseCode::NoError, 0),
            (
                "empty.secure.test.",
                RecordType::A,
                ResponseCode::NoError,
                0,
            ),
            ("www.secure.test.", RecordType::DS, ResponseCode::NoError, 0),
            (
                "missing.secure.test.",
                RecordType::A,
                ResponseCode::NXDomain,
                0,
            ),
            (
                "a.www.secure.test.",
                RecordType::A,
                ResponseCode::NXDomain,
                0,
            ),
            (
                "nowhere.secure.test.",
                RecordType::A,
                ResponseCode::NXDomain,
                1,
            ),
            ("missing.", RecordType::A, ResponseCode::NXDomain, 0),
            ("insecure.test.", RecordType::DS, ResponseCode::NoError, 0),
        ] {
            let answer = home.ask(owner, record_type).await;
            let answer = answer.unwrap_or_else(|error| panic!("{chain:?} {owner}: {error}"));
            assert!(answer.authentic, "{chain:?} {owner} {record_type}");
            assert_eq!(answer.rcode, rcode, "{chain:?} {owner} {record_type}");
            let data = answer.answers.iter();
            let data = data.filter(|record| record.record_type() != RecordType::RRSIG);
            assert_eq!(data.count(), count, "{chain:?} {owner} {record_type}");
        }
        assert_eq!((home.counted("secure"), home.counted("bogus")), (17, 0));
    }
}

#[tokio::test]
async fn what_is_below_a_delegation_without_ds_comes_as_it_is() {
    for chain in [Chain::Nsec, NSEC3, OPT_OUT] {
        let home = home(chain).await;
        for (owner, record_type) in [
            ("www.insecure.test.", RecordType::A),
            ("www.insecure.test.", RecordType::MX),
            ("missing.insecure.test.", RecordType::A),
            ("insecure.test.", RecordType::SOA),
            ("out.secure.test.", RecordType::A),
        ] {
            let answer = home.ask(owner, record_type).await;
            let answer = answer.unwrap_or_else(|error| panic!("{chain:?} {owner}: {error}"));
            assert!(!answer.authentic, "{chain:?} {owner} {record_type}");
        }
        assert_eq!(home.counted("insecure"), 5);
    }
}

#[tokio::test]
async fn a_zone_with_opt_out_does_not_vouch_for_what_is_not_there() {
    let home = home(OPT_OUT).await;
    assert!(
        home.ask("www.secure.test.", RecordType::A)
            .await
            .unwrap()
            .authentic
    );
    let missing = home
        .ask("missing.secure.test.", RecordType::A)
        .await
        .unwrap();
    assert_eq!(
        (missing.rcode, missing.authentic),
        (ResponseCode::NXDomain, false)
    );
    let unsigned = home.ask("insecure.test.", RecordType::DS).await.unwrap();
    assert!(!unsigned.authentic);
}

#[tokio::test]
async fn a_zone_that_hashes_too_often_counts_as_not_signed() {
    let chain = |iterations| Chain::Nsec3 {
        opt_out: false,
        iterations,
    };
    for (iterations, authentic) in [(100, true), (101, false)] {
        let home = home(chain(iterations)).await;
        let answer = home.ask("missing.secure.test.", RecordType::A).await;
        assert_eq!(answer.unwrap().authentic, authentic);
        assert!(
            home.ask("www.secure.test.", RecordType::A)
                .await
                .unwrap()
                .authentic
        );
    }
}

#[tokio::test]
async fn upstream_is_asked_with_do_and_cd_and_for_keys_only_once() {
    let home = home(Chain::Nsec).await;
    for owner in [
        "www.secure.test.",
        "below.empty.secure.test.",
        "a.wild.secure.test.",
    ] {
        home.ask(owner, RecordType::A).await.unwrap();
    }
    assert!(
        home.server
            .seen
            .lock()
            .unwrap()
            .iter()
            .all(|(_, _, dnssec_ok, cd)| *dnssec_ok && *cd)
    );
    assert_eq!(home.server.count(RecordType::DNSKEY), 3);
    assert_eq!(home.server.count(RecordType::DS), 2);
    let with_do = Question {
        dnssec_ok: true,
        ..question("www.secure.test.", RecordType::A)
    };
    home.resolver.lookup(&with_do).await.unwrap();
    assert_eq!(
        home.server.count(RecordType::A),
        3,
        "shared by those with and without DO"
    );
    let held = question("www.secure.test.", RecordType::A);
    assert!(home.resolver.holds(&held));
    let below = name("secure.test.");
    assert_eq!(home.resolver.forget(|asked| below.zone_of(asked)), 3);
    assert!(!home.resolver.holds(&held));
    home.resolver.lookup(&held).await.unwrap();
    assert_eq!(home.server.count(RecordType::DNSKEY), 4);
    assert_eq!(home.server.count(RecordType::DS), 3);
}

#[tokio::test]
async fn a_wildcard_of_one_zone_may_lead_to_what_is_not_in_a_zone_below() {
    for chain in [Chain::Nsec, NSEC3] {
        let mut zones = zones(chain);
        let star = alias("*.star.test.", "www.secure.test.");
        zones[1].records.push(star);
        let home = home_with(zones, None, None).await;
        let answer = home.ask("a.star.test.", RecordType::MX).await.unwrap();
        assert!(answer.authentic && answer.answers.len() == 2, "{chain:?}");
    }
}

#[tokio::test]
async fn the_ds_of_a_zone_with_an_anchor_of_its_own_is_the_parents() {
    let zones = zones(Chain::Nsec);
    let both = zones[0].anchor() + &zones[2].anchor();
    let home = home_with(zones, None, Some(&both)).await;
    let answer = home.ask("secure.test.", RecordType::DS).await.unwrap();
    assert!(answer.authentic);
}

#[tokio::test]
async fn one_server_that_drops_signatures_is_not_all_there_is() {
    let zones = Arc::new(zones(Chain::Nsec));
    let strip: Tamper = Box::new(|_, _, message| {
        let answers = &mut message.answers;
        answers.retain(|record| record.record_type() != RecordType::RRSIG);
    });
    let mut servers = Vec::new();
    for tamper in [Some(strip), None] {
        let zones = Arc::clone(&zones);
        servers.push(Server::start(World { zones, tamper }).await);
    }
    for strategy in [Strategy::Ordered, Strategy::Fastest, Strategy::Race] {
        let mut dns = home(Chain::Nsec).await.dns;
        let server = dns.upstream.servers[0].clone();
        let addresses = servers.iter().map(|server| server.address);
        dns.upstream.servers = addresses
            .map(|address| Upstream {
                address,
                ..server.clone()
            })
            .collect();
        dns.upstream.strategy = strategy;
        let resolver = Resolver::new(&dns, &Trust::nobody(), Arc::new(Metrics::new()));
        let anchors = TrustAnchors::parse(&zones[0].anchor()).unwrap();
        resolver.validate_by(&dns, Some(anchors));
        for owner in ["www.secure.test.", "below.empty.secure.test."] {
            let answer = resolver.lookup(&question(owner, RecordType::A)).await;
            assert!(answer.unwrap().authentic, "{strategy:?} {owner}");
        }
    }
}

#[tokio::test]
async fn what_held_is_told_stale_while_what_comes_does_not_hold() {
    let forge = Arc::new(AtomicBool::new(false));
    let forged = Arc::clone(&forge);
    let strip: Tamper = Box::new(move |_, record_type, message| {
        if forged.load(Ordering::Relaxed) && record_type == RecordType::A {
            let answers = &mut message.answers;
            answers.retain(|record| record.record_type() != RecordType::RRSIG);
        }
    });
    let home = home_with(zones(Chain::Nsec), Some(strip), None).await;
    let fresh = home.ask("www.secure.test.", RecordType::A).await.unwrap();
    forge.store(true, Ordering::Relaxed);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(301)).await;
    tokio::time::resume();
    let stale = home.ask("www.secure.test.", RecordType::A).await.unwrap();
    assert!(fresh.authentic && !stale.authentic);
    assert_eq!(stale.answers[0].data, fresh.answers[0].data);
    assert_eq!(stale.extended_errors[0].code, 3);
    assert_eq!(home.counted("bogus"), 1);
}

#[tokio::test]
async fn no_record_outlives_its_signature() {
    let mut zones = zones(Chain::Nsec);
    zones[2].times = (-10, 100);
    let home = home_with(zones, None, None).await;
    for (owner, record_type) in [
        ("www.secure.test.", RecordType::A),
        ("www.secure.test.", RecordType::MX),
    ] {
        let answer = home.ask(owner, record_type).await.unwrap();
        let all = answer.answers.iter().chain(&answer.authorities);
        assert!(all.map(|record| record.ttl).max().unwrap() <= 100);
    }
}

#[tokio::test]
async fn domains_with_their_own_servers_are_private_unless_an_anchor_is_below() {
    let zones = || {
        let mut zones = zones(Chain::Nsec);
        zones[2].key = Some(world::new_key());
        zones
    };
    let mut home = home_with(zones(), None, None).await;
    assert_eq!(home.code("www.secure.test.", RecordType::A).await, 9);
    home.dns.upstream.zones = vec![UpstreamZone {
        domain: name("secure.test."),
        servers: home.dns.upstream.servers.clone(),
    }];
    let root = TrustAnchors::parse(&zones()[0].anchor()).unwrap();
    home.resolver.validate_by(&home.dns, Some(root));
    let answer = home.ask("www.secure.test.", RecordType::A).await.unwrap();
    assert!(!answer.authentic);

    let zones = zones();
    let below = zones[2].anchor();
    let mut home = home_with(zones, None, Some(&below)).await;
    home.dns.upstream.zones = vec![UpstreamZone {
        domain: name("test."),
        servers: home.dns.upstream.servers.clone(),
    }];
    home.resolver
        .validate_by(&home.dns, Some(TrustAnchors::parse(&below).unwrap()));
    assert!(
        home.ask("www.secure.test.", RecordType::A)
            .await
            .unwrap()
            .authentic
    );
    assert!(!home.ask("test.", RecordType::SOA).await.unwrap().authentic);
}

#[tokio::test]
async fn other_anchors_empty_the_cache() {
    let home = home(Chain::Nsec).await;
    assert!(
        home.ask("www.secure.test.", RecordType::A)
            .await
            .unwrap()
            .authentic
    );
    home.resolver.validate_by(&home.dns, None);
    assert!(
        !home
            .ask("www.secure.test.", RecordType::A)
            .await
            .unwrap()
            .authentic
    );
    home.resolver
        .validate_by(&home.dns, Some(TrustAnchors::root()));
    assert_eq!(home.code("www.secure.test.", RecordType::A).await, 9);
}
