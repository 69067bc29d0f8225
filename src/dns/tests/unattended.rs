//! What is told without a task, against what the long way tells: now, and later from the cache.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{CNAME, NS};
use hickory_proto::serialize::binary::BinEncodable;

use super::super::fast::{Fast, Last};
use super::super::handler::View;
use super::super::options::COOKIE;
use super::*;
use crate::resolve::{Answer, Question, Resolver, Simple, Trust};
use crate::steer::{Lists, Steering};

const MODES: [Mode; 2] = [Mode::Off, Mode::Ipv6Only];
/// What clients take, and whether they send a cookie.
const CLIENTS: [Option<(u16, bool)>; 6] = [
    None,
    Some((512, false)),
    Some((1232, false)),
    Some((4096, false)),
    Some((512, true)),
    Some((1232, true)),
];

/// A gate whose resolver knows answers, and asks nobody for them.
struct Gate {
    handler: Handler<Resolver>,
    resolver: Arc<Resolver>,
}

impl Gate {
    fn new(config: &Config) -> Self {
        let metrics = Arc::new(Metrics::new());
        let resolver = Resolver::new(&config.dns, &Trust::nobody(), Arc::clone(&metrics));
        let resolver = Arc::new(resolver);
        let steering = Arc::new(Steering::new(config, Lists::default()));
        let view = View::new(config, Zones::default(), steering, Arc::clone(&resolver));
        let handler = Handler::new(view, metrics);
        Self { handler, resolver }
    }

    /// Lets it know what a message says.
    fn knows(&self, message: &Message) {
        let asked = &message.queries[0];
        let question = Question {
            name: asked.name.to_lowercase(),
            record_type: asked.query_type,
            dnssec_ok: false,
            checking_disabled: false,
        };
        let soa = |record: &&Record| record.record_type() == RecordType::SOA;
        let mut answer = Answer {
            rcode: message.metadata.response_code,
            authentic: false,
            answers: message.answers.clone(),
            authorities: message.authorities.iter().filter(soa).cloned().collect(),
            additionals: Vec::new(),
            extended_errors: Vec::new(),
        };
        let cache = self.resolver.cache();
        let life = cache.settle(&question, &mut answer);
        cache.insert(&question, &answer, life, super::super::handler::now());
    }

    /// What is told at once, from the cache.
    fn at_once(&self, packet: &[u8]) -> Option<Message> {
        let mut out = Vec::new();
        let mut fast = Fast::new(&self.handler, Transport::Udp, Last::default()).unwrap();
        fast.answer(packet, client(), &mut out)?;
        Some(Message::from_vec(&out).unwrap())
    }

    /// What is told without a task of what a message says.
    fn unattended(&self, packet: &[u8], said: &Message) -> Option<Message> {
        let mut fast = Fast::new(&self.handler, Transport::Udp, Last::default()).unwrap();
        let (_, foreseen) = fast.foresee(packet, client().ip())?;
        let asked = &said.queries[0];
        let wire = asked.to_bytes().unwrap();
        let reply = said.to_vec().unwrap();
        let simple = Simple::read(&wire, &reply, self.resolver.cache().bounds())?;
        let mut out = b"before".to_vec();
        foreseen.tell(&simple, &mut out)?;
        let told = out.strip_prefix(b"before").unwrap();
        let read = Message::from_vec(told);
        Some(read.unwrap_or_else(|error| panic!("{error}: {told:02x?} of {said}")))
    }

    async fn long_way(&self, packet: &[u8]) -> Message {
        let answer = self.handler.answer(packet, client(), Transport::Udp).await;
        Message::from_vec(&answer.unwrap()).unwrap()
    }
}

/// What a server says of a name and a type: at the end of these aliases these records, or that there are none.
fn said(owner: &str, record_type: RecordType, aliases: &[&str], records: &[RData]) -> Message {
    let mut message = query(owner, record_type);
    message.metadata.message_type = MessageType::Response;
    let mut end = name(owner);
    for (index, alias) in aliases.iter().enumerate() {
        let ttl = 200 + u32::try_from(index).unwrap();
        let data = RData::CNAME(CNAME(name(alias)));
        message.add_answer(Record::from_rdata(end, ttl, data));
        end = name(alias);
    }
    for data in records {
        message.add_answer(Record::from_rdata(end.clone(), 400, data.clone()));
    }
    if records.is_empty() {
        message.add_authority(soa());
    } else {
        let server = RData::NS(NS(name("ns.example.")));
        message.add_authority(Record::from_rdata(name("example."), 300, server));
    }
    message
}

