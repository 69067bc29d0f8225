//! PURE. From an upstream's message to an [`Answer`]: only what was asked for is kept (RFC 1034 section 3.6.2 for
//! the CNAME chain, RFC 8914 for extended errors). Called by `upstream` for every message, by `cache` and by
//! [`Resolver::addresses`](super::Resolver::addresses) for the chain.

use std::collections::HashSet;

use hickory_proto::dnssec::rdata::{DNSSECRData, SigInput};
use hickory_proto::op::{Edns, Message, ResponseCode};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::{Answer, ExtendedError, Question};

/// Names in a CNAME chain within one answer: 16 CNAMEs, where public resolvers stop at the latest.
const MAX_CHAIN: usize = 17;

/// EDNS option code of extended errors (RFC 8914 section 2).
pub(super) const EXTENDED_ERROR: u16 = 15;

/// Reads a message that is known to answer the question.
pub(super) fn read(question: &Question, message: Message) -> Answer {
    let Message {
        metadata,
        answers,
        authorities,
        additionals,
        edns,
        ..
    } = message;
    let answers = asked_for(question, answers);
    let names = chain(&question.name, question.record_type, &answers);
    let authorities = of_the_zones(&names, authorities);
    let additionals = of_the_targets(answers.iter().chain(&authorities), additionals);
    Answer {
        rcode: metadata.response_code,
        authentic: metadata.authentic_data,
        answers,
        authorities,
        additionals,
        extended_errors: extended_errors(edns.as_ref()),
    }
}

/// The records that answer the question, in the order of the chain; anything else is not the server's to say.
fn asked_for(question: &Question, mut answers: Vec<Record>) -> Vec<Record> {
    answers.retain(|record| record.dns_class == DNSClass::IN);
    if question.record_type == RecordType::ANY {
        answers.retain(|record| record.name == question.name);
        return answers;
    }
    let chain = chain(&question.name, question.record_type, &answers);
    let is_alias = question.record_type == RecordType::CNAME;
    let mut kept: Vec<Record> = Vec::with_capacity(answers.len());
    // An answer has room for thousands of records, so each is not compared with all.
    let mut seen: HashSet<(&Name, &RData)> = HashSet::with_capacity(answers.len());
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
            // A CNAME may be made of a DNAME above it, which alone is signed (RFC 6672 section 5.3.1).
            let above = (next.is_some() || is_alias)
                && record.name != *owner
                && record.name.zone_of(owner)
                && (signature || record.record_type() == RecordType::DNAME);
            if (here || above) && seen.insert((&record.name, &record.data)) {
                kept.push(record.clone());
            }
        }
    }
    kept
}

/// The records of the authority section that are about zones of these names: their SOA, and what proves that something
/// is not there. Their servers are not: nobody needs them beside an answer, and who forges an answer could name servers
/// of a whole zone there.
fn of_the_zones(names: &[&Name], mut authorities: Vec<Record>) -> Vec<Record> {
    authorities.retain(|record| record.dns_class == DNSClass::IN);
    let is_above = |zone: &Name| names.iter().any(|name| zone.zone_of(name));
    let zones: HashSet<Name> = authorities
        .iter()
        .filter_map(|record| match (&record.data, signature(record)) {
            (RData::SOA(_), _) => Some(&record.name),
            (_, Some(signature)) => Some(&signature.signer_name),
            _ => None,
        })
        .filter(|zone| is_above(zone))
        .cloned()
        .collect();
    authorities.retain(|record| match record.record_type() {
        RecordType::SOA => is_above(&record.name),
        RecordType::NSEC3 => is_above(&record.name.base_name()),
        // Its owner is beside the name, in the zone of the SOA or of the signatures.
        RecordType::NSEC => zones.iter().any(|zone| zone.zone_of(&record.name)),
        RecordType::RRSIG => signature(record).is_some_and(|signature| {
            let about = signature.type_covered;
            !matches!(about, RecordType::NS | RecordType::DS)
                && is_above(&signature.signer_name)
                && signature.signer_name.zone_of(&record.name)
        }),
        _ => false,
    });
    authorities
}

fn signature(record: &Record) -> Option<&SigInput> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => Some(signature.input()),
        _ => None,
    }
}

