//! Hours of questions in little: at half the rate that the gate can do, with a reload every second, no answer is lost and
//! the memory stays as it is.
//!
//! `SEKISHO_SOAK=SECONDS` says how long; it is 3 where it is not set.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

use crate::support::Reply;
use crate::support::{Ask, Gate, Load, Setup, Upstream, clock, ipv4_of, txt};

const CLIENTS: usize = 2;
/// How long the top rate is measured.
const MEASURED: Duration = Duration::from_secs(1);
/// How long a client rests that is ahead of its rate.
const REST: Duration = Duration::from_millis(1);
/// Every so many questions one is for a name that nobody has asked for.
const NEW_NAME: u64 = 256;
/// Answers that are kept: few, so that the cache is full before the memory is looked at.
const KEPT: &str = "500";
/// KiB by which the memory may grow between the first fifth and the end: what allocators keep, and no trend.
const GROWTH: usize = 12 * 1024;

fn length() -> Duration {
    let seconds = std::env::var("SEKISHO_SOAK").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(3);
    Duration::from_secs(seconds)
}

fn setup(upstream: &Upstream) -> Setup {
    Setup::new(upstream)
        .set("dns.rate-limit", "0")
        .set("dns.cache.entries", KEPT)
        .set("log.level", r#""info""#)
        .zone(
            "lab.home.arpa.zone",
            "$TTL 60\n@ SOA ns admin 1 60 60 60 60\n@ NS ns\nns A 192.0.2.1\n",
        )
}

/// What is asked, and how many records must come.
fn questions() -> Vec<(Vec<u8>, usize)> {
    [
        ("www.example", RecordType::A, 1),
        ("www.example", RecordType::AAAA, 0),
        ("www.example", RecordType::HTTPS, 0),
        ("steered.example", RecordType::A, 1),
        ("text.example", RecordType::TXT, 1),
        ("ns.lab.home.arpa", RecordType::A, 1),
    ]
    .into_iter()
    .map(|(owner, record_type, records)| (Ask::new(owner, record_type).bytes(), records))
    .collect()
}

/// What a client has seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    answered: u64,
    lost: u64,
}

/// Asks for so long at this rate; without one, as fast as it can.
fn client(name: &str, gate: SocketAddr, length: Duration, rate: Option<f64>) -> Seen {
    let questions = questions();
    let mut load = Load::new(gate);
    let mut seen = Seen::default();
    let mut asked = 0_u64;
    let begun = clock();
    loop {
        let elapsed = begun.elapsed();
        if elapsed >= length {
            return seen;
        }
        let due = |asked| rate.is_none_or(|rate| (asked as f64) < elapsed.as_secs_f64() * rate);
        while load.has_room() && due(asked) {
            asked += 1;
            if asked.is_multiple_of(NEW_NAME) {
                let owner = format!("n{asked}.{name}.nowhere.example");
                load.ask(&Ask::new(&owner, RecordType::A).bytes(), None);
            } else {
                let which = usize::try_from(asked).unwrap() % questions.len();
                let (packet, records) = &questions[which];
                load.ask(packet, Some(*records));
            }
        }
        while load.open() > 0 {
            let Some((expected, answer)) = load.answer() else {
                seen.lost += load.open() as u64;
                return seen;
            };
            assert!(is_right(expected, &answer), "{answer:?}");
            seen.answered += 1;
        }
        if !due(asked) {
            thread::sleep(REST);
        }
    }
}

/// So many records; without a number, that there is no such name.
fn is_right(expected: Option<usize>, answer: &Message) -> bool {
    let code = answer.metadata.response_code;
    match expected {
        Some(records) => code == ResponseCode::NoError && answer.answers.len() == records,
        None => code == ResponseCode::NXDomain,
    }
}

/// All clients together.
fn crowd(phase: &str, gate: SocketAddr, length: Duration, rate: Option<f64>) -> Seen {
    let sum = Mutex::new(Seen::default());
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let sum = &sum;
            scope.spawn(move || {
                let rate = rate.map(|rate| rate / CLIENTS as f64);
                let seen = client(&format!("{phase}{number}"), gate, length, rate);
                let mut sum = sum.lock().unwrap();
                sum.answered += seen.answered;
                sum.lost += seen.lost;
            });
        }
    });
    sum.into_inner().unwrap()
}

#[test]
fn at_half_the_top_rate_with_a_reload_every_second_nothing_is_lost_and_the_memory_is_flat() {
    let upstream = Upstream::start();
    upstream.addresses("www.example", &["192.0.2.1", "2001:db8::1"]);
    upstream.addresses("steered.example", &["2001:db8::2"]);
    upstream.say(
        "text.example",
        RecordType::TXT,
        Reply::of([txt("text.example", "here")]),
    );
    let setup = setup(&upstream);
    let gate = Gate::start(&setup);
    let address = gate.addr("dns-udp");
    let answer = Ask::new("steered.example", RecordType::A).udp(&gate);
    assert_eq!(ipv4_of(&answer), [std::net::Ipv4Addr::LOCALHOST]);

    let top = crowd("top", address, MEASURED, None);
    assert_eq!(top.lost, 0, "{top:?}");
    let rate = top.answered as f64 / MEASURED.as_secs_f64() / 2.0;
    let length = length();
    let begun = clock();
    let (seen, reloads, early) = thread::scope(|scope| {
        let soak = scope.spawn(move || crowd("soak", address, length, Some(rate)));
        let mut reloads = 0;
        let mut early = None;
        while !soak.is_finished() {
            if begun.elapsed() >= Duration::from_secs(reloads) {
                gate.reload(&setup, "reloaded");
                reloads += 1;
            }
            if begun.elapsed() >= length / 5 {
                early.get_or_insert_with(|| gate.status("VmRSS"));
            }
            thread::sleep(10 * REST);
        }
        (
            soak.join().unwrap(),
            reloads,
            early.expect("the first fifth is over"),
        )
    });
    let late = gate.status("VmRSS");
    println!(
        "{} answers in {length:?} ({rate:.0}/s wanted), {reloads} reloads, {} lost, VmRSS {early} -> {late} KiB",
        seen.answered, seen.lost
    );
    assert_eq!(seen.lost, 0, "{seen:?}");
    assert!(late < early + GROWTH, "{early} -> {late} KiB");
    assert!(!gate.log_text().contains("panicked"));
}
