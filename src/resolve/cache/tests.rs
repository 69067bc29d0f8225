//! The cache, on a time of its own.

mod audiences;
mod bounds;
mod denied;

use std::net::Ipv4Addr;

use hickory_proto::rr::rdata::{CNAME, SOA};

use hickory_proto::rr::{RData, Record};

use super::super::ExtendedError;
use super::*;

const BOUNDS: Bounds = Bounds {
    entries: 1000,
    min_ttl: Duration::ZERO,
    max_ttl: Duration::from_secs(86_400),
    max_negative_ttl: Duration::from_secs(3_600),
    bytes: 1 << 20,
    stale: Duration::ZERO,
    prefetch: false,
    nxdomain_cut: false,
};

#[expect(clippy::disallowed_methods, reason = "any start will do")]
fn start() -> Instant {
    Instant::now()
}

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn question(text: &str) -> Question {
    Question {
        name: name(text),
        record_type: RecordType::A,
        dnssec_ok: false,
        checking_disabled: false,
    }
}

fn a(owner: &str, ttl: u32) -> Record {
    Record::from_rdata(
        name(owner),
        ttl,
        RData::A(Ipv4Addr::new(192, 0, 2, 1).into()),
    )
}

fn cname(owner: &str, target: &str, ttl: u32) -> Record {
    Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
}

fn soa(owner: &str, ttl: u32, minimum: u32) -> Record {
    let soa = SOA::new(name("ns."), name("root."), 1, 2, 3, 4, minimum);
    Record::from_rdata(name(owner), ttl, RData::SOA(soa))
}

fn answer(answers: Vec<Record>, authorities: Vec<Record>) -> Answer {
    Answer {
        rcode: ResponseCode::NoError,
        authentic: false,
        answers,
        authorities,
        additionals: Vec::new(),
        extended_errors: Vec::new(),
    }
}

fn store(cache: &Cache, text: &str, mut answer: Answer, now: Instant) -> usize {
    let question = question(text);
    let lifetime = cache.settle(&question, &mut answer);
    cache.insert(&question, &answer, lifetime, now)
}

#[test]
fn an_answer_ages_and_ends_with_its_shortest_record() {
    let (cache, now) = (Cache::new(BOUNDS), start());
    let records = vec![cname("a.example.", "b.example.", 300), a("b.example.", 60)];
    store(&cache, "a.example.", answer(records, vec![]), now);
    let ttls = |at| {
        let answer: Option<Answer> = cache.get(&question("a.example."), after(now, at));
        answer.map(|answer| answer.answers.iter().map(|record| record.ttl).collect())
    };
    assert_eq!(ttls(0), Some(vec![300, 60]));
    assert_eq!(ttls(59), Some(vec![241, 1]));
    assert_eq!(ttls(60), None::<Vec<u32>>);
}

#[test]
fn case_does_not_matter_but_type_do_and_cd_do() {
    let (cache, now) = (Cache::new(BOUNDS), start());
    store(
        &cache,
        "a.example.",
        answer(vec![a("a.example.", 60)], vec![]),
        now,
    );
    let base = question("A.eXample.");
    assert!(cache.get(&base, now).is_some());
    for other in [
        Question {
            record_type: RecordType::AAAA,
            ..base.clone()
        },
        Question {
            dnssec_ok: true,
            ..base.clone()
        },
        Question {
            checking_disabled: true,
            ..base
        },
    ] {
        assert_eq!(cache.get(&other, now), None, "{other:?}");
    }
}

#[test]
fn ttls_are_brought_within_the_bounds_also_in_what_is_shown() {
    let cache = Cache::new(Bounds {
        min_ttl: Duration::from_secs(10),
        max_ttl: Duration::from_secs(100),
        ..BOUNDS
    });
    for (ttl, shown) in [(0, 10), (50, 50), (1000, 100), (u32::MAX, 100)] {
        let mut answer = answer(vec![a("a.example.", ttl)], vec![]);
        let lifetime = cache.settle(&question("a.example."), &mut answer);
        assert_eq!(lifetime, Duration::from_secs(shown.into()), "{ttl}");
        assert_eq!(answer.answers[0].ttl, shown);
    }
}

#[test]
fn an_answer_with_a_ttl_of_zero_is_not_kept() {
    let (cache, now) = (Cache::new(BOUNDS), start());
    store(
        &cache,
        "a.example.",
        answer(vec![a("a.example.", 0)], vec![]),
        now,
    );
    assert!(cache.is_empty());
}

