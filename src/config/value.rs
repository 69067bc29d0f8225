//! PURE. The values of the configuration: durations, sizes, addresses, networks, names and servers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hickory_proto::rr::Name;
use ipnet::IpNet;

use super::upstream::{Server, Transport};
use crate::net::{Host, ListenAddr};

/// What is wrong with a value, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) write: String,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, write: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            write: write.into(),
        }
    }

    /// `text` is not one of those.
    pub(super) fn value(text: &str, what: &str, example: &str) -> Self {
        Self::new(
            format!("`{text}` is not {what}"),
            format!("write {example}"),
        )
    }
}

/// Longest duration that makes sense anywhere here; timers add it to the present without overflow.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// `"250ms"`, `"2s"`, `"5m"`, `"1h"`, `"1d"`.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    let wrong = || {
        Wrong::value(
            text,
            "a duration",
            "a whole number and a unit (ms, s, m, h, d), such as \"250ms\" or \"2s\"",
        )
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| Wrong::value(text, "shorter than a year", "a shorter duration"))
}

/// A duration other than 0.
pub(super) fn some_duration(text: &str) -> Result<Duration, Wrong> {
    match duration(text)? {
        Duration::ZERO => Err(Wrong::value(
            text,
            "longer than nothing",
            "a duration such as \"2s\"",
        )),
        duration => Ok(duration),
    }
}

/// `"65536"`, `"64KiB"`, `"1MiB"`, in bytes.
pub(super) fn bytes(text: &str) -> Result<usize, Wrong> {
    let wrong = || {
        Wrong::value(
            text,
            "a size",
            "a whole number, with KiB or MiB, such as \"64KiB\"",
        )
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: usize = number.parse().map_err(|_| wrong())?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

/// A size within bounds, both included.
pub(super) fn bytes_within(text: &str, least: usize, most: usize) -> Result<usize, Wrong> {
    let size = bytes(text)?;
    if (least..=most).contains(&size) {
        Ok(size)
    } else {
        Err(Wrong::new(
            format!("`{text}` is out of bounds"),
            format!(
                "write a size from {} KiB to {} KiB",
                least >> 10,
                most >> 10
            ),
        ))
    }
}

/// `"lan:53"`, `"192.168.1.2:53"`, `"[::1]:53"`; `lan` stands for `lan.address`.
pub(super) fn listen(text: &str, lan: Ipv4Addr) -> Result<ListenAddr, Wrong> {
    let wrong = || {
        Wrong::value(
            text,
            "an address to listen on",
            "\"lan:PORT\" or \"ADDRESS:PORT\", such as \"lan:53\" or \"127.0.0.1:5353\"",
        )
    };
    let address = match text.strip_prefix("lan:") {
        Some(port) => SocketAddr::new(IpAddr::V4(lan), port.parse().map_err(|_| wrong())?),
        None => text.parse().map_err(|_| wrong())?,
    };
    Ok(ListenAddr(address))
}

/// `"192.168.1.0/24"`, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, Wrong> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| {
        Wrong::value(
            text,
            "a network",
            "an address or a prefix, such as \"192.168.1.50\" or \"192.168.1.0/24\"",
        )
    })?;
    if network.trunc() == network {
        Ok(network)
    } else {
        Err(Wrong::new(
            format!("`{text}` has bits set behind its prefix"),
            format!("write \"{}\", or the address alone", network.trunc()),
        ))
    }
}

/// A domain that stands for everything below it, too; absolute and in lower case. A leading `*.` or `.` is not part of
/// one; `.` alone is every name.
pub(super) fn domain(text: &str) -> Result<Name, Wrong> {
    if text == "." {
        return Ok(Name::root());
    }
    name(text).map_err(|wrong| {
        let plain = text.trim_start_matches("*.").trim_start_matches('.');
        let write = if plain != text && name(plain).is_ok() {
            format!("write \"{plain}\"; it stands for everything below it, too")
        } else {
            format!("{}; it stands for everything below it, too", wrong.write)
        };
        Wrong::new(wrong.what, write)
    })
}

/// A domain name, absolute and in lower case.
pub(super) fn name(text: &str) -> Result<Name, Wrong> {
    let write = "write a name such as \"example.com\"";
    match Host::parse(text) {
        Ok(Host::Name(name)) => Ok(name),
        Ok(Host::Addr(_)) => Err(Wrong::new(
            format!("`{text}` is an address, not a domain"),
            write,
        )),
        Err(error) => Err(Wrong::new(
            format!("`{text}` is not a domain: {error}"),
            write,
        )),
    }
}

