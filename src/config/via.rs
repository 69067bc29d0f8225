//! PURE. `egress.via` and `via` of a rule: the upstream proxy that sessions leave by, as a URL.

use std::fmt;
use std::fmt::Write as _;

use super::value::Wrong;
use crate::net::{Host, Target};

/// How sessions leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// To the origin itself.
    Direct,
    /// By an upstream proxy.
    Proxy(UpstreamProxy),
}

/// A proxy that takes our sessions on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamProxy {
    /// What it speaks.
    pub kind: ProxyKind,
    /// Where it is.
    pub target: Target,
    /// Who we are to it.
    pub credentials: Option<Credentials>,
}

/// What an upstream proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyKind {
    /// SOCKS5 (RFC 1928).
    Socks5,
    /// HTTP/1.1 with CONNECT (RFC 9110 section 9.3.6).
    Http,
}

impl ProxyKind {
    /// The scheme of its URL.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Socks5 => "socks5",
            Self::Http => "http",
        }
    }
}

/// A user and a password, of 1 to 255 bytes each (RFC 1929 section 2). Neither is ever logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl fmt::Display for UpstreamProxy {
    /// Without the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.kind.scheme(), self.target)
    }
}

impl Via {
    /// The URL that is read back as this; with the credentials.
    pub(super) fn written(&self) -> String {
        let Self::Proxy(proxy) = self else {
            return "direct".to_owned();
        };
        let credentials = proxy.credentials.as_ref().map(|credentials| {
            let user = encoded(&credentials.user);
            format!("{user}:{}@", encoded(&credentials.password))
        });
        let (scheme, target) = (proxy.kind.scheme(), &proxy.target);
        format!("{scheme}://{}{target}", credentials.unwrap_or_default())
    }
}

/// `"direct"`, `"socks5://192.0.2.1:1080"`, `"http://user:password@proxy.example:3128"`.
pub(super) fn via(text: &str) -> Result<Via, Wrong> {
    const EXAMPLES: &str =
        "\"direct\", or a URL such as \"socks5://192.0.2.1:1080\" or \"http://proxy.example:3128\"";
    if text == "direct" {
        return Ok(Via::Direct);
    }
    // The text may hold a password, which must not be repeated.
    let wrong = |what: &str| Wrong::new(what, format!("write {EXAMPLES}"));
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| wrong("the text is not an upstream proxy"))?;
    let kind = match scheme {
        // The h is curl's way to say that names are passed on as names, which we always do.
        "socks5" | "socks5h" => ProxyKind::Socks5,
        "http" => ProxyKind::Http,
        "https" => return Err(wrong("TLS to the upstream proxy is not supported")),
        _ => {
            return Err(wrong(
                "the scheme of the upstream proxy is not socks5 or http",
            ));
        }
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (credentials, place) = match rest.rsplit_once('@') {
        Some((credentials, place)) => (Some(credentials), place),
        None => (None, rest),
    };
    let credentials = credentials.map(|text| {
        let (user, password) = text.split_once(':')?;
        let part = |text| decoded(text).filter(|part| (1..=255).contains(&part.len()));
        Some(Credentials {
            user: part(user).filter(|user| !user.contains(':') || kind == ProxyKind::Socks5)?,
            password: part(password)?,
        })
    });
    let credentials = match credentials {
        Some(None) => {
            return Err(Wrong::new(
                "the user and password of the upstream proxy cannot be read",
                "write user:password@ before the host, each of 1 to 255 bytes, with %XX for other characters than \
                 letters, digits and -._~",
            ));
        }
        Some(credentials) => credentials,
        None => None,
    };
    let target = Target::parse(place, None).map_err(|error| wrong(&error.to_string()))?;
    if let Host::Addr(address) = target.host
        && (address.is_unspecified() || address.is_multicast())
    {
        return Err(wrong("the address of the upstream proxy is nobody's own"));
    }
    Ok(Via::Proxy(UpstreamProxy {
        kind,
        target,
        credentials,
    }))
}

/// RFC 3986 section 2.1, undone; `None` where it is not text afterwards.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            write!(encoded, "%{byte:02X}").ok();
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_written_back() {
        for (text, written) in [
            ("direct", "direct"),
            ("socks5://192.0.2.1:1080", "socks5://192.0.2.1:1080"),
            (
                "socks5h://Proxy.Example:1080/",
                "socks5://proxy.example:1080",
            ),
            ("http://[2001:db8::1]:3128", "http://[2001:db8::1]:3128"),
            (
                "http://me:p%40ss%3aword@proxy.example:3128",
                "http://me:p%40ss%3Aword@proxy.example:3128",
            ),
        ] {
            let read = via(text).unwrap();
            assert_eq!(read.written(), written, "{text}");
            assert_eq!(via(written).unwrap(), read);
        }
        let Ok(Via::Proxy(proxy)) = via("socks5://u%C3%BC:p@192.0.2.1:1080") else {
            panic!("no proxy");
        };
        assert_eq!(proxy.to_string(), "socks5://192.0.2.1:1080");
        let debug = format!("{proxy:?}");
        assert!(!debug.contains("u\u{fc}"), "{debug}");
        assert_eq!(proxy.credentials.unwrap().user, "u\u{fc}");
    }

    #[test]
    fn what_is_no_proxy_is_refused_and_no_password_repeated() {
        for text in [
            "",
            "proxy.example:3128",
            "ftp://proxy.example:3128",
            "https://u:secret@proxy.example:3128",
            "http://proxy.example",
            "http://proxy.example:0",
            "http://u:secret@",
            "http://usersecret@proxy.example:3128",
            "http://u:@proxy.example:3128",
            "http://u:secret%zz@proxy.example:3128",
            "http://a%3Ab:secret@proxy.example:3128",
            "socks5://0.0.0.0:1080",
            "socks5://u:secret@192.0.2.1:1080/path",
        ] {
            let wrong = via(text).unwrap_err();
            assert!(
                !format!("{wrong:?}").contains("secret"),
                "{text}: {wrong:?}"
            );
        }
        assert!(via(&format!("http://{}:p@a.example:1", "u".repeat(256))).is_err());
    }
}
