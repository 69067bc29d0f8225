//! PURE. A whole head of HTTP/1.x (RFC 9112 sections 3 to 6): what comes behind it, or why nobody shall read it.
//!
//! Nothing is corrected, as two readers could correct it differently. Called by `super` with heads whose lines are
//! known to be free of control characters and to end well.

use super::fault::Fault;

/// How many header lines a head may have; hyper reads no more.
const MOST_HEADERS: usize = 100;

/// The longest target, in bytes; hyper reads no longer one.
const LONGEST_TARGET: usize = 65_534;

/// The longest name of a header, in bytes.
const LONGEST_NAME: usize = 1_024;

/// How the length of a body is told (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// By a number of bytes, which may be none.
    Bytes(u64),
    /// By chunks.
    Chunked,
    /// By the end of the connection; only of responses.
    Close,
}

/// What follows a message on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another head.
    Head,
    /// Another protocol, where the other side agrees, else another head.
    Upgrade,
    /// Whatever the ends of a tunnel say.
    Tunnel,
    /// Nothing, before the next request.
    Request,
}

/// What a head says of the bytes behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Of the body.
    pub length: Length,
    /// Behind the body.
    pub next: Next,
}

/// Reads the head of a request, from its first line to the empty one.
///
/// # Errors
///
/// Where it has no single meaning.
pub fn request(head: &[u8]) -> Result<Framing, Fault> {
    let (line, fields) = split(head);
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Fault::RequestLine);
    };
    if !token(method) || target.is_empty() {
        return Err(Fault::RequestLine);
    }
    let minor = minor(version).ok_or(Fault::RequestLine)??;
    if target.len() > LONGEST_TARGET {
        return Err(Fault::TooLong);
    }
    // Of a fragment, which goes no further, `Uri` reads nothing.
    let is_text = std::str::from_utf8(target).is_ok() && !target.contains(&b'\t');
    if !is_text || http::Uri::try_from(target).is_err() {
        return Err(Fault::Target);
    }
    let fields = Fields::read(fields)?;
    match (fields.hosts, fields.host) {
        (0, _) if minor > 0 => return Err(Fault::NoHost),
        (2.., _) => return Err(Fault::Hosts),
        (1, Some(host)) if !host.iter().all(is_host) => return Err(Fault::Host),
        _ => {}
    }
    let length = fields.length(minor)?.unwrap_or(Length::Bytes(0));
    let next = if method == b"CONNECT" {
        if length != Length::Bytes(0) {
            return Err(Fault::Body);
        }
        Next::Tunnel
    } else if fields.upgrade && minor > 0 {
        Next::Upgrade
    } else {
        Next::Head
    };
    Ok(Framing { length, next })
}

/// Reads the head of a response to a request, which was one with HEAD or not.
///
/// # Errors
///
/// Where it has no single meaning.
pub fn response(head: &[u8], to_head: bool) -> Result<Framing, Fault> {
    let (line, fields) = split(head);
    let (version, rest) = line.split_at_checked(8).ok_or(Fault::StatusLine)?;
    let minor = minor(version).ok_or(Fault::StatusLine)??;
    let status = match rest {
        [b' ', status @ ..] => match status.split_at_checked(3) {
            Some((status, [] | [b' ', ..])) => number(status),
            _ => None,
        },
        _ => None,
    };
    let status @ 100..=999 = status.ok_or(Fault::StatusLine)? else {
        return Err(Fault::StatusLine);
    };
    let length = Fields::read(fields)?.length(minor)?;
    let nothing = Length::Bytes(0);
    let (length, next) = match status {
        100..200 | 204 if length.is_some_and(|length| length != nothing) => {
            return Err(Fault::Body);
        }
        101 => (nothing, Next::Tunnel),
        100..200 => (nothing, Next::Head),
        204 | 304 => (nothing, Next::Request),
        _ if to_head => (nothing, Next::Request),
        _ => (length.unwrap_or(Length::Close), Next::Request),
    };
    Ok(Framing { length, next })
}

/// The target of a request that was read, where its method is OPTIONS.
pub(super) fn options(head: &[u8]) -> Option<&[u8]> {
    let rest = head.strip_prefix(b"OPTIONS ")?;
    rest.split(|&byte| byte == b' ').next()
}

/// Whether a target in absolute-form is a server as a whole, without path and query (RFC 9112 section 3.2.4).
pub(super) fn is_bare(target: &[u8]) -> bool {
    let behind = target.windows(3).position(|three| three == b"://");
    let authority = behind.and_then(|at| target.get(at + 3..));
    authority.is_some_and(|authority| !authority.iter().any(|byte| b"/?#".contains(byte)))
}

