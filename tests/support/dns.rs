//! A DNS client that sends exactly what it is told to, and reads answers with and without a parser.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{RData, RecordType};

use super::{Gate, PATIENCE, name};

/// A question in the making.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    message: Message,
}

impl Ask {
    /// RD=1, EDNS with a payload of 1232 bytes.
    pub(crate) fn new(owner: &str, record_type: RecordType) -> Self {
        let mut message = Message::new(0x5e15, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name(owner), record_type));
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        message.set_edns(edns);
        Self { message }
    }

    /// Without EDNS.
    pub(crate) fn plain(mut self) -> Self {
        self.message.edns = None;
        self
    }

    /// With this UDP payload size.
    pub(crate) fn payload(mut self, size: u16) -> Self {
        if let Some(edns) = &mut self.message.edns {
            edns.set_max_payload(size);
        }
        self
    }

    /// DO=1.
    pub(crate) fn dnssec_ok(mut self) -> Self {
        if let Some(edns) = &mut self.message.edns {
            edns.set_dnssec_ok(true);
        }
        self
    }

    /// CD=1.
    pub(crate) fn checking_disabled(mut self) -> Self {
        self.message.metadata.checking_disabled = true;
        self
    }

    /// The bytes on the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.message.to_vec().expect("a question")
    }

    /// The answer to this over UDP.
    pub(crate) fn udp(&self, gate: &Gate) -> Message {
        let bytes = exchange_udp(gate.addr("dns-udp"), &self.bytes(), PATIENCE);
        self.check(&bytes.expect("silence is never an answer"))
    }

    /// The answer to this over TCP.
    pub(crate) fn tcp(&self, gate: &Gate) -> Message {
        let bytes = exchange_tcp(gate.addr("dns-tcp"), &self.bytes(), PATIENCE);
        self.check(&bytes.expect("silence is never an answer"))
    }

    fn check(&self, bytes: &[u8]) -> Message {
        let answer = Message::from_vec(bytes).expect("an answer that parses");
        assert_eq!(answer.metadata.id, self.message.metadata.id);
        assert_eq!(answer.metadata.message_type, MessageType::Response);
        assert!(answer.metadata.recursion_available, "RA is set");
        assert_eq!(answer.edns.is_some(), self.message.edns.is_some(), "OPT");
        answer
    }
}

/// Sends a packet over UDP and waits for one from there; `None` once `patience` is over.
pub(crate) fn exchange_udp(to: SocketAddr, packet: &[u8], patience: Duration) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.connect(to).expect("an address");
    socket.set_read_timeout(Some(patience)).expect("a timeout");
    socket.send(packet).expect("sent");
    let mut answer = vec![0; 65_535];
    let length = socket.recv(&mut answer).ok()?;
    answer.truncate(length);
    Some(answer)
}

/// Sends a packet with its length over TCP and reads one back; `None` when the server closes or `patience` is over.
pub(crate) fn exchange_tcp(to: SocketAddr, packet: &[u8], patience: Duration) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(to).expect("connected");
    stream.set_read_timeout(Some(patience)).expect("a timeout");
    let length = u16::try_from(packet.len()).expect("a message");
    let framed = [&length.to_be_bytes()[..], packet].concat();
    stream.write_all(&framed).ok()?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).ok()?;
    Some(answer)
}

/// The code of the Extended DNS Error in an answer.
pub(crate) fn ede(answer: &Message) -> Option<u16> {
    match answer.edns.as_ref()?.option(EdnsCode::from(15))? {
        EdnsOption::Unknown(_, data) => Some(u16::from_be_bytes([*data.first()?, *data.get(1)?])),
        _ => None,
    }
}

/// The A records of the answer section.
pub(crate) fn ipv4_of(answer: &Message) -> Vec<Ipv4Addr> {
    let addresses = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(address.0),
            _ => None,
        });
    addresses.collect()
}

/// The SOA of the authority section, and its TTL.
pub(crate) fn soa_of(answer: &Message) -> Option<(u32, SOA)> {
    answer
        .authorities
        .iter()
        .find_map(|record| match &record.data {
            RData::SOA(soa) => Some((record.ttl, soa.clone())),
            _ => None,
        })
}

/// The types of every record of an answer, section by section, OPT aside.
pub(crate) fn types(answer: &Message) -> [Vec<RecordType>; 3] {
    [&answer.answers, &answer.authorities, &answer.additionals]
        .map(|section| section.iter().map(|record| record.record_type()).collect())
}
