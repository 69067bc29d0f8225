//! PURE. From an upstream's message to an [`Answer`]: only what was asked for is kept (RFC 1034 section 3.6.2 for
//! the CNAME chain, RFC 8914 for extended errors). Called by `upstream` for every message, by `cache` and by
//! [`Resolver::addresses`](super::Resolver::addresses) for the chain.

use hickory_proto::op::{Edns, Message, ResponseCode};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::{Answer, ExtendedError, Question};

/// Names in a CNAME chain within one answer: 16 CNAMEs, where public resolvers stop at the latest.
const MAX_CHAIN: usize = 17;

/// EDNS option code of extended errors (RFC 8914 section 2).
const EXTENDED_ERROR: u16 = 15;

/// Reads a message that is known to answer the question.
pub(super) fn read(question: &Question, message: Message) -> Answer {
    let Message {
        metadata,
        answers,
        mut authorities,
        mut additionals,
        edns,
        ..
    } = message;
    let internet = |record: &Record| record.dns_class == DNSClass::IN;
    authorities.retain(internet);
    additionals.retain(internet);
    Answer {
        rcode: metadata.response_code,
        authentic: metadata.authentic_data,
        answers: asked_for(question, answers),
        authorities,
        additionals,
        extended_errors: extended_errors(edns.as_ref()),
    }
}

/// The records that answer the question, in the order of the chain; anything else is not the server's to say.
fn asked_for(question: &Question, mut answers: Vec<Record>) -> Vec<Record> {
    answers.retain(|record| record.dns_class == DNSClass::IN);
    if question.record_type == RecordType::ANY {
        return answers;
    }
    let chain = chain(&question.name, question.record_type, &answers);
    let mut kept: Vec<Record> = Vec::with_capacity(answers.len());
    let mut names = chain.iter().copied().peekable();
    while let Some(owner) = names.next() {
        let next = names.peek().copied();
        for record in &answers {
            let signature = record.record_type() == RecordType::RRSIG;
            let here = record.name == *owner
                && match (next, &record.data) {
                    _ if signature => true,
                    (Some(next), RData::CNAME(target)) => target.0 == *next,
                    (Some(_), _) => false,
                    (None, _) => record.record_type() == question.record_type,
                };
            let above = next.is_some()
                && record.name != *owner
                && record.name.zone_of(owner)
                && (signature || record.record_type() == RecordType::DNAME);
            if (here || above) && !kept.contains(record) {
                kept.push(record.clone());
            }
        }
    }
    kept
}

/// The names from the asked one along the CNAMEs of the answer, each once: at least one, loops and overlong chains
/// end where they are cut.
pub(super) fn chain<'a>(
    name: &'a Name,
    record_type: RecordType,
    answers: &'a [Record],
) -> Vec<&'a Name> {
    let mut chain = vec![name];
    let mut current = name;
    if matches!(record_type, RecordType::CNAME | RecordType::ANY) {
        return chain;
    }
    while chain.len() < MAX_CHAIN {
        let target = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *current => Some(&target.0),
            _ => None,
        });
        match target {
            Some(target) if !chain.contains(&target) => {
                chain.push(target);
                current = target;
            }
            _ => break,
        }
    }
    chain
}

/// The name at the end of the chain: the one that has, or has not, the records asked for.
pub(super) fn chain_end<'a>(question: &'a Question, answers: &'a [Record]) -> &'a Name {
    chain(&question.name, question.record_type, answers)
        .pop()
        .unwrap_or(&question.name)
}

/// Whether the CNAMEs loop, or are more than we follow. What is left of such a chain would be taken for "no such record".
pub(super) fn is_endless(question: &Question, answers: &[Record]) -> bool {
    let end = chain_end(question, answers);
    question.record_type != RecordType::CNAME
        && question.record_type != RecordType::ANY
        && answers
            .iter()
            .any(|record| record.record_type() == RecordType::CNAME && record.name == *end)
}

/// Whether the answer says that there is no such name or no such record (RFC 2308 section 2).
pub(super) fn is_negative(question: &Question, answer: &Answer) -> bool {
    if answer.rcode != ResponseCode::NoError {
        return true;
    }
    if question.record_type == RecordType::ANY {
        return answer.answers.is_empty();
    }
    let end = chain_end(question, &answer.answers);
    !answer
        .answers
        .iter()
        .any(|record| record.record_type() == question.record_type && record.name == *end)
}