/// Reads one line of trailers, without its end.
pub(super) fn trailer(line: &[u8]) -> Result<(), Fault> {
    field(line).map(|_| ())
}

/// The first line, and the others up to the empty one.
fn split(head: &[u8]) -> (&[u8], &[u8]) {
    let end = head.iter().position(|&byte| byte == b'\n');
    let (line, rest) = head.split_at(end.map_or(head.len(), |end| end + 1));
    (without_end(line), rest)
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The minor version of HTTP/1.x; `None` where it is no version at all.
fn minor(version: &[u8]) -> Option<Result<u8, Fault>> {
    match version {
        b"HTTP/1.0" => Some(Ok(0)),
        b"HTTP/1.1" => Some(Ok(1)),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Some(Err(Fault::Version)),
        _ => None,
    }
}

/// What the headers say of the message as a whole.
#[derive(Default)]
struct Fields<'a> {
    hosts: usize,
    host: Option<&'a [u8]>,
    lengths: usize,
    length: Option<&'a [u8]>,
    codings: usize,
    coding: Option<&'a [u8]>,
    upgrade: bool,
}

impl<'a> Fields<'a> {
    fn read(lines: &'a [u8]) -> Result<Self, Fault> {
        let mut fields = Self::default();
        let lines = lines.split_inclusive(|&byte| byte == b'\n');
        for (number, line) in lines.map(without_end).enumerate() {
            if line.is_empty() {
                break;
            }
            if number >= MOST_HEADERS {
                return Err(Fault::TooMany);
            }
            let (name, value) = field(line)?;
            // By their length first: most headers are none of these.
            match name.len() {
                4 if name.eq_ignore_ascii_case(b"host") => {
                    fields.hosts += 1;
                    fields.host = Some(value);
                }
                7 if name.eq_ignore_ascii_case(b"upgrade") => fields.upgrade = true,
                14 if name.eq_ignore_ascii_case(b"content-length") => {
                    fields.lengths += 1;
                    fields.length = Some(value);
                }
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    fields.codings += 1;
                    fields.coding = Some(value);
                }
                _ => {}
            }
        }
        Ok(fields)
    }

    /// The length of the body, where one is told.
    fn length(&self, minor: u8) -> Result<Option<Length>, Fault> {
        match (self.lengths, self.codings) {
            (0, 0) => Ok(None),
            (1.., 1..) => Err(Fault::LengthAndCoding),
            (0, _) if minor == 0 => Err(Fault::OldCoding),
            (0, 1) => chunked(self.coding.unwrap_or_default()).map(Some),
            (0, _) => Err(Fault::NotChunked),
            (1, 0) => number(self.length.unwrap_or_default())
                .map(|length| Some(Length::Bytes(length)))
                .ok_or(Fault::Length),
            (_, 0) => Err(Fault::Lengths),
        }
    }
}

fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    if matches!(line, [b' ' | b'\t', ..]) {
        return Err(Fault::Fold);
    }
    let colon = line.iter().position(|&byte| byte == b':');
    let (name, value) = line.split_at(colon.ok_or(Fault::Name)?);
    if !token(name) || name.len() > LONGEST_NAME {
        return Err(Fault::Name);
    }
    Ok((name, trim(value.strip_prefix(b":").unwrap_or(value))))
}

/// Without the spaces and tabs around it (RFC 9110 section 5.6.3).
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Digits and nothing else, as far as every reader can count.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0_u64, |number, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        Some(number * 10 + u64::from(digit))
    })
}

fn chunked(coding: &[u8]) -> Result<Length, Fault> {
    if coding.eq_ignore_ascii_case(b"chunked") {
        return Ok(Length::Chunked);
    }
    let mut codings = coding.rsplit(|&byte| byte == b',').map(trim);
    let last = codings.next().unwrap_or_default();
    let known = |coding: &[u8]| {
        let known: [&[u8]; 5] = [b"gzip", b"deflate", b"compress", b"x-gzip", b"x-compress"];
        known.iter().any(|known| coding.eq_ignore_ascii_case(known))
    };
    if last.eq_ignore_ascii_case(b"chunked") && codings.all(known) {
        return Err(Fault::Coding);
    }
    Err(Fault::NotChunked)
}

/// Whether an octet may stand in Host (RFC 3986 section 3.2.2, and names with raw UTF-8).
fn is_host(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte >= 0x80 || b"-._~!$&'()*+;=:[]%".contains(byte)
}

/// RFC 9110 section 5.6.2.
fn token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}
