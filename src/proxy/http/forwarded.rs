//! PURE. The headers that tell an origin for whom a request is made: Forwarded (RFC 7239), and X-Forwarded-For, which
//! was there before it. Called by `forward`, after the headers of this hop are gone: a client cannot take away by
//! Connection what is added here.

use std::net::IpAddr;

use http::HeaderValue;
use http::header::{FORWARDED, HeaderMap, HeaderName};

use crate::config::{Forwarded, Proxy};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Tells of the client what the configuration says.
pub(super) fn tell(headers: &mut HeaderMap, client: IpAddr, settings: &Proxy) {
    let node = match client {
        IpAddr::V4(address) => format!("for={address}"),
        // Not a token (RFC 7239 section 6).
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
    };
    change(headers, &FORWARDED, &node, settings.forwarded);
    let address = client.to_string();
    change(
        headers,
        &X_FORWARDED_FOR,
        &address,
        settings.x_forwarded_for,
    );
}

fn change(headers: &mut HeaderMap, name: &HeaderName, client: &str, what: Forwarded) {
    let mut all = Vec::new();
    match what {
        Forwarded::Transparent => return,
        Forwarded::Delete => {
            headers.remove(name);
            return;
        }
        Forwarded::Truncate => {}
        Forwarded::On => {
            // In one line: many origins read only the first, or only the last.
            for value in headers.get_all(name) {
                all.extend_from_slice(value.as_bytes());
                all.extend_from_slice(b", ");
            }
        }
    }
    all.extend_from_slice(client.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&all) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(lines: &[&'static str], client: &str, what: Forwarded) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED, HeaderValue::from_static(line));
        }
        change(&mut headers, &FORWARDED, client, what);
        let values = headers.get_all(FORWARDED).iter();
        values
            .map(|value| value.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn each_word_does_what_it_does_in_squid() {
        let before = &["for=a", "for=b, for=c"];
        for (what, after) in [
            (Forwarded::Transparent, vec!["for=a", "for=b, for=c"]),
            (Forwarded::On, vec!["for=a, for=b, for=c, for=d"]),
            (Forwarded::Truncate, vec!["for=d"]),
            (Forwarded::Delete, vec![]),
        ] {
            assert_eq!(changed(before, "for=d", what), after, "{what:?}");
        }
        assert_eq!(changed(&[], "for=d", Forwarded::On), ["for=d"]);
    }
}
