//! PURE. The host in the head of an HTTP/1.x request (RFC 9112 sections 2, 3 and 5, RFC 9110 section 7.2).
//!
//! Stricter than an origin has to be wherever two readers could disagree about the host. Called by `transparent/http`.

use crate::net::{HostError, Target};

/// How many header lines a head may have; bounds the work that one head can cause.
const MOST_HEADERS: usize = 100;

/// What a prefix of a stream says about the host it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// The whole head was read. The host with its port, or the default one; `None` for HTTP/1.0 that names no host.
    Found(Option<Target>),
    /// Not a request that has one meaning; the text says why.
    Malformed(&'static str),
    /// The host is written, but is none.
    Host(HostError),
    /// The head has more header lines than 100.
    TooManyHeaders,
    /// The request asks for another version of HTTP than 1.x, HTTP/2 without TLS among them.
    Version,
    /// Good so far, but it goes on.
    NeedMore,
}

/// Looks for the host in the bytes read so far; where it names no port, `default_port` stands in.
pub fn sniff(bytes: &[u8], default_port: u16) -> Sniffed {
    match head(bytes, default_port) {
        Ok(target) => Sniffed::Found(target),
        Err(stop) => stop,
    }
}

fn head(bytes: &[u8], default_port: u16) -> Result<Option<Target>, Sniffed> {
    let mut lines = Lines(bytes);
    let mut request = lines.next()?;
    if request.is_empty() {
        // RFC 9112 section 2.2: one empty line before the request is left over from the last one.
        request = lines.next()?;
    }
    let request = Request::read(request)?;
    let mut host = None;
    for _ in 0..=MOST_HEADERS {
        let line = lines.next()?;
        if line.is_empty() {
            return target(&request, host, default_port);
        }
        let (name, value) = header(line)?;
        if name.eq_ignore_ascii_case(b"host") && host.replace(value).is_some() {
            return Err(Sniffed::Malformed("the request has more than one Host"));
        }
    }
    Err(Sniffed::TooManyHeaders)
}

fn target(
    request: &Request<'_>,
    host: Option<&[u8]>,
    default_port: u16,
) -> Result<Option<Target>, Sniffed> {
    let parse = |authority| {
        let text =
            std::str::from_utf8(authority).map_err(|_| Sniffed::Host(HostError::Character))?;
        Target::parse(text, Some(default_port)).map_err(Sniffed::Host)
    };
    match (request.authority, host) {
        (_, None) if !request.version_1_0 => Err(Sniffed::Malformed("the request has no Host")),
        (None, None) => Ok(None),
        (Some(only), None) | (None, Some(only)) => parse(only).map(Some),
        (Some(authority), Some(host)) => {
            // The bytes go on as they came, so that the origin could choose the other one.
            let target = parse(authority)?;
            if parse(host)? != target {
                return Err(Sniffed::Malformed(
                    "the target and Host of the request are not the same host",
                ));
            }
            Ok(Some(target))
        }
    }
}

/// The lines of a head, without their ends.
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a [u8], Sniffed> {
        let Some(end) = self.0.iter().position(|&byte| byte == b'\n') else {
            return Err(plausible(self.0));
        };
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.split_first().map_or(&[], |(_, rest)| rest);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.contains(&b'\r') || !line.iter().all(is_text) {
            return Err(Sniffed::Malformed(
                "a line has a bare CR or another control character in it",
            ));
        }
        Ok(line)
    }
}

/// Whether an octet may stand in a line (RFC 9110 section 5.5), its end included.
fn is_text(byte: &u8) -> bool {
    matches!(byte, b'\t' | b'\r' | b' '..=b'~' | 0x80..)
}

/// Whether an unfinished line can still become one: other protocols are told at once, not at the timeout.
fn plausible(start: &[u8]) -> Sniffed {
    if start.iter().all(is_text) {
        Sniffed::NeedMore
    } else {
        Sniffed::Malformed("this is not HTTP")
    }
}

/// What the request line says.
struct Request<'a> {
    /// The authority of an absolute-form target (RFC 9112 section 3.2.2).
    authority: Option<&'a [u8]>,
    /// HTTP/1.0, which need not have Host.
    version_1_0: bool,
}

impl<'a> Request<'a> {
    fn read(line: &'a [u8]) -> Result<Self, Sniffed> {
        const WRONG: Sniffed =
            Sniffed::Malformed("the request line is not `METHOD target HTTP/1.1`");
        let mut parts = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(WRONG);
        };
        if !token(method) || target.is_empty() {
            return Err(WRONG);
        }
        let version_1_0 = match version {
            b"HTTP/1.0" => true,
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9'] => false,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err(Sniffed::Version);
            }
            _ => return Err(WRONG),
        };
        if !target
            .iter()
            .all(|byte| matches!(byte, b'!'..=b'~' | 0x80..))
        {
            return Err(Sniffed::Malformed("the target has control characters"));
        }
        let authority = match target {
            [b'/', ..] | b"*" => None,
            _ if method == b"CONNECT" => {
                return Err(Sniffed::Malformed(
                    "CONNECT is for the forward proxy, which has its own port",
                ));
            }
            _ => Some(authority(target)?),
        };
        Ok(Self {
            authority,
            version_1_0,
        })
    }
}

/// The authority of `http://authority/...`.
fn authority(target: &[u8]) -> Result<&[u8], Sniffed> {
    const SCHEME: &[u8] = b"http://";
    match target.split_at_checked(SCHEME.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => {
            let mut parts = rest.split(|byte| matches!(byte, b'/' | b'?' | b'#'));
            Ok(parts.next().unwrap_or_default())
        }
        _ => Err(Sniffed::Malformed(
            "the target is neither a path nor an http:// address",
        )),
    }
}

