//! PURE. The host name in the first datagrams of a QUIC client (RFC 9000, RFC 9001; version 2: RFC 9369).
//!
//! The ClientHello lies in the CRYPTO frames of Initial packets, whose keys anybody can make who has seen the first of
//! them. Clients cut it in pieces, shuffle these within a packet and over several (a hello with a post-quantum key share
//! does not fit into one datagram), and may put other packets before and behind. The hello itself is read by `tls`.
//! Nothing else can be read, and nothing needs to be. Called by `transparent/quic`.

mod keys;
pub mod packet;
mod stream;
#[cfg(test)]
mod tests;

use rustls::quic::Keys;

use self::packet::{Long, Type, Version, integer, length};
use self::stream::Stream;
use super::tls;
use crate::net::Host;

pub use stream::LONGEST as LONGEST_HELLO;

/// What the datagrams so far say about the name they are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// The server name; always [`Host::Name`].
    Found(Host),
    /// A whole ClientHello without a server name.
    NoName,
    /// No Initial packet that its keys open, of a version that we read.
    NotQuic,
    /// QUIC, or TLS within, that breaks its own rules; the text says which.
    Malformed(&'static str),
    /// Good so far, but it goes on.
    NeedMore,
}

/// The first datagrams of one connection, read one by one.
#[derive(Default)]
pub struct Initials {
    begun: Option<Begun>,
    stream: Stream,
    largest: Option<u64>,
    /// The prefix of the stream that said nothing yet, in bytes.
    looked_at: usize,
}

/// What the first packet that was opened says for all that follow.
struct Begun {
    version: Version,
    keys: Keys,
    /// The client's own ID.
    client: Vec<u8>,
    /// The ID that it made up for the server.
    server: Vec<u8>,
}

impl std::fmt::Debug for Initials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Initials")
            .field("version", &self.begun.as_ref().map(|begun| begun.version))
            .field("come", &self.stream.prefix().len())
            .finish_non_exhaustive()
    }
}

/// Why the walk ended before its goal.
enum Stop {
    Malformed(&'static str),
    /// Nothing behind this place can be read.
    End,
}

impl Initials {
    /// Reads the next datagram of the client. Whatever it says but [`Sniffed::NeedMore`] is its last word.
    pub fn read(&mut self, datagram: &[u8]) -> Sniffed {
        let mut rest = datagram;
        let id = Long::read(datagram).map(|long| long.destination);
        while !rest.is_empty() {
            // One datagram is for one connection: the server passes over what is not (RFC 9000 section 12.2).
            if Long::read(rest).map(|long| long.destination) != id {
                break;
            }
            match self.packet(rest) {
                Ok(behind) => rest = behind,
                Err(Stop::End) => break,
                Err(Stop::Malformed(why)) => return Sniffed::Malformed(why),
            }
        }
        if self.begun.is_none() {
            return Sniffed::NotQuic;
        }
        let prefix = self.stream.prefix();
        if prefix.len() == self.looked_at {
            return Sniffed::NeedMore;
        }
        self.looked_at = prefix.len();
        match tls::sniff_message(prefix) {
            tls::Sniffed::Found(host) => Sniffed::Found(host),
            tls::Sniffed::NoName => Sniffed::NoName,
            tls::Sniffed::NotTls => Sniffed::Malformed("the CRYPTO stream holds no TLS"),
            tls::Sniffed::Malformed(why) => Sniffed::Malformed(why),
            tls::Sniffed::NeedMore => Sniffed::NeedMore,
        }
    }

    /// The packet that says to the client, before any server did, that it will get no connection: CONNECTION_CLOSE with
    /// CONNECTION_REFUSED (RFC 9000 sections 10.2.3 and 20.1), in an Initial packet. A client that gets it gives up at
    /// once, and usually goes over to TCP. `None` before an Initial packet was read.
    pub fn refusal(&self) -> Option<Vec<u8>> {
        const CONNECTION_CLOSE: u8 = 0x1c;
        const CONNECTION_REFUSED: u8 = 0x02;
        const REASON: &[u8; 7] = b"sekisho";
        let begun = self.begun.as_ref()?;
        // No frame is to blame.
        let mut frames = vec![CONNECTION_CLOSE, CONNECTION_REFUSED, 0, 7];
        frames.extend(REASON);
        keys::seal(
            &begun.keys.local,
            begun.version,
            &begun.client,
            &begun.server,
            0,
            &frames,
        )
    }

