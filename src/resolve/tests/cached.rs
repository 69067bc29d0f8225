//! What the cache does for the resolver over time: stale answers, answers asked for before their end, failures and denied
//! names. The servers are real, so time jumps only while nothing is under way.

use super::*;
use crate::config::UpstreamZone;
use crate::resolve::{Answer, Flights, Known, MAX_PREFETCHES, Remembered, now};

/// A server that says one thing first and may be told to say another.
struct Changing {
    server: Scripted,
    mode: Arc<Mutex<Mode>>,
}

#[derive(Clone, Copy)]
enum Mode {
    Good(u8),
    Code(ResponseCode),
    Denial,
    NoData,
    Silent,
}

impl Changing {
    async fn start(mode: Mode) -> Self {
        let mode = Arc::new(Mutex::new(mode));
        let shared = Arc::clone(&mode);
        let server = Scripted::start(move |_, query| match *shared.lock().unwrap() {
            Mode::Good(last) => good(query, last),
            Mode::Code(rcode) => code(query, rcode),
            Mode::Denial => negative(query, ResponseCode::NXDomain),
            Mode::NoData => negative(query, ResponseCode::NoError),
            Mode::Silent => vec![],
        })
        .await;
        Self { server, mode }
    }

    fn says(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    fn count(&self) -> usize {
        self.server.count(Transport::Udp)
    }

    fn resolver(&self, change: impl FnOnce(&mut Dns)) -> Arc<Resolver> {
        let servers = [self.server.on(Transport::Udp)];
        let mut dns = settings(&servers, Duration::from_secs(2));
        change(&mut dns);
        Arc::new(Resolver::new(
            &dns,
            &Trust::nobody(),
            Arc::new(Metrics::new()),
        ))
    }
}

/// No such name or no such record, for 60 s.
fn negative(query: &Message, rcode: ResponseCode) -> Vec<Reply> {
    let mut message = reply(query);
    message.metadata.response_code = rcode;
    let soa = SOA::new(name("ns.example."), name("root.example."), 1, 2, 3, 4, 60);
    message.add_authority(Record::from_rdata(name("example."), 60, RData::SOA(soa)));
    vec![Reply::Send(message)]
}

async fn jump(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

/// A lookup on paused time, which runs as far as the lookup waits, and how long it waited.
async fn waited(resolver: &Resolver, text: &str) -> (Result<Answer, ResolveError>, Duration) {
    tokio::time::pause();
    let begun = now();
    let outcome = resolver.lookup(&question(text)).await;
    let taken = now() - begun;
    tokio::time::resume();
    (outcome, taken)
}

fn codes(answer: &Answer) -> Vec<u16> {
    answer
        .extended_errors
        .iter()
        .map(|told| told.code)
        .collect()
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_expired_answer_is_told_when_the_servers_take_too_long_and_at_once_when_they_are_dead() {
    let upstream = Changing::start(Mode::Good(1)).await;
    let resolver = upstream.resolver(|_| {});
    for text in ["a.example.", "b.example."] {
        looked_up(&resolver, text).await;
    }
    jump(100).await;
    upstream.says(Mode::Silent);
    let (answer, taken) = waited(&resolver, "a.example.").await;
    let answer = answer.unwrap();
    assert_eq!(answer.answers[0].data, address(1));
    assert_eq!((answer.answers[0].ttl, answer.authentic), (30, false));
    assert_eq!(codes(&answer), [3]);
    let patience = Duration::from_millis(1800);
    assert!(
        taken >= patience && taken < patience + Duration::from_millis(50),
        "{taken:?}"
    );
    jump(1).await;
    until(|| outcomes(&resolver, "timeout") == 1).await;
    for text in ["b.example.", "a.example.", "a.example.", "b.example."] {
        let (answer, taken) = waited(&resolver, text).await;
        assert_eq!(codes(&answer.unwrap()), [3]);
        assert_eq!(taken, Duration::ZERO, "{text}");
        // What was remembered of the failure is over, the server is still dead.
        jump(2).await;
    }
    assert_eq!(resolver.metrics.cache_stale.get(), 5);
}

#[tokio::test]
async fn an_error_of_the_servers_ends_the_wait_and_the_next_good_answer_replaces_the_stale_one() {
    let upstream = Changing::start(Mode::Good(1)).await;
    let resolver = upstream.resolver(|_| {});
    looked_up(&resolver, "a.example.").await;
    jump(100).await;
    upstream.says(Mode::Code(ResponseCode::ServFail));
    for _ in 0..5 {
        let answer = resolver.lookup(&question("a.example.")).await.unwrap();
        assert_eq!((codes(&answer), answer.answers[0].ttl), (vec![3], 30));
    }
    assert_eq!(upstream.count(), 2, "the failure is remembered");
    let sessions = resolver.addresses(&name("a.example."), Family::V4).await;
    assert_eq!(sessions, Ok(vec![IpAddr::from([192, 0, 2, 1])]));
    upstream.says(Mode::Good(2));
    jump(6).await;
    // Not long after a failure, nobody waits; the servers are asked all the same.
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(1)]);
    until(|| resolver.failures.of(&question("a.example."), now()) == Remembered::Nothing).await;
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(2)]);
    assert_eq!(upstream.count(), 3);
}