fn soa() -> Record {
    record("example. SOA ns.example. admin.example. 7 3600 600 86400 900")
}

fn a(octets: [u8; 4]) -> RData {
    RData::A(Ipv4Addr::from(octets).into())
}

fn aaaa(text: &str) -> RData {
    RData::AAAA(text.parse::<Ipv6Addr>().unwrap().into())
}

fn https(text: &str) -> RData {
    RData::try_from_str(RecordType::HTTPS, text).unwrap()
}

/// What there may be at a name.
fn choices(record_type: RecordType) -> Vec<Vec<RData>> {
    match record_type {
        RecordType::A => vec![
            vec![],
            vec![a([192, 0, 2, 1])],
            vec![a([192, 0, 2, 1]), a([203, 0, 113, 2])],
            vec![a([192, 168, 1, 9])],
            vec![a([192, 0, 2, 1]), a([10, 0, 0, 1])],
            vec![a([0, 0, 0, 0])],
            (1..=24).map(|last| a([203, 0, 113, last])).collect(),
            (1..=40).map(|last| a([203, 0, 113, last])).collect(),
        ],
        RecordType::AAAA => vec![
            vec![],
            vec![aaaa("2001:db8::1")],
            vec![aaaa("2001:db8::1"), aaaa("2001:db8::2")],
            vec![aaaa("fd00::1")],
            vec![aaaa("::")],
        ],
        _ => vec![
            vec![],
            vec![https("1 . alpn=h2")],
            vec![https("0 .")],
            vec![https(
                "1 . alpn=h3,h2 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1",
            )],
            vec![
                https("1 . alpn=h3,h2 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1,2001:db8::2"),
                https("2 . alpn=h2 ipv6hint=2001:db8::3"),
                https("3 . alpn=h2 port=8443"),
            ],
            vec![https("1 . alpn=h2 ipv4hint=192.168.1.9")],
            vec![https("1 . alpn=h2 ipv6hint=fd00::1")],
            vec![https("1 . mandatory=ipv6hint ipv6hint=2001:db8::1")],
        ],
    }
}