/// The SOA of a negative answer with its TTL, if it is one of the zone that the name is in.
pub(super) fn negative_soa<'a>(question: &Question, answer: &'a Answer) -> Option<(u32, &'a SOA)> {
    let end = chain_end(question, &answer.answers);
    answer
        .authorities
        .iter()
        .find_map(|record| match &record.data {
            RData::SOA(soa) if record.name.zone_of(end) => Some((record.ttl, soa)),
            _ => None,
        })
}

/// Whether a server passed us on to others instead of answering, as one that does not recurse for us does.
pub(super) fn is_referral(authoritative: bool, answer: &Answer) -> bool {
    let has = |record_type| {
        answer
            .authorities
            .iter()
            .any(|record| record.record_type() == record_type)
    };
    answer.rcode == ResponseCode::NoError
        && !authoritative
        && answer.answers.is_empty()
        && has(RecordType::NS)
        && !has(RecordType::SOA)
}

/// The extended errors of an OPT record (RFC 8914 section 2): two octets of code, the rest is text.
pub(super) fn extended_errors(edns: Option<&Edns>) -> Vec<ExtendedError> {
    let options = edns.map_or(&[][..], |edns| edns.options().as_ref());
    options
        .iter()
        .filter_map(|(_, option)| match option {
            EdnsOption::Unknown(EXTENDED_ERROR, bytes) => {
                let (code, text) = bytes.split_first_chunk::<2>()?;
                let text = String::from_utf8_lossy(text);
                Some(ExtendedError {
                    code: u16::from_be_bytes(*code),
                    text: text.trim_end_matches('\0').to_owned(),
                })
            }
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::op::{MessageType, OpCode};
    use hickory_proto::rr::rdata::{CNAME, NULL};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn a(owner: &str) -> Record {
        Record::from_rdata(
            name(owner),
            60,
            RData::A(Ipv4Addr::new(192, 0, 2, 1).into()),
        )
    }

    fn cname(owner: &str, target: &str) -> Record {
        Record::from_rdata(name(owner), 60, RData::CNAME(CNAME(name(target))))
    }

    fn question(owner: &str) -> Question {
        Question {
            name: name(owner),
            record_type: RecordType::A,
            dnssec_ok: false,
            checking_disabled: false,
        }
    }

    fn kept(question: &Question, answers: Vec<Record>) -> Vec<Record> {
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        message.answers = answers;
        read(question, message).answers
    }

    #[test]
    fn only_the_chain_of_the_question_is_kept_and_in_its_order() {
        let signature = Record::from_rdata(
            name("b.example."),
            60,
            RData::Unknown {
                code: RecordType::RRSIG,
                rdata: NULL::with(vec![0, 1, 8, 2]),
            },
        );
        let got = kept(
            &question("A.example."),
            vec![
                a("b.example."),
                a("bank.example."),
                signature.clone(),
                cname("a.example.", "b.example."),
                cname("bank.example.", "evil.example."),
                a("a.example."),
            ],
        );
        assert_eq!(
            got,
            [
                cname("a.example.", "b.example."),
                a("b.example."),
                signature
            ]
        );
    }

    #[test]
    fn a_chain_that_loops_or_never_ends_is_cut() {
        let question = question("a.example.");
        let looped = [
            cname("a.example.", "b.example."),
            cname("b.example.", "a.example."),
        ];
        assert_eq!(chain_end(&question, &looped), &name("b.example."));
        let mut endless = vec![cname("a.example.", "0.example.")];
        for hop in 0..100 {
            endless.push(cname(
                &format!("{hop}.example."),
                &format!("{}.example.", hop + 1),
            ));
        }
        assert_eq!(
            chain(&question.name, RecordType::A, &endless).len(),
            MAX_CHAIN
        );
    }

    #[test]
    fn extended_errors_are_read_and_broken_ones_skipped() {
        let mut edns = Edns::new();
        edns.options_mut()
            .insert(EdnsOption::Unknown(15, vec![0, 22, b'n', b'o', 0]));
        assert_eq!(
            extended_errors(Some(&edns)),
            [ExtendedError {
                code: 22,
                text: "no".to_owned()
            }]
        );
        let mut edns = Edns::new();
        edns.options_mut().insert(EdnsOption::Unknown(15, vec![0]));
        assert_eq!(extended_errors(Some(&edns)), []);
    }
}
