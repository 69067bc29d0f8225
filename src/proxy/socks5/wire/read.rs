//! PURE. The readers of what a client says, of streams and of datagrams. Called by those who serve SOCKS, through the
//! module above.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Address, Command, Datagram, Greeting, Login, Read, Request, Wrong};

/// The longest user name or host name of SOCKS4, which ends them by a zero octet.
const LONGEST: usize = 255;

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
