//! The cache of answers: a hit among many, and putting one into a full cache.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use sekisho::config;
use sekisho::resolve::cache::Cache;
use sekisho::resolve::{Answer, Question};

const ENTRIES: usize = 100_000;
const HOUR: Duration = Duration::from_secs(3600);

fn question(index: usize) -> Question {
    Question {
        name: Name::from_ascii(format!("host-{index}.example.com.")).expect("a valid name"),
        record_type: RecordType::A,
        dnssec_ok: false,
        checking_disabled: false,
    }
}

fn answer(question: &Question) -> Answer {
    let address = |last| RData::A(Ipv4Addr::new(192, 0, 2, last).into());
    Answer {
        rcode: ResponseCode::NoError,
        authentic: false,
        answers: (1..=2)
            .map(|last| Record::from_rdata(question.name.clone(), 3600, address(last)))
            .collect(),
        authorities: Vec::new(),
        additionals: Vec::new(),
        extended_errors: Vec::new(),
    }
}

#[expect(clippy::disallowed_methods, reason = "any start will do")]
fn full() -> (Cache, Vec<(Question, Answer)>, Instant) {
    let now = Instant::now();
    let cache = Cache::new(config::Cache {
        entries: ENTRIES,
        min_ttl: Duration::ZERO,
        max_ttl: HOUR,
        max_negative_ttl: HOUR,
        bytes: 1 << 30,
        stale: Duration::ZERO,
        prefetch: false,
        nxdomain_cut: false,
    });
    let pairs: Vec<_> = (0..2 * ENTRIES)
        .map(|index| {
            let question = question(index);
            let answer = answer(&question);
            (question, answer)
        })
        .collect();
    for (question, answer) in &pairs {
        cache.insert(question, answer, HOUR, now);
    }
    (cache, pairs, now)
}

fn cache(criterion: &mut Criterion) {
    let (cache, pairs, now) = full();
    let held: Vec<_> = pairs
        .iter()
        .filter(|(question, _)| cache.get(question, now).is_some())
        .collect();
    let mut turn = held.iter().cycle();
    criterion.bench_function("cache/hit", |bencher| {
        bencher.iter(|| {
            let found = turn
                .next()
                .and_then(|(question, _)| cache.get(question, now));
            black_box(found)
        });
    });
    let mut turn = pairs.iter().cycle();
    criterion.bench_function("cache/insert-into-full", |bencher| {
        bencher.iter(|| {
            let (question, answer) = turn.next().expect("pairs");
            black_box(cache.insert(question, answer, HOUR, now))
        });
    });
}

criterion_group!(benches, cache);
criterion_main!(benches);
