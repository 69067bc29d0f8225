//! PURE. The packets of a scripted server: which question a line of the script means, a reply in its form, and faults.

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::format::Wrong;
use super::records;
use crate::octets::octets;

/// Whether `NAME TYPE` of a script means a question.
pub(crate) fn covers(to: &str, name: &Name, record_type: RecordType) -> bool {
    let mut words = to.split_whitespace();
    let (names, types) = (words.next().unwrap_or("*"), words.next().unwrap_or("*"));
    let named = match names.strip_prefix("*.") {
        _ if names == "*" => true,
        Some(above) => {
            records::name(above).is_ok_and(|above| above.zone_of(name) && above != *name)
        }
        None => records::name(names).is_ok_and(|names| names == *name),
    };
    named && (types == "*" || records::record_type(types) == Ok(record_type))
}

/// A reply without records.
pub(crate) fn blank(question: &Message, rcode: ResponseCode) -> Message {
    let mut reply = Message::response(question.metadata.id, question.metadata.op_code);
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.response_code = rcode;
    reply.metadata.recursion_desired = question.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.checking_disabled = question.metadata.checking_disabled;
    reply.queries.clone_from(&question.queries);
    if let Some(asked) = &question.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        edns.set_dnssec_ok(asked.flags().dnssec_ok);
        reply.edns = Some(edns);
    }
    reply
}

/// The packet; nothing but TC where it is too long for UDP.
pub(crate) fn encode(mut reply: Message, question: &Message, tcp: bool) -> Option<Vec<u8>> {
    let limit = question
        .edns
        .as_ref()
        .map_or(512, Edns::max_payload)
        .max(512);
    let packet = octets(reply.clone())?;
    if tcp {
        // TC is a word of UDP.
        reply.metadata.truncation = false;
        return octets(reply);
    }
    if packet.len() > usize::from(limit) {
        reply.answers.clear();
        reply.authorities.clear();
        reply.additionals.clear();
        reply.metadata.truncation = true;
        return octets(reply);
    }
    Some(packet)
}

/// The packet with a fault, and whether it comes from elsewhere.
pub(crate) fn spoil(right: &[u8], question: &Message, wrong: Wrong) -> Option<(Vec<u8>, bool)> {
    let mut reply = Message::from_vec(right).ok()?;
    match wrong {
        Wrong::Id => reply.metadata.id = question.metadata.id.wrapping_add(1),
        Wrong::Question => {
            let asked = question.queries.first()?;
            let other = records::name("another.example").ok()?;
            reply.queries = vec![Query::query(other, asked.query_type())];
        }
        Wrong::NoQuestion => reply.queries.clear(),
        Wrong::Source => return Some((right.to_vec(), true)),
        Wrong::Garbage => {
            let mut packet = right.get(..2)?.to_vec();
            packet.extend([0xff; 60]);
            return Some((packet, false));
        }
        Wrong::Half => return Some((right.get(..right.len() / 2)?.to_vec(), false)),
        Wrong::Query => reply.metadata.message_type = MessageType::Query,
    }
    Some((reply.to_vec().ok()?, false))
}
