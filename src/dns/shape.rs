//! PURE. A draft put into the form of a message for one client (RFC 1035, RFC 6840, RFC 6891, RFC 8914).

use std::mem;

use hickory_proto::op::{Edns, MessageType, Metadata, Query};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::handler::Transport;
use super::message::{Asked, ClientEdns, Draft, Reply};
use super::withhold::type_covered;
use crate::resolve::ExtendedError;
use crate::resolve::cache::UDP_PAYLOAD;

/// What every client takes over UDP, in bytes (RFC 1035 section 4.2.1).
const UDP_MINIMUM: u16 = 512;
/// Option code of Extended DNS Errors.
const EDE: u16 = 15;
/// How many of them we send: with [`LONGEST_TEXTS`], question and OPT always fit [`UDP_MINIMUM`].
const MOST_ERRORS: usize = 2;
/// The bytes that all the EXTRA-TEXT that we send has together.
const LONGEST_TEXTS: usize = 160;

/// The reply to a question.
pub(super) fn shape(asked: &Asked, mut draft: Draft) -> Reply {
    draft.authentic &= asked.reads_authentic();
    if !asked.dnssec_ok() {
        let wanted = asked.query.query_type;
        for section in [
            &mut draft.answers,
            &mut draft.authorities,
            &mut draft.additionals,
        ] {
            section.retain(|record| {
                let of = record.record_type();
                of == wanted
                    || !matches!(of, RecordType::RRSIG | RecordType::NSEC | RecordType::NSEC3)
            });
        }
    }
    for record in &mut draft.answers {
        // The cache may hold the name in another client's spelling.
        if record.name == asked.query.name {
            record.name = asked.query.name.clone();
        }
    }
    draft.answers = in_chain_order(&asked.query.name, draft.answers);
    reply(
        &asked.metadata,
        Some(asked.query.clone()),
        asked.edns,
        draft,
    )
}

/// The reply to a request of which not more may be known than its header.
pub(super) fn reply(
    request: &Metadata,
    query: Option<Query>,
    edns: Option<ClientEdns>,
    draft: Draft,
) -> Reply {
    let mut metadata = Metadata::new(request.id, MessageType::Response, request.op_code);
    metadata.recursion_desired = request.recursion_desired;
    metadata.recursion_available = true;
    metadata.checking_disabled = request.checking_disabled;
    metadata.authoritative = draft.authoritative;
    metadata.authentic_data = draft.authentic;
    metadata.response_code = draft.rcode;
    Reply {
        metadata,
        query,
        answers: draft.answers,
        authorities: draft.authorities,
        additionals: draft.additionals,
        edns: edns.map(|client| our_edns(client, &draft.extended_errors)),
    }
}

/// The longest packet for a client, in bytes.
pub(super) fn limit(transport: Transport, edns: Option<ClientEdns>) -> u16 {
    match (transport, edns) {
        (Transport::Tcp | Transport::Tls, _) => u16::MAX,
        (Transport::Udp, Some(client)) => client.payload.clamp(UDP_MINIMUM, UDP_PAYLOAD),
        (Transport::Udp, None) => UDP_MINIMUM,
    }
}

fn our_edns(client: ClientEdns, errors: &[ExtendedError]) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_PAYLOAD);
    edns.set_dnssec_ok(client.dnssec_ok);
    // Ours were said last, and matter most to the reader.
    let count = errors.len().min(MOST_ERRORS);
    for error in errors.iter().rev().take(count) {
        let mut data = error.code.to_be_bytes().to_vec();
        let mut end = error.text.len().min(LONGEST_TEXTS / count);
        while !error.text.is_char_boundary(end) {
            end -= 1;
        }
        data.extend(error.text.bytes().take(end));
        edns.options_mut().insert(EdnsOption::Unknown(EDE, data));
    }
    edns
}

