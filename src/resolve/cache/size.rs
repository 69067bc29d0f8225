//! PURE. The memory that an answer takes while it is kept, estimated from what it is made of. Called by the cache.

use hickory_proto::rr::{Name, RData, Record};
use hickory_proto::serialize::binary::BinEncodable as _;

use super::super::{Answer, Question};

/// What an allocation takes besides its content: the allocator's header and its rounding.
const ALLOCATION: usize = 16;
/// The counts of an `Arc`.
const COUNTS: usize = 2 * size_of::<usize>();
/// Bytes of labels that a [`Name`] holds without an allocation, and labels.
const NAME_INLINE: (usize, usize) = (32, 24);
/// What a type that is not looked into holds for each of its bytes on the wire, in lists and boxes.
const PARSED_PER_WIRE_BYTE: usize = 2;

/// A question and its answer, each behind an `Arc`, the answer without room to spare.
pub(super) fn of(question: &Question, answer: &Answer) -> usize {
    let texts = answer
        .extended_errors
        .iter()
        .map(|error| size_of_val(error) + allocated(error.text.capacity()));
    let lists = [&answer.answers, &answer.authorities, &answer.additionals];
    allocated(COUNTS + size_of::<Question>())
        + name(&question.name)
        + allocated(COUNTS + size_of::<Answer>())
        + lists.into_iter().map(|list| records(list)).sum::<usize>()
        + texts.sum::<usize>()
}

/// The key of a denied name, in its set.
pub(super) fn of_denial(question: &Question) -> usize {
    3 * size_of::<Name>() / 2 + name(&question.name)
}

fn records(list: &[Record]) -> usize {
    let heap = |record: &Record| name(&record.name) + data(&record.data);
    allocated(size_of_val(list)) + list.iter().map(heap).sum::<usize>()
}

fn data(data: &RData) -> usize {
    match data {
        RData::A(_) | RData::AAAA(_) => 0,
        RData::CNAME(target) => name(target),
        RData::NS(target) => name(target),
        RData::PTR(target) => name(target),
        RData::MX(mx) => name(&mx.exchange),
        RData::SRV(srv) => name(&srv.target),
        RData::SOA(soa) => name(&soa.mname) + name(&soa.rname),
        RData::TXT(txt) => {
            let texts = txt.txt_data.iter().map(|text| allocated(text.len()));
            allocated(size_of_val(&*txt.txt_data)) + texts.sum::<usize>()
        }
        RData::NULL(raw) | RData::Unknown { rdata: raw, .. } => allocated(raw.anything.len()),
        other => {
            let wire = other.to_bytes().map_or(0, |bytes| bytes.len());
            allocated(PARSED_PER_WIRE_BYTE * wire)
        }
    }
}

fn name(name: &Name) -> usize {
    let (bytes, labels) = (name.len().saturating_sub(1), name.iter().count());
    let mut heap = 0;
    if bytes > NAME_INLINE.0 {
        heap += allocated(bytes.next_power_of_two());
    }
    if labels > NAME_INLINE.1 {
        heap += allocated(labels.next_power_of_two());
    }
    heap
}

fn allocated(content: usize) -> usize {
    if content == 0 {
        0
    } else {
        content + ALLOCATION
    }
}
