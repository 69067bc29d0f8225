//! Packets that are no questions: refused or passed over, and the gate serves on.

use std::io::{ErrorKind, Read as _, Write as _};
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

    /// A question with every option that we know, or one that no client would ask; then some bytes changed, cut or
    /// added; sometimes nothing but noise.
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        let mut packet = match self.below(8) {
            0 => return (0..self.below(600)).map(|_| self.byte()).collect(),
            1 => Ask::new("www.example", RecordType::AAAA)
                .dnssec_ok()
                .bytes(),
            2 => self.strange_name(),
            _ => self.optioned(),
        };
        match self.below(8) {
            0 => packet.truncate(self.below(packet.len())),
            1 => packet.extend((0..self.below(300)).map(|_| 0xc0)),
            2 => {
                // Counts that nothing follows.
                let at = 4 + self.below(8);
                packet[at] = self.byte();
            }
            _ => {}
        }
        if self.below(2) == 0 {
            for _ in 0..self.below(6) {
                if !packet.is_empty() {
                    let at = self.below(packet.len());
                    packet[at] = self.byte();
                }
            }
        }
        packet
    }

    /// Names at and beyond the bounds of labels, names and pointers, and types and classes at theirs.
    fn strange_name(&mut self) -> Vec<u8> {
        let mut packet = vec![self.byte(), self.byte(), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        match self.below(5) {
            // A label of 64 to 255 octets, which is no label.
            0 => {
                let length = 64 + self.below(192);
                packet.push(u8::try_from(length).unwrap());
                packet.extend(vec![b'a'; length]);
                packet.push(0);
            }
            // A name of 255 octets or a little more.
            1 => {
                for length in [63, 63, 63, 59 + self.below(5)] {
                    packet.push(u8::try_from(length).unwrap());
                    packet.extend(vec![b'a'; length]);
                }
                packet.push(0);
            }
            // A pointer to itself, to what comes, or into the header.
            2 => packet.extend([0xc0, u8::try_from(self.below(30)).unwrap()]),
            3 => packet.extend([1, b'a', 0xc0, 12]),
            _ => packet.extend((0..127).flat_map(|_| [1, b'a']).chain([0])),
        }
        let types = [
            0, 1, 28, 41, 65, 249, 250, 251, 252, 253, 254, 255, 32768, 65535,
        ];
        let classes = [0, 1, 3, 4, 254, 255, 65535];
        packet.extend(u16::to_be_bytes(types[self.below(types.len())]));
        packet.extend(u16::to_be_bytes(classes[self.below(classes.len())]));
        packet
    }

    /// A question with one OPT, sometimes two or three, full of options.
    fn optioned(&mut self) -> Vec<u8> {
        let mut packet = Ask::new("www.example", RecordType::A).plain().bytes();
        let count = [1, 1, 1, 1, 2, 3][self.below(6)];
        packet[11] = count;
        for _ in 0..count {
            let mut options = Vec::new();
            for _ in 0..self.below(6) {
                // NSID, DAU, subnet, expire, cookie, keepalive, padding, chain, EDE, and two that nobody has.
                let codes = [3, 5, 8, 9, 10, 11, 12, 13, 15, 26_946, 65_535];
                let lengths = [0, 1, 2, 4, 7, 8, 16, 24, 40, 41, 300];
                let length = lengths[self.below(lengths.len())];
                options.extend(u16::to_be_bytes(codes[self.below(codes.len())]));
                options.extend(u16::try_from(length).unwrap().to_be_bytes());
                options.extend((0..length).map(|_| self.byte()));
            }
            let version = u8::from(self.below(10) == 0);
            packet.extend([0, 0, 41, self.byte(), self.byte(), 0, version]);
            packet.extend([self.byte(), self.byte()]);
            packet.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
            packet.extend(options);
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

/// Runs an attack twice: after the first, nothing more is taken and everything is given back.
fn assert_bounded(gate: &Gate, mut attack: impl FnMut()) {
    attack();
    assert_serves(gate);
    let before = gate.status("VmRSS");
    attack();
    assert_serves(gate);
    gate.wait_for_metric("sekisho_dns_in_flight ", 0.0);
    gate.wait_for_metric("sekisho_dns_connections ", 0.0);
    let after = gate.status("VmRSS");
    println!("VmRSS {before} -> {after} KiB");
    assert!(after < before + 24 * 1024, "{before} -> {after} KiB");
}

#[test]
fn ten_thousand_datagrams_of_noise_leave_it_serving() {
    let (_upstream, gate) = home();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut random = Random(0x5ec1_5ec1_5ec1_5ec1);
    assert_bounded(&gate, || {
        for round in 0..5000 {
            socket
                .send_to(&random.packet(), gate.addr("dns-udp"))
                .unwrap();
            if round % 100 == 0 {
                assert_serves(&gate);
            }
        }
    });
}

#[test]
fn ten_thousand_messages_of_noise_over_tcp_leave_it_serving() {
    let (_upstream, gate) = home();
    let mut random = Random(0x7ab1_e5ec_7ab1_e5ec);
    assert_bounded(&gate, || {
        for _ in 0..500 {
            let mut stream = TcpStream::connect(gate.addr("dns-tcp")).unwrap();
            let mut segment = Vec::new();
            for _ in 0..10 {
                let packet = random.packet();
                let mut length = u16::try_from(packet.len()).unwrap();
                if random.below(20) == 0 {
                    length = length.wrapping_add(u16::from(random.byte()));
                }
                segment.extend(length.to_be_bytes());
                segment.extend(packet);
            }
            // The gate may have closed on the packet before.
            match random.below(4) {
                0 => {
                    stream.set_nodelay(true).ok();
                    for bytes in segment.chunks(1 + random.below(7)).take(200) {
                        stream.write_all(bytes).ok();
                    }
                }
                1 => {
                    stream.write_all(&segment).ok();
                    stream.shutdown(Shutdown::Write).ok();
                    // What was asked is answered, and then it is over.
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let end = stream.read_to_end(&mut Vec::new());
                    let kind = end.err().map(|error| error.kind());
                    assert!(kind.is_none_or(|kind| kind == ErrorKind::ConnectionReset));
                }
                _ => {
                    stream.write_all(&segment).ok();
                    stream.shutdown(Shutdown::Both).ok();
                }
            }
        }
    });
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
