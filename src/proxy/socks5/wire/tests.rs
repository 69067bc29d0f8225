//! Every reader against every prefix, flipped bits and noise, and what we say against the readers.

use std::net::SocketAddr;

use super::*;

/// A message of each kind, and what is read of it.
fn greetings() -> Vec<(Vec<u8>, Greeting)> {
    let v4 = |address: Address| {
        Greeting::V4(Request {
            command: Command::Connect,
            address,
            port: 443,
        })
    };
    vec![
        (vec![5, 0], Greeting::V5(vec![])),
        (vec![5, 2, 0, 2], Greeting::V5(vec![0, 2])),
        (
            b"\x04\x01\x01\xbb\xc0\x00\x02\x01\0".to_vec(),
            v4(Address::Ip([192, 0, 2, 1].into())),
        ),
        (
            b"\x04\x01\x01\xbb\0\0\0\x01ann\0a.example\0".to_vec(),
            v4(Address::Name(b"a.example".to_vec())),
        ),
    ]
}

fn requests() -> Vec<(Vec<u8>, Request)> {
    let request = |command, address| Request {
        command,
        address,
        port: 443,
    };
    vec![
        (
            b"\x05\x01\0\x01\xc0\x00\x02\x01\x01\xbb".to_vec(),
            request(Command::Connect, Address::Ip([192, 0, 2, 1].into())),
        ),
        (
            b"\x05\x03\0\x03\x09a.example\x01\xbb".to_vec(),
            request(Command::UdpAssociate, Address::Name(b"a.example".to_vec())),
        ),
        (
            b"\x05\x02\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x01\xbb".to_vec(),
            request(Command::Bind, Address::Ip("2001:db8::1".parse().unwrap())),
        ),
        (
            b"\x05\x09\0\x03\0\x01\xbb".to_vec(),
            request(Command::Other(9), Address::Name(vec![])),
        ),
    ]
}

/// Reads every prefix, the whole, and the whole with more behind it.
fn every_prefix<T: PartialEq + std::fmt::Debug>(
    message: &[u8],
    expected: T,
    read: impl Fn(&[u8]) -> Read<T>,
) {
    for end in 0..message.len() {
        assert_eq!(
            read(&message[..end]),
            Read::NeedMore,
            "{end} of {message:?}"
        );
    }
    let expected = Read::Found(expected, message.len());
    assert_eq!(read(message), expected);
    assert_eq!(read(&[message, b"early"].concat()), expected);
}

#[test]
fn every_prefix_needs_more_and_what_follows_is_left() {
    for (message, expected) in greetings() {
        every_prefix(&message, expected, greeting);
    }
    for (message, expected) in requests() {
        every_prefix(&message, expected, request);
    }
    let expected = Login {
        name: b"ann".to_vec(),
        password: b"secret".to_vec(),
    };
    every_prefix(b"\x01\x03ann\x06secret", expected, login);
}

#[test]
fn a_datagram_is_all_there_or_none() {
    for (message, expected) in requests() {
        let bytes = [&[0, 0, 0], &message[3..]].concat();
        for end in 0..bytes.len() {
            assert_eq!(datagram(&bytes[..end]), Err(Wrong::Short));
        }
        let bytes = [&bytes[..], b"payload"].concat();
        let found = datagram(&bytes).unwrap();
        assert_eq!((&found.address, found.port), (&expected.address, 443));
        assert_eq!(found.payload, b"payload");
    }
    assert_eq!(
        datagram(&[0, 0, 1, 1, 1, 1, 1, 1, 0, 1]),
        Err(Wrong::Fragment)
    );
    assert_eq!(datagram(&[0, 0, 0, 2, 1, 1]), Err(Wrong::AddressType));
}

