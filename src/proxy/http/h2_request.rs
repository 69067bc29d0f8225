//! A request of HTTP/2 as HTTP/1.1 has it (RFC 9113 section 8.3.1), and what a WebSocket needs there (RFC 6455 section
//! 4.1). Called by `h2`.

use ::h2::RecvStream;
use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderValue, Method, Request};

use super::super::respond::{Failure, Kind};

/// The size of a head, as its sender counts it, in bytes (RFC 9113 section 6.5.2).
pub(super) fn size(request: &Request<RecvStream>) -> usize {
    let uri = request.uri();
    let authority = uri
        .authority()
        .map_or(0, |authority| authority.as_str().len());
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + 32);
    headers.sum::<usize>() + authority + path
}

/// The request as HTTP/1.1 has it (RFC 9113 section 8.3.1): its authority in Host, its cookies in one line.
pub(super) fn as_http1(mut request: Request<RecvStream>) -> Result<Request<RecvStream>, Failure> {
    let bad = |text: String| Err(Failure::of_client(Kind::BadRequest, text));
    match request.uri().scheme_str() {
        Some("http") => {}
        Some(scheme) => return bad(format!("{scheme}:// needs a tunnel; use CONNECT")),
        None => return bad("the request names no http:// address".to_owned()),
    }
    // Anything else would be another form of target in HTTP/1.1 (RFC 9113 section 8.3.1).
    let path = request.uri().path_and_query();
    let path = path.map_or("", http::uri::PathAndQuery::as_str);
    let of_server = path == "*" && request.method() == Method::OPTIONS;
    if !of_server && !path.starts_with('/') {
        return bad("the path does not begin with a slash".to_owned());
    }
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let authority = authority.unwrap_or_default().to_owned();
    let headers = request.headers_mut();
    if headers
        .get_all(HOST)
        .iter()
        .any(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()))
    {
        return bad("Host and :authority are not the same".to_owned());
    }
    // h2 has held the body against one of them (RFC 9113 section 8.1.1), and an origin could read another.
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if lengths.next().is_some_and(|length| !is_number(length)) || lengths.next().is_some() {
        return bad("Content-Length is not one number".to_owned());
    }
    let Ok(host) = HeaderValue::try_from(authority) else {
        return bad("the authority is none".to_owned());
    };
    headers.insert(HOST, host);
    if headers.get_all(COOKIE).iter().count() > 1 {
        let crumbs: Vec<&[u8]> = headers
            .get_all(COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
            headers.insert(COOKIE, cookie);
        }
    }
    Ok(request)
}

fn is_number(value: &HeaderValue) -> bool {
    !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit)
}

/// What RFC 6455 section 4.1 wants in each handshake: 16 random bytes in base64. It proves nothing here.
pub(super) fn key() -> HeaderValue {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut random = [0; 16];
    // Where the kernel has none yet, the key is not random, and still a key.
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).ok();
    let mut text = String::with_capacity(24);
    for group in random.chunks(3) {
        let bits = group
            .iter()
            .fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte))
            << (8 * (3 - group.len()));
        for digit in 0..4 {
            let six = (bits >> (18 - 6 * digit)) & 63;
            let letter = ALPHABET.get(six as usize).copied().unwrap_or(b'A');
            text.push(if digit > group.len() {
                '='
            } else {
                char::from(letter)
            });
        }
    }
    HeaderValue::try_from(text)
        .unwrap_or_else(|_| HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_key_is_sixteen_bytes_in_base64() {
        let key = key();
        let text = key.to_str().unwrap();
        assert!(text.len() == 24 && text.ends_with("=="), "{text}");
        assert!(!text.trim_end_matches('=').contains('='), "{text}");
    }
}
