//! Messages as servers send them, and as they should not.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{CNAME, NS, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::resolve::Question;

pub(super) fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

pub(super) fn question(text: &str, record_type: RecordType) -> Question {
    Question {
        name: name(text),
        record_type,
        dnssec_ok: false,
        checking_disabled: false,
    }
}

pub(super) fn response(question: &Question) -> Message {
    let mut message = Message::new(7, MessageType::Response, OpCode::Query);
    message.add_query(Query::query(question.name.clone(), question.record_type));
    message
}

/// A seeded xorshift.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(below).unwrap()).unwrap()
    }

    fn octet(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn ttl(&mut self) -> u32 {
        self.of(&[
            60,
            300,
            300,
            3600,
            1,
            0,
            100_000,
            0x7fff_ffff,
            0x8000_0000,
            u32::MAX,
        ])
    }

    fn data(&mut self, record_type: RecordType) -> RData {
        let last = u16::from(self.octet() % 4);
        match record_type {
            RecordType::A => RData::A(Ipv4Addr::from(0xc000_0200 + u32::from(last)).into()),
            RecordType::AAAA => {
                RData::AAAA(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into())
            }
            _ => {
                let text = self.of(&[
                    "1 . alpn=h2",
                    "1 . alpn=h3,h2 ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8::1",
                    "1 . alpn=h3,h2 port=8443 ech=AEX+DQ== ipv6hint=2001:db8::1,2001:db8::2",
                    "2 . no-default-alpn ipv4hint=192.0.2.3",
                    "1 other.example. alpn=h2",
                    "0 .",
                    "1 . mandatory=ipv6hint ipv6hint=2001:db8::1",
                    "1 . key7=/dns-query",
                ]);
                RData::try_from_str(RecordType::HTTPS, text).unwrap()
            }
        }
    }

    fn soa(&mut self, zone: &str) -> Record {
        let minimum = self.ttl();
        let soa = SOA::new(name("ns.example."), name("a.b.test."), 1, 2, 3, 4, minimum);
        Record::from_rdata(name(zone), self.ttl(), RData::SOA(soa))
    }

    fn edns(&mut self) -> Edns {
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        if self.once_in(8) {
            let option = EdnsOption::Unknown(10, vec![7; 24]);
            edns.options_mut().insert(option);
        }
        if self.once_in(8) {
            let option = EdnsOption::Unknown(15, vec![0, 22, b'x']);
            edns.options_mut().insert(option);
        }
        edns
    }

    /// A message as servers send them; where `odd`, with something that they should not.
    pub(super) fn message(&mut self, question: &Question, odd: bool) -> Message {
        let mut message = response(question);
        message.metadata.recursion_available = true;
        message.metadata.authoritative = self.once_in(3);
        message.metadata.authentic_data = self.once_in(3);
        let targets = [
            "cdn.Example.",
            "x.b.cdn.net.",
            "Other.test.",
            "c.www.example.",
        ];
        let mut owner = question.name.clone();
        for target in targets.iter().take(self.below(8).saturating_sub(4)) {
            let target = name(target);
            let alias = RData::CNAME(CNAME(target.clone()));
            message.add_answer(Record::from_rdata(owner, self.ttl(), alias));
            owner = target;
        }
        match self.below(4) {
            0 => {
                if self.once_in(2) {
                    message.metadata.response_code = ResponseCode::NXDomain;
                }
                let zone = owner.base_name().to_string();
                let soa = self.soa(&zone);
                message.add_authority(soa);
            }
            kind => {
                let count = [1, 1, 3][kind - 1];
                for _ in 0..count {
                    let data = self.data(question.record_type);
                    let record = Record::from_rdata(owner.clone(), self.ttl(), data);
                    if !message.answers.contains(&record) {
                        message.add_answer(record);
                    }
                }
                if self.once_in(2) {
                    let zone = owner.base_name();
                    for server in ["ns1.example.", "ns2.test."] {
                        let data = RData::NS(NS(name(server)));
                        message.add_authority(Record::from_rdata(zone.clone(), 300, data));
                    }
                    let data = self.data(RecordType::A);
                    message.add_additional(Record::from_rdata(name("ns1.example."), 300, data));
                }
            }
        }
        if !self.once_in(3) {
            let edns = self.edns();
            message.set_edns(edns);
        }
        if odd {
            self.spoil(&mut message);
        }
        message
    }

    fn spoil(&mut self, message: &mut Message) {
        for _ in 0..=self.below(2) {
            let owners = [
                "www.example.",
                "cdn.example.",
                "bank.test.",
                "example.",
                "test.",
                ".",
            ];
            let owner = name(self.of(&owners));
            let foreign = RecordType::A;
            let record = match self.below(4) {
                0 => {
                    let target = name(self.of(&owners));
                    Record::from_rdata(owner, self.ttl(), RData::CNAME(CNAME(target)))
                }
                1 => {
                    let zone = owner.to_string();
                    self.soa(&zone)
                }
                2 => Record::from_rdata(owner, self.ttl(), RData::NS(NS(name("ns.test.")))),
                _ => {
                    let kind = self.of(&[foreign, RecordType::AAAA, RecordType::HTTPS]);
                    let data = self.data(kind);
                    Record::from_rdata(owner, self.ttl(), data)
                }
            };
            match self.below(7) {
                0 if message.answers.len() > 1 => {
                    let at = self.below(message.answers.len() - 1);
                    message.answers.swap(at, at + 1);
                }
                1 => message.answers.extend(message.answers.first().cloned()),
                2 => message.metadata.response_code = ResponseCode::NXDomain,
                3 => message.authorities.clear(),
                4 => message.answers.push(record),
                5 => message.authorities.push(record),
                _ => message.additionals.push(record),
            }
        }
    }

    /// Changes some octets, or cuts the message.
    pub(super) fn flip(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() - 1);
            match self.below(8) {
                0 => bytes[at] = self.octet(),
                1 => bytes[at] = bytes[at].wrapping_add(1),
                2 => bytes[at] ^= 1 << self.below(8),
                3 => bytes[at] = 0,
                // A pointer to anywhere before it.
                4..=6 => {
                    let to = u16::try_from(self.below(at + 1)).unwrap() | 0xc000;
                    bytes[at..at + 2].copy_from_slice(&to.to_be_bytes());
                }
                _ if self.once_in(8) => bytes.truncate(at.max(2)),
                _ => {}
            }
        }
    }
}