#[tokio::test]
async fn a_newer_answer_in_time_is_told_instead_of_the_stale_one() {
    let upstream = Changing::start(Mode::Good(1)).await;
    let resolver = upstream.resolver(|_| {});
    looked_up(&resolver, "a.example.").await;
    jump(100).await;
    upstream.says(Mode::Good(2));
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(2)]);
    jump(100).await;
    upstream.says(Mode::Denial);
    let answer = resolver.lookup(&question("a.example.")).await.unwrap();
    assert_eq!(
        answer.rcode,
        ResponseCode::NXDomain,
        "a denial is an answer, too"
    );
    assert_eq!(resolver.metrics.cache_stale.get(), 0);
}

#[tokio::test]
async fn denials_are_told_stale_too_and_nothing_is_beyond_the_time_for_it() {
    for (mode, code, rcode) in [
        (Mode::Denial, 19, ResponseCode::NXDomain),
        (Mode::NoData, 3, ResponseCode::NoError),
    ] {
        let upstream = Changing::start(mode).await;
        let resolver = upstream.resolver(|dns| dns.cache.stale = Duration::from_secs(600));
        resolver.lookup(&question("a.example.")).await.unwrap();
        upstream.says(Mode::Code(ResponseCode::Refused));
        jump(100).await;
        let answer = resolver.lookup(&question("a.example.")).await.unwrap();
        assert_eq!((codes(&answer), answer.rcode), (vec![code], rcode));
        assert_eq!(answer.authorities[0].ttl, 30);
        jump(600).await;
        let error = resolver.lookup(&question("a.example.")).await;
        assert!(
            matches!(error, Err(ResolveError::Failed { .. })),
            "{error:?}"
        );
    }
    let upstream = Changing::start(Mode::Good(1)).await;
    let resolver = upstream.resolver(|dns| dns.cache.stale = Duration::ZERO);
    looked_up(&resolver, "a.example.").await;
    upstream.says(Mode::Code(ResponseCode::Refused));
    jump(60).await;
    assert!(resolver.lookup(&question("a.example.")).await.is_err());
}

#[tokio::test]
async fn an_answer_in_use_is_asked_for_once_before_its_end() {
    let upstream = Changing::start(Mode::Good(1)).await;
    let resolver = upstream.resolver(|_| {});
    let unused = upstream.resolver(|dns| dns.cache.prefetch = false);
    for resolver in [&resolver, &unused] {
        looked_up(resolver, "a.example.").await;
    }
    jump(50).await;
    looked_up(&resolver, "a.example.").await;
    assert_eq!(resolver.metrics.cache_prefetches.get(), 0, "too early");
    jump(5).await;
    upstream.says(Mode::Good(2));
    assert_eq!(looked_up(&unused, "a.example.").await, [address(1)]);
    for _ in 0..5 {
        let answer = resolver.lookup(&question("a.example.")).await.unwrap();
        assert_eq!(
            (&answer.answers[0].data, answer.answers[0].ttl),
            (&address(1), 5)
        );
    }
    until(|| {
        resolver
            .cache
            .load()
            .get(&question("a.example."), now())
            .unwrap()
            .answers[0]
            .ttl
            > 50
    })
    .await;
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(2)]);
    assert_eq!(resolver.metrics.cache_prefetches.get(), 1);
    assert_eq!(unused.metrics.cache_prefetches.get(), 0);
    assert_eq!(upstream.count(), 3);
}

