//! What an upstream says: reduced to what was asked and told to a client in every mode, without AAAA or an address inside
//! in it.
#![no_main]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use hickory_proto::op::Message;
use hickory_proto::rr::{DNSClass, RecordType};
use libfuzzer_sys::fuzz_target;
use sekisho::dns::Zones;
use sekisho::resolve::fuzzing::{accepted, answer, query};
use sekisho::resolve::{Answer, Question, ResolveError};
use sekisho_fuzz::answers::withholds;
use sekisho_fuzz::{Gate, Steered};

/// Type, DO and CD of a question.
type Kind = (RecordType, bool, bool);

/// The bytes, and what was made of them for questions so far: each gate asks the same ones.
#[derive(Default)]
struct Script {
    bytes: Vec<u8>,
    said: HashMap<Kind, Result<Answer, ResolveError>>,
}

type Shared = Arc<Mutex<Script>>;

/// The answer in the bytes to a question: the ID is put right and, for another type than they are about, the type.
fn said(question: &Question, script: &Shared) -> Result<Answer, ResolveError> {
    let sent = query(question, 0, None).ok_or(ResolveError::Timeout)?;
    let length = question
        .name
        .iter()
        .map(|label| label.len() + 1)
        .sum::<usize>()
        + 1;
    let end = 12 + length + 4;
    let Script { bytes, said } = &mut *script.lock().expect("no panic before");
    if bytes.len() < end || !bytes[12..end - 4].eq_ignore_ascii_case(&sent[12..end - 4]) {
        return Err(ResolveError::Timeout);
    }
    let kind = (
        question.record_type,
        question.dnssec_ok,
        question.checking_disabled,
    );
    let read = || {
        let mut bytes = bytes.clone();
        bytes[..2].copy_from_slice(&sent[..2]);
        bytes[2] = bytes[2] & 0x07 | 0x80;
        bytes[4..6].copy_from_slice(&sent[4..6]);
        bytes[12..end].copy_from_slice(&sent[12..end]);
        let message = accepted(question, &sent, &bytes).ok_or(ResolveError::Timeout)?;
        answer(question, message).ok_or(ResolveError::Timeout)
    };
    said.entry(kind).or_insert_with(read).clone()
}

fn gates() -> &'static (Vec<Gate>, Shared) {
    static GATES: OnceLock<(Vec<Gate>, Shared)> = OnceLock::new();
    GATES.get_or_init(|| {
        let script = Shared::default();
        let gates = [Steered::No, Steered::Ipv6Only, Steered::All].map(|steered| {
            let script = Arc::clone(&script);
            let said = move |question: &_| said(question, &script);
            Gate::new(steered, Zones::default(), Box::new(said))
        });
        (gates.into(), script)
    })
}

fuzz_target!(|said: &[u8]| {
    let (gates, script) = gates();
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
    *script.lock().expect("no panic before") = Script {
        bytes: said.to_vec(),
        said: HashMap::new(),
    };
    let mut types = vec![RecordType::A, RecordType::AAAA, RecordType::HTTPS];
    if !types.contains(&asked.query_type) {
        types.push(asked.query_type);
    }
    for gate in gates {
        for &record_type in &types {
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
