//! Messages as servers send them and as nobody should, read in both ways.

use std::time::{Duration, Instant};

use hickory_proto::rr::{Name, RecordType};

use super::super::agreement::{Taken, agree};
use super::generated::{Random, question, response};
use crate::config::Cache as Bounds;
use crate::resolve::Question;

const BOUNDS: [Bounds; 2] = [
    Bounds {
        entries: 8,
        bytes: 1 << 20,
        min_ttl: Duration::ZERO,
        max_ttl: Duration::from_secs(86_400),
        max_negative_ttl: Duration::from_secs(3600),
        stale: Duration::ZERO,
        prefetch: false,
        nxdomain_cut: true,
    },
    Bounds {
        entries: 8,
        bytes: 1 << 20,
        min_ttl: Duration::from_secs(90),
        max_ttl: Duration::from_secs(600),
        max_negative_ttl: Duration::from_secs(30),
        stale: Duration::from_secs(60),
        prefetch: true,
        nxdomain_cut: false,
    },
];

const TYPES: [RecordType; 3] = [RecordType::A, RecordType::AAAA, RecordType::HTTPS];

#[expect(clippy::disallowed_methods, reason = "any start will do")]
fn start() -> Instant {
    Instant::now()
}

/// Runs so many messages of each kind, and says how many were read in place, of how many; and how many of the flipped ones.
fn compare(count: usize, seed: u64) -> [usize; 4] {
    let (mut random, now) = (Random(seed), start());
    let mut plain = 0;
    let (mut odd, mut alone, mut flipped) = (0, 0, 0);
    for number in 0..count {
        let kind = TYPES[number % 3];
        let text = random.of(&["www.example.", "a.b.www.example.", "example."]);
        let question = question(text, kind);
        let bounds = random.of(&BOUNDS);
        let message = random.message(&question, false);
        let bytes = message.to_vec().unwrap();
        let taken = agree(&question, &bytes, bounds, now);
        plain += usize::from(taken == Taken::Both);
        let with_error = bytes.windows(7).any(|it| it == [0, 15, 0, 3, 0, 22, b'x']);
        if kind != RecordType::HTTPS && !with_error {
            assert_eq!(taken, Taken::Both, "{message}");
        }
        let spoilt = random.message(&question, true);
        if let Ok(bytes) = spoilt.to_vec() {
            let taken = agree(&question, &bytes, bounds, now);
            assert_ne!(taken, Taken::Alone, "{spoilt}");
            odd += usize::from(taken == Taken::Both);
        }
        for _ in 0..4 {
            let mut bytes = bytes.clone();
            random.flip(&mut bytes);
            match agree(&question, &bytes, bounds, now) {
                Taken::LongWay => {}
                Taken::Alone => alone += 1,
                Taken::Both => flipped += 1,
            }
        }
    }
    [plain, odd, flipped, alone]
}

#[test]
fn whatever_is_read_in_place_the_long_way_reads_the_same() {
    let count = 4000;
    let [plain, odd, flipped, alone] = compare(count, 0x2545_f491_4f6c_dd1d);
    println!("{plain} plain, {odd} odd, {flipped} and {alone} flipped ones were read in place");
    assert!(plain > count / 2, "{plain}");
    assert!(odd > count / 20, "{odd}");
    assert!(flipped > count / 4 && alone > 0, "{flipped} {alone}");
}

/// A message with these records, as they stand on the wire, in the answer section.
fn raw(question: &Question, answers: &[&[u8]]) -> Vec<u8> {
    let mut bytes = response(question).to_vec().unwrap();
    bytes[7] = u8::try_from(answers.len()).unwrap();
    bytes.extend(answers.concat());
    bytes
}

/// A record about the question or what a pointer leads to.
fn record(to: u8, kind: u8, ttl: [u8; 4], data: &[u8]) -> Vec<u8> {
    let length = u8::try_from(data.len()).unwrap();
    [&[0xc0, to, 0, kind, 0, 1], &ttl[..], &[0, length], data].concat()
}

const MINUTE: [u8; 4] = [0, 0, 0, 60];

/// How a message with these records about `www.example.`, which begin at 29, is taken.
fn taken(record_type: RecordType, answers: &[&[u8]]) -> Taken {
    let question = question("www.example.", record_type);
    agree(&question, &raw(&question, answers), BOUNDS[0], start())
}

#[test]
fn a_name_that_leads_into_a_ttl_is_not_kept_for_it_would_change_with_time() {
    let address = record(41, 1, MINUTE, &[192, 0, 2, 1]);
    for (ttl, expected) in [
        // The second octet of the pointer leads to the TTL of its own record, or to the name asked for.
        (35, Taken::LongWay),
        (16, Taken::Both),
    ] {
        let alias = record(12, 5, [1, b'a', 0, 60], &[0xc0, ttl]);
        assert_eq!(taken(RecordType::A, &[&alias, &address]), expected);
    }
}

#[test]
fn a_name_that_leads_to_what_overlaps_it_is_none() {
    let alias = record(12, 5, MINUTE, &[1, b'b', 0xc0, 40]);
    let address = record(41, 1, MINUTE, &[192, 0, 2, 1]);
    assert_eq!(
        taken(RecordType::A, &[&alias, &address]),
        Taken::LongWay,
        "the length of the data is no label of the name"
    );
}

#[test]
fn a_name_that_leads_to_a_pointer_in_the_question_is_not_kept_for_clients_spell_that() {
    let mut label = [b'y'; 63];
    // At 97 the name `z.`, at 110 a pointer to it, which in upper case would lead to 65.
    label[23..26].copy_from_slice(&[1, b'z', 0]);
    label[36..38].copy_from_slice(&[0xc0, 97]);
    let question = Question {
        name: Name::from_labels([&[b'x'; 60][..], &label]).unwrap(),
        ..question(".", RecordType::A)
    };
    for (to, expected) in [(110, Taken::LongWay), (97, Taken::Both)] {
        let alias = record(12, 5, MINUTE, &[0xc0, to]);
        let place = u8::try_from(raw(&question, &[&alias]).len() - 2).unwrap();
        let address = record(place, 1, MINUTE, &[192, 0, 2, 1]);
        let reply = raw(&question, &[&alias, &address]);
        assert_eq!(agree(&question, &reply, BOUNDS[0], start()), expected);
    }
}

#[test]
fn the_owner_of_a_binding_is_not_found_by_what_may_be_cut_out_before_it() {
    let hint = [
        0, 1, 0, 0, 6, 0, 16, 32, 1, 13, 184, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    ];
    let other = [0, 2, 0, 0, 1, 0, 3, 2, b'h', b'2'];
    for (to, expected) in [(29, Taken::LongWay), (12, Taken::Both)] {
        let (first, second) = (
            record(12, 65, MINUTE, &hint),
            record(to, 65, MINUTE, &other),
        );
        assert_eq!(taken(RecordType::HTTPS, &[&first, &second]), expected);
    }
}

#[test]
fn a_protocol_that_is_no_text_is_not_kept() {
    for (letter, expected) in [(0xff, Taken::LongWay), (b'h', Taken::Both)] {
        let data = [0, 1, 0, 0, 1, 0, 3, 2, letter, b'2'];
        let binding = record(12, 65, MINUTE, &data);
        assert_eq!(taken(RecordType::HTTPS, &[&binding]), expected);
    }
}
