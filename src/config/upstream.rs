//! PURE. `[dns.upstream]` and `[[dns.upstream.zone]]`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hickory_proto::rr::Name;

use super::file::Section;
use super::value::{self, Wrong};
use crate::net::ListenAddr;

/// The servers that we ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The servers.
    pub servers: Vec<Server>,
    /// In which order they are asked.
    pub strategy: Strategy,
    /// How long one server may take for one query.
    pub timeout: Duration,
    /// PEM files of root certificates that are trusted besides the system's.
    pub ca: Vec<PathBuf>,
    /// Whether the case of the letters of a name is varied in queries over UDP, and the answer must repeat it.
    pub case_randomization: bool,
    /// Domains with servers of their own.
    pub zones: Vec<UpstreamZone>,
}

/// A domain that other servers are asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamZone {
    /// The domain, and everything below it.
    pub domain: Name,
    /// Its servers.
    pub servers: Vec<Server>,
}

/// In which order servers are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// The one that has answered fastest lately, first.
    Fastest,
    /// As they are written.
    Ordered,
    /// All at once; the first good answer counts.
    Race,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// How to ask.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
    /// The name that its certificate must have; `None`: its address. Only for encrypted transports.
    pub name: Option<String>,
    /// The path of the URL, for HTTPS and HTTP/3.
    pub path: Option<String>,
}

/// How a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP, and TCP after a truncated answer.
    Udp,
    /// TCP.
    Tcp,
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over HTTPS, on HTTP/2 (RFC 8484).
    Https,
    /// DNS over QUIC (RFC 9250).
    Quic,
    /// DNS over HTTPS, on HTTP/3.
    H3,
}

impl Transport {
    /// The scheme of its URLs.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Https => "https",
            Self::Quic => "quic",
            Self::H3 => "h3",
        }
    }

    /// The port where the URL names none.
    pub fn port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => PORT,
            Self::Tls | Self::Quic => 853,
            Self::Https | Self::H3 => 443,
        }
    }

    /// Whether the server is known by its certificate.
    pub fn is_encrypted(self) -> bool {
        !matches!(self, Self::Udp | Self::Tcp)
    }
}

/// The port of DNS (RFC 1035 section 4.2).
const PORT: u16 = 53;

impl Upstream {
    /// Reads `[dns.upstream]`; `own` is where the gate itself listens, `folder` where the configuration stands.
    pub(super) fn read(
        mut section: Section<'_, '_>,
        own: &[ListenAddr],
        folder: Option<&Path>,
        resolv_conf: &str,
    ) -> Option<Self> {
        let servers = section.texts("servers", &["auto"], |text| match text {
            "auto" => automatic(own, resolv_conf),
            text => server(text, own).map(|server| vec![server]),
        });
        let servers: Vec<Server> = servers.into_iter().flatten().collect();
        if servers.is_empty() && section.is_empty_list("servers") {
            section.report(
                "servers",
                Wrong::new("there is no server to ask", "write [\"auto\"] or addresses"),
            );
        }
        let strategy = section.text("strategy", "fastest", |text| {
            value::word(
                text,
                &[
                    ("fastest", Strategy::Fastest),
                    ("ordered", Strategy::Ordered),
                    ("race", Strategy::Race),
                ],
            )
        });
        let timeout = section.text("timeout", "2s", value::some_duration);
        let ca = section.texts("ca", &[], |text| value::path(text, folder));
        let case_randomization = section.flag("case-randomization", true);
        let mut zones: Vec<UpstreamZone> = Vec::new();
        for zone in section.sections("zone") {
            if let Some(zone) = UpstreamZone::read(zone, own, &zones) {
                zones.push(zone);
            }
        }
        section.finish();
        Some(Self {
            servers,
            strategy: strategy?,
            timeout: timeout?,
            ca,
            case_randomization,
            zones,
        })
    }
}

impl UpstreamZone {
    fn read(mut section: Section<'_, '_>, own: &[ListenAddr], before: &[Self]) -> Option<Self> {
        let domain = section.needed_text("domain", "corp.example", value::domain);
        let servers = section.texts("servers", &[], |text| server(text, own));
        if !section.is_written("servers") || section.is_empty_list("servers") {
            section.report(
                "servers",
                Wrong::new("there is no server to ask", "write addresses"),
            );
        }
        if let Some(domain) = &domain
            && before.iter().any(|zone| zone.domain == *domain)
        {
            section.report(
                "domain",
                Wrong::new(
                    format!("`{domain}` stands there twice"),
                    "write all its servers into one table",
                ),
            );
        }
        section.finish();
        Some(Self {
            domain: domain?,
            servers,
        })
    }
}

fn is_own(server: &Server, own: &[ListenAddr]) -> bool {
    own.contains(&ListenAddr(server.address))
}

fn server(text: &str, own: &[ListenAddr]) -> Result<Server, Wrong> {
    let server = value::server(text)?;
    if is_own(&server, own) {
        return Err(Wrong::new(
            format!("`{text}` is the gate itself"),
            "write the servers that it asks, such as [\"192.168.1.1\"]",
        ));
    }
    Ok(server)
}

/// What `auto` stands for.
fn automatic(own: &[ListenAddr], resolv_conf: &str) -> Result<Vec<Server>, Wrong> {
    let mut servers = nameservers(resolv_conf);
    if servers.is_empty() {
        return Err(Wrong::new(
            "`auto` found no server in /etc/resolv.conf",
            "write the servers to ask, such as [\"192.168.1.1\"]",
        ));
    }
    servers.retain(|server| !is_own(server, own));
    if servers.is_empty() {
        return Err(Wrong::new(
            "`auto` found no server but the gate itself in /etc/resolv.conf",
            "write the servers to ask, such as [\"192.168.1.1\"]",
        ));
    }
    Ok(servers)
}

/// The servers of a resolv.conf, in its order. Link-local ones need an interface, which hickory cannot be told: they
/// are passed over.
fn nameservers(resolv_conf: &str) -> Vec<Server> {
    resolv_conf
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())?
        })
        .filter_map(|address| address.parse().ok())
        .map(|address| Server {
            transport: Transport::Udp,
            address: SocketAddr::new(address, PORT),
            name: None,
            path: None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_names_servers_in_order() {
        let text = "# made by hand\nsearch home.arpa\nnameserver 192.168.1.1\n nameserver\t2001:db8::1 # second\n\
                    nameserver fe80::1%eth0\nnameserver\noptions edns0\n";
        let servers: Vec<String> = nameservers(text)
            .iter()
            .map(|server| server.address.to_string())
            .collect();
        assert_eq!(servers, ["192.168.1.1:53", "[2001:db8::1]:53"]);
    }
}
