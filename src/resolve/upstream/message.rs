//! PURE. The messages on the way to a server and back: what a query carries, how its name is disguised (0x20), and
//! whether a message that came in is the answer to it (RFC 5452 section 9). Called by `udp`, `stream` and `exchange`.

use std::borrow::Cow;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query as Queried, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};

use super::super::read::read_message;
use crate::config::Transport;
use crate::resolve::Question;

/// UDP payload that we announce: passes any path without fragments (RFC 9715).
const UDP_PAYLOAD: u16 = 1232;
/// Queries that nobody on the way shall read have a multiple of this length (RFC 8467 section 4.1).
const PADDING_BLOCK: usize = 128;
/// Length of the header of an EDNS option.
const OPTION_HEADER: usize = 4;
/// EDNS option code of edns-tcp-keepalive (RFC 7828).
const KEEPALIVE: u16 = 11;
/// EDNS option code of padding (RFC 7830).
const PADDING: u16 = 12;
/// Length of a DNS header.
const HEADER: usize = 12;
/// Length of what follows the name in a question.
const TYPE_AND_CLASS: usize = 4;

/// What goes to a server: encoded, without an ID yet.
#[derive(Clone, Debug)]
pub(super) struct Query {
    message: Message,
    bytes: Vec<u8>,
    question_end: usize,
}

impl Query {
    /// Encodes a question for one transport.
    ///
    /// # Errors
    ///
    /// What is wrong with a name that cannot be encoded.
    pub(super) fn new(
        question: &Question,
        transport: Transport,
        edns: bool,
    ) -> Result<Self, String> {
        let mut message = Message::new(0, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.metadata.checking_disabled = question.checking_disabled;
        // Asks for AD in the answer without the signatures (RFC 6840 section 5.7); only over these do we believe it.
        message.metadata.authentic_data = transport.is_encrypted();
        // Answers are shared between askers, so one asker's mix of cases has no place in them.
        let name = question.name.to_lowercase();
        message.add_query(Queried::query(name, question.record_type));
        if edns {
            message.set_edns(options(question, transport));
        }
        let encode = |message: &Message| message.to_vec().map_err(|error| error.to_string());
        let mut bytes = encode(&message)?;
        if transport.is_encrypted()
            && let Some(edns) = &mut message.edns
        {
            let length = bytes.len() + OPTION_HEADER;
            let missing = length.next_multiple_of(PADDING_BLOCK) - length;
            edns.options_mut()
                .insert(EdnsOption::Unknown(PADDING, vec![0; missing]));
            bytes = encode(&message)?;
        }
        let question_end = question_end(&bytes).ok_or("a name without an end")?;
        Ok(Self {
            message,
            bytes,
            question_end,
        })
    }

    /// The message itself.
    pub(super) fn message(&self) -> &Message {
        &self.message
    }

    /// The octets with this ID.
    pub(super) fn with_id(&self, id: u16) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if let Some(place) = bytes.first_chunk_mut::<2>() {
            *place = id.to_be_bytes();
        }
        bytes
    }

    /// How many octets of randomness [`Query::disguised`] takes.
    pub(super) fn name_length(&self) -> usize {
        self.question_end - HEADER - TYPE_AND_CLASS
    }

    /// The octets with this ID, and the case of each letter of the name by the lowest bit of an octet of `random`.
    pub(super) fn disguised(&self, id: u16, random: &[u8]) -> Vec<u8> {
        let mut bytes = self.with_id(id);
        for (octet, random) in bytes.iter_mut().skip(HEADER).zip(random) {
            // The octets of length are below any letter.
            if octet.is_ascii_alphabetic() && random & 1 == 1 {
                *octet = octet.to_ascii_uppercase();
            }
        }
        bytes
    }

    /// Where the question ends in the octets, and so what of them an answer must repeat.
    pub(super) fn question_end(&self) -> usize {
        self.question_end
    }
}

fn options(question: &Question, transport: Transport) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_PAYLOAD)
        .set_dnssec_ok(question.dnssec_ok);
    if matches!(transport, Transport::Tcp | Transport::Tls) {
        edns.options_mut()
            .insert(EdnsOption::Unknown(KEEPALIVE, Vec::new()));
    }
    edns
}

/// The end of the only question of a message of ours.
fn question_end(bytes: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1 + length;
        if length == 0 {
            return (at + TYPE_AND_CLASS <= bytes.len()).then_some(at + TYPE_AND_CLASS);
        }
    }
}