    /// Takes up the packet that the bytes begin with, and says what follows it.
    fn packet<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Stop> {
        // A short header says not where its packet ends, another version not even that it has a length.
        let long = Long::read(bytes).ok_or(Stop::End)?;
        let version = long.known().ok_or(Stop::End)?;
        let kind = long.kind(version);
        let fields = match kind {
            Type::Initial => {
                let (token, fields) = length(long.rest).ok_or(Stop::End)?;
                fields.get(token..).ok_or(Stop::End)?
            }
            Type::ZeroRtt | Type::Handshake => long.rest,
            Type::Retry => return Err(Stop::End),
        };
        let (length, fields) = length(fields).ok_or(Stop::End)?;
        let rest = fields.get(length..).ok_or(Stop::End)?;
        if kind == Type::Initial {
            let place = bytes.len() - fields.len();
            let packet = bytes.get(..place + length).ok_or(Stop::End)?;
            self.initial(&long, version, packet, place)?;
        }
        Ok(rest)
    }

    /// Opens an Initial packet. One that does not open is passed over (RFC 9001 section 5.5).
    fn initial(
        &mut self,
        long: &Long<'_>,
        version: Version,
        packet: &[u8],
        place: usize,
    ) -> Result<(), Stop> {
        let mut packet = packet.to_vec();
        let (number, frames) = match &self.begun {
            Some(begun) => {
                // The first ID stays the key to all that comes before the server's first word.
                let opened = keys::open(&begun.keys.remote, &mut packet, place, self.largest);
                let Some(opened) = opened else { return Ok(()) };
                opened
            }
            None => {
                let Some(keys) = keys::keys(long.destination, version) else {
                    return Ok(());
                };
                let opened = keys::open(&keys.remote, &mut packet, place, None);
                let Some(opened) = opened else { return Ok(()) };
                self.begun = Some(Begun {
                    version,
                    keys,
                    client: long.source.to_vec(),
                    server: long.destination.to_vec(),
                });
                opened
            }
        };
        self.largest = self.largest.max(Some(number));
        frames_into(&mut self.stream, frames)
    }
}

/// Puts the CRYPTO frames in their place; the others that an Initial packet may have say nothing (RFC 9000 section 12.4).
fn frames_into(stream: &mut Stream, mut frames: &[u8]) -> Result<(), Stop> {
    const CUT: Stop = Stop::Malformed("a frame is cut off");
    while let Some((kind, rest)) = frames.split_first() {
        let mut after = rest;
        let mut skip_integer = || -> Result<u64, Stop> {
            let (value, rest) = integer(after).ok_or(CUT)?;
            after = rest;
            Ok(value)
        };
        match kind {
            // PADDING, PING
            0 | 1 => {}
            // ACK, with counts of ECN or without
            2 | 3 => {
                skip_integer()?;
                skip_integer()?;
                let ranges = skip_integer()?;
                skip_integer()?;
                // As many turns as there are bytes, at most.
                for _ in 0..ranges {
                    skip_integer()?;
                    skip_integer()?;
                }
                if *kind == 3 {
                    for _ in 0..3 {
                        skip_integer()?;
                    }
                }
            }
            // CRYPTO
            6 => {
                let offset = skip_integer()?;
                let (length, data) = length(after).ok_or(CUT)?;
                let (data, rest) = data.split_at_checked(length).ok_or(CUT)?;
                stream.put(offset, data).map_err(|_| {
                    Stop::Malformed("the ClientHello is longer than 16 KiB, or in too many pieces")
                })?;
                after = rest;
            }
            // CONNECTION_CLOSE
            0x1c => {
                skip_integer()?;
                skip_integer()?;
                let (length, reason) = length(after).ok_or(CUT)?;
                after = reason.get(length..).ok_or(CUT)?;
            }
            _ => {
                return Err(Stop::Malformed(
                    "an Initial packet has a frame that it must not",
                ));
            }
        }
        frames = after;
    }
    Ok(())
}

/// An Initial packet of a client, as a client would close it; for tests, which have no other way to be a client that
/// does what they want. `made` is the ID of the client's first Initial packet. Filled up to `length` bytes.
pub fn client_initial(
    made: &[u8],
    version: Version,
    destination: &[u8],
    source: &[u8],
    number: u32,
    frames: &[u8],
    length: usize,
) -> Option<Vec<u8>> {
    let keys = keys::keys(made, version)?;
    let overhead = 1 + 4 + 1 + destination.len() + 1 + source.len() + 1 + 2 + 4 + 16;
    let mut frames = frames.to_vec();
    frames.resize(frames.len().max(length.saturating_sub(overhead)), 0);
    keys::seal(&keys.remote, version, destination, source, number, &frames)
}
