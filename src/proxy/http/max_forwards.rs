//! PURE. Requests that ask about the way to an origin, and count its hops: OPTIONS and TRACE with Max-Forwards (RFC 9110
//! section 7.6.2). Where we are the last hop the answer is ours. Called by `forward` and `h2`.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{
    ALLOW, AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, MAX_FORWARDS, PROXY_AUTHORIZATION,
};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Body;

use super::super::respond::{Failure, Kind};

/// What every proxy passes on. There may be others.
const METHODS: &str = "CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, TRACE";

/// What a trace does not show, be it only to the client itself (RFC 9110 section 9.3.8).
const SECRET: [http::HeaderName; 3] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];

/// Counts this hop. The answer, where the request goes no further.
///
/// # Errors
///
/// Where the count is none, and where a TRACE has a body, which would come back.
pub(super) fn count<B: Body>(
    request: &mut Request<B>,
) -> Result<Option<Response<Full<Bytes>>>, Failure> {
    let bad = |text| Err(Failure::of_client(Kind::BadRequest, text));
    let is_trace = request.method() == Method::TRACE;
    if !is_trace && request.method() != Method::OPTIONS {
        return Ok(None);
    }
    if is_trace && !request.body().is_end_stream() {
        return bad("a TRACE has no body");
    }
    match left(request.headers()) {
        Left::Any => Ok(None),
        Left::None if is_trace => Ok(Some(traced(request))),
        Left::None => {
            let mut response = Response::new(Full::default());
            let methods = HeaderValue::from_static(METHODS);
            response.headers_mut().insert(ALLOW, methods);
            Ok(Some(response))
        }
        Left::Some(hops) => {
            let hops = HeaderValue::from(hops - 1);
            request.headers_mut().insert(MAX_FORWARDS, hops);
            Ok(None)
        }
        Left::Wrong => bad("Max-Forwards is not one number"),
    }
}

/// How many hops are left.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    Any,
    None,
    Some(u64),
    Wrong,
}

fn left(headers: &HeaderMap) -> Left {
    let mut values = headers.get_all(MAX_FORWARDS).iter();
    let Some(value) = values.next() else {
        return Left::Any;
    };
    let digits = value.as_bytes();
    if values.next().is_some() || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Left::Wrong;
    }
    // More than we can count is as many as we can.
    let hops = value.to_str().ok().and_then(|digits| digits.parse().ok());
    match hops.unwrap_or(u64::MAX) {
        0 => Left::None,
        hops => Left::Some(hops),
    }
}

/// The request as it came here.
fn traced<B>(request: &Request<B>) -> Response<Full<Bytes>> {
    let mut text = String::new();
    let (method, uri, version) = (request.method(), request.uri(), request.version());
    // Writing to a text cannot fail.
    write!(text, "{method} {uri} {version:?}\r\n").ok();
    let mut bytes = text.into_bytes();
    let headers = request.headers().iter();
    for (name, value) in headers.filter(|(name, _)| !SECRET.contains(name)) {
        for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(piece);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    let mut response = Response::new(Full::from(bytes));
    let http = HeaderValue::from_static("message/http");
    response.headers_mut().insert(CONTENT_TYPE, http);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_one_number() {
        for (values, expected) in [
            (&[][..], Left::Any),
            (&["0"][..], Left::None),
            (&["000"], Left::None),
            (&["7"], Left::Some(7)),
            (&["99999999999999999999999"], Left::Some(u64::MAX)),
            (&[""], Left::Wrong),
            (&["+1"], Left::Wrong),
            (&["-1"], Left::Wrong),
            (&["1, 1"], Left::Wrong),
            (&["1", "1"], Left::Wrong),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(MAX_FORWARDS, HeaderValue::from_static(value));
            }
            assert_eq!(left(&headers), expected, "{values:?}");
        }
    }
}
