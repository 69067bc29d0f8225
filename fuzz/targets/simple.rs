//! What a server says over UDP, read in place: only what the long way reads of it, too, now and as it is told later.
#![no_main]

use std::sync::OnceLock;
use std::time::Instant;

use hickory_proto::rr::{Name, RecordType};
use libfuzzer_sys::fuzz_target;
use sekisho::config::Cache;
use sekisho::resolve::Question;
use sekisho::resolve::in_place::is_read_in_place;
use sekisho_fuzz::{Steered, config};

const NAMES: [&str; 4] = ["www.example.com.", "a.b.c.example.", "example.", "."];
const TYPES: [RecordType; 4] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::HTTPS,
    RecordType::MX,
];
const HEADER: usize = 12;

fn given() -> &'static (Cache, Instant) {
    static GIVEN: OnceLock<(Cache, Instant)> = OnceLock::new();
    GIVEN.get_or_init(|| {
        let cache = Cache {
            entries: 8,
            bytes: 1 << 20,
            ..config(Steered::No).dns.cache
        };
        (cache, Instant::now())
    })
}

/// Name, type and class as they stand in a message.
fn wire(question: &Question) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in question.name.iter() {
        wire.push(u8::try_from(label.len()).expect("a label"));
        wire.extend(label);
    }
    wire.push(0);
    wire.extend(u16::from(question.record_type).to_be_bytes());
    wire.extend([0, 1]);
    wire
}

// Bits of the first octet: two of the name, two of the type, and whether the message is cut off there and the question put
// in its place, so that changes elsewhere are met more often.
fuzz_target!(|data: &[u8]| {
    let Some((selector, reply)) = data.split_first() else {
        return;
    };
    let selected = usize::from(*selector);
    let question = Question {
        name: Name::from_ascii(NAMES[selected & 3]).expect("a name"),
        record_type: TYPES[selected >> 2 & 3],
        dnssec_ok: false,
        checking_disabled: false,
    };
    let (bounds, now) = given();
    is_read_in_place(&question, reply, *bounds, *now);
    if selected & 0x10 != 0 {
        return;
    }
    let wire = wire(&question);
    let end = HEADER + wire.len();
    let mut reply = reply.to_vec();
    if reply.len() >= end {
        reply[2] = reply[2] & 0x05 | 0x80;
        reply[4..6].copy_from_slice(&[0, 1]);
        reply[HEADER..end].copy_from_slice(&wire);
        is_read_in_place(&question, &reply, *bounds, *now);
    }
});
