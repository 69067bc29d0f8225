//! Thousands of questions at once: over UDP with TCP where TC says so, and over any stream.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::wire::{CD, Message, RD, TC};
use crate::support::{clock, connect};

/// Questions under way at a time.
const WINDOW: usize = 48;
/// After how long without any answer those under way are asked again: datagrams may be lost on a busy machine.
const AGAIN: Duration = Duration::from_secs(2);

/// One question, and how it is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Question {
    /// The name as on the wire, in whatever letters.
    pub(super) name: Vec<u8>,
    /// The type.
    pub(super) kind: u16,
    /// RD, AD and CD, as in the header.
    pub(super) flags: u16,
    /// The payload size, with DO as its own bit; `None` is without EDNS.
    pub(super) edns: Option<(u16, bool)>,
}

/// What one server said.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Over UDP; over a stream where there is nothing else.
    pub(super) first: Message,
    /// Over TCP, after TC.
    pub(super) second: Option<Message>,
}

impl Told {
    /// The whole answer.
    pub(super) fn whole(&self) -> &Message {
        self.second.as_ref().unwrap_or(&self.first)
    }
}

impl Question {
    /// RD=1 and DO=0.
    pub(super) fn simple(name: &[u8], kind: u16) -> Self {
        Self {
            name: name.to_vec(),
            kind,
            flags: RD,
            edns: Some((1232, false)),
        }
    }

    fn packet(&self, id: u16) -> Vec<u8> {
        let mut packet = Vec::new();
        let additionals = u16::from(self.edns.is_some());
        for word in [id, self.flags, 1, 0, 0, additionals] {
            packet.extend(word.to_be_bytes());
        }
        packet.extend(self.section());
        if let Some((payload, dnssec_ok)) = self.edns {
            packet.extend([0, 0, 41]);
            packet.extend(payload.to_be_bytes());
            packet.extend([0, 0, u8::from(dnssec_ok) << 7, 0, 0, 0]);
        }
        packet
    }

    fn section(&self) -> Vec<u8> {
        let mut section = self.name.clone();
        section.extend(self.kind.to_be_bytes());
        section.extend([0, 1]);
        section
    }

    /// Reads an answer to this, and sees that it is one: QR, opcode, RD, CD and the question bit for bit.
    fn read(&self, packet: &[u8]) -> Message {
        let message = Message::read(packet);
        let echoed = 0x8000 | (self.flags & (RD | CD));
        assert_eq!(message.flags & 0xf950, echoed, "{self:?}: {message:?}");
        assert_eq!(message.question, self.section(), "{self:?}: {message:?}");
        assert_eq!(message.edns.is_some(), self.edns.is_some(), "{self:?}");
        message
    }
}

/// What a server says to all of these, in their order.
pub(super) fn ask(server: SocketAddr, questions: &[Question]) -> Vec<Told> {
    let mut told: Vec<Option<Told>> = vec![None; questions.len()];
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(AGAIN)).unwrap();
    let send = |at: usize| {
        let id = u16::try_from(at).unwrap();
        socket.send(&questions[at].packet(id)).unwrap();
    };
    let mut next = 0;
    let mut under_way = BTreeSet::new();
    let mut packet = vec![0; 65_535];
    let start = clock();
    let mut again = 0;
    while next < questions.len() || !under_way.is_empty() {
        while under_way.len() < WINDOW && next < questions.len() {
            send(next);
            under_way.insert(next);
            next += 1;
        }
        match socket.recv(&mut packet) {
            Ok(length) => {
                let id = u16::from_be_bytes([packet[0], packet[1]]);
                let at = usize::from(id);
                if under_way.remove(&at) {
                    let first = questions[at].read(&packet[..length]);
                    let limit = questions[at]
                        .edns
                        .map_or(512, |(payload, _)| payload.clamp(512, 1232));
                    assert!(
                        length <= usize::from(limit),
                        "{length}: {:?}",
                        questions[at]
                    );
                    told[at] = Some(Told {
                        first,
                        second: None,
                    });
                }
            }
            Err(error) => {
                assert!(matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut
                ));
                again += 1;
                assert!(
                    again < 10,
                    "{server} is silent on {:?} after {:?}",
                    questions[*under_way.first().unwrap()],
                    start.elapsed()
                );
                under_way.iter().copied().for_each(send);
            }
        }
    }
    let mut told: Vec<Told> = told.into_iter().map(Option::unwrap).collect();
    let cut: Vec<usize> = (0..told.len())
        .filter(|at| told[*at].first.flags & TC != 0)
        .collect();
    let over: Vec<Question> = cut.iter().map(|at| questions[*at].clone()).collect();
    for (at, second) in cut.into_iter().zip(ask_over(connect(server), &over)) {
        told[at].second = Some(second.first);
    }
    told
}

/// What is said to all of these on one connection, many of them under way.
pub(super) fn ask_over(mut stream: impl Read + Write, questions: &[Question]) -> Vec<Told> {
    let mut told: Vec<Option<Told>> = vec![None; questions.len()];
    let mut next = 0;
    for answered in 0..questions.len() {
        let mut packets = Vec::new();
        while next < questions.len() && next - answered < WINDOW / 2 {
            let packet = questions[next].packet(u16::try_from(next).unwrap());
            packets.extend(u16::try_from(packet.len()).unwrap().to_be_bytes());
            packets.extend(packet);
            next += 1;
        }
        stream.write_all(&packets).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut packet).unwrap();
        let at = usize::from(u16::from_be_bytes([packet[0], packet[1]]));
        let first = questions[at].read(&packet);
        assert_eq!(first.flags & TC, 0, "{:?}", questions[at]);
        let before = told[at].replace(Told {
            first,
            second: None,
        });
        assert!(before.is_none(), "answered twice: {:?}", questions[at]);
    }
    told.into_iter().map(Option::unwrap).collect()
}
