//! Packets that are no questions: refused or passed over, and the gate serves on.

use std::io::Write as _;
use std::net::{Ipv4Addr, Shutdown, TcpStream, UdpSocket};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

use crate::support::{Ask, Gate, PATIENCE, Setup, Upstream, exchange_tcp, exchange_udp};

/// A small generator (xorshift64*), so that a failure can be repeated.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    /// A question with some bytes changed, cut or added; sometimes nothing but noise.
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        let mut packet = Ask::new("www.example", RecordType::AAAA)
            .dnssec_ok()
            .bytes();
        match self.below(4) {
            0 => packet = (0..self.below(600)).map(|_| self.byte()).collect(),
            1 => packet.truncate(self.below(packet.len())),
            2 => packet.extend((0..self.below(300)).map(|_| 0xc0)),
            _ => {}
        }
        for _ in 0..self.below(6) {
            if !packet.is_empty() {
                let at = self.below(packet.len());
                packet[at] = self.byte();
            }
        }
        packet
    }
}

fn home() -> (Upstream, Gate) {
    let upstream = Upstream::start();
    upstream.addresses("www.example", &["192.0.2.1", "2001:db8::1"]);
    let gate = Gate::start(&Setup::new(&upstream).set("dns.upstream.timeout", r#""500ms""#));
    (upstream, gate)
}

fn assert_serves(gate: &Gate) {
    for answer in [
        Ask::new("www.example", RecordType::A).udp(gate),
        Ask::new("www.example", RecordType::A).tcp(gate),
    ] {
        assert_eq!(answer.answers.len(), 1);
    }
    let log = gate.log_text();
    assert!(!log.contains("panicked"), "a task fell over");
}

#[test]
fn noise_over_udp_leaves_it_serving() {
    let (_upstream, gate) = home();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut random = Random(0x5ec1_5ec1_5ec1_5ec1);
    for round in 0..3000 {
        socket
            .send_to(&random.packet(), gate.addr("dns-udp"))
            .unwrap();
        if round % 100 == 0 {
            assert_serves(&gate);
        }
    }
    assert_serves(&gate);
}

#[test]
fn noise_over_tcp_leaves_it_serving() {
    let (_upstream, gate) = home();
    let mut random = Random(0x7ab1_e5ec_7ab1_e5ec);
    for _ in 0..200 {
        let mut stream = TcpStream::connect(gate.addr("dns-tcp")).unwrap();
        for _ in 0..random.below(4) + 1 {
            let packet = random.packet();
            let mut length = u16::try_from(packet.len()).unwrap();
            if random.below(4) == 0 {
                length = length.wrapping_add(u16::from(random.byte()));
            }
            let framed = [&length.to_be_bytes()[..], &packet].concat();
            // The gate may have closed on the packet before.
            stream.write_all(&framed).ok();
        }
        stream.shutdown(Shutdown::Both).ok();
    }
    assert_serves(&gate);
}

/// The question for A of `www.example`, with its header changed.
fn altered(change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut packet = Ask::new("www.example", RecordType::A).plain().bytes();
    change(&mut packet);
    packet
}

#[test]
fn no_question_or_two_is_an_error_of_format() {
    let (_upstream, gate) = home();
    let mut two = altered(|packet| packet[5] = 2);
    two.extend_from_within(12..);
    let none = altered(|packet| packet[5] = 0)[..12].to_vec();
    for packet in [none, two] {
        let udp = exchange_udp(gate.addr("dns-udp"), &packet, PATIENCE);
        let tcp = exchange_tcp(gate.addr("dns-tcp"), &packet, PATIENCE);
        let answer = Message::from_vec(&udp.expect("an answer")).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
        // Over TCP it may as well close the connection.
        if let Some(tcp) = tcp {
            let answer = Message::from_vec(&tcp).unwrap();
            assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
        }
    }
    assert_serves(&gate);
}

#[test]
fn other_operations_are_not_implemented() {
    let (_upstream, gate) = home();
    for operation in [2, 4, 5] {
        let packet = altered(|packet| packet[2] |= operation << 3);
        let answer = exchange_udp(gate.addr("dns-udp"), &packet, PATIENCE).expect("an answer");
        let code = Message::from_vec(&answer).unwrap().metadata.response_code;
        let refusals = [
            ResponseCode::NotImp,
            ResponseCode::Refused,
            ResponseCode::FormErr,
        ];
        assert!(refusals.contains(&code), "opcode {operation}: {code}");
    }
}

#[test]
fn an_answer_is_not_answered() {
    let (_upstream, gate) = home();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    Ask::new("www.example", RecordType::A).udp(&gate);
    for _ in 0..5 {
        let answer = altered(|packet| packet[2] |= 0x80);
        socket.send_to(&answer, gate.addr("dns-udp")).unwrap();
    }
    let question = altered(|packet| packet[..2].copy_from_slice(&[0xab, 0xcd]));
    socket.send_to(&question, gate.addr("dns-udp")).unwrap();
    let mut packet = [0; 1500];
    socket.recv(&mut packet).unwrap();
    assert_eq!(packet[..2], [0xab, 0xcd], "only the question was answered");
}
