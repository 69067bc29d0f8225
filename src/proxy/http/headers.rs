//! PURE. What a proxy changes in the headers it passes on (RFC 9110 section 7.6, RFC 9112 section 6.3).
//! Called by `forward`.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderValue, Version};

/// Headers for the next hop only, whether Connection lists them or not.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
];

/// Headers that Connection must not take away: the message would mean something else without them.
const END_TO_END: [HeaderName; 2] = [HOST, CONTENT_LENGTH];

/// Takes out what was meant for us alone, and adds us to Via, where we have a name there.
pub(super) fn pass_on(headers: &mut HeaderMap, version: Version, via: Option<&str>) {
    let listed: Vec<HeaderName> = tokens(headers, CONNECTION)
        .filter_map(|name| name.parse().ok())
        .filter(|name| !END_TO_END.contains(name))
        .collect();
    if headers.contains_key(TRANSFER_ENCODING) {
        // Two lengths: the other one is the one that counts.
        headers.remove(CONTENT_LENGTH);
    }
    for name in listed.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    let Some(pseudonym) = via else { return };
    let received = match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2.0",
        _ => "1.1",
    };
    if let Ok(value) = HeaderValue::try_from(format!("{received} {pseudonym}")) {
        headers.append(VIA, value);
    }
}

/// Whether the message was here before.
pub(super) fn was_here(headers: &HeaderMap, pseudonym: &str) -> bool {
    tokens(headers, VIA).any(|hop| hop.split_ascii_whitespace().nth(1) == Some(pseudonym))
}

/// Whether the body is coded for this hop in another way than in chunks. Passed on, it would have lost the name of its
/// coding (RFC 9112 section 6.1: 501).
pub(super) fn is_coded(headers: &HeaderMap) -> bool {
    headers
        .get_all(TRANSFER_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"chunked"))
}

/// Whether the request names its host in a way that two readers could take differently (RFC 9112 section 3.2). Of two
/// lengths hyper has already taken away the one that does not count.
pub(super) fn ambiguity(headers: &HeaderMap, version: Version) -> Option<&'static str> {
    match headers.get_all(HOST).iter().count() {
        0 if version != Version::HTTP_10 => Some("the request has no Host"),
        0 | 1 => None,
        _ => Some("the request has more than one Host"),
    }
}

/// The protocols that the client wants to switch to (RFC 9110 section 7.8). HTTP/2 is not among them: it would be ours
/// to speak, and is begun without an upgrade today (RFC 9113 section 3.1).
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let asked = tokens(headers, CONNECTION).any(|name| name.eq_ignore_ascii_case("upgrade"));
    let single = headers.get_all(UPGRADE).iter().count() == 1;
    let http2 = tokens(headers, UPGRADE).any(|name| name.eq_ignore_ascii_case("h2c"));
    (asked && single && !http2).then(|| protocol.clone())
}

/// Whether the client takes trailers, and would have them kept (RFC 9110 section 6.5.1).
pub(super) fn takes_trailers(headers: &HeaderMap) -> bool {
    tokens(headers, TE).any(|coding| coding.eq_ignore_ascii_case("trailers"))
}

/// Whether the client waits with the body until it is asked for (RFC 9110 section 10.1.1).
pub(super) fn expects_continue(headers: &HeaderMap) -> bool {
    tokens(headers, EXPECT).any(|name| name.eq_ignore_ascii_case("100-continue"))
}

/// The elements of a list, without the empty ones (RFC 9110 section 5.6.1).
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn hop_by_hop_headers_stay_here() {
        let mut map = headers(&[
            ("connection", "close, X-Hop"),
            ("connection", "x-other,host,content-length, ,"),
            ("x-hop", "1"),
            ("x-other", "1"),
            ("host", "a.example"),
            ("content-length", "3"),
            ("keep-alive", "5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic x"),
            ("proxy-authenticate", "Basic"),
            ("authorization", "Basic y"),
        ]);
        pass_on(&mut map, Version::HTTP_11, None);
        let mut left: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "content-length", "host"]);
    }

    #[test]
    fn of_two_lengths_the_ambiguous_one_goes() {
        let mut map = headers(&[("transfer-encoding", "chunked"), ("content-length", "3")]);
        pass_on(&mut map, Version::HTTP_11, None);
        assert!(!map.contains_key("content-length") && !map.contains_key("transfer-encoding"));
    }

    #[test]
    fn via_names_every_hop_and_shows_a_loop() {
        let mut map = headers(&[("via", "1.1 other (sekisho)")]);
        assert!(!was_here(&map, "sekisho"));
        pass_on(&mut map, Version::HTTP_10, Some("sekisho"));
        let hops: Vec<_> = map.get_all("via").iter().collect();
        assert_eq!(hops, ["1.1 other (sekisho)", "1.0 sekisho"]);
        assert!(was_here(&map, "sekisho"));
        let looped = headers(&[("via", "1.1 a, 1.1 sekisho, 1.1 b")]);
        assert!(was_here(&looped, "sekisho"));
    }

    #[test]
    fn an_upgrade_is_what_connection_says_is_one() {
        let wanted = headers(&[("connection", "x, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(upgrade(&wanted).unwrap(), "websocket");
        for no in [
            &[("upgrade", "websocket")][..],
            &[("connection", "upgrade"), ("upgrade", "h2c")],
            &[("connection", "upgrade"), ("upgrade", "websocket, h2c")],
            &[
                ("connection", "upgrade"),
                ("upgrade", "a"),
                ("upgrade", "b"),
            ],
            &[("connection", "upgrade")],
        ] {
            assert_eq!(upgrade(&headers(no)), None, "{no:?}");
        }
    }
}