/// `"192.0.2.1"`, `"[2001:db8::1]:53"`, `"tcp://192.0.2.1:5353"`, `"tls://9.9.9.9#dns.quad9.net"`,
/// `"https://1.1.1.1/dns-query#cloudflare-dns.com"`, `"quic://..."`, `"h3://..."`.
///
/// The host is always an address, because there is nobody yet who could resolve a name; the name that the certificate
/// must have follows `#`.
pub(super) fn server(text: &str) -> Result<Server, Wrong> {
    const SCHEMES: [Transport; 6] = [
        Transport::Udp,
        Transport::Tcp,
        Transport::Tls,
        Transport::Https,
        Transport::Quic,
        Transport::H3,
    ];
    let (transport, rest) = match text.split_once("://") {
        None => (Transport::Udp, text),
        Some((scheme, rest)) => {
            let known = SCHEMES.into_iter().find(|known| known.scheme() == scheme);
            let transport = known.ok_or_else(|| {
                Wrong::new(
                    format!("`{scheme}://` is not a transport"),
                    "write udp://, tcp://, tls://, https://, quic:// or h3://, or the address alone",
                )
            })?;
            (transport, rest)
        }
    };
    let (rest, name) = match rest.split_once('#') {
        Some((rest, name)) => (rest, Some(certificate_name(text, transport, name)?)),
        None => (rest, None),
    };
    let over_http = matches!(transport, Transport::Https | Transport::H3);
    let (host, path) = match rest.split_once('/') {
        Some((host, path)) if over_http && !path.is_empty() => (host, Some(format!("/{path}"))),
        Some((host, "")) => (host, over_http.then(|| "/dns-query".to_owned())),
        None => (rest, over_http.then(|| "/dns-query".to_owned())),
        Some(_) => {
            return Err(Wrong::value(
                text,
                "a DNS server: only https:// and h3:// have a path",
                "the address alone",
            ));
        }
    };
    if let Some(path) = &path
        && !path.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(Wrong::value(text, "a URL", "its path without spaces"));
    }
    let address = server_address(host, transport.port()).ok_or_else(|| {
        let (what, example) = match transport {
            Transport::Udp | Transport::Tcp => (
                "a DNS server",
                "an address, such as \"192.0.2.1\", \"[2001:db8::1]:53\" or \"tcp://192.0.2.1\"",
            ),
            _ => (
                "a DNS server by its address",
                "the address, and the certificate's name after #, such as \"tls://9.9.9.9#dns.quad9.net\" or \"https://1.1.1.1/dns-query#cloudflare-dns.com\"",
            ),
        };
        Wrong::value(text, what, example)
    })?;
    if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err(Wrong::value(
            text,
            "a server that can be asked",
            "its own address, such as \"192.0.2.1\"",
        ));
    }
    Ok(Server {
        transport,
        address,
        name,
        path,
    })
}

/// An address, with a port where one is written; a scope (RFC 4007) is the index of an interface.
pub(super) fn server_address(text: &str, port: u16) -> Option<SocketAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(address) => Some(SocketAddr::new(address.to_canonical(), port)),
        Err(_) if bare.contains('%') && !bare.contains(']') => {
            format!("[{bare}]:{port}").parse().ok()
        }
        Err(_) => text.parse().ok(),
    }
}

/// What follows `#` in the URL of a server.
fn certificate_name(text: &str, transport: Transport, name: &str) -> Result<String, Wrong> {
    if !transport.is_encrypted() {
        return Err(Wrong::value(
            text,
            "encrypted, so there is no certificate that a name could be compared with",
            "the address alone, or tls:// or https://",
        ));
    }
    match Host::parse(name) {
        Ok(Host::Name(_)) => Ok(name.trim_end_matches('.').to_ascii_lowercase()),
        _ => Err(Wrong::value(
            name,
            "a name that a certificate could have",
            "the server's name after #, such as \"tls://9.9.9.9#dns.quad9.net\"",
        )),
    }
}

/// A file, relative to the folder of the configuration.
pub(super) fn path(text: &str, folder: Option<&Path>) -> Result<PathBuf, Wrong> {
    if text.is_empty() {
        return Err(Wrong::value(
            text,
            "a file",
            "its path, such as \"/etc/hosts\"",
        ));
    }
    Ok(folder.map_or_else(|| PathBuf::from(text), |folder| folder.join(text)))
}

/// A file, where one is named.
pub(super) fn optional_path(text: &str, folder: Option<&Path>) -> Result<Option<PathBuf>, Wrong> {
    match text {
        "" => Ok(None),
        text => path(text, folder).map(Some),
    }
}

