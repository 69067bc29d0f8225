//! PURE. What a client says to an HTTP proxy for a tunnel, and hears (RFC 9110 section 9.3.6, RFC 9112). Called by `via`.

use crate::config::Credentials;
use crate::net::{Beginning, Target};

/// The longest head of an answer that is read, in bytes.
pub(super) const MOST: usize = 16 << 10;

/// The wish for a tunnel; a name is passed on as a name.
pub(super) fn connect(target: &Target, credentials: Option<&Credentials>) -> Vec<u8> {
    let mut head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(Credentials { user, password }) = credentials {
        // RFC 7617 section 2.
        let text = base64(format!("{user}:{password}").as_bytes());
        head.push_str(&format!("Proxy-Authorization: Basic {text}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// The status of the answer, whose head is taken whole.
pub(super) fn status(bytes: &[u8]) -> Beginning<u16> {
    const NOT_HTTP: Beginning<u16> = Beginning::NotThis("it does not speak HTTP/1");
    const START: &[u8] = b"HTTP/1.";
    let common = bytes.len().min(START.len());
    if bytes.get(..common) != START.get(..common) {
        return NOT_HTTP;
    }
    // The line begins as in `HTTP/1.1 200 OK`; what follows the status may be missing.
    if let Some(line) = bytes.get(..13) {
        let well_formed = matches!(
            line,
            [.., minor, b' ', a, b, c, b' ' | b'\r']
                if [minor, a, b, c].iter().all(|byte| byte.is_ascii_digit())
        );
        if !well_formed {
            return NOT_HTTP;
        }
    }
    let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") else {
        return Beginning::NeedMore;
    };
    let digits = bytes.get(9..12).unwrap_or_default();
    let status = digits
        .iter()
        .fold(0, |status, digit| status * 10 + u16::from(digit & 0x0f));
    match status {
        // A tunnel has no use for one, and what it announces would be read as the tunnel's.
        100..=199 => Beginning::NotThis("its answer to CONNECT is an interim one"),
        200..=599 => Beginning::Found(status, end + 4),
        _ => NOT_HTTP,
    }
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .chain(std::iter::repeat(&0))
            .take(3)
            .fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for place in 0..4 {
            let digit = ALPHABET.get(bits >> (18 - 6 * place) & 63);
            let used = place <= chunk.len();
            text.push(
                digit
                    .filter(|_| used)
                    .map_or('=', |digit| char::from(*digit)),
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wish_names_the_target_and_who_we_are() {
        let target = Target::parse("[2001:db8::1]:443", None).unwrap();
        assert_eq!(
            connect(&target, None),
            b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n"
        );
        let target = Target::parse("a.example:443", None).unwrap();
        let me = Credentials {
            user: "Aladdin".to_owned(),
            password: "open sesame".to_owned(),
        };
        let text = String::from_utf8(connect(&target, Some(&me))).unwrap();
        assert!(
            text.contains("\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n")
        );
        assert_eq!(base64(b"ab"), "YWI=");
        assert_eq!(base64(b"abc\xff\xfe\xfd"), "YWJj//79");
    }

    #[test]
    fn an_answer_is_found_at_the_end_of_its_head_and_not_before() {
        for (head, code) in [
            ("HTTP/1.1 200 OK\r\n\r\n", 200),
            ("HTTP/1.0 200\r\n\r\n", 200),
            (
                "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 5\r\n\r\n",
                407,
            ),
        ] {
            for end in 0..head.len() {
                assert_eq!(
                    status(&head.as_bytes()[..end]),
                    Beginning::NeedMore,
                    "{end}"
                );
            }
            let more = format!("{head}SSH-2.0");
            assert_eq!(status(more.as_bytes()), Beginning::Found(code, head.len()));
        }
    }

    #[test]
    fn what_is_not_http_is_refused_at_once() {
        for text in [
            "SSH-2.0-x",
            "H2",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1  200 OK",
            "HTTP/1.1 2000 OK",
            "HTTP/1.1 20x OK",
            "HTTP/1.1 200\nOK\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 600 What\r\n\r\n",
            "\u{5}\u{0}",
        ] {
            assert!(
                matches!(status(text.as_bytes()), Beginning::NotThis(_)),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_head_with_any_bit_changed_is_told_the_same_or_is_none() {
        let head = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n";
        for place in 0..head.len() * 8 {
            let mut changed = head.to_vec();
            changed[place / 8] ^= 1 << (place % 8);
            if let Beginning::Found(code, length) = status(&changed) {
                assert!(
                    (200..600).contains(&code) && length == head.len(),
                    "{place}"
                );
            }
        }
    }
}