/// DNAMEs, then the CNAMEs from the question's name on, each with its signatures, then the rest as it was: many stub
/// resolvers read an answer from top to bottom and only once.
fn in_chain_order(name: &Name, mut answers: Vec<Record>) -> Vec<Record> {
    let is_alias = |record: &Record| {
        matches!(of(record), RecordType::CNAME) || of(record) == RecordType::DNAME
    };
    if !answers.iter().any(is_alias) {
        return answers;
    }
    let mut ordered = Vec::with_capacity(answers.len());
    take(&mut answers, &mut ordered, |record| {
        of(record) == RecordType::DNAME
    });
    let mut current = name.clone();
    loop {
        let before = ordered.len();
        take(&mut answers, &mut ordered, |record| {
            of(record) == RecordType::CNAME && record.name == current
        });
        let next = ordered
            .iter()
            .skip(before)
            .find_map(|record| match &record.data {
                RData::CNAME(target) => Some(target.0.clone()),
                _ => None,
            });
        match next {
            Some(target) => current = target,
            None => break,
        }
    }
    ordered.append(&mut answers);
    ordered
}

/// The type of a record, or that which it signs.
fn of(record: &Record) -> RecordType {
    type_covered(record).unwrap_or_else(|| record.record_type())
}

/// Moves what is `wanted` from one list to the end of the other, the records before their signatures.
fn take(from: &mut Vec<Record>, to: &mut Vec<Record>, wanted: impl Fn(&Record) -> bool) {
    let (mut taken, left): (Vec<_>, Vec<_>) = mem::take(from).into_iter().partition(wanted);
    taken.sort_by_key(|record| type_covered(record).is_some());
    to.append(&mut taken);
    *from = left;
}

#[cfg(test)]
mod tests {
    use super::super::testing::{dname, lines, name, record};
    use super::*;

    #[test]
    fn aliases_stand_before_addresses_in_chain_order_whatever_order_the_upstream_chose() {
        let shuffled = [
            "c.example. A 192.0.2.1",
            "b.example. CNAME c.example.",
            "x.example. CNAME y.example.",
            "A.example. CNAME b.example.",
            "c.example. A 192.0.2.2",
        ];
        let shuffled = shuffled.into_iter().map(record).collect();
        assert_eq!(
            lines(&in_chain_order(&name("a.example."), shuffled)),
            [
                "A.example. CNAME b.example.",
                "b.example. CNAME c.example.",
                "c.example. A 192.0.2.1",
                "x.example. CNAME y.example.",
                "c.example. A 192.0.2.2",
            ]
        );
    }

    #[test]
    fn a_dname_stands_before_the_alias_made_of_it() {
        let alias = record("a.d.example. CNAME a.e.example.");
        let shuffled = vec![alias.clone(), dname("d.example.")];
        assert_eq!(
            in_chain_order(&name("a.d.example."), shuffled),
            [dname("d.example."), alias]
        );
    }

    #[test]
    fn a_loop_of_aliases_ends() {
        let looped = ["a.example. CNAME b.example.", "b.example. CNAME a.example."];
        let looped: Vec<Record> = looped.into_iter().map(record).collect();
        assert_eq!(in_chain_order(&name("a.example."), looped.clone()), looped);
    }

    #[test]
    fn at_most_two_errors_are_told_ours_first_and_their_text_is_cut_at_a_character() {
        let error = |code, text: &str| ExtendedError {
            code,
            text: text.to_owned(),
        };
        let errors = [error(1, "a"), error(2, "b"), error(3, &"\u{e9}".repeat(41))];
        let client = ClientEdns {
            payload: 512,
            dnssec_ok: false,
        };
        let told = |errors: &[ExtendedError]| -> Vec<(u8, usize)> {
            let edns = our_edns(client, errors);
            let options = edns.options().options.iter();
            let codes = options.map(|(_, option)| match option {
                EdnsOption::Unknown(15, data) => (data[1], data.len()),
                other => panic!("{other:?}"),
            });
            codes.collect()
        };
        assert_eq!(told(&errors), [(3, 82), (2, 3)]);
        // One alone has the room of both.
        assert_eq!(told(&[error(3, &"\u{e9}".repeat(90))]), [(3, 162)]);
    }
}
