//! Ten thousand questions asked of the gate and of unbound over the same upstream: whatever differs is explained here,
//! or is a fault.

mod client;
mod wire;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::SocketAddr;

use hickory_proto::rr::RecordType;
use tempfile::TempDir;

use self::client::{Question, Told, ask};
use self::wire::{A, AAAA, AD, ANY, Message, RD, Record, TC};
use self::world::World;
use crate::support::{
    Ask, Daemon, Gate, Setup, Upstream, clock, installed, nsd, ports, sign, unbound, wait_for,
};

const COUNT: usize = 10_000;

/// nsd with the world, an unbound that resolves it for everybody, and the unbound that is compared with.
struct Servers {
    _daemons: [Daemon; 3],
    _folder: TempDir,
    upstream: SocketAddr,
    oracle: SocketAddr,
}

impl Servers {
    fn start(world: &World) -> Self {
        let folder = TempDir::new().unwrap();
        let here = folder.path();
        let mut files = Vec::new();
        for (zone, text, signed) in &world.zones {
            let file = if zone == "." { "root" } else { zone };
            let origin = zone.trim_end_matches('.');
            fs::write(
                here.join(file),
                format!("$ORIGIN {origin}.\n$TTL 300\n{text}"),
            )
            .unwrap();
            let served = match signed {
                Some(options) => {
                    sign(here, zone, "ECDSAP256SHA256", options);
                    format!("{file}.signed")
                }
                None => file.to_owned(),
            };
            files.push((zone.clone(), served));
        }
        let [authority, upstream, oracle] = ports();
        // Everything that an answer may carry is to be seen, and nothing is to be forgotten meanwhile.
        let options = "module-config: \"iterator\"\n  minimal-responses: no\n  rrset-roundrobin: no\n  \
                       msg-cache-size: 64m\n  rrset-cache-size: 64m\n  num-queries-per-thread: 2048\n  \
                       target-fetch-policy: \"0 0 0 0 0\"\n  max-udp-size: 1232";
        let daemons = [
            nsd(here, authority, &files),
            unbound(here, "upstream", authority, upstream, options),
            unbound(here, "oracle", upstream, oracle, options),
        ];
        let sign_of_life = Ask::new("both.one.zz", RecordType::A);
        for server in [authority, upstream, oracle] {
            wait_for(here, server, &sign_of_life, &["nsd", "upstream", "oracle"]);
        }
        Self {
            _daemons: daemons,
            _folder: folder,
            upstream,
            oracle,
        }
    }

    fn gate(&self) -> Setup {
        Setup::new(&Upstream::start())
            .upstreams(&[self.upstream])
            .set("dns.upstream.timeout", r#""10s""#)
            .set("log.level", r#""info""#)
    }
}

/// In what two answers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Rcode,
    Flags,
    Answer,
    Order,
    Ttl,
    Denial,
    Beside,
}

struct Difference<'a> {
    part: Part,
    question: &'a Question,
    ours: &'a Told,
    theirs: &'a Told,
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}: {} {} {:04x} {:?}\n    ours   {}\n    theirs {}",
            self.part,
            shown(&self.question.name),
            self.question.kind,
            self.question.flags,
            self.question.edns,
            text(self.ours),
            text(self.theirs)
        )
    }
}

fn shown(name: &[u8]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while name[at] != 0 {
        let end = at + 1 + usize::from(name[at]);
        text += &name[at + 1..end].escape_ascii().to_string();
        text.push('.');
        at = end;
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
            let data: String = record
                .data
                .iter()
                .take(40)
                .copied()
                .flat_map(std::ascii::escape_default)
                .map(char::from)
                .collect();
            text += &format!(
                "\n      {section} {} {} {} {data}",
                shown(&record.owner),
                record.ttl,
                record.kind
            );
        }
    }
    text
}

/// A section as a set.
fn set(records: &[Record]) -> Vec<(&[u8], u16, &[u8])> {
    let mut set: Vec<_> = records.iter().map(Record::set).collect();
    set.sort_unstable();
    set
}

/// What differs. `slack` is how many seconds have passed since the first question: no TTL can have gone down by more.
fn differences<'a>(
    question: &'a Question,
    ours: &'a Told,
    theirs: &'a Told,
    slack: u32,
) -> Vec<Difference<'a>> {
    let (we, they) = (ours.whole(), theirs.whole());
    let mut parts = Vec::new();
    if we.rcode != they.rcode {
        parts.push(Part::Rcode);
    }
    if ours.first.flags != theirs.first.flags || we.flags != they.flags {
        parts.push(Part::Flags);
    }
    if set(&we.sections[0]) != set(&they.sections[0]) {
        parts.push(Part::Answer);
    } else if aliases(we) != aliases(they) {
        parts.push(Part::Order);
    }
    let far = |a: &Record, b: &Record| a.set() == b.set() && a.ttl.abs_diff(b.ttl) > slack;
    let ttls = |section: usize| {
        we.sections[section].iter().any(|record| {
            they.sections[section]
                .iter()
                .any(|other| far(record, other))
        })
    };
    if ttls(0) || ttls(1) {
        parts.push(Part::Ttl);
    }
    let denial = |message: &Message| message.sections[1].iter().any(|record| record.kind == 6);
    if denial(we) || denial(they) {
        if set(&we.sections[1]) != set(&they.sections[1]) {
            parts.push(Part::Denial);
        }
    } else if set(&we.sections[1]) != set(&they.sections[1])
        || set(&we.sections[2]) != set(&they.sections[2])
    {
        parts.push(Part::Beside);
    }
    parts
        .into_iter()
        .map(|part| Difference {
            part,
            question,
            ours,
            theirs,
        })
        .collect()
}

/// The aliases of an answer in their order.
fn aliases(message: &Message) -> Vec<&[u8]> {
    message
        .of(wire::CNAME)
        .map(|record| &record.owner[..])
        .collect()
}

#[test]
fn what_differs_from_unbound_is_explained() {
    if !installed(&["nsd", "unbound", "ldns-keygen", "ldns-signzone"]) {
        return;
    }
    let world = World::new();
    let servers = Servers::start(&world);
    let rule = "aaaa = \"pass\"\nsteer = \"never\"";
    let open = Gate::start(&servers.gate().rule(rule));
    let questions = world.questions(COUNT);
    let start = clock();
    let theirs = ask(servers.oracle, &questions);
    eprintln!("oracle {:?}", start.elapsed());
    let ours = ask(open.addr("dns-udp"), &questions);
    let slack = u32::try_from(start.elapsed().as_secs()).unwrap() + 1;
    eprintln!("both {:?}", start.elapsed());
    let mut counts: BTreeMap<Part, usize> = BTreeMap::new();
    let mut said = String::new();
    for ((question, ours), theirs) in questions.iter().zip(&ours).zip(&theirs) {
        for difference in differences(question, ours, theirs, slack) {
            *counts.entry(difference.part).or_default() += 1;
            said += &format!("{difference}\n");
        }
    }
    fs::write("/tmp/differential-out.txt", said).unwrap();
    panic!("{counts:?}");
}