/// The query of such a client that spells the name so.
fn packet(owner: &str, record_type: RecordType, sends: Option<(u16, bool)>) -> Vec<u8> {
    let mut message = query(owner, record_type);
    if let Some((payload, cookie)) = sends {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        if cookie {
            let cookie = EdnsOption::Unknown(COOKIE, vec![7; 8]);
            edns.options_mut().insert(cookie);
        }
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

/// The message with a server cookie of nobody: each gate has its own secret.
fn unsealed(mut message: Message) -> Message {
    let Some(edns) = &mut message.edns else {
        return message;
    };
    for (_, option) in &mut edns.options_mut().options {
        if let EdnsOption::Unknown(COOKIE, data) = option {
            assert_eq!((data.len(), &data[..8]), (24, &[7; 8][..]));
            data[8..].fill(0);
        }
    }
    message
}

/// Counts what is told of all that may be at a name; everything of it is as the long way tells it.
async fn compare(config: &Config, record_type: RecordType, beside: &[RData]) -> usize {
    let mut count = 0;
    let kinds = [
        (ResponseCode::NoError, &[][..]),
        (ResponseCode::NoError, &["cdn.example."][..]),
        (ResponseCode::NoError, &["Cdn.net.", "b.cdn.example."][..]),
        (ResponseCode::NXDomain, &[][..]),
        (ResponseCode::NXDomain, &["cdn.example."][..]),
    ];
    for (number, records) in choices(record_type).iter().enumerate() {
        for (rcode, aliases) in kinds {
            if rcode == ResponseCode::NXDomain && !records.is_empty() {
                continue;
            }
            let mut said = said("www.example.", record_type, aliases, records);
            said.metadata.response_code = rcode;
            for sends in CLIENTS {
                let packet = packet("wWw.eXample.", record_type, sends);
                let gates = [Gate::new(config), Gate::new(config)];
                for gate in &gates {
                    knows_the_rest(gate, aliases, rcode, beside);
                    gate.knows(&said);
                }
                let [fast, long] = &gates;
                let Some(told) = fast.unattended(&packet, &said) else {
                    continue;
                };
                count += 1;
                let case = format!("{number} {record_type} {aliases:?} {rcode} {sends:?}");
                let (told, long_way) = (unsealed(told), unsealed(long.long_way(&packet).await));
                assert_eq!(told, long_way, "{case}");
                let cookie = told.edns.as_ref().map(|edns| edns.option(COOKIE.into()));
                let sent = sends.map(|(_, cookie)| cookie);
                assert_eq!(cookie.map(|it| it.is_some()), sent, "{case}");
                let spelt = told.answers.first().map(|it| it.name.to_string());
                assert!(spelt.is_none_or(|spelt| spelt == "wWw.eXample."), "{case}");
                for seconds in [0, 1, 30, 60, 120, 30, 60] {
                    tokio::time::advance(Duration::from_secs(seconds)).await;
                    let later = [fast, long].map(|gate| gate.at_once(&packet).map(unsealed));
                    let [fast, long] = &later;
                    assert_eq!(fast, long, "{case} {seconds}");
                }
            }
        }
    }
    count
}

/// The zone and the addresses of the name.
fn knows_the_rest(gate: &Gate, aliases: &[&str], rcode: ResponseCode, ipv4: &[RData]) {
    for owner in ["www.example."].iter().chain(aliases) {
        gate.knows(&said(owner, RecordType::SOA, &[], &[]));
    }
    let mut apex = query("example.", RecordType::SOA);
    apex.add_answer(soa());
    gate.knows(&apex);
    for (record_type, records) in [
        (RecordType::A, ipv4),
        (RecordType::AAAA, &[aaaa("2001:db8::1")][..]),
    ] {
        let records = if rcode == ResponseCode::NXDomain {
            &[]
        } else {
            records
        };
        let mut said = said("www.example.", record_type, aliases, records);
        said.metadata.response_code = rcode;
        for record in &mut said.answers {
            record.ttl = record.ttl.min(100);
        }
        gate.knows(&said);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_told_without_a_task_is_what_the_long_way_tells() {
    let mut counts = Vec::new();
    for mode in MODES {
        let config = config(mode, Names::All);
        for record_type in [RecordType::A, RecordType::AAAA, RecordType::HTTPS] {
            let count = compare(&config, record_type, &[a([192, 0, 2, 1])]).await;
            counts.push(count);
        }
    }
    assert!(counts.iter().all(|count| *count > 30), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_binding_is_told_without_a_task_only_where_the_name_leads_to_itself() {
    for mode in MODES {
        let config = config(mode, Names::All);
        for beside in [
            &[][..],
            &[a([0; 4])],
            &[a([192, 168, 1, 9])],
            &[a([10, 0, 0, 1])],
        ] {
            compare(&config, RecordType::HTTPS, beside).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_a_rule_passes_aaaa_bindings_keep_their_hints() {
    for mode in MODES {
        let mut config = config(mode, Names::All);
        config.rules.push(Rule {
            domains: vec![name("example.")],
            aaaa: Some(Aaaa::Pass),
            ..Rule::default()
        });
        for record_type in [RecordType::A, RecordType::AAAA, RecordType::HTTPS] {
            compare(&config, record_type, &[a([192, 0, 2, 1])]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_sends_a_cookie_is_answered_from_the_cache_too() {
    let gate = Gate::new(&config(Mode::Off, Names::All));
    gate.knows(&said(
        "www.example.",
        RecordType::A,
        &[],
        &[a([192, 0, 2, 1])],
    ));
    let sends = |cookie| packet("www.example.", RecordType::A, Some((1232, cookie)));
    let first = gate.long_way(&sends(false)).await;
    assert!(first.edns.unwrap().options().options.is_empty());
    let [learnt, again] = [(); 2].map(|()| gate.at_once(&sends(true)).expect("it is kept"));
    let cookie = |message: &Message| message.edns.as_ref()?.option(COOKIE.into()).cloned();
    assert!(cookie(&learnt).is_some());
    let long = gate.long_way(&sends(true)).await;
    for told in [learnt, again] {
        assert_eq!(unsealed(told), unsealed(long.clone()));
    }
}
