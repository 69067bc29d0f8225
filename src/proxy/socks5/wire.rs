//! PURE. The messages of SOCKS: version 5 (RFC 1928), its names and passwords (RFC 1929), its datagrams, and versions 4
//! and 4a. Every reader of a stream says found, wrong, or that it needs more; what follows a message is not its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::net::{Host, HostError, Target};

/// The longest user name or host name of SOCKS4, which ends them by a zero octet.
const LONGEST: usize = 255;

/// The longest header of a datagram, in bytes: the one of the longest name.
pub const LONGEST_HEADER: usize = 4 + 1 + 255 + 2;

/// What a reader of a stream makes of the bytes so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// Too few bytes to say.
    NeedMore,
    /// The message, and how many bytes it took.
    Found(T, usize),
    /// No such message begins like this.
    Wrong(Wrong),
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Neither version 4 nor 5.
    #[error("the client does not speak SOCKS")]
    NotSocks,
    /// The version of the request, or of the name and password, is another one.
    #[error("the message has another version than the ones before it")]
    Version,
    /// Neither a name, nor IPv4, nor IPv6.
    #[error("the type of the address is not known")]
    AddressType,
    /// A text of SOCKS4 does not end.
    #[error("a name in the request is longer than 255 bytes")]
    TooLong,
    /// A datagram that is not all there.
    #[error("the header of the datagram is cut short")]
    Short,
    /// One piece of a datagram (RFC 1928 section 7), which we do not put together.
    #[error("the datagram is a fragment")]
    Fragment,
}

/// What a connection begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Version 5, and the methods to choose from.
    V5(Vec<u8>),
    /// Version 4 or 4a: the request at once.
    V4(Request),
}

/// No authentication is needed.
pub const NO_AUTHENTICATION: u8 = 0;
/// A name and a password (RFC 1929).
pub const NAME_AND_PASSWORD: u8 = 2;
/// No method that would do.
pub const NO_METHOD: u8 = 0xff;

/// A name and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub name: Vec<u8>,
    /// The password.
    pub password: Vec<u8>,
}

/// What the client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is to be done.
    pub command: Command,
    /// Where.
    pub address: Address,
    /// The port.
    pub port: u16,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A connection to the target.
    Connect,
    /// A connection from the target.
    Bind,
    /// Datagrams.
    UdpAssociate,
    /// Anything else.
    Other(u8),
}

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address.
    Ip(IpAddr),
    /// What should be a name, or an address as text.
    Name(Vec<u8>),
}

impl Request {
    /// The target, if it is one.
    ///
    /// # Errors
    ///
    /// [`HostError`] where the name is none, or the port is 0.
    pub fn target(&self) -> Result<Target, HostError> {
        target(&self.address, self.port)
    }
}

/// What a datagram of a client is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Where.
    pub address: Address,
    /// The port.
    pub port: u16,
    /// What to send there.
    pub payload: &'a [u8],
}

impl Datagram<'_> {
    /// The target, if it is one.
    ///
    /// # Errors
    ///
    /// [`HostError`] where the name is none, or the port is 0.
    pub fn target(&self) -> Result<Target, HostError> {
        target(&self.address, self.port)
    }
}

fn target(address: &Address, port: u16) -> Result<Target, HostError> {
    if port == 0 {
        return Err(HostError::Port);
    }
    let host = match address {
        Address::Ip(address) => Host::from(*address),
        Address::Name(name) => {
            let text = std::str::from_utf8(name).map_err(|_| HostError::Character)?;
            Host::parse(text)?
        }
    };
    Ok(Target::new(host, port))
}

/// The first message.
pub fn greeting(bytes: &[u8]) -> Read<Greeting> {
    match bytes {
        [] | [5] => Read::NeedMore,
        [5, count, rest @ ..] => match rest.get(..usize::from(*count)) {
            Some(methods) => Read::Found(Greeting::V5(methods.to_vec()), 2 + methods.len()),
            None => Read::NeedMore,
        },
        [4, ..] => match request_4(bytes) {
            Read::Found(request, length) => Read::Found(Greeting::V4(request), length),
            Read::NeedMore => Read::NeedMore,
            Read::Wrong(wrong) => Read::Wrong(wrong),
        },
        _ => Read::Wrong(Wrong::NotSocks),
    }
}

/// The name and the password, where they were asked for.
pub fn login(bytes: &[u8]) -> Read<Login> {
    let found = match bytes {
        [] => None,
        [1, rest @ ..] => field(rest).and_then(|(name, rest)| {
            let (password, _) = field(rest)?;
            let length = 3 + name.len() + password.len();
            let (name, password) = (name.to_vec(), password.to_vec());
            Some((Login { name, password }, length))
        }),
        _ => return Read::Wrong(Wrong::Version),
    };
    found.map_or(Read::NeedMore, |(login, length)| Read::Found(login, length))
}