#[tokio::test]
async fn no_more_answers_than_the_bound_are_asked_for_before_their_end_at_once() {
    let upstream = Changing::start(Mode::Good(1)).await;
    let resolver = upstream.resolver(|_| {});
    looked_up(&resolver, "a.example.").await;
    jump(55).await;
    let all = u32::try_from(MAX_PREFETCHES).unwrap();
    let busy = Arc::clone(&resolver.prefetches).try_acquire_many_owned(all);
    looked_up(&resolver, "a.example.").await;
    drop(busy);
    assert_eq!(resolver.metrics.cache_prefetches.get(), 0);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_failing_name_is_not_asked_again_for_some_seconds_and_for_longer_each_time() {
    let upstream = Changing::start(Mode::Code(ResponseCode::ServFail)).await;
    let resolver = upstream.resolver(|_| {});
    let first = resolver.lookup(&question("a.example.")).await;
    for (count, seconds) in [(1, 2), (2, 4), (3, 8), (4, 16), (5, 30)] {
        for _ in 0..10 {
            assert_eq!(resolver.lookup(&question("a.example.")).await, first);
        }
        assert_eq!(upstream.count(), count);
        jump(seconds).await;
    }
    let other = Question {
        dnssec_ok: true,
        ..question("a.example.")
    };
    let before = upstream.count();
    assert!(resolver.lookup(&other).await.is_err());
    assert_eq!(
        upstream.count(),
        before + 1,
        "another question is another failure"
    );
    upstream.says(Mode::Good(1));
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(1)]);
    assert_eq!(resolver.metrics.cache_failures.get(), 46);
}

#[tokio::test]
async fn names_come_back_within_a_second_of_their_servers() {
    let upstream = Changing::start(Mode::Silent).await;
    let resolver = upstream.resolver(|_| {});
    for _ in 0..4 {
        let (outcome, _) = waited(&resolver, "a.example.").await;
        assert_eq!(outcome, Err(ResolveError::Timeout));
        jump(1).await;
    }
    assert!(
        resolver
            .upstreams
            .load()
            .known_dead(&question("a.example."))
    );
    upstream.says(Mode::Good(1));
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(1)]);
}

#[tokio::test]
async fn our_own_bounds_are_no_failure_of_the_name() {
    let upstream = Changing::start(Mode::Good(1)).await;
    let mut resolver = Resolver::new(
        &settings(&[upstream.server.on(Transport::Udp)], TIMEOUT),
        &Trust::nobody(),
        Arc::new(Metrics::new()),
    );
    resolver.flights = Arc::new(Flights::new(0));
    let error = resolver.lookup(&question("a.example.")).await;
    assert!(matches!(error, Err(ResolveError::Overload(_))), "{error:?}");
    assert_eq!(outcomes(&resolver, "overload"), 1);
    resolver.flights = Arc::new(Flights::new(1));
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(1)]);
}

#[tokio::test]
async fn below_a_name_that_does_not_exist_nothing_is_asked() {
    let upstream = Changing::start(Mode::Denial).await;
    let resolver = upstream.resolver(|_| {});
    let denied = resolver.lookup(&question("b.example.")).await.unwrap();
    for (text, record_type) in [
        ("a.B.example.", RecordType::A),
        ("c.b.a.b.example.", RecordType::TXT),
    ] {
        let below = Question {
            record_type,
            ..question(text)
        };
        assert_eq!(resolver.lookup(&below).await, Ok(denied.clone()), "{text}");
    }
    assert_eq!(upstream.count(), 1);
    assert_eq!(resolver.metrics.cache_cut.get(), 2);
    let asked = [
        question("ab.example."),
        Question {
            dnssec_ok: true,
            ..question("a.b.example.")
        },
        Question {
            checking_disabled: true,
            ..question("a.b.example.")
        },
        Question {
            record_type: RecordType::TXT,
            ..question("b.example.")
        },
    ];
    for (index, question) in asked.iter().enumerate() {
        resolver.lookup(question).await.unwrap();
        assert_eq!(upstream.count(), index + 2, "{question:?}");
    }
    jump(60).await;
    upstream.says(Mode::Good(1));
    let answer = looked_up(&resolver, "a.b.example.").await;
    assert_eq!(answer, [address(1)], "what has expired denies nothing");
}

