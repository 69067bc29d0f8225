//! Packet in, packet out: what clients are promised, line by line, with a small world as the upstream.

mod bindings;
mod form;
mod manners;
mod own;
mod rebound;
mod steered;
mod told;
mod unattended;
mod withheld;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};

use super::handler::{Handler, Transport};
use super::local::{Local, Zones};
use super::message::{Asked, Draft, Lasting};
use super::pipeline;
use super::testing::{
    GATE, World, config, dname, edns_query, extended_errors, lines, name, query, record, rrsig,
    view,
};
use super::withhold::{type_covered, withhold};
use crate::config::{Aaaa, Config, Mode, Names, Rule, RuleSteer, UpstreamZone};
use crate::net::{Acl, ClientAddr};
use crate::resolve::ResolveError;
use crate::telemetry::Metrics;

const ZONE: &[&str] = &[
    "example. SOA ns.example. admin.example. 7 3600 600 86400 900",
    "both.example. A 192.0.2.1",
    "both.example. AAAA 2001:db8::1",
    "both.example. HTTPS 1 . alpn=h2,h3 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1",
    "six.example. AAAA 2001:db8::6",
    "six.example. HTTPS 1 . alpn=h3,h2 port=8443 ipv6hint=2001:db8::6",
    "four.example. A 192.0.2.4",
    "four.example. HTTPS 0 cdn.example.",
    "none.example. TXT hello",
    "mail.example. MX 10 both.example.",
    "www.example. CNAME cdn.example.",
    "cdn.example. CNAME both.example.",
    "alias.example. CNAME six.example.",
    "blocked.example. A 0.0.0.0",
];

fn client() -> ClientAddr {
    ClientAddr::new(SocketAddr::from(([192, 168, 1, 50], 5353)))
}

fn handler_of(world: World, config: &Config, local: impl Into<Local>) -> Handler<World> {
    let first = view(config, local, world);
    Handler::new(first, Arc::new(Metrics::new()))
}

fn handler(mode: Mode) -> Handler<World> {
    handler_of(
        World::new(ZONE),
        &config(mode, Names::All),
        Zones::default(),
    )
}

async fn ask_over(handler: &Handler<World>, message: &Message, transport: Transport) -> Message {
    let packet = handler
        .answer(&message.to_vec().unwrap(), client(), transport)
        .await
        .expect("an answer");
    let answer = Message::from_vec(&packet).unwrap();
    assert_eq!(answer.metadata.id, message.metadata.id);
    assert_eq!(answer.metadata.message_type, MessageType::Response);
    answer
}

async fn ask(handler: &Handler<World>, message: &Message) -> Message {
    ask_over(handler, message, Transport::Udp).await
}

fn assert_withheld(answer: &Message, chain: &[&str]) {
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert!(!answer.metadata.authentic_data);
    let kept: Vec<String> = lines(&answer.answers)
        .into_iter()
        .filter(|line| !line.contains("RRSIG"))
        .collect();
    assert_eq!(kept, chain);
    assert_eq!(answer.authorities.len(), 1, "{:?}", answer.authorities);
    let RData::SOA(soa) = &answer.authorities[0].data else {
        panic!("no SOA: {:?}", answer.authorities)
    };
    assert!(soa.minimum <= 60 && answer.authorities[0].ttl <= 60);
    assert!(answer.additionals.is_empty());
}

fn assert_no_aaaa(answer: &Message) {
    for record in answer.all_sections() {
        assert_ne!(record.record_type(), RecordType::AAAA, "{record}");
        assert_ne!(type_covered(record), Some(RecordType::AAAA), "{record}");
    }
}
