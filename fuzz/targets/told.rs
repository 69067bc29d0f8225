//! What an upstream says: reduced to what was asked and told to a client in every mode, without AAAA or an address inside
//! in it.
#![no_main]

use std::sync::{Arc, Mutex, OnceLock};

use hickory_proto::op::Message;
use hickory_proto::rr::{DNSClass, RecordType};
use libfuzzer_sys::fuzz_target;
use sekisho::dns::Zones;
use sekisho::resolve::fuzzing::{accepted, answer, query};
use sekisho::resolve::{Answer, Question, ResolveError};
use sekisho_fuzz::answers::withholds;
use sekisho_fuzz::{Gate, Steered};

type Bytes = Arc<Mutex<Vec<u8>>>;

/// The answer in the bytes to a question: the ID is put right and, for another type than they are about, the type.
fn said(question: &Question, bytes: &Bytes) -> Result<Answer, ResolveError> {
    let mut bytes = bytes.lock().expect("no panic before").clone();
    let sent = query(question, 0, None).ok_or(ResolveError::Timeout)?;
    let length = question
        .name
        .iter()
        .map(|label| label.len() + 1)
        .sum::<usize>()
        + 1;
    let end = 12 + length + 4;
    if bytes.len() < end || !bytes[12..end - 4].eq_ignore_ascii_case(&sent[12..end - 4]) {
        return Err(ResolveError::Timeout);
    }
    bytes[..2].copy_from_slice(&sent[..2]);
    bytes[2] = bytes[2] & 0x07 | 0x80;
    bytes[4..6].copy_from_slice(&sent[4..6]);
    bytes[12..end].copy_from_slice(&sent[12..end]);
    let message = accepted(question, &sent, &bytes).ok_or(ResolveError::Timeout)?;
    answer(question, message).ok_or(ResolveError::Timeout)
}

fn gates() -> &'static (Vec<Gate>, Bytes) {
    static GATES: OnceLock<(Vec<Gate>, Bytes)> = OnceLock::new();
    GATES.get_or_init(|| {
        let bytes = Bytes::default();
        let gates = [Steered::No, Steered::Ipv6Only, Steered::All].map(|steered| {
            let bytes = Arc::clone(&bytes);
            let said = move |question: &_| said(question, &bytes);
            Gate::new(steered, Zones::default(), Box::new(said))
        });
        (gates.into(), bytes)
    })
}

fuzz_target!(|said: &[u8]| {
    let (gates, bytes) = gates();
    said.clone_into(&mut bytes.lock().expect("no panic before"));
    let Ok(message) = Message::from_vec(said) else {
        return;
    };
    let Some(asked) = message
        .queries
        .first()
        .filter(|asked| asked.query_class == DNSClass::IN)
    else {
        return;
    };
    for gate in gates {
        for record_type in [
            asked.query_type,
            RecordType::A,
            RecordType::AAAA,
            RecordType::HTTPS,
        ] {
            for dnssec_ok in [false, true] {
                if let Some(told) = gate.ask_for(&asked.name, record_type, dnssec_ok)
                    && told.from_upstream
                {
                    withholds(&told, Some(&message));
                }
            }
        }
    }
});
