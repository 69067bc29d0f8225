//! A small world of zones that plays the upstream, and packets to ask with.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use hickory_proto::dnssec::Algorithm;
use hickory_proto::dnssec::rdata::{DNSSECRData, RRSIG, SigInput};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, RData, Record, RecordType, SerialNumber};

use super::handler::View;
use super::local::Local;
use super::truth::Truth;
use crate::config::{Config, Mode, Names};
use crate::net::Interfaces;
use crate::resolve::cache::{Cache, EXPIRED};
use crate::resolve::{Answer, ExtendedError, Life, Question, ResolveError};
use crate::steer::{Lists, Steering};

pub(super) const GATE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);

pub(super) fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

pub(super) fn record(line: &str) -> Record {
    let mut words = line.splitn(3, ' ');
    let owner = name(words.next().unwrap());
    let record_type: RecordType = words.next().unwrap().parse().unwrap();
    let data = RData::try_from_str(record_type, words.next().unwrap()).unwrap();
    Record::from_rdata(owner, 300, data)
}

/// A DNAME to `e.example.`, as hickory reads it off the wire.
pub(super) fn dname(owner: &str) -> Record {
    let rdata = NULL::with(b"\x01e\x07example\0".to_vec());
    let code = RecordType::from(39);
    Record::from_rdata(name(owner), 300, RData::Unknown { code, rdata })
}

/// Records, and what goes wrong when one asks for them.
#[derive(Debug, Default)]
pub(super) struct World {
    records: Vec<Record>,
    broken: HashMap<(Name, RecordType), ResolveError>,
    silent: HashSet<(Name, RecordType)>,
    slow: HashMap<(Name, RecordType), Duration>,
    stale: HashSet<(Name, RecordType)>,
    no_soa: bool,
    asked: Mutex<Vec<(Name, RecordType)>>,
    kept: OnceLock<ArcSwap<Cache>>,
}

impl World {
    pub(super) fn new(lines: &[&str]) -> Self {
        Self {
            records: lines.iter().map(|line| record(line)).collect(),
            ..Self::default()
        }
    }

    pub(super) fn broken(
        mut self,
        owner: &str,
        record_type: RecordType,
        error: ResolveError,
    ) -> Self {
        self.broken.insert((name(owner), record_type), error);
        self
    }

    pub(super) fn silent(mut self, owner: &str, record_type: RecordType) -> Self {
        self.silent.insert((name(owner), record_type));
        self
    }

    /// What is asked for this takes a while.
    pub(super) fn slow(mut self, owner: &str, record_type: RecordType, time: Duration) -> Self {
        self.slow.insert((name(owner), record_type), time);
        self
    }

    /// What is asked for this has expired.
    pub(super) fn stale(mut self, owner: &str, record_type: RecordType) -> Self {
        self.stale.insert((name(owner), record_type));
        self
    }

    pub(super) fn with(mut self, record: Record) -> Self {
        self.records.push(record);
        self
    }

    pub(super) fn without_soa(mut self) -> Self {
        self.no_soa = true;
        self
    }

    pub(super) fn asked(&self) -> Vec<(Name, RecordType)> {
        self.asked.lock().unwrap().clone()
    }

    fn soa(&self, of: &Name) -> Option<Record> {
        self.records
            .iter()
            .filter(|record| record.record_type() == RecordType::SOA && record.name.zone_of(of))
            .max_by_key(|record| record.name.num_labels())
            .filter(|_| !self.no_soa)
            .cloned()
    }

    fn at<'a>(&'a self, owner: &'a Name, record_type: RecordType) -> Vec<Record> {
        let matching =
            |record: &&Record| record.name == *owner && record.record_type() == record_type;
        self.records.iter().filter(matching).cloned().collect()
    }

    fn answer(&self, question: &Question) -> Answer {
        let mut answer = Answer {
            rcode: ResponseCode::NoError,
            authentic: true,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            extended_errors: Vec::new(),
        };
        let key = (question.name.clone(), question.record_type);
        if self.stale.contains(&key) {
            answer.extended_errors.push(ExtendedError {
                code: 3,
                text: EXPIRED.to_owned(),
            });
        }
        let mut current = question.name.clone();
        loop {
            let found = self.at(&current, question.record_type);
            if !found.is_empty() {
                answer.answers.extend(found);
                break;
            }
            if let Some(alias) = self.at(&current, RecordType::CNAME).pop() {
                if let RData::CNAME(target) = &alias.data {
                    current = target.0.clone();
                }
                answer.answers.push(alias);
                continue;
            }
            if !self
                .records
                .iter()
                .any(|record| current.zone_of(&record.name))
            {
                answer.rcode = ResponseCode::NXDomain;
            }
            answer.authorities.extend(self.soa(&current));
            break;
        }
        for line in answer.answers.clone() {
            let target = match &line.data {
                RData::MX(mx) => &mx.exchange,
                RData::SRV(srv) => &srv.target,
                _ => continue,
            };
            for record_type in [RecordType::A, RecordType::AAAA] {
                answer.additionals.extend(self.at(target, record_type));
            }
        }
        if question.dnssec_ok {
            for section in [
                &mut answer.answers,
                &mut answer.authorities,
                &mut answer.additionals,
            ] {
                sign(section);
            }
        }
        // Upstreams may use any order.
        answer.answers.reverse();
        answer
    }
}

