//! What must hold of every answer of the gate.

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::HTTPS;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::rdata::svcb::{SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::{RData, Record, RecordType};
use sekisho::dns::Transport;
use sekisho::net::special_purpose;

use crate::gate::{GATE, Told};

/// The greatest size of an answer over UDP.
const UDP: usize = 1232;
/// What answers over TLS are padded to a multiple of (RFC 8467 section 4.1).
const BLOCK: usize = 468;
/// Length of a header.
const HEADER: usize = 12;

/// Reads the answer to a packet, and looks at its form.
///
/// # Panics
///
/// Where it is not as it should be.
pub fn look(packet: &[u8], answer: &[u8], transport: Transport) -> Message {
    let message = Message::from_vec(answer).expect("an answer is a message");
    assert_eq!(answer[..2], packet[..2], "the ID");
    assert_eq!(message.metadata.message_type, MessageType::Response);
    assert_eq!(answer[2] & 0x78, packet[2] & 0x78, "the opcode");
    assert_eq!(answer[3] & 0x40, 0, "Z");
    assert!(!message.metadata.truncation || transport == Transport::Udp);
    let request = Message::from_vec(packet).ok();
    let edns = request.as_ref().and_then(|request| request.edns.as_ref());
    if transport == Transport::Udp {
        let said = edns.map_or(512, |edns| usize::from(edns.max_payload()));
        let most = if request.is_some() {
            said.clamp(512, UDP)
        } else {
            UDP
        };
        assert!(answer.len() <= most, "{} > {most}", answer.len());
    }
    if let Some(edns) = edns
        && message.edns.is_some()
        && transport == Transport::Tls
        && edns.version() == 0
        && message.metadata.response_code == ResponseCode::NoError
        && edns.option(EdnsCode::Padding).is_some()
    {
        assert_eq!(answer.len() % BLOCK, 0, "padding");
    }
    assert!(edns.is_some() || request.is_none() || message.edns.is_none());
    let question = question(packet).filter(|_| request.is_some());
    if let Some(question) = question
        && message.queries.len() == 1
    {
        let told = &answer[HEADER..];
        assert!(told.starts_with(question), "the question is echoed");
    }
    message
}

/// The octets of the first question, where its name is written out.
fn question(packet: &[u8]) -> Option<&[u8]> {
    let mut at = HEADER;
    loop {
        let length = usize::from(*packet.get(at)?);
        if length > 63 {
            return None;
        }
        at += 1 + length;
        if length == 0 {
            return packet.get(HEADER..at + 4);
        }
    }
}

/// Whoever is no client is refused, or not answered.
///
/// # Panics
///
/// Where it learns more.
pub fn tells_a_stranger_nothing(answer: Option<&[u8]>) {
    let Some(answer) = answer else { return };
    let message = Message::from_vec(answer).expect("an answer is a message");
    assert_eq!(message.metadata.response_code, ResponseCode::Refused);
    assert_eq!(sections(&message).count(), 0);
}

/// What holds of what an upstream said once it is told: nothing of AAAA, and no address inside. `said` is what it said,
/// where it could have said a record that is none: such a record is passed on as it is.
///
/// # Panics
///
/// Where it does not hold.
pub fn withholds(told: &Told, said: Option<&Message>) {
    let message = &told.message;
    let wanted = message.queries.first().map(|query| query.query_type);
    for record in sections(message) {
        assert_ne!(record.record_type(), RecordType::AAAA, "{message}");
        match &record.data {
            RData::DNSSEC(DNSSECRData::RRSIG(signature)) => {
                let covered = signature.input().type_covered;
                assert_ne!(covered, RecordType::AAAA, "{message}");
            }
            RData::A(address) => outside(address.0, message),
            RData::HTTPS(HTTPS(binding)) | RData::SVCB(binding) => {
                hints(binding, message);
                let as_said = said.is_some_and(|said| {
                    sections(said).any(|record| match &record.data {
                        RData::HTTPS(HTTPS(binding)) | RData::SVCB(binding) => {
                            demands_hints(binding) && !has_hints(binding)
                        }
                        _ => false,
                    })
                });
                assert!(!demands_hints(binding) || as_said, "{message}");
            }
            _ => {}
        }
    }
    if wanted == Some(RecordType::AAAA) && message.metadata.response_code == ResponseCode::NoError {
        let filtered = message.edns.iter().any(|edns| {
            let mut options = edns.options().options.iter();
            options.any(|(_, option)| match option {
                EdnsOption::Unknown(15, data) => data.starts_with(&[0, 17]),
                _ => false,
            })
        });
        assert!(!filtered || !message.metadata.authentic_data, "{message}");
        assert!(
            message.answers.iter().all(|record| matches!(
                record.record_type(),
                RecordType::CNAME | RecordType::RRSIG
            ) || record.record_type() == RecordType::from(39)),
            "{message}"
        );
    }
}

/// An address may be told of a name outside if it is none of ours but the gate's.
fn outside(address: Ipv4Addr, message: &Message) {
    let kind = special_purpose(IpAddr::V4(address));
    let inside = matches!(
        kind,
        Some("this network" | "unspecified" | "private" | "loopback" | "link-local")
    );
    assert!(address == GATE || !inside, "{address}: {message}");
}

fn hints(binding: &SVCB, message: &Message) {
    for (key, value) in &binding.svc_params {
        match value {
            SvcParamValue::Ipv6Hint(_) => panic!("{message}"),
            SvcParamValue::Ipv4Hint(hints) => {
                for hint in &hints.0 {
                    outside(hint.0, message);
                }
            }
            _ => assert_ne!(*key, SvcParamKey::Ipv6Hint),
        }
    }
}

fn has_hints(binding: &SVCB) -> bool {
    let mut keys = binding.svc_params.iter().map(|(key, _)| *key);
    keys.any(|key| key == SvcParamKey::Ipv6Hint)
}

/// Whether clients must not use the record without `ipv6hint`.
fn demands_hints(binding: &SVCB) -> bool {
    binding.svc_params.iter().any(|(_, value)| match value {
        SvcParamValue::Mandatory(mandatory) => mandatory.0.contains(&SvcParamKey::Ipv6Hint),
        _ => false,
    })
}

/// The records of all sections.
pub fn sections(message: &Message) -> impl Iterator<Item = &Record> {
    [&message.answers, &message.authorities, &message.additionals]
        .into_iter()
        .flatten()
}
