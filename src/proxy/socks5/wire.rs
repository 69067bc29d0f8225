//! PURE. The messages of SOCKS: version 5 (RFC 1928), its names and passwords (RFC 1929), its datagrams, and versions 4
//! and 4a. Every reader of a stream says found, wrong, or that it needs more; what follows a message is not its own.
//!
//! This file has the words; beside it is who reads them, and who says them.

mod read;
mod say;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use crate::net::{Host, HostError, Target};

pub use read::{datagram, greeting, login, request};
pub use say::{header, login_reply, method, reply, reply_4};

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
