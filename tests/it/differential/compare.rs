//! In what two answers differ, and how that is shown.

use std::fmt;

use super::client::{Question, Told};
use super::wire::{CNAME, Message, Record, SOA};

/// A part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// RCODE.
    Rcode,
    /// The flags of the header.
    Flags,
    /// The records of the answer section, as a set.
    Answer,
    /// The order of its aliases.
    Order,
    /// How long something in the first two sections holds.
    Ttl,
    /// The authority section of an answer with SOA, or the lack of it.
    Denial,
    /// What stands beside an answer without SOA.
    Beside,
}

/// One difference.
pub(super) struct Difference<'a> {
    /// Where.
    pub(super) part: Part,
    /// To what question.
    pub(super) question: &'a Question,
    /// What the gate said.
    pub(super) ours: &'a Told,
    /// What it is compared with.
    pub(super) theirs: &'a Told,
    /// Seconds by which a TTL may differ.
    pub(super) slack: u32,
}

/// All differences. No TTL may differ by more than `slack` seconds: both come from the same zone, and neither can have
/// gone down by more than the time since the first question.
pub(super) fn differences<'a>(
    question: &'a Question,
    ours: &'a Told,
    theirs: &'a Told,
    slack: u32,
) -> Vec<Difference<'a>> {
    let (we, they) = (ours.whole(), theirs.whole());
    let same = |section: usize| set(&we.sections[section]) == set(&they.sections[section]);
    let mut parts = Vec::new();
    if we.rcode != they.rcode {
        parts.push(Part::Rcode);
    }
    if ours.first.flags != theirs.first.flags || we.flags != they.flags {
        parts.push(Part::Flags);
    }
    if !same(0) {
        parts.push(Part::Answer);
    } else if aliases(we) != aliases(they) {
        parts.push(Part::Order);
    }
    if !far(we, they, slack).is_empty() {
        parts.push(Part::Ttl);
    }
    let denies = |message: &Message| message.sections[1].iter().any(|record| record.kind == SOA);
    if denies(we) || denies(they) {
        if !same(1) {
            parts.push(Part::Denial);
        }
    } else if !same(1) || !same(2) {
        parts.push(Part::Beside);
    }
    let difference = |part| Difference {
        part,
        question,
        ours,
        theirs,
        slack,
    };
    parts.into_iter().map(difference).collect()
}

/// The records of the first two sections whose TTLs are too far from each other.
pub(super) fn far<'a>(we: &'a Message, they: &Message, slack: u32) -> Vec<&'a Record> {
    let sections = we.sections.iter().zip(&they.sections).take(2);
    let far = sections.flat_map(|(ours, theirs)| {
        ours.iter().filter(move |record| {
            let mut others = theirs.iter().filter(|other| other.set() == record.set());
            others.any(|other| other.ttl.abs_diff(record.ttl) > slack)
        })
    });
    far.collect()
}

/// A section as a set.
pub(super) fn set(records: &[Record]) -> Vec<(&[u8], u16, &[u8])> {
    let mut set: Vec<_> = records.iter().map(Record::set).collect();
    set.sort_unstable();
    set
}

/// The owners of the aliases of an answer in their order.
fn aliases(message: &Message) -> Vec<&[u8]> {
    let aliases = message.of(CNAME).map(|record| &record.owner[..]);
    aliases.collect()
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Question {
            name,
            kind,
            flags,
            edns,
        } = self.question;
        let name = shown(name);
        writeln!(f, "{:?}: {name} {kind} {flags:04x} {edns:?}", self.part)?;
        writeln!(f, "    ours {}", text(self.ours))?;
        write!(f, "    theirs {}", text(self.theirs))
    }
}

fn shown(name: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = name;
    while let Some((length, after)) = rest.split_first().filter(|(length, _)| **length > 0) {
        let (label, after) = after.split_at(usize::from(*length));
        text += &format!("{}.", label.escape_ascii());
        rest = after;
    }
    text
}

fn text(told: &Told) -> String {
    let message = told.whole();
    let mut text = format!(
        "rcode {} flags {:04x}{} ede {:?}",
        message.rcode,
        message.flags,
        if told.second.is_some() { " (TCP)" } else { "" },
        message.ede()
    );
    for (section, records) in ["an", "ns", "ar"].iter().zip(&message.sections) {
        for record in records.iter().take(12) {
            let data = &record.data[..record.data.len().min(60)];
            text += &format!(
                "\n      {section} {} {} {} {}",
                shown(&record.owner),
                record.ttl,
                record.kind,
                data.escape_ascii()
            );
        }
    }
    text
}
