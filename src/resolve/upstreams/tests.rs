//! Groups of servers against scripted ones on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use tokio::net::TcpListener;

use super::super::tests::{
    Scripted, TIMEOUT, address, code, good, looked_up, name, outcomes, question, server_at,
    settings,
};
use super::super::{ResolveError, Resolver, Trust};
use super::{ServerState, Upstreams};
use crate::config::{Dns, Server, Strategy, Transport, UpstreamZone};
use crate::telemetry::Metrics;

const UDP: Transport = Transport::Udp;
/// For those that wait for it.
const SHORT: Duration = Duration::from_millis(500);

fn resolver(dns: &Dns) -> Arc<Resolver> {
    Arc::new(Resolver::new(
        dns,
        &Trust::nobody(),
        Arc::new(Metrics::new()),
    ))
}

fn with(strategy: Strategy, servers: &[&Scripted], timeout: Duration) -> Dns {
    let servers: Vec<Server> = servers.iter().map(|server| server.on(UDP)).collect();
    let mut dns = settings(&servers, timeout);
    dns.upstream.strategy = strategy;
    dns
}

fn own(domain: &str, server: &Scripted) -> UpstreamZone {
    UpstreamZone {
        domain: name(domain),
        servers: vec![server.on(UDP)],
    }
}

fn is_down(resolver: &Resolver, index: usize) -> bool {
    matches!(resolver.servers()[index].state, ServerState::Down(_))
}

async fn until(mut condition: impl FnMut() -> bool) {
    let met = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TIMEOUT, met).await.expect("in time");
}

/// A server that answers while the switch is on.
async fn switched(last: u8, on: &Arc<AtomicBool>) -> Scripted {
    let on = Arc::clone(on);
    Scripted::start(move |_, query: &Message| {
        if on.load(Ordering::Relaxed) {
            good(query, last)
        } else {
            vec![]
        }
    })
    .await
}

/// A server that nobody listens for.
async fn closed() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    server_at(Transport::Tcp, listener.local_addr().unwrap())
}

#[tokio::test]
async fn race_asks_all_at_once_and_takes_the_first_good_answer() {
    let failing = Scripted::start(|_, query| code(query, ResponseCode::ServFail)).await;
    let silent = Scripted::start(|_, _| vec![]).await;
    let third = Scripted::start(|_, query| good(query, 3)).await;
    let resolver = resolver(&with(
        Strategy::Race,
        &[&failing, &silent, &third],
        Duration::from_secs(3600),
    ));
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(3)]);
    until(|| failing.count(UDP) == 1 && silent.count(UDP) == 1).await;
    assert_eq!(third.count(UDP), 1);
}

#[tokio::test]
async fn fastest_leaves_a_server_that_only_refuses_for_one_that_answers() {
    let refusing = Scripted::start(|_, query| code(query, ResponseCode::Refused)).await;
    let second = Scripted::start(|_, query| good(query, 2)).await;
    let resolver = resolver(&with(Strategy::Fastest, &[&refusing, &second], TIMEOUT));
    for index in 0..20 {
        let text = format!("n{index}.example.");
        assert_eq!(looked_up(&resolver, &text).await, [address(2)]);
    }
    assert!(refusing.count(UDP) < 5, "{}", refusing.count(UDP));
    assert_eq!(second.count(UDP), 20);
}

#[tokio::test]
async fn a_dead_server_costs_no_client_anything_and_is_noticed_when_it_is_back() {
    let on = Arc::new(AtomicBool::new(false));
    let first = switched(1, &on).await;
    let second = Scripted::start(|_, query| good(query, 2)).await;
    let resolver = resolver(&with(Strategy::Ordered, &[&first, &second], SHORT));
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(2)]);
    until(|| is_down(&resolver, 0)).await;
    assert_eq!(resolver.metrics.upstreams_down.get(), 1);
    assert!(!resolver.known_dead(&question("b.example.")));

    for index in 0..20 {
        let text = format!("n{index}.example.");
        assert_eq!(looked_up(&resolver, &text).await, [address(2)]);
    }

    on.store(true, Ordering::Relaxed);
    until(|| !is_down(&resolver, 0)).await;
    assert!(first.probes() > 0);
    assert!(resolver.metrics.upstream_probes.get() > 0);
    for index in 0..20 {
        let text = format!("n{index}.example.");
        assert_eq!(first.asked(&text), 0, "only probes found out");
    }
    assert_eq!(resolver.metrics.upstreams_down.get(), 0);
    assert_eq!(looked_up(&resolver, "b.example.").await, [address(1)]);
}

