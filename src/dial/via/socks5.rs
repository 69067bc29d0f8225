//! PURE. What a client of SOCKS5 says and hears (RFC 1928, RFC 1929); only CONNECT. Called by `via`.

use std::net::IpAddr;

use crate::config::Credentials;
use crate::net::{Beginning, Host, Target};

const VERSION: u8 = 5;
/// Of the negotiation of RFC 1929.
const PASSWORD_VERSION: u8 = 1;

/// The longest message that a server sends: an answer with a name of 255 bytes.
pub(super) const MOST: usize = 4 + 1 + 255 + 2;

/// How the server wants to know who we are (RFC 1928 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Not at all.
    None,
    /// By user and password.
    Password,
    /// In no way that we offered.
    NotAcceptable,
}

/// The ways that we offer to say who we are.
pub(super) fn greeting(credentials: Option<&Credentials>) -> Vec<u8> {
    match credentials {
        None => vec![VERSION, 1, 0],
        Some(_) => vec![VERSION, 2, 0, 2],
    }
}

/// The way that the server chose.
pub(super) fn method(bytes: &[u8]) -> Beginning<Method> {
    match bytes {
        [] | [VERSION] => Beginning::NeedMore,
        [VERSION, 0, ..] => Beginning::Found(Method::None, 2),
        [VERSION, 2, ..] => Beginning::Found(Method::Password, 2),
        [VERSION, 0xff, ..] => Beginning::Found(Method::NotAcceptable, 2),
        [VERSION, ..] => Beginning::NotThis("it chose a method that was not offered"),
        _ => Beginning::NotThis("it does not speak SOCKS5"),
    }
}

/// Who we are (RFC 1929 section 2).
pub(super) fn password(credentials: &Credentials) -> Vec<u8> {
    let mut bytes = vec![PASSWORD_VERSION];
    for text in [&credentials.user, &credentials.password] {
        counted(&mut bytes, text.as_bytes());
    }
    bytes
}

/// Whether the server took the password.
pub(super) fn password_taken(bytes: &[u8]) -> Beginning<bool> {
    match bytes {
        [] | [_] => Beginning::NeedMore,
        // Some servers put the version of SOCKS there.
        [PASSWORD_VERSION | VERSION, status, ..] => Beginning::Found(*status == 0, 2),
        _ => Beginning::NotThis("its word on the password cannot be read"),
    }
}

/// The wish for a connection (RFC 1928 section 4); a name is passed on as a name.
pub(super) fn connect(target: &Target) -> Vec<u8> {
    let mut bytes = vec![VERSION, 1, 0];
    match &target.host {
        Host::Addr(IpAddr::V4(address)) => {
            bytes.push(1);
            bytes.extend(address.octets());
        }
        Host::Addr(IpAddr::V6(address)) => {
            bytes.push(4);
            bytes.extend(address.octets());
        }
        Host::Name(_) => {
            bytes.push(3);
            counted(&mut bytes, target.host.to_string().as_bytes());
        }
    }
    bytes.extend(target.port.to_be_bytes());
    bytes
}

/// What became of the wish (RFC 1928 section 6): the field REP, 0 for a connection.
pub(super) fn reply(bytes: &[u8]) -> Beginning<u8> {
    let (code, address) = match bytes {
        [VERSION, code, _, 1, ..] => (*code, 4),
        [VERSION, code, _, 4, ..] => (*code, 16),
        [VERSION, code, _, 3, length, ..] => (*code, 1 + usize::from(*length)),
        [] | [VERSION] | [VERSION, _] | [VERSION, _, _] | [VERSION, _, _, 3] => {
            return Beginning::NeedMore;
        }
        [VERSION, ..] => return Beginning::NotThis("its answer has an address of no known type"),
        _ => return Beginning::NotThis("it does not speak SOCKS5"),
    };
    let length = 4 + address + 2;
    if bytes.len() < length {
        return Beginning::NeedMore;
    }
    Beginning::Found(code, length)
}

/// Bytes behind their number, of which there are never more than 255.
fn counted(message: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = bytes.get(..255).unwrap_or(bytes);
    message.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    message.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials {
            user: "me".to_owned(),
            password: "secret".to_owned(),
        }
    }

    #[test]
    fn what_we_say_is_as_the_rfcs_have_it() {
        assert_eq!(greeting(None), [5, 1, 0]);
        assert_eq!(greeting(Some(&credentials())), [5, 2, 0, 2]);
        assert_eq!(password(&credentials()), *b"\x01\x02me\x06secret");
        for (target, wanted) in [
            (
                "a.example:443",
                &b"\x05\x01\x00\x03\x09a.example\x01\xbb"[..],
            ),
            ("192.0.2.1:80", b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50"),
            (
                "[2001:db8::1]:80",
                b"\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50",
            ),
        ] {
            assert_eq!(connect(&Target::parse(target, None).unwrap()), wanted);
        }
    }

    #[test]
    fn every_answer_is_found_at_its_last_byte_and_not_before() {
        let long = [&[5, 1, 0, 3, 255][..], &[b'a'; 255], &[0, 80]].concat();
        assert_eq!(long.len(), MOST);
        for (message, code) in [
            (&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], 0),
            (&[5, 5, 0, 3, 2, b'a', b'b', 1, 2], 5),
            (&[5, 8, 0, 3, 0, 1, 2], 8),
            (
                &[
                    5, 4, 0, 4, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0, 80,
                ],
                4,
            ),
            (&long, 1),
        ] {
            for end in 0..message.len() {
                assert_eq!(reply(&message[..end]), Beginning::NeedMore, "{end}");
            }
            assert_eq!(reply(message), Beginning::Found(code, message.len()));
            let more = [message, b"SSH-2.0"].concat();
            assert_eq!(reply(&more), Beginning::Found(code, message.len()));
        }
        for (bytes, wanted) in [
            (&[][..], Beginning::NeedMore),
            (&[5], Beginning::NeedMore),
            (&[5, 0, 9], Beginning::Found(Method::None, 2)),
            (&[5, 2], Beginning::Found(Method::Password, 2)),
            (&[5, 255], Beginning::Found(Method::NotAcceptable, 2)),
        ] {
            assert_eq!(method(bytes), wanted);
        }
        assert_eq!(password_taken(&[1]), Beginning::NeedMore);
        assert_eq!(password_taken(&[1, 0]), Beginning::Found(true, 2));
        assert_eq!(password_taken(&[1, 7, 7]), Beginning::Found(false, 2));
    }

    #[test]
    fn what_is_not_socks5_is_refused_at_once() {
        for bytes in [&b"HTTP/1.1 400"[..], &[4, 90], &[5, 1, 0, 2], &[5, 0, 0, 0]] {
            assert!(matches!(reply(bytes), Beginning::NotThis(_)), "{bytes:?}");
        }
        for bytes in [&b"H"[..], &[5, 1]] {
            assert!(matches!(method(bytes), Beginning::NotThis(_)), "{bytes:?}");
        }
        assert!(matches!(password_taken(b"HT"), Beginning::NotThis(_)));
    }
}
