//! What must hold of every message that is read in place: the long way reads the same. For a test and a fuzz target.

use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use super::Simple;
use crate::config::Cache as Bounds;
use crate::resolve::answer::chain_end;
use crate::resolve::cache::{Cache, Key};
use crate::resolve::read::read_message;
use crate::resolve::upstream::told;
use crate::resolve::wire::Finished;
use crate::resolve::{Answer, Question};

/// How the two ways take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is not read in place.
    LongWay,
    /// It is read in place, and the long way would have dropped it for something that is not kept of it.
    Alone,
    /// Both read the same.
    Both,
}

/// Reads the reply to a question (name in lower case) in both ways and compares what is kept, now and later.
///
/// # Panics
///
/// Where the two do not agree, or where what is kept is nothing that the long way would take.
pub(super) fn agree(question: &Question, reply: &[u8], bounds: Bounds, now: Instant) -> Taken {
    let mut wire = name_bytes(&question.name);
    wire.extend(u16::from(question.record_type).to_be_bytes());
    wire.extend([0, 1]);
    let Some(simple) = Simple::read(&wire, reply, &bounds) else {
        return Taken::LongWay;
    };
    let read = |message: &[u8]| {
        let mut answer = told(question, read_message(message).ok()?).ok()?;
        // Over UDP nobody vouches for it.
        answer.authentic = false;
        Some(answer)
    };
    let (taken, mut answer) = match read(reply) {
        Some(answer) => (Taken::Both, answer),
        None => {
            let message = simple.finished().message(true);
            let kept = read(message);
            let kept = kept.unwrap_or_else(|| panic!("kept: {message:02x?}\nof: {reply:02x?}"));
            (Taken::Alone, kept)
        }
    };
    has_good_form(&simple);
    let (inserted, settled) = (Cache::new(bounds), Cache::new(bounds));
    let lifetime = settled.settle(question, &mut answer);
    assert_eq!(Duration::from_secs(simple.left.into()), lifetime);
    settled.insert(question, &answer, lifetime, now);
    inserted.insert_simple(&Key::of(question), &simple, now);
    let below = Question {
        name: question.name.prepend_label("b").unwrap_or_default(),
        ..question.clone()
    };
    for age in [0, 1, simple.left / 2, simple.left.saturating_sub(1)] {
        let then = now + Duration::from_secs(age.into());
        let got = inserted.get(question, then);
        assert_eq!(got, settled.get(question, then), "after {age} s");
        if age == 0 {
            let expected = (simple.left > 0).then(|| answer.clone());
            assert_eq!(got, expected);
            assert_eq!(spelt(got.as_ref()), spelt(expected.as_ref()));
        }
        for question in [question, &below] {
            let found = |cache: &Cache| cache.find(question, || 0, then);
            assert_eq!(found(&inserted), found(&settled), "after {age} s");
            let life = |cache: &Cache| cache.life(question, then);
            assert_eq!(life(&inserted), life(&settled), "after {age} s");
        }
    }
    says_what_it_has(question, &simple, &answer);
    taken
}

/// Names are equal in any spelling.
fn spelt(answer: Option<&Answer>) -> String {
    let answers = answer.map_or(&[][..], |answer| &answer.answers);
    let lines = answers.iter().map(Record::to_string);
    lines.collect::<Vec<_>>().join("\n")
}

/// The message is divided as it says.
fn has_good_form(simple: &Simple) {
    let mut message = simple.finished().message(true).to_vec();
    let parts = Finished::prepare(&mut message, 0).expect("an answer of ours");
    assert_eq!((message, parts), (simple.message.clone(), simple.parts));
}

/// What is known of the message is what it says.
fn says_what_it_has(question: &Question, simple: &Simple, answer: &Answer) {
    let end = chain_end(question, &answer.answers);
    assert_eq!(*simple.end, *name_bytes(end));
    assert_eq!(simple.denied, answer.rcode == ResponseCode::NXDomain);
    let data: Vec<Vec<u8>> = answer
        .answers
        .iter()
        .filter(|record| record.record_type() == question.record_type && record.name == *end)
        .map(|record| data_bytes(&record.data))
        .collect();
    assert_eq!(simple.data().collect::<Vec<_>>(), data);
    assert_eq!(simple.records, data.len());
    let aliases = answer.answers.iter();
    let aliases = aliases.filter(|record| record.record_type() == RecordType::CNAME);
    assert_eq!(usize::from(simple.aliases), aliases.count());
    assert_eq!(
        simple.records + usize::from(simple.aliases),
        answer.answers.len()
    );
    let zone = simple.zone().unwrap_or(&[0]);
    assert!(simple.end.ends_with(zone));
    let aliases = simple.message.get(..simple.aliases_end);
    assert!(aliases.is_some_and(|aliases| aliases.len() <= simple.finished().message(false).len()));
}

/// A name as it stands in a message, in lower case and not compressed.
fn name_bytes(name: &Name) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_name_encoding(NameEncoding::UncompressedLowercase);
    name.emit(&mut encoder).expect("a name that was read");
    bytes
}

fn data_bytes(data: &RData) -> Vec<u8> {
    data.to_bytes().expect("data that was read")
}