/// What a message that came in is to a query.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Its answer.
    Answer(Box<Message>),
    /// Its answer, of which only a part fitted.
    Truncated,
    /// Has its ID and its question, except for the case of the letters.
    OtherCase,
    /// Has its ID and answers another question.
    OtherQuestion,
    /// Has its ID and question, and cannot be read.
    Garbled(String),
    /// Nothing to do with it.
    Foreign,
}

/// Judges a message by the header and question that went out.
pub(super) fn judge(sent: &[u8], reply: &[u8]) -> Verdict {
    let (Some(header), Some((_, asked))) = (
        reply.first_chunk::<HEADER>(),
        sent.split_first_chunk::<HEADER>(),
    ) else {
        return Verdict::Foreign;
    };
    let [id0, id1, flags0, flags1, count0, count1, ..] = *header;
    let is_response = flags0 & 0x80 != 0;
    let is_query_opcode = flags0 & 0x78 == 0;
    if !sent.starts_with(&[id0, id1]) || !is_response || !is_query_opcode {
        return Verdict::Foreign;
    }
    let failed = !matches!(
        ResponseCode::from_low(flags1 & 0x0f),
        ResponseCode::NoError | ResponseCode::NXDomain
    );
    let told = reply.get(HEADER..HEADER + asked.len());
    let count = u16::from_be_bytes([count0, count1]);
    match count {
        // A server that could not read the query, such as one older than EDNS, repeats nothing of it.
        0 if failed => {}
        1 if told == Some(asked) => {}
        1 if told.is_some_and(|told| is_same_but_case(asked, told)) => return Verdict::OtherCase,
        _ => return Verdict::OtherQuestion,
    }
    if flags0 & 0x02 != 0 {
        return Verdict::Truncated;
    }
    let plain = match count {
        1 => undisguised(reply, asked.len()),
        _ => Cow::Borrowed(reply),
    };
    match read_message(&plain) {
        Ok(message) => Verdict::Answer(Box::new(message)),
        Err(error) => Verdict::Garbled(error.to_string()),
    }
}

/// The message with the name of its question in lower case: names in the records that are compressed point into it, and
/// would tell clients our mix of cases as if it were the zone's.
fn undisguised(reply: &[u8], question: usize) -> Cow<'_, [u8]> {
    let name = HEADER..(HEADER + question).saturating_sub(TYPE_AND_CLASS);
    let mut reply = Cow::Borrowed(reply);
    let is_disguised = |name: &[u8]| name.iter().any(u8::is_ascii_uppercase);
    if reply.get(name.clone()).is_some_and(is_disguised)
        && let Some(name) = reply.to_mut().get_mut(name)
    {
        name.make_ascii_lowercase();
    }
    reply
}

fn is_same_but_case(asked: &[u8], told: &[u8]) -> bool {
    let Some(end) = asked.len().checked_sub(TYPE_AND_CLASS) else {
        return false;
    };
    let (Some((asked, asked_type)), Some((told, told_type))) =
        (asked.split_at_checked(end), told.split_at_checked(end))
    else {
        return false;
    };
    asked.eq_ignore_ascii_case(told) && asked_type == told_type
}