#[test]
fn flipped_bits_and_long_noise_never_panic_nor_read_beyond_the_end() {
    let read_all = |bytes: &[u8]| {
        if let Read::Found(_, length) = greeting(bytes) {
            assert!(length <= bytes.len());
        }
        if let Read::Found(_, length) = login(bytes) {
            assert!(length <= bytes.len());
        }
        if let Read::Found(request, length) = request(bytes) {
            assert!(length <= bytes.len());
            request.target().ok();
        }
        if let Ok(datagram) = datagram(bytes) {
            datagram.target().ok();
        }
    };
    let greetings = greetings().into_iter().map(|(message, _)| message);
    let requests = requests().into_iter().map(|(message, _)| message);
    for message in greetings.chain(requests) {
        for bit in 0..message.len() * 8 {
            let mut flipped = message.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            read_all(&flipped);
        }
    }
    for byte in 0..=255 {
        for length in [1, 2, 10, 300, 70_000] {
            read_all(&vec![byte; length]);
        }
    }
}

#[test]
fn what_is_wrong_is_known_at_once() {
    for (bytes, wrong) in [
        (&b"G"[..], Wrong::NotSocks),
        (b"\x16\x03\x01", Wrong::NotSocks),
    ] {
        assert_eq!(greeting(bytes), Read::Wrong(wrong));
    }
    assert_eq!(login(&[5]), Read::Wrong(Wrong::Version));
    assert_eq!(request(&[4]), Read::Wrong(Wrong::Version));
    assert_eq!(request(&[5, 1, 0, 9]), Read::Wrong(Wrong::AddressType));
    let mut endless = b"\x04\x01\x01\xbb\xc0\x00\x02\x01".to_vec();
    endless.resize(8 + 255, b'x');
    assert_eq!(greeting(&endless), Read::NeedMore);
    endless.push(b'x');
    assert_eq!(greeting(&endless), Read::Wrong(Wrong::TooLong));
    let mut endless = b"\x04\x01\x01\xbb\0\0\0\x01\0".to_vec();
    endless.resize(9 + 256, b'x');
    assert_eq!(greeting(&endless), Read::Wrong(Wrong::TooLong));
}

#[test]
fn targets_are_hosts_with_a_port() {
    let target = |address, port| {
        let command = Command::Connect;
        let request = Request {
            command,
            address,
            port,
        };
        request.target().map(|target| target.to_string())
    };
    let name = |text: &str| Address::Name(text.into());
    assert_eq!(target(name("A.Example"), 1).unwrap(), "a.example:1");
    assert_eq!(target(name("192.0.2.1"), 1).unwrap(), "192.0.2.1:1");
    let mapped = Address::Ip("::ffff:192.0.2.1".parse().unwrap());
    assert_eq!(target(mapped, 1).unwrap(), "192.0.2.1:1");
    assert_eq!(target(name("a.example"), 0), Err(HostError::Port));
    assert_eq!(target(name(""), 1), Err(HostError::Empty));
    assert_eq!(target(name("a b"), 1), Err(HostError::Character));
    assert_eq!(
        target(Address::Name(vec![0xff]), 1),
        Err(HostError::Character)
    );
}

#[test]
fn what_we_say_is_read_by_the_same_rules() {
    for text in ["192.0.2.1:443", "[2001:db8::1]:443"] {
        let address: SocketAddr = text.parse().unwrap();
        let mut reply = reply(0, address);
        assert_eq!(&reply[..3], &[5, 0, 0]);
        reply[1] = 1;
        let Read::Found(found, length) = request(&reply) else {
            panic!("{reply:?}");
        };
        assert_eq!(length, reply.len());
        assert_eq!(
            (found.address, found.port),
            (Address::Ip(address.ip()), 443)
        );
        let header = header(address);
        assert!(header.len() <= LONGEST_HEADER);
        assert_eq!(datagram(&header).unwrap().payload, b"");
    }
    assert_eq!(
        (method(2), login_reply(true), login_reply(false)),
        ([5, 2], [1, 0], [1, 1])
    );
    assert_eq!((reply_4(true)[1], reply_4(false)[1]), (90, 91));
}