#[test]
fn a_negative_answer_holds_as_long_as_its_soa_says() {
    let cache = Cache::new(BOUNDS);
    let cases = [
        (vec![], vec![soa("example.", 900, 300)], 300),
        (vec![], vec![soa("example.", 60, 300)], 60),
        (vec![], vec![soa("example.", 90_000, 90_000)], 3_600),
        (vec![], vec![], 0),
        (vec![], vec![soa("other.", 900, 300)], 0),
        (
            vec![cname("a.example.", "b.other.", 20)],
            vec![soa("other.", 900, 300)],
            20,
        ),
        (vec![cname("a.example.", "b.other.", 20)], vec![], 0),
    ];
    for rcode in [ResponseCode::NoError, ResponseCode::NXDomain] {
        for (answers, authorities, lifetime) in cases.clone() {
            let mut answer = answer(answers, authorities);
            answer.rcode = rcode;
            let shown = format!("{answer:?}");
            let got = cache.settle(&question("a.example."), &mut answer);
            assert_eq!(got, Duration::from_secs(lifetime), "{shown}");
        }
    }
}

#[test]
fn the_soa_of_a_negative_answer_tells_the_client_no_more_than_we_keep() {
    let (cache, now) = (Cache::new(BOUNDS), start());
    let negative = answer(vec![], vec![soa("example.", 90_000, 90_000)]);
    store(&cache, "a.example.", negative, now);
    let got = cache.get(&question("a.example."), after(now, 600)).unwrap();
    assert_eq!(got.authorities[0].ttl, 3_000);
    let signed = soa("example.", 90_000, 90_000).data;
    assert_eq!(got.authorities[0].data, signed, "else no signature holds");
}

#[test]
fn never_more_answers_than_the_bound_and_those_asked_for_stay() {
    let cache = Cache::new(Bounds {
        entries: 10,
        ..BOUNDS
    });
    let now = start();
    let record = |text: &str| answer(vec![a(text, 60)], vec![]);
    store(&cache, "often.example.", record("often.example."), now);
    let mut evicted = 0;
    for index in 0..100 {
        assert!(cache.get(&question("often.example."), now).is_some());
        let text = format!("n{index}.example.");
        evicted += store(&cache, &text, record(&text), now);
        assert!(cache.len() <= 10);
    }
    assert_eq!((cache.len(), evicted), (10, 91));
}

#[test]
fn what_has_expired_gives_way_first_and_is_no_eviction() {
    let cache = Cache::new(Bounds {
        entries: 2,
        ..BOUNDS
    });
    let now = start();
    let record = |text: &str, ttl| answer(vec![a(text, ttl)], vec![]);
    store(&cache, "short.example.", record("short.example.", 10), now);
    store(&cache, "long.example.", record("long.example.", 100), now);
    cache.get(&question("short.example."), now);
    cache.get(&question("long.example."), now);
    let later = after(now, 20);
    let evicted = store(&cache, "new.example.", record("new.example.", 100), later);
    assert_eq!(evicted, 0);
    assert!(cache.get(&question("long.example."), later).is_some());
    assert!(cache.get(&question("new.example."), later).is_some());
}

#[test]
fn other_bounds_keep_what_fits_and_zero_keeps_nothing() {
    let (cache, now) = (Cache::new(BOUNDS), start());
    for index in 0..50 {
        let text = format!("n{index}.example.");
        store(&cache, &text, answer(vec![a(&text, 60)], vec![]), now);
    }
    let bounds = |entries| Bounds { entries, ..BOUNDS };
    assert_eq!(cache.resized(bounds(100_000), now).len(), 50);
    assert_eq!(cache.resized(bounds(7), now).len(), 7);
    assert_eq!(cache.resized(bounds(0), now).len(), 0);
    assert_eq!(cache.resized(BOUNDS, after(now, 60)).len(), 0);
    let total = |entries| {
        let cache = Cache::new(bounds(entries));
        let shards = cache.shards.iter();
        shards.map(|shard| lock(shard).capacity()).sum::<usize>()
    };
    assert_eq!([total(0), total(5), total(100_003)], [0, 5, 100_003]);
}