/// The request of version 5.
pub fn request(bytes: &[u8]) -> Read<Request> {
    let (command, rest) = match bytes {
        [5, command, _reserved, rest @ ..] => (*command, rest),
        [] | [5] | [5, _] => return Read::NeedMore,
        _ => return Read::Wrong(Wrong::Version),
    };
    let command = match command {
        1 => Command::Connect,
        2 => Command::Bind,
        3 => Command::UdpAssociate,
        other => Command::Other(other),
    };
    match place(rest) {
        Read::Found((address, port), length) => Read::Found(
            Request {
                command,
                address,
                port,
            },
            3 + length,
        ),
        Read::NeedMore => Read::NeedMore,
        Read::Wrong(wrong) => Read::Wrong(wrong),
    }
}

/// A datagram of a client (RFC 1928 section 7).
///
/// # Errors
///
/// [`Wrong`] says why it is none that we carry.
pub fn datagram(bytes: &[u8]) -> Result<Datagram<'_>, Wrong> {
    let rest = match bytes {
        [_, _, 0, rest @ ..] => rest,
        [_, _, _, ..] => return Err(Wrong::Fragment),
        _ => return Err(Wrong::Short),
    };
    match place(rest) {
        Read::Found((address, port), length) => Ok(Datagram {
            address,
            port,
            payload: rest.get(length..).unwrap_or_default(),
        }),
        Read::NeedMore => Err(Wrong::Short),
        Read::Wrong(wrong) => Err(wrong),
    }
}

/// An octet of length and so many more; and what follows.
fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// The type of an address, the address and the port.
fn place(bytes: &[u8]) -> Read<(Address, u16)> {
    let Some((kind, rest)) = bytes.split_first() else {
        return Read::NeedMore;
    };
    let found = match kind {
        1 => rest
            .split_first_chunk::<4>()
            .map(|(octets, rest)| (Address::Ip(Ipv4Addr::from(*octets).into()), rest)),
        3 => field(rest).map(|(name, rest)| (Address::Name(name.to_vec()), rest)),
        4 => rest
            .split_first_chunk::<16>()
            .map(|(octets, rest)| (Address::Ip(Ipv6Addr::from(*octets).into()), rest)),
        _ => return Read::Wrong(Wrong::AddressType),
    };
    let found = found.and_then(|(address, rest)| {
        let (port, rest) = rest.split_first_chunk::<2>()?;
        Some((address, u16::from_be_bytes(*port), bytes.len() - rest.len()))
    });
    found.map_or(Read::NeedMore, |(address, port, length)| {
        Read::Found((address, port), length)
    })
}

/// The request of version 4, or of 4a, which has a name behind an address of 0.0.0.x.
fn request_4(bytes: &[u8]) -> Read<Request> {
    let &[_, command, high, low, a, b, c, d, ref rest @ ..] = bytes else {
        return Read::NeedMore;
    };
    let command = match command {
        1 => Command::Connect,
        2 => Command::Bind,
        other => Command::Other(other),
    };
    let (user, rest) = match text(rest) {
        Read::Found(user, length) => (user, rest.get(length..).unwrap_or_default()),
        Read::NeedMore => return Read::NeedMore,
        Read::Wrong(wrong) => return Read::Wrong(wrong),
    };
    let length = 8 + user.len() + 1;
    let (address, length) = match [a, b, c, d] {
        [0, 0, 0, 1..=255] => match text(rest) {
            Read::Found(name, more) => (Address::Name(name.to_vec()), length + more),
            Read::NeedMore => return Read::NeedMore,
            Read::Wrong(wrong) => return Read::Wrong(wrong),
        },
        octets => (Address::Ip(Ipv4Addr::from(octets).into()), length),
    };
    let request = Request {
        command,
        address,
        port: u16::from_be_bytes([high, low]),
    };
    Read::Found(request, length)
}

/// A text that ends by a zero octet.
fn text(bytes: &[u8]) -> Read<&[u8]> {
    match bytes.iter().take(LONGEST + 1).position(|byte| *byte == 0) {
        Some(end) => Read::Found(bytes.get(..end).unwrap_or_default(), end + 1),
        None if bytes.len() > LONGEST => Read::Wrong(Wrong::TooLong),
        None => Read::NeedMore,
    }
}

/// The choice of a method.
pub fn method(method: u8) -> [u8; 2] {
    [5, method]
}

/// What came of a name and a password.
pub fn login_reply(right: bool) -> [u8; 2] {
    [1, u8::from(!right)]
}

/// The reply of version 5 (RFC 1928 section 6), with the address that was bound.
pub fn reply(code: u8, bound: SocketAddr) -> Vec<u8> {
    let mut reply = vec![5, code, 0];
    push(&mut reply, bound);
    reply
}

/// The reply of version 4.
pub fn reply_4(granted: bool) -> [u8; 8] {
    [0, if granted { 90 } else { 91 }, 0, 0, 0, 0, 0, 0]
}

/// The header of a datagram that came from there.
pub fn header(from: SocketAddr) -> Vec<u8> {
    let mut header = vec![0, 0, 0];
    push(&mut header, from);
    header
}

fn push(bytes: &mut Vec<u8>, address: SocketAddr) {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            bytes.push(1);
            bytes.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes.push(4);
            bytes.extend(ip.octets());
        }
    }
    bytes.extend(address.port().to_be_bytes());
}

#[cfg(test)]
mod tests {
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
}