#[tokio::test]
async fn when_all_are_known_dead_the_next_question_finds_out_that_one_is_back() {
    let on = Arc::new(AtomicBool::new(false));
    let back = switched(1, &on).await;
    let mut dns = with(Strategy::Fastest, &[&back], SHORT);
    dns.upstream.servers.insert(0, closed().await);
    let resolver = resolver(&dns);
    let asked = question("a.example.");
    assert!(!resolver.known_dead(&asked), "nothing is known yet");
    assert!(resolver.lookup(&asked).await.is_err());
    until(|| resolver.known_dead(&asked)).await;
    assert_eq!(resolver.metrics.upstreams_down.get(), 2);
    on.store(true, Ordering::Relaxed);
    assert_eq!(looked_up(&resolver, "b.example.").await, [address(1)]);
    assert!(!resolver.known_dead(&asked));
}

#[tokio::test]
async fn a_server_that_says_that_it_fails_is_not_dead() {
    let failing = Scripted::start(|_, query| code(query, ResponseCode::ServFail)).await;
    let resolver = resolver(&with(Strategy::Fastest, &[&failing], TIMEOUT));
    for index in 0..5 {
        let asked = question(&format!("n{index}.example."));
        assert!(resolver.lookup(&asked).await.is_err());
        assert!(!resolver.known_dead(&asked));
    }
    assert_eq!(resolver.servers()[0].counts.failed, 5);
}

#[tokio::test]
async fn a_name_that_a_server_keeps_silent_about_does_not_bring_it_down() {
    let server = Scripted::start(|_, query| {
        if query.queries[0].name == name("lame.example.") {
            vec![]
        } else {
            good(query, 1)
        }
    })
    .await;
    let resolver = resolver(&with(Strategy::Fastest, &[&server], Duration::from_secs(1)));
    let asked = question("lame.example.");
    assert_eq!(resolver.lookup(&asked).await, Err(ResolveError::Timeout));
    until(|| resolver.servers()[0].counts.lost == 1).await;
    assert_eq!(server.probes(), 1);
    assert!(!resolver.known_dead(&asked));
    assert_eq!(resolver.metrics.upstreams_down.get(), 0);
}

#[tokio::test]
async fn no_client_waits_for_a_dead_server_after_the_word_of_a_living_one() {
    let failing = Scripted::start(|_, query| code(query, ResponseCode::ServFail)).await;
    let silent = Scripted::start(|_, _| vec![]).await;
    let resolver = resolver(&with(Strategy::Ordered, &[&silent, &failing], SHORT));
    assert!(resolver.lookup(&question("a.example.")).await.is_err());
    until(|| is_down(&resolver, 0)).await;
    let error = resolver.lookup(&question("b.example.")).await;
    assert!(matches!(error, Err(ResolveError::Failed { .. })));
    assert_eq!(silent.asked("b.example."), 0);
}

#[tokio::test]
async fn a_domain_with_servers_of_its_own_is_asked_of_them_and_of_no_others() {
    let general = Scripted::start(|_, query| good(query, 1)).await;
    let corp = Scripted::start(|_, query| good(query, 2)).await;
    let lab = Scripted::start(|_, query| code(query, ResponseCode::ServFail)).await;
    let mut dns = with(Strategy::Fastest, &[&general], TIMEOUT);
    dns.upstream.zones = vec![own("corp.example.", &corp), own("lab.corp.example.", &lab)];
    let resolver = resolver(&dns);
    for (asked, expected) in [
        ("corp.example.", 2),
        ("www.Corp.Example.", 2),
        ("example.", 1),
        ("notcorp.example.", 1),
    ] {
        assert_eq!(looked_up(&resolver, asked).await, [address(expected)]);
        let is_own = resolver.has_own_servers(&name(asked));
        assert_eq!(is_own, expected == 2, "{asked}");
    }
    let error = resolver.lookup(&question("a.lab.corp.example.")).await;
    assert!(matches!(error, Err(ResolveError::Failed { .. })));
    assert_eq!(
        (general.count(UDP), corp.count(UDP), lab.count(UDP)),
        (2, 2, 1)
    );
}

#[tokio::test]
async fn the_servers_of_a_domain_are_dead_for_themselves() {
    let general = Scripted::start(|_, query| good(query, 1)).await;
    let mut dns = with(Strategy::Fastest, &[&general], TIMEOUT);
    dns.upstream.zones = vec![UpstreamZone {
        domain: name("corp.example."),
        servers: vec![closed().await],
    }];
    let resolver = resolver(&dns);
    let asked = question("www.corp.example.");
    assert!(resolver.lookup(&asked).await.is_err());
    assert!(resolver.known_dead(&asked));
    assert!(!resolver.known_dead(&question("www.example.")));
    let servers = resolver.servers();
    assert_eq!(servers[0].state, ServerState::Unknown);
    assert_eq!(servers[1].domain, Some(name("corp.example.")));
    assert_eq!(servers[1].counts.lost, 1);
}