#[test]
fn a_stale_answer_has_thirty_seconds_no_ad_and_says_so_besides_what_upstream_said() {
    let bounds = Bounds {
        stale: Duration::from_secs(100),
        ..BOUNDS
    };
    let (cache, now) = (Cache::new(bounds), start());
    let told = ExtendedError {
        code: 4,
        text: String::new(),
    };
    let mut held = answer(vec![a("a.example.", 60)], vec![]);
    held.authentic = true;
    held.additionals = vec![a("b.example.", 600), a("c.example.", 1)];
    held.extended_errors = vec![told.clone()];
    store(&cache, "a.example.", held, now);
    let found = |seconds| cache.find(&question("a.example."), || 0, after(now, seconds));
    assert!(matches!(found(59), Found::Fresh { refresh: false, .. }));
    let Found::Stale(stale) = found(60) else {
        panic!("it has expired");
    };
    assert!(!stale.authentic);
    let records = stale.answers.iter().chain(&stale.additionals);
    assert!(records.map(|record| record.ttl).all(|ttl| ttl == 30));
    assert_eq!(stale.extended_errors.len(), 2);
    assert_eq!(
        (&stale.extended_errors[0], stale.extended_errors[1].code),
        (&told, 3)
    );
    assert!(matches!(found(159), Found::Stale(_)));
    assert_eq!(found(160), Found::Nothing);
    assert_eq!(cache.get(&question("a.example."), after(now, 60)), None);
}

#[test]
fn a_refresh_is_asked_for_once_in_the_last_tenth_of_a_life_worth_it() {
    let bounds = Bounds {
        prefetch: true,
        ..BOUNDS
    };
    let (cache, now) = (Cache::new(bounds), start());
    let refresh = |text: &str, seconds| {
        let found = cache.find(&question(text), || 0, after(now, seconds));
        matches!(found, Found::Fresh { refresh: true, .. })
    };
    for (text, ttl) in [("a.example.", 100), ("short.example.", 9)] {
        store(&cache, text, answer(vec![a(text, ttl)], vec![]), now);
    }
    let asked: Vec<_> = (0..100).filter(|at| refresh("a.example.", *at)).collect();
    assert_eq!(asked, [91]);
    assert!(!(0..9).any(|at| refresh("short.example.", at)));
    store(
        &cache,
        "a.example.",
        answer(vec![a("a.example.", 100)], vec![]),
        after(now, 92),
    );
    assert!(
        refresh("a.example.", 185),
        "a new answer may be asked for again"
    );
}

fn large(text: &str, records: u32) -> Answer {
    let records = (0..records).map(|last| {
        let address = Ipv4Addr::from_bits(0xc000_0200 + last);
        Record::from_rdata(name(text), 600, RData::A(address.into()))
    });
    answer(records.collect(), vec![])
}

#[test]
fn what_may_not_be_told_any_more_gives_way_before_what_is_stale_and_stale_before_nothing() {
    let bounds = Bounds {
        entries: 3,
        stale: Duration::from_secs(100),
        ..BOUNDS
    };
    let (cache, now) = (Cache::new(bounds), start());
    for (text, ttl) in [
        ("live.example.", 1000),
        ("stale.example.", 60),
        ("over.example.", 10),
    ] {
        store(&cache, text, answer(vec![a(text, ttl)], vec![]), now);
    }
    let later = after(now, 115);
    let evicted = store(&cache, "new.example.", large("new.example.", 1), later);
    assert_eq!(evicted, 0);
    assert!(cache.get(&question("live.example."), later).is_some());
    let stale = cache.find(&question("stale.example."), || 0, later);
    assert!(matches!(stale, Found::Stale(_)));
}

#[test]
fn a_flush_takes_a_name_wherever_it_answers_and_leaves_the_others() {
    let (cache, now) = (Cache::new(BOUNDS), start());
    let alias = vec![cname("www.example.", "cdn.other.", 60), a("cdn.other.", 60)];
    store(&cache, "www.example.", answer(alias, vec![]), now);
    store(
        &cache,
        "a.example.",
        answer(vec![a("a.example.", 60)], vec![]),
        now,
    );
    assert_eq!(cache.forget(|asked| *asked == name("CDN.other.")), 1);
    assert!(cache.get(&question("www.example."), now).is_none());
    assert!(cache.get(&question("a.example."), now).is_some());
    assert_eq!(cache.forget(|asked| name("example.").zone_of(asked)), 1);
    assert!(cache.is_empty());
}