/// How long the server keeps a connection without queries, if it said so (RFC 7828 section 3.1), in units of 100 ms.
pub(super) fn keepalive(message: &Message) -> Option<u16> {
    let edns = message.edns.as_ref()?;
    match edns.option(EdnsCode::Keepalive)? {
        EdnsOption::Unknown(_, bytes) => bytes.as_slice().try_into().ok().map(u16::from_be_bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{Name, RecordType};

    use super::*;

    fn query(name: &str, transport: Transport) -> Query {
        let question = Question {
            name: Name::from_ascii(name).unwrap(),
            record_type: RecordType::HTTPS,
            dnssec_ok: false,
            checking_disabled: false,
        };
        Query::new(&question, transport, true).unwrap()
    }

    fn sent(query: &Query, bytes: &[u8]) -> Vec<u8> {
        bytes[..query.question_end()].to_vec()
    }

    /// The query sent back as its answer.
    fn reflected(bytes: &[u8]) -> Vec<u8> {
        let mut reply = bytes.to_vec();
        reply[2] |= 0x80;
        reply
    }

    #[test]
    fn encrypted_queries_have_one_of_few_lengths_and_ask_for_ad() {
        for transport in [
            Transport::Tls,
            Transport::Https,
            Transport::Quic,
            Transport::H3,
        ] {
            for name in [".", "a.example.", &format!("{}.example.", "a".repeat(63))] {
                let query = query(name, transport);
                assert_eq!(query.with_id(1).len() % 128, 0, "{name}");
                assert!(query.message().metadata.authentic_data);
            }
        }
        let plain = query("a.example.", Transport::Udp);
        assert!(plain.with_id(1).len() < 64);
        assert!(!plain.message().metadata.authentic_data);
    }

    #[test]
    fn only_streams_carry_the_keepalive_option() {
        let carries = |transport| {
            let query = query("a.example.", transport);
            let edns = query.message().edns.clone().unwrap();
            edns.option(EdnsCode::Keepalive).is_some()
        };
        assert!(carries(Transport::Tcp) && carries(Transport::Tls));
        assert!(!carries(Transport::Udp) && !carries(Transport::Https));
    }

    #[test]
    fn the_disguise_changes_letters_only_and_is_part_of_the_question() {
        let query = query("a1-b.example.", Transport::Udp);
        let all = query.disguised(7, &vec![1; query.name_length()]);
        assert_eq!(&all[..2], [0, 7]);
        assert_eq!(&all[12..26], b"\x04A1-B\x07EXAMPLE\0");
        assert_eq!(all[26..], query.with_id(7)[26..]);
        let reply = reflected(&all);
        assert!(matches!(
            judge(&sent(&query, &all), &reply),
            Verdict::Answer(_)
        ));
        let lowered = reflected(&query.with_id(7));
        assert_eq!(judge(&sent(&query, &all), &lowered), Verdict::OtherCase);
    }

    #[test]
    fn what_is_compressed_against_the_question_does_not_show_the_disguise() {
        let query = query("a.example.", Transport::Udp);
        let all = query.disguised(7, &[1; 64]);
        let mut reply = reflected(&all);
        // One answer in place of OPT: the name of the question, a CNAME to `b` below its last label.
        reply[7] = 1;
        reply[11] = 0;
        reply.truncate(query.question_end());
        reply.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 4, 1, b'b', 0xc0, 14]);
        let Verdict::Answer(message) = judge(&sent(&query, &all), &reply) else {
            panic!("not an answer");
        };
        assert_eq!(
            message.answers[0].to_string(),
            "a.example. 60 IN CNAME b.example."
        );
    }

    #[test]
    fn the_type_is_not_a_letter() {
        let query = query("a.example.", Transport::Udp);
        let bytes = query.with_id(7);
        let mut reply = reflected(&bytes);
        // HTTPS is 65, which is an `A`; 97 would be an `a`.
        let place = query.question_end() - 3;
        assert_eq!(reply[place], 65);
        reply[place] = 97;
        assert_eq!(judge(&sent(&query, &bytes), &reply), Verdict::OtherQuestion);
    }

    #[test]
    fn what_is_not_the_answer_is_told_apart() {
        let query = query("a.example.", Transport::Udp);
        let bytes = query.with_id(0x1234);
        let sent = sent(&query, &bytes);
        assert_eq!(judge(&sent, &bytes), Verdict::Foreign, "a query");
        let good = reflected(&bytes);
        let with = |place: usize, value: u8| {
            let mut reply = good.clone();
            reply[place] = value;
            judge(&sent, &reply)
        };
        assert_eq!(with(0, 0x13), Verdict::Foreign, "another ID");
        assert_eq!(with(2, 0xa8), Verdict::Foreign, "another opcode");
        assert_eq!(with(13, b'b'), Verdict::OtherQuestion);
        assert_eq!(with(5, 0), Verdict::OtherQuestion, "no question");
        assert_eq!(with(5, 2), Verdict::OtherQuestion, "two questions");
        assert_eq!(with(2, 0x82), Verdict::Truncated);
        for length in 0..good.len() {
            let verdict = judge(&sent, &good[..length]);
            assert!(!matches!(verdict, Verdict::Answer(_)), "{length}");
        }
        let mut formerr = good[..HEADER].to_vec();
        formerr[3] = 1;
        formerr[4..].fill(0);
        let verdict = judge(&sent, &formerr);
        assert!(matches!(verdict, Verdict::Answer(_)), "{verdict:?}");
    }

    #[test]
    fn a_garbled_message_with_id_and_question_is_told_as_such() {
        let query = query("a.example.", Transport::Udp);
        let bytes = query.with_id(7);
        let mut reply = reflected(&bytes);
        reply[7] = 200;
        let verdict = judge(&sent(&query, &bytes), &reply);
        assert!(matches!(verdict, Verdict::Garbled(_)), "{verdict:?}");
    }
}