/// The addresses in the additional section that belong to names in these records, with their signatures.
fn of_the_targets<'a>(
    records: impl Iterator<Item = &'a Record>,
    mut additionals: Vec<Record>,
) -> Vec<Record> {
    let targets: HashSet<&Name> = records
        .filter_map(|record| match &record.data {
            RData::MX(mail) => Some(&mail.exchange),
            RData::NS(server) => Some(&server.0),
            RData::SRV(service) => Some(&service.target),
            RData::SVCB(binding) if binding.target_name.is_root() => Some(&record.name),
            RData::SVCB(binding) => Some(&binding.target_name),
            RData::HTTPS(binding) if binding.0.target_name.is_root() => Some(&record.name),
            RData::HTTPS(binding) => Some(&binding.0.target_name),
            _ => None,
        })
        .collect();
    let is_address = |kind| matches!(kind, RecordType::A | RecordType::AAAA);
    additionals.retain(|record| {
        let about = match signature(record) {
            Some(signature) => signature.type_covered,
            None => record.record_type(),
        };
        record.dns_class == DNSClass::IN && is_address(about) && targets.contains(&record.name)
    });
    additionals
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
        return answer
            .answers
            .iter()
            .all(|record| record.record_type() == RecordType::RRSIG);
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

/// Whether a message names other servers instead of answering with authority. Without any record that was asked for
/// it passes us on, as a server does that does not recurse for us.
pub(super) fn refers(message: &Message) -> bool {
    let has = |record_type| {
        message
            .authorities
            .iter()
            .any(|record| record.record_type() == record_type)
    };
    message.metadata.response_code == ResponseCode::NoError
        && !message.metadata.authoritative
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

    use hickory_proto::dnssec::Algorithm;
    use hickory_proto::dnssec::rdata::{NSEC, RRSIG};
    use hickory_proto::op::{MessageType, OpCode};
    use hickory_proto::rr::SerialNumber;
    use hickory_proto::rr::rdata::{CNAME, NS, NULL};

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
    fn of_an_answer_to_any_only_what_is_at_the_name_is_kept() {
        let question = Question {
            record_type: RecordType::ANY,
            ..question("a.example.")
        };
        let got = kept(
            &question,
            vec![a("bank.example."), a("A.example."), a("b.a.example.")],
        );
        assert_eq!(got, [a("a.example.")]);
    }

    #[test]
    fn signatures_alone_are_no_answer_to_any() {
        let question = Question {
            record_type: RecordType::ANY,
            ..question("a.example.")
        };
        let rdata = NULL::with(vec![0, 1, 8, 2]);
        let code = RecordType::RRSIG;
        let signature = Record::from_rdata(name("a.example."), 60, RData::Unknown { code, rdata });
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        message.answers = vec![signature];
        let mut answer = read(&question, message);
        assert!(is_negative(&question, &answer));
        answer.answers.push(a("a.example."));
        assert!(!is_negative(&question, &answer));
    }

    #[test]
    fn of_authority_and_additional_only_what_belongs_to_the_answer_is_kept() {
        let ns = |owner: &str, server: &str| {
            Record::from_rdata(name(owner), 60, RData::NS(NS(name(server))))
        };
        let record = |line: &str| {
            let mut words = line.splitn(3, ' ');
            let owner = name(words.next().unwrap());
            let record_type: RecordType = words.next().unwrap().parse().unwrap();
            let data = RData::try_from_str(record_type, words.next().unwrap()).unwrap();
            Record::from_rdata(owner, 60, data)
        };
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        message.answers = vec![
            record("a.example. MX 10 mail.example."),
            record("a.example. MX 20 mail.other."),
        ];
        let soa = |zone: &str| record(&format!("{zone} SOA ns.bank. root.bank. 1 2 3 4 5"));
        message.authorities = vec![
            ns("example.", "ns.example."),
            ns(".", "ns.bank."),
            ns("bank.", "ns.bank."),
            a("example."),
            soa("example."),
            soa("bank."),
        ];
        message.additionals = vec![
            a("mail.example."),
            a("ns.bank."),
            a("mail.other."),
            a("a.example."),
            ns("mail.example.", "evil.example."),
            a("ns.example."),
        ];
        let question = Question {
            record_type: RecordType::MX,
            ..question("a.example.")
        };
        let answer = read(&question, message);
        assert_eq!(answer.answers.len(), 2);
        assert_eq!(answer.authorities, [soa("example.")]);
        assert_eq!(answer.additionals, [a("mail.example."), a("mail.other.")]);
    }

    #[test]
    fn servers_that_were_asked_for_keep_their_addresses() {
        let ns = Record::from_rdata(name("example."), 60, RData::NS(NS(name("ns.example."))));
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        message.answers = vec![ns.clone()];
        message.authorities = vec![ns.clone()];
        message.additionals = vec![a("ns.example.")];
        let question = Question {
            record_type: RecordType::NS,
            ..question("example.")
        };
        let answer = read(&question, message);
        assert_eq!(
            (answer.answers, answer.authorities, answer.additionals),
            (vec![ns], vec![], vec![a("ns.example.")])
        );
    }

    #[test]
    fn proofs_are_kept_by_the_zone_that_signed_them() {
        let nsec = |owner: &str| {
            let rdata = NSEC::new(name("z.example."), [RecordType::A]);
            Record::from_rdata(name(owner), 60, RData::DNSSEC(DNSSECRData::NSEC(rdata)))
        };
        let signed = |owner: &str, signer: &str, type_covered| {
            let input = SigInput {
                type_covered,
                algorithm: Algorithm::ECDSAP256SHA256,
                num_labels: 2,
                original_ttl: 60,
                sig_expiration: SerialNumber::new(2),
                sig_inception: SerialNumber::new(1),
                key_tag: 1,
                signer_name: name(signer),
            };
            let rdata = RRSIG::from_sig(input, vec![1]);
            Record::from_rdata(name(owner), 60, RData::DNSSEC(DNSSECRData::RRSIG(rdata)))
        };
        let signature = |owner: &str, signer: &str| signed(owner, signer, RecordType::NSEC);
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        message.authorities = vec![
            nsec("b.example."),
            signature("b.example.", "example."),
            signed("example.", "example.", RecordType::NS),
            nsec("b.bank."),
            signature("b.bank.", "bank."),
            signature("c.bank.", "example."),
        ];
        let answer = read(&question("a.example."), message);
        assert_eq!(
            answer.authorities,
            [nsec("b.example."), signature("b.example.", "example.")]
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