#[tokio::test]
async fn a_reload_keeps_what_is_known_of_servers_that_stay() {
    let general = Scripted::start(|_, query| good(query, 1)).await;
    let corp = Scripted::start(|_, query| good(query, 2)).await;
    let mut dns = with(Strategy::Fastest, &[&general], TIMEOUT);
    dns.upstream.servers.push(closed().await);
    dns.upstream.zones = vec![own("corp.example.", &corp)];
    let resolver = resolver(&dns);
    looked_up(&resolver, "a.example.").await;
    looked_up(&resolver, "a.corp.example.").await;
    until(|| is_down(&resolver, 1)).await;

    dns.upstream.zones = vec![own("corp.example.", &corp), own("lab.example.", &corp)];
    resolver.reconfigure(&dns, &Trust::nobody());
    assert!(is_down(&resolver, 1));
    assert_eq!(resolver.servers()[2].counts.answered, 1);
    assert_eq!(resolver.servers()[3].counts.asked, 0);

    dns.upstream.timeout = TIMEOUT * 2;
    resolver.reconfigure(&dns, &Trust::nobody());
    assert!(!is_down(&resolver, 1));
    until(|| resolver.metrics.upstreams_down.get() == 0).await;
}

#[tokio::test]
async fn a_question_under_way_ends_with_the_servers_it_began_with() {
    let silent = Scripted::start(|_, _| vec![]).await;
    let second = Scripted::start(|_, query| good(query, 2)).await;
    let other = Scripted::start(|_, query| good(query, 3)).await;
    let resolver = resolver(&with(Strategy::Ordered, &[&silent, &second], TIMEOUT));
    let asker = Arc::clone(&resolver);
    let asked = tokio::spawn(async move { looked_up(&asker, "a.example.").await });
    until(|| silent.count(UDP) > 0).await;
    resolver.reconfigure(
        &with(Strategy::Ordered, &[&other], TIMEOUT),
        &Trust::nobody(),
    );
    assert_eq!(looked_up(&resolver, "b.example.").await, [address(3)]);
    assert_eq!(asked.await.unwrap(), [address(2)]);
}

#[tokio::test]
async fn beyond_the_bound_of_attempts_a_server_is_passed_over_and_this_is_counted() {
    let first = Scripted::start(|_, query| good(query, 1)).await;
    let second = Scripted::start(|_, query| good(query, 2)).await;
    let resolver = resolver(&with(Strategy::Ordered, &[&first, &second], TIMEOUT));
    {
        let upstreams = resolver.upstreams.load();
        upstreams.general.servers.members[0]
            .room
            .forget_permits(usize::MAX);
    }
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(2)]);
    assert_eq!(outcomes(&resolver, "overload"), 1);
    assert_eq!(first.count(UDP), 0);
    assert!(!is_down(&resolver, 0));
}

#[tokio::test]
async fn the_prober_ends_with_its_servers() {
    let dns = settings(&[closed().await], TIMEOUT);
    let upstreams = Upstreams::new(&dns.upstream, &Trust::nobody(), Arc::new(Metrics::new()));
    let error = upstreams.ask(&question("a.example.")).await;
    assert!(matches!(error, Err(ResolveError::Unreachable(_))));
    assert!(upstreams.known_dead(&question("a.example.")));
    let servers = Arc::downgrade(&upstreams.general.servers);
    tokio::task::yield_now().await;
    assert!(servers.strong_count() > 1, "it waits for the first probe");
    drop(upstreams);
    until(|| servers.strong_count() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_server_is_probed_ever_more_rarely() {
    let dead = Scripted::start(|_, _| vec![]).await;
    let resolver = resolver(&with(Strategy::Fastest, &[&dead], SHORT));
    assert!(resolver.lookup(&question("a.example.")).await.is_err());
    tokio::time::sleep(Duration::from_secs(15)).await;
    let soon = resolver.metrics.upstream_probes.get();
    assert!((3..=5).contains(&soon), "{soon}");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let later = resolver.metrics.upstream_probes.get() - soon;
    assert!((50..=65).contains(&later), "{later}");
}

#[tokio::test]
async fn late_answers_of_a_race_are_remembered() {
    let first = Scripted::start(|_, query| good(query, 1)).await;
    let second = Scripted::start(|_, query| good(query, 2)).await;
    let resolver = resolver(&with(Strategy::Race, &[&first, &second], TIMEOUT));
    resolver.lookup(&question("a.example.")).await.unwrap();
    until(|| {
        let servers = resolver.servers();
        servers.iter().all(|server| server.counts.answered == 1)
    })
    .await;
    assert!(resolver.servers().iter().all(|it| it.answer_time.is_some()));
}
