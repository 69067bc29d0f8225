//! Just enough of the messages of the DNS to ask and to judge an answer. It is not sekisho's own reader, so that one
//! does not hide what the other gets wrong.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::Fallible;

/// Types of records, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordType(u16);

impl RecordType {
    pub(crate) const A: Self = Self(1);
    pub(crate) const SOA: Self = Self(6);
    pub(crate) const AAAA: Self = Self(28);
    pub(crate) const HTTPS: Self = Self(65);
    pub(crate) const ANY: Self = Self(255);
    const OPT: Self = Self(41);
}

/// RCODEs that count as an answer.
pub(crate) const NO_ERROR: u8 = 0;
/// The name does not exist.
pub(crate) const NX_DOMAIN: u8 = 3;

/// A query with the ID 0 that asks for recursion.
pub(crate) fn write_question(to: &mut Vec<u8>, name: &str, record_type: RecordType) {
    to.extend([0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        to.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        to.extend(label.bytes());
    }
    to.push(0);
    to.extend(record_type.0.to_be_bytes());
    to.extend([0, 1]);
}

/// OPT with room for 1232 bytes; it makes the query one with EDNS.
const OPT: [u8; 11] = [0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0];

/// Whether a client can do something with this answer: there is such a thing, or it is said that there is none.
pub(crate) fn is_answer(message: &[u8]) -> bool {
    message
        .get(3)
        .is_some_and(|flags| matches!(flags & 15, NO_ERROR | NX_DOMAIN))
}

/// Where in a message a record was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Answer,
    Authority,
    Additional,
}

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) section: Section,
    pub(crate) record_type: RecordType,
    pub(crate) data: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) rcode: u8,
    /// The name as it was asked for, in labels.
    pub(crate) question: Vec<u8>,
    pub(crate) records: Vec<Record>,
}

impl Reply {
    /// Reads a whole message; nothing where it is none.
    pub(crate) fn read(message: &[u8]) -> Option<Self> {
        let short = |at: usize| {
            Some(u16::from_be_bytes([
                *message.get(at)?,
                *message.get(at + 1)?,
            ]))
        };
        let mut at = after_name(message, 12)?;
        let question = message.get(12..at)?.to_vec();
        at += 4;
        let mut records = Vec::new();
        let sections = [Section::Answer, Section::Authority, Section::Additional];
        for (section, count_at) in sections.into_iter().zip([6, 8, 10]) {
            for _ in 0..short(count_at)? {
                at = after_name(message, at)?;
                let end = at + 10 + usize::from(short(at + 8)?);
                records.push(Record {
                    section,
                    record_type: RecordType(short(at)?),
                    data: message.get(at + 10..end)?.to_vec(),
                });
                at = end;
            }
        }
        Some(Self {
            rcode: message.get(3)? & 15,
            question,
            records,
        })
    }

    /// The records of this type, in any section.
    pub(crate) fn of(&self, record_type: RecordType) -> impl Iterator<Item = &Record> {
        let records = self.records.iter();
        records.filter(move |record| record.record_type == record_type)
    }

    /// The addresses in the answer, in order of number.
    pub(crate) fn ipv4(&self) -> Vec<Ipv4Addr> {
        let records = self
            .of(RecordType::A)
            .filter(|r| r.section == Section::Answer);
        let addresses = records.filter_map(|record| <[u8; 4]>::try_from(&*record.data).ok());
        let mut addresses: Vec<Ipv4Addr> = addresses.map(Ipv4Addr::from).collect();
        addresses.sort();
        addresses
    }

    /// The code of an extended error (RFC 8914).
    pub(crate) fn extended_error(&self) -> Option<u16> {
        let mut options = &*self.of(RecordType::OPT).next()?.data;
        while let Some((code, value, rest)) = split_parameter(options) {
            if code == 15 {
                return Some(u16::from_be_bytes([*value.first()?, *value.get(1)?]));
            }
            options = rest;
        }
        None
    }
}

/// Whether a record of type HTTPS names IPv6 addresses (RFC 9460 section 7.3).
pub(crate) fn has_ipv6_hint(data: &[u8]) -> bool {
    let Some(mut parameters) = after_name(data, 2).and_then(|at| data.get(at..)) else {
        return false;
    };
    while let Some((key, _, rest)) = split_parameter(parameters) {
        if key == 6 {
            return true;
        }
        parameters = rest;
    }
    false
}

/// A number, a length, and as many bytes: the form of EDNS options and of HTTPS parameters.
fn split_parameter(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    let [code_high, code_low, high, low] = *head;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
    Some((u16::from_be_bytes([code_high, code_low]), value, rest))
}

/// The place after a name.
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

/// Asks once over UDP.
///
/// # Errors
///
/// What the system says, silence within `patience` included, and what is no message.
pub(crate) fn ask(
    server: SocketAddr,
    name: &str,
    record_type: RecordType,
    edns: bool,
    patience: Duration,
) -> Fallible<Reply> {
    let mut query = Vec::new();
    write_question(&mut query, name, record_type);
    if edns {
        query[11] = 1;
        query.extend(OPT);
    }
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(patience))?;
    // Known to nobody who was asked before, so that an answer that comes late is not taken for this one.
    query[..2].copy_from_slice(&socket.local_addr()?.port().to_be_bytes());
    socket.send(&query)?;
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer)?;
        let message = buffer.get(..length).unwrap_or_default();
        if message.get(..2) == query.get(..2) {
            return Ok(Reply::read(message).ok_or_else(no_message)?);
        }
    }
}

/// Asks once over TCP.
///
/// # Errors
///
/// As [`ask`] does.
pub(crate) fn ask_stream(
    server: SocketAddr,
    name: &str,
    record_type: RecordType,
    patience: Duration,
) -> Fallible<Reply> {
    let mut query = vec![0, 0];
    write_question(&mut query, name, record_type);
    let length = u16::try_from(query.len() - 2)?;
    query[..2].copy_from_slice(&length.to_be_bytes());
    let mut stream = TcpStream::connect_timeout(&server, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(&query)?;
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(head))];
    stream.read_exact(&mut message)?;
    Ok(Reply::read(&message).ok_or_else(no_message)?)
}

fn no_message() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a message")
}
