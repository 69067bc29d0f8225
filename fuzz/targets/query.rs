//! A packet of a client, over each transport: whatever it holds, it is answered with a message of the right form, or with
//! silence.
#![no_main]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use libfuzzer_sys::fuzz_target;
use sekisho::dns::{Transport, Zones};
use sekisho::resolve::{Answer, Question, ResolveError};
use sekisho_fuzz::answers::withholds;
use sekisho_fuzz::{Gate, Steered};

const ZONE: &str = "$TTL 60\n@ SOA gate hostmaster 1 1 1 1 60\n@ NS gate\ngate A 192.168.1.2\n*.w AAAA fd00::1\n\
    out CNAME www.example.com.\nsub NS ns.sub\nns.sub A 192.168.1.9\nmx MX 10 gate\n";

/// Names of every kind, told apart by the first letter.
fn said(question: &Question) -> Result<Answer, ResolveError> {
    let mut answer = Answer {
        rcode: ResponseCode::NoError,
        authentic: true,
        answers: Vec::new(),
        authorities: Vec::new(),
        additionals: Vec::new(),
        extended_errors: Vec::new(),
    };
    let record = |data| Record::from_rdata(question.name.clone(), 300, data);
    let first = question.name.iter().next().and_then(|label| label.first());
    let letter = first.map_or(0, u8::to_ascii_lowercase) % 8;
    let wanted = question.record_type;
    match letter {
        0 => return Err(ResolveError::Timeout),
        1 => answer.rcode = ResponseCode::NXDomain,
        2 => answer
            .answers
            .push(record(RData::CNAME(CNAME(Name::root())))),
        3 | 4 if wanted == RecordType::A => {
            let address = Ipv4Addr::new(192, if letter == 3 { 0 } else { 168 }, 2, 1);
            answer.answers.push(record(RData::A(A(address))));
        }
        4 | 5 if wanted == RecordType::AAAA => {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
            answer.answers.push(record(RData::AAAA(AAAA(address))));
        }
        _ => {}
    }
    if answer.answers.is_empty() {
        let soa = SOA::new(Name::root(), Name::root(), 1, 2, 3, 4, 500);
        answer.authorities.push(Record::from_rdata(
            question.name.clone(),
            600,
            RData::SOA(soa),
        ));
    }
    Ok(answer)
}

fn gates() -> &'static [Gate] {
    static GATES: OnceLock<Vec<Gate>> = OnceLock::new();
    GATES.get_or_init(|| {
        let zones = Zones::from_text(&[("home.arpa", ZONE)]).expect("a good zone");
        [Steered::All, Steered::Ipv6Only]
            .map(|steered| Gate::new(steered, zones.clone(), Box::new(said)))
            .into()
    })
}

fuzz_target!(|packet: &[u8]| {
    for gate in gates() {
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
            if let Some(told) = gate.ask(packet, transport)
                && told.from_upstream
            {
                withholds(&told, None);
            }
        }
    }
});