/// A text that fits one DNS character-string (RFC 1035 section 3.3); `""` is none.
pub(super) fn character_string(text: &str) -> Result<Option<String>, Wrong> {
    if text.len() > 255 {
        return Err(Wrong::new(
            "the text has more than 255 bytes",
            "write a shorter one",
        ));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// One of a few words.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Wrong> {
    words
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let words: Vec<_> = words
                .iter()
                .map(|(word, _)| format!("\"{word}\""))
                .collect();
            Wrong::new(
                format!("`{text}` is not known here"),
                format!("write {}", words.join(" or ")),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("2s", 2_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("0s", 0),
        ] {
            assert_eq!(
                duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "5",
            "s",
            "1.5s",
            "-1s",
            "1 s",
            "1w",
            "99999999999999999999s",
            "366d",
            "10000000000000000d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(some_duration("0ms").is_err());
    }

    #[test]
    fn sizes_have_a_number_and_perhaps_a_unit() {
        for (text, size) in [
            ("65536", 65_536),
            ("64KiB", 65_536),
            ("1MiB", 1_048_576),
            ("7B", 7),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "KiB", "1KB", "1GiB", "-1", "99999999999999999999"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert!(bytes_within("4KiB", 8 << 10, 16 << 10).is_err());
    }

    #[test]
    fn listen_addresses_may_stand_on_the_lan() {
        let lan = Ipv4Addr::new(192, 168, 1, 2);
        assert_eq!(listen("lan:53", lan).unwrap().to_string(), "192.168.1.2:53");
        assert_eq!(
            listen("127.0.0.1:5353", lan).unwrap().to_string(),
            "127.0.0.1:5353"
        );
        assert_eq!(listen("[::1]:53", lan).unwrap().to_string(), "[::1]:53");
        for text in [
            "53",
            "lan",
            "lan:",
            "lan:65536",
            "localhost:53",
            ":53",
            "192.168.1.2",
        ] {
            assert!(listen(text, lan).is_err(), "{text}");
        }
    }

    #[test]
    fn servers_are_addresses_with_a_transport() {
        for (text, transport, address) in [
            ("192.0.2.1", Transport::Udp, "192.0.2.1:53"),
            ("192.0.2.1:5353", Transport::Udp, "192.0.2.1:5353"),
            ("2001:db8::1", Transport::Udp, "[2001:db8::1]:53"),
            ("[2001:db8::1]", Transport::Udp, "[2001:db8::1]:53"),
            ("[2001:db8::1]:5353", Transport::Udp, "[2001:db8::1]:5353"),
            ("udp://192.0.2.1:5353", Transport::Udp, "192.0.2.1:5353"),
            ("tcp://192.0.2.1/", Transport::Tcp, "192.0.2.1:53"),
            ("tls://9.9.9.9", Transport::Tls, "9.9.9.9:853"),
            (
                "quic://[2001:db8::1]:8853",
                Transport::Quic,
                "[2001:db8::1]:8853",
            ),
            ("https://1.1.1.1/dns-query", Transport::Https, "1.1.1.1:443"),
            ("h3://1.1.1.1", Transport::H3, "1.1.1.1:443"),
        ] {
            let server = server(text).unwrap();
            assert_eq!(
                (server.transport, server.address.to_string().as_str()),
                (transport, address),
                "{text}"
            );
        }
        for text in [
            "",
            "dns.example",
            "tls://dns.quad9.net",
            "tls://9.9.9.9#",
            "tls://9.9.9.9/dns-query",
            "udp://9.9.9.9#dns.quad9.net",
            "https://1.1.1.1/dns query",
            "ftp://192.0.2.1",
            "192.0.2.1:0",
            "0.0.0.0",
            "192.0.2.1:99999",
            "udp://",
        ] {
            assert!(server(text).is_err(), "{text}");
        }
    }

    #[test]
    fn encrypted_servers_have_a_certificate_name_and_perhaps_a_path() {
        let quad9 = server("tls://9.9.9.9#DNS.quad9.net").unwrap();
        assert_eq!(quad9.name.as_deref(), Some("dns.quad9.net"));
        assert_eq!(quad9.path, None);
        let google = server("https://[2001:4860:4860::8888]/resolve#dns.google").unwrap();
        assert_eq!(google.path.as_deref(), Some("/resolve"));
        let bare = server("h3://1.1.1.1").unwrap();
        assert_eq!(
            (bare.name, bare.path.as_deref()),
            (None, Some("/dns-query"))
        );
    }

    #[test]
    fn domains_and_networks_say_what_to_write() {
        assert_eq!(domain("Example.COM.").unwrap().to_ascii(), "example.com.");
        assert_eq!(domain(".").unwrap(), Name::root());
        assert_eq!(
            domain("*.example.com").unwrap_err().write,
            "write \"example.com\"; it stands for everything below it, too"
        );
        assert!(domain("192.0.2.1").is_err());
        assert_eq!(
            network("192.168.1.5").unwrap().to_string(),
            "192.168.1.5/32"
        );
        assert_eq!(
            network("192.168.1.5/24").unwrap_err().write,
            "write \"192.168.1.0/24\", or the address alone"
        );
        assert!(network("lan").is_err());
    }
}