#[tokio::test]
async fn a_denial_does_not_reach_into_a_domain_with_servers_of_its_own() {
    let upstream = Changing::start(Mode::Denial).await;
    let resolver = upstream.resolver(|dns| {
        dns.upstream.zones = vec![UpstreamZone {
            domain: name("corp.example."),
            servers: dns.upstream.servers.clone(),
        }];
    });
    for (text, asked) in [
        ("example.", 1),
        ("corp.example.", 2),
        ("b.corp.example.", 2),
        ("other.example.", 2),
    ] {
        resolver.lookup(&question(text)).await.unwrap();
        assert_eq!(upstream.count(), asked, "{text}");
    }
    let resolver = upstream.resolver(|dns| dns.cache.nxdomain_cut = false);
    for text in ["b.example.", "a.b.example."] {
        let before = upstream.count();
        resolver.lookup(&question(text)).await.unwrap();
        assert_eq!(upstream.count(), before + 1, "switched off");
    }
}

#[tokio::test]
async fn what_was_asked_before_a_flush_is_not_kept_after_it() {
    let upstream = Changing::start(Mode::Good(1)).await;
    let resolver = upstream.resolver(|_| {});
    let begun = [Mode::Good(1), Mode::Code(ResponseCode::ServFail)].map(|mode| {
        (
            mode,
            resolver.exchange(question("a.example."), Known::Nothing),
        )
    });
    assert_eq!(resolver.forget(|_| true), 0);
    for (mode, exchange) in begun {
        upstream.says(mode);
        exchange.await.ok();
    }
    assert_eq!(upstream.count(), 2);
    assert_eq!(resolver.cache.load().len(), 0);
    upstream.says(Mode::Good(2));
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(2)]);
    assert_eq!(resolver.forget(|asked| *asked == name("a.example.")), 1);
    upstream.says(Mode::Code(ResponseCode::ServFail));
    assert!(resolver.lookup(&question("a.example.")).await.is_err());
    assert_eq!(resolver.forget(|_| true), 1, "failures are forgotten, too");
    upstream.says(Mode::Good(3));
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(3)]);
    assert_eq!(resolver.metrics.cache_flushes.get(), 3);
}

#[tokio::test]
async fn what_other_servers_said_of_a_domain_is_forgotten_when_it_gets_its_own_or_loses_them() {
    let public = Changing::start(Mode::Denial).await;
    let own = Changing::start(Mode::Good(7)).await;
    let resolver = public.resolver(|_| {});
    let settings = |zones| {
        let mut dns = settings(&[public.server.on(Transport::Udp)], Duration::from_secs(2));
        dns.upstream.zones = zones;
        dns
    };
    let zone = UpstreamZone {
        domain: name("corp.example."),
        servers: vec![own.server.on(Transport::Udp)],
    };
    for text in ["a.corp.example.", "a.example."] {
        let denied = resolver.lookup(&question(text)).await.unwrap();
        assert_eq!(denied.rcode, ResponseCode::NXDomain);
    }
    resolver.reconfigure(&settings(vec![zone]), &Trust::nobody());
    let own_word = looked_up(&resolver, "a.corp.example.").await;
    assert_eq!(own_word, [address(7)]);
    assert!(resolver.holds(&question("a.example.")));
    resolver.reconfigure(&settings(vec![]), &Trust::nobody());
    let again = resolver.lookup(&question("a.corp.example.")).await;
    assert_eq!(again.unwrap().rcode, ResponseCode::NXDomain);
}