fn header(line: &[u8]) -> Result<(&[u8], &[u8]), Sniffed> {
    if matches!(line, [b' ' | b'\t', ..]) {
        return Err(Sniffed::Malformed("a header goes on in a second line"));
    }
    let Some(colon) = line.iter().position(|&byte| byte == b':') else {
        return Err(Sniffed::Malformed("a header has no colon"));
    };
    let (name, value) = line.split_at(colon);
    if !token(name) {
        return Err(Sniffed::Malformed(
            "the name of a header has a space or another forbidden character",
        ));
    }
    let value = value.strip_prefix(b":").unwrap_or(value);
    Ok((name, value.trim_ascii()))
}

/// RFC 9110 section 5.6.2.
fn token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Sniffed {
        Sniffed::Found(Some(Target::parse(text, None).unwrap()))
    }

    #[test]
    fn a_control_character_is_refused_whether_its_line_has_ended_or_not() {
        let head = b"GET / HTTP/1.0\r\nX: a\x05b\r\n\r\n";
        for end in 21..=head.len() {
            let part = sniff(&head[..end], 80);
            assert!(matches!(part, Sniffed::Malformed(_)), "{end}: {part:?}");
        }
    }

    #[test]
    fn every_prefix_of_a_head_needs_more() {
        for head in [
            "GET / HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\n",
            "\r\nPUT http://a.example/x HTTP/1.1\r\nX: y\r\nhost:a.example:80\r\n\r\n",
            "GET / HTTP/1.1\nHost: a.example\n\n",
        ] {
            let bytes = head.as_bytes();
            for end in 0..bytes.len() {
                assert_eq!(sniff(&bytes[..end], 80), Sniffed::NeedMore, "{head} {end}");
            }
            assert_eq!(sniff(bytes, 80), found("a.example:80"), "{head}");
        }
    }

    #[test]
    fn the_host_is_found_in_every_form_of_target() {
        for (head, expected) in [
            (
                "GET / HTTP/1.1\r\nHost: A.Example:8080\r\n\r\nbody",
                "a.example:8080",
            ),
            (
                "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n",
                "a.example:80",
            ),
            (
                "BREW-2 /pot HTTP/1.1\r\nHost:\t a.example \r\n\r\n",
                "a.example:80",
            ),
            (
                "GET HTTP://b.example:81?x HTTP/1.1\r\nHost: B.example:81\r\n\r\n",
                "b.example:81",
            ),
            ("GET http://b.example HTTP/1.0\r\n\r\n", "b.example:80"),
            (
                "GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n",
                "[2001:db8::1]:8080",
            ),
            ("GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", "192.0.2.1:80"),
        ] {
            assert_eq!(sniff(head.as_bytes(), 80), found(expected), "{head}");
        }
        assert_eq!(sniff(b"GET / HTTP/1.0\r\n\r\n", 80), Sniffed::Found(None));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET http://a.example/ HTTP/1.1\r\n\r\n",
            "GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n",
            "GET http://a.example/ HTTP/1.1\r\nHost: a.example:81\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example\r\nhost: a.example\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a.example\r\n\r\n",
            "GET / HTTP/1.1\r\n Host: a.example\r\n\r\n",
            "GET / HTTP/1.1\r\nX: y\r\n\tHost: a.example\r\n\r\n",
            "GET / HTTP/1.1\r\nX: y\rHost: a.example\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: a.example\r\n\r\n",
            "GET / http/1.1\r\nHost: a.example\r\n\r\n",
            "GET /\r\nHost: a.example\r\n\r\n",
            "GET a.example HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "GET https://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "G(T / HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        ] {
            let sniffed = sniff(head.as_bytes(), 80);
            assert!(
                matches!(sniffed, Sniffed::Malformed(_)),
                "{head}: {sniffed:?}"
            );
        }
    }

    #[test]
    fn a_host_that_is_none_is_told_with_the_reason() {
        for (host, error) in [
            ("", HostError::Empty),
            ("a.example, b.example", HostError::Character),
            ("user@a.example", HostError::Character),
            ("127.1", HostError::Address),
            ("a.example:x", HostError::Port),
            ("caf\u{e9}.example", HostError::Character),
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(sniff(head.as_bytes(), 80), Sniffed::Host(error), "{host}");
        }
    }

    #[test]
    fn another_version_or_protocol_is_known_at_once() {
        assert_eq!(sniff(b"PRI * HTTP/2.0\r\n", 80), Sniffed::Version);
        assert_eq!(sniff(b"GET / HTTP/3.0\r\n", 80), Sniffed::Version);
        assert_eq!(
            sniff(&[22, 3, 1], 80),
            Sniffed::Malformed("this is not HTTP")
        );
    }

    #[test]
    fn a_hundred_headers_are_read_and_one_more_is_refused() {
        let head = |count: usize| {
            let filler = "X: y\r\n".repeat(count - 1);
            format!("GET / HTTP/1.1\r\n{filler}Host: a.example\r\n\r\n")
        };
        assert_eq!(sniff(head(100).as_bytes(), 80), found("a.example:80"));
        assert_eq!(sniff(head(101).as_bytes(), 80), Sniffed::TooManyHeaders);
    }

    #[test]
    fn no_flipped_bit_panics() {
        let mut bytes =
            b"GET http://a.example:80/ HTTP/1.1\r\nHost: a.example\r\nX: y\r\n\r\n".to_vec();
        for index in 0..bytes.len() {
            for bit in 0..8 {
                bytes[index] ^= 1 << bit;
                assert_ne!(sniff(&bytes, 80), Sniffed::Host(HostError::TooLong));
                bytes[index] ^= 1 << bit;
            }
        }
    }
}
