//! What comes in from a server after a query, in a datagram and over a connection: only the answer to that very query is
//! taken, and of it only what was asked.
#![no_main]

use std::sync::OnceLock;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use libfuzzer_sys::fuzz_target;
use sekisho::resolve::Question;
use sekisho::resolve::fuzzing::{accepted, answer, over_stream, query};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime")
    })
}

fn is_answer(question: &Question, sent: &[u8], message: &Message) {
    assert_eq!(message.metadata.id.to_be_bytes(), sent[..2]);
    assert_eq!(message.metadata.message_type, MessageType::Response);
    match message.queries.as_slice() {
        [asked] => assert_eq!(
            (&asked.name, asked.query_type),
            (&question.name, question.record_type)
        ),
        asked => {
            assert!(asked.is_empty() && !matches!(message.metadata.response_code.low(), 0 | 3))
        }
    }
}

fuzz_target!(|data: (bool, u16, &[u8])| {
    let (disguised, id, bytes) = data;
    let question = Question {
        name: Name::from_ascii("www.example.com.").expect("a name"),
        record_type: RecordType::HTTPS,
        dnssec_ok: true,
        checking_disabled: false,
    };
    let random = [1; 17];
    let random = disguised.then_some(&random[..]);
    let sent = query(&question, id, random).expect("a query");
    if let Some(message) = accepted(&question, &sent, bytes) {
        is_answer(&question, &sent, &message);
        if let Some(answer) = answer(&question, message) {
            assert!(matches!(
                answer.rcode,
                ResponseCode::NoError | ResponseCode::NXDomain
            ));
            let mut names = vec![&question.name];
            for record in &answer.answers {
                // Everything that is kept hangs on what was asked.
                let known = |name: &&Name| record.name.zone_of(name);
                assert!(names.iter().any(known), "{answer:?}");
                if let hickory_proto::rr::RData::CNAME(target) = &record.data {
                    names.push(&target.0);
                }
            }
        }
    }
    let over = runtime().block_on(over_stream(&question, |sent| {
        let mut bytes = bytes.to_vec();
        // A frame of which the ID is like ours gets it.
        let mut at = 0;
        while let Some([high, low, id0, id1]) = bytes.get_mut(at..at + 4) {
            if u16::from_be_bytes([*id0, *id1]) == id {
                (*id0, *id1) = (sent[0], sent[1]);
            }
            at += 2 + usize::from(u16::from_be_bytes([*high, *low]));
        }
        bytes
    }));
    if let Some(message) = over {
        is_answer(&question, &message.metadata.id.to_be_bytes(), &message);
    }
});