fn sign(section: &mut Vec<Record>) {
    let sets: HashSet<(Name, RecordType)> = section
        .iter()
        .filter(|record| record.record_type() != RecordType::RRSIG)
        .map(|record| (record.name.clone(), record.record_type()))
        .collect();
    for (owner, covered) in sets {
        section.push(signature(owner, covered));
    }
}

/// A signature over records of a type; nobody could verify it.
pub(super) fn rrsig(owner: &str, covered: RecordType) -> Record {
    signature(name(owner), covered)
}

fn signature(owner: Name, covered: RecordType) -> Record {
    let signature = RRSIG::from_sig(
        SigInput {
            type_covered: covered,
            algorithm: Algorithm::ED25519,
            num_labels: owner.num_labels(),
            original_ttl: 300,
            sig_expiration: SerialNumber::new(0),
            sig_inception: SerialNumber::new(0),
            key_tag: 0,
            signer_name: Name::root(),
        },
        vec![8; 64],
    );
    let data = RData::DNSSEC(DNSSECRData::RRSIG(signature));
    Record::from_rdata(owner, 300, data)
}

impl Truth for World {
    async fn lookup(&self, question: &Question) -> Result<Answer, ResolveError> {
        let key = (question.name.clone(), question.record_type);
        self.asked.lock().unwrap().push(key.clone());
        if self.silent.contains(&key) {
            std::future::pending::<()>().await;
        }
        if let Some(time) = self.slow.get(&key) {
            tokio::time::sleep(*time).await;
        }
        match self.broken.get(&key) {
            Some(error) => Err(error.clone()),
            None => Ok(self.answer(question)),
        }
    }

    fn kept(&self) -> Option<Guard<Arc<Cache>>> {
        let bounds = || config(Mode::Off, Names::All).dns.cache;
        let kept = self
            .kept
            .get_or_init(|| ArcSwap::from_pointee(Cache::new(bounds())));
        Some(kept.load())
    }

    fn life(&self, question: &Question) -> Option<Life> {
        let key = (question.name.clone(), question.record_type);
        let life = Duration::from_secs(300);
        let known = !self.silent.contains(&key) && !self.broken.contains_key(&key);
        known.then_some(Life {
            told: life,
            left: life,
        })
    }
}

/// The built-in defaults with this way of steering, for a gate in 192.168.1.0/24.
pub(super) fn config(mode: Mode, names: Names) -> Config {
    let text = "[lan]\naddress = \"192.168.1.2\"\nnetworks = [\"192.168.1.0/24\"]\n";
    let mut config = Config::parse(
        text,
        None,
        &Interfaces::of(&[("eth0", "192.168.1.2/24")], None),
        "nameserver 192.0.2.53\n",
    )
    .unwrap();
    config.steer.mode = mode;
    config.steer.names = names;
    config
}

/// What a configuration asks for, in this world.
pub(super) fn view(
    config: &Config,
    local: impl Into<Local>,
    world: impl Into<Arc<World>>,
) -> View<World> {
    View::new(
        config,
        local,
        Arc::new(Steering::new(config, Lists::default())),
        world.into(),
    )
}

/// A query with RD=1 and no EDNS.
pub(super) fn query(owner: &str, record_type: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(owner), record_type));
    message
}

/// The same with EDNS, a payload of 4096 bytes, and DO as told.
pub(super) fn edns_query(owner: &str, record_type: RecordType, dnssec_ok: bool) -> Message {
    let mut message = query(owner, record_type);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    edns.set_dnssec_ok(dnssec_ok);
    message.set_edns(edns);
    message
}

/// The codes of the Extended DNS Errors of a message.
pub(super) fn extended_errors(message: &Message) -> Vec<u16> {
    let Some(edns) = &message.edns else {
        return Vec::new();
    };
    edns.options()
        .get_all(EdnsCode::from(15))
        .into_iter()
        .map(|option| match option {
            EdnsOption::Unknown(15, data) => u16::from_be_bytes([data[0], data[1]]),
            other => panic!("not an EDE: {other:?}"),
        })
        .collect()
}

/// A section as text, one record a line: owner, type, data.
pub(super) fn lines(section: &[Record]) -> Vec<String> {
    section
        .iter()
        .map(|record| format!("{} {} {}", record.name, record.record_type(), record.data))
        .collect()
}
