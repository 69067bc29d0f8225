//! The race itself, without a network: what RFC 8305 costs a session in computing.
#![allow(
    missing_docs,
    reason = "a benchmark has no callers, and may stop at the first surprise"
)]

use std::hint::black_box;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use sekisho::dial::happy_eyeballs::{Input, Output, Race};
use sekisho::net::Family;

fn race(criterion: &mut Criterion) {
    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant has no other beginning"
    )]
    let start = Instant::now();
    let six: Vec<IpAddr> = (1..=8u16)
        .map(|last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]))
        .collect();
    let four: Vec<IpAddr> = (1..=8u8)
        .map(|last| IpAddr::from([192, 0, 2, last]))
        .collect();

    criterion.bench_function("happy eyeballs, first attempt wins", |bencher| {
        bencher.iter(|| {
            let mut race = Race::new(Family::V6, Duration::from_millis(250));
            race.note(Input::Resolved(Family::V6, six[..2].to_vec()), start);
            let first = race.poll(start);
            race.note(Input::Resolved(Family::V4, four[..2].to_vec()), start);
            if let Output::Start(address) = first {
                race.note(Input::Connected(address), start);
            }
            black_box(race.poll(start))
        });
    });
    criterion.bench_function("happy eyeballs, sixteen attempts fail", |bencher| {
        bencher.iter(|| {
            let mut race = Race::new(Family::V6, Duration::from_millis(250));
            race.note(Input::Resolved(Family::V4, four.clone()), start);
            race.note(Input::Resolved(Family::V6, six.clone()), start);
            loop {
                match race.poll(start) {
                    Output::Start(address) => race.note(Input::Failed(address), start),
                    end => break black_box(end),
                }
            }
        });
    });
}

criterion_group!(benches, race);
criterion_main!(benches);
