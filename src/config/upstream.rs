//! PURE. `[dns.upstream]` and `[[dns.upstream.zone]]`.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hickory_proto::rr::Name;

use super::file::Section;
use super::value::{self, Wrong};
use crate::net::{Interfaces, ListenAddr};

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

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            transport,
            address,
            name,
            path,
        } = self;
        let path = path.as_deref().unwrap_or_default();
        write!(f, "{}://{address}{path}", transport.scheme())?;
        match name {
            Some(name) => write!(f, "#{name}"),
            None => Ok(()),
        }
    }
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
    /// Reads `[dns.upstream]`; `folder` is where the configuration stands.
    pub(super) fn read(
        mut section: Section<'_, '_>,
        gate: &Gate<'_>,
        folder: Option<&Path>,
        resolv_conf: &str,
    ) -> Option<Self> {
        let servers = section.texts("servers", &["auto"], |text| match text {
            "auto" => automatic(gate, resolv_conf),
            text => server(text, gate).map(|server| vec![server]),
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
            if let Some(zone) = UpstreamZone::read(zone, gate, &zones) {
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
    fn read(mut section: Section<'_, '_>, gate: &Gate<'_>, before: &[Self]) -> Option<Self> {
        let domain = section.needed_text("domain", "corp.example", value::domain);
        let servers = section.texts("servers", &[], |text| server(text, gate));
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

/// What the servers are seen from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate<'a> {
    /// Where the gate itself listens.
    pub(super) own: &'a [ListenAddr],
    /// What link-local addresses are reached by.
    pub(super) interfaces: &'a Interfaces,
}

impl Gate<'_> {
    fn is(&self, server: &Server) -> bool {
        let (ip, port) = (server.address.ip(), server.address.port());
        self.own.iter().any(|ListenAddr(own)| {
            let everywhere = own.ip().is_unspecified() && own.is_ipv4() == ip.is_ipv4();
            let reached =
                own.ip() == ip || everywhere && (ip.is_loopback() || self.interfaces.owns(ip));
            own.port() == port && reached
        })
    }

    /// The text with the index of the interface where its address has a name (`fe80::1%eth0`).
    fn scoped<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, Wrong> {
        let host = text
            .split_once("://")
            .map_or(0, |(scheme, _)| scheme.len() + 3);
        let end = text
            .get(host..)
            .and_then(|rest| rest.find(['/', '#']))
            .map_or(text.len(), |length| host + length);
        let Some((before, rest)) = text.get(..end).and_then(|text| text.split_once('%')) else {
            return Ok(Cow::Borrowed(text));
        };
        let scope = rest.split(']').next().unwrap_or_default();
        let index = self.interfaces.index(scope).ok_or_else(|| {
            Wrong::new(
                format!("`{text}`: there is no interface `{scope}`"),
                "write one that is there, such as \"fe80::1%eth0\"",
            )
        })?;
        let after = text
            .get(before.len() + 1 + scope.len()..)
            .unwrap_or_default();
        Ok(Cow::Owned(format!("{before}%{index}{after}")))
    }
}

fn server(text: &str, gate: &Gate<'_>) -> Result<Server, Wrong> {
    let server = value::server(&gate.scoped(text)?)?;
    if needs_scope(&server) {
        return Err(Wrong::new(
            format!("`{text}` is link-local, and its interface is not named"),
            "write it behind the address, such as \"fe80::1%eth0\"",
        ));
    }
    if matches!(server.transport, Transport::Https | Transport::H3)
        && server.name.is_none()
        && server.address.is_ipv6()
    {
        return Err(Wrong::new(
            format!("`{text}` has no name, which HTTP needs beside an IPv6 address"),
            "write it after #, such as \"https://[2001:db8::1]/dns-query#dns.example\"",
        ));
    }
    if gate.is(&server) {
        return Err(Wrong::new(
            format!("`{text}` is the gate itself"),
            "write the servers that it asks, such as [\"192.168.1.1\"]",
        ));
    }
    Ok(server)
}

fn needs_scope(server: &Server) -> bool {
    match server.address {
        SocketAddr::V6(address) => address.ip().is_unicast_link_local() && address.scope_id() == 0,
        SocketAddr::V4(_) => false,
    }
}

/// What `auto` stands for.
fn automatic(gate: &Gate<'_>, resolv_conf: &str) -> Result<Vec<Server>, Wrong> {
    let mut servers = nameservers(resolv_conf, gate);
    if servers.is_empty() {
        return Err(Wrong::new(
            "`auto` found no server in /etc/resolv.conf",
            "write the servers to ask, such as [\"192.168.1.1\"]",
        ));
    }
    servers.retain(|server| !gate.is(server));
    if servers.is_empty() {
        return Err(Wrong::new(
            "`auto` found no server but the gate itself in /etc/resolv.conf",
            "write the servers to ask, such as [\"192.168.1.1\"]",
        ));
    }
    Ok(servers)
}

/// The servers of a resolv.conf, in its order, less those that nobody could reach: link-local ones whose interface is
/// not named or not there.
fn nameservers(resolv_conf: &str, gate: &Gate<'_>) -> Vec<Server> {
    resolv_conf
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())?
        })
        .filter_map(|address| {
            let text = gate.scoped(address).ok()?;
            let address = value::server_address(&text, PORT)?;
            (address.port() == PORT).then_some(address)
        })
        .map(|address| Server {
            transport: Transport::Udp,
            address,
            name: None,
            path: None,
        })
        .filter(|server| !needs_scope(server))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_names_servers_in_order() {
        let text = "# made by hand\nsearch home.arpa\nnameserver 192.168.1.1\n nameserver\t2001:db8::1 # second\n\
                    nameserver fe80::1%eth0\nnameserver fe80::1\nnameserver fe80::1%eth9\nnameserver\noptions edns0\n";
        let interfaces = Interfaces::of(&[("eth0", "192.168.1.2/24")], Some("eth0"));
        let gate = Gate {
            own: &[],
            interfaces: &interfaces,
        };
        let servers: Vec<String> = nameservers(text, &gate)
            .iter()
            .map(|server| server.address.to_string())
            .collect();
        assert_eq!(
            servers,
            ["192.168.1.1:53", "[2001:db8::1]:53", "[fe80::1%1]:53"]
        );
    }

    #[test]
    fn the_gate_does_not_ask_itself_wherever_it_listens() {
        let interfaces = Interfaces::of(&[("eth0", "192.168.1.2/24")], Some("eth0"));
        let own = ["0.0.0.0:53", "192.168.1.2:853"].map(|own| ListenAddr(own.parse().unwrap()));
        let gate = Gate {
            own: &own,
            interfaces: &interfaces,
        };
        for text in ["127.0.0.53", "192.168.1.2", "tls://192.168.1.2#dns.example"] {
            assert!(server(text, &gate).is_err(), "{text}");
        }
        for text in ["192.168.1.1", "127.0.0.1:5353", "[::1]:53"] {
            assert!(server(text, &gate).is_ok(), "{text}");
        }
        let servers = nameservers("nameserver 127.0.0.53\nnameserver 192.168.1.1\n", &gate);
        assert_eq!(servers.len(), 2);
    }

    #[test]
    fn a_link_local_server_has_its_interface() {
        let interfaces = Interfaces::of(
            &[("lo", "127.0.0.1/8"), ("eth0", "192.168.1.2/24")],
            Some("eth0"),
        );
        let gate = Gate {
            own: &[],
            interfaces: &interfaces,
        };
        for (text, shown) in [
            ("fe80::1%eth0", "udp://[fe80::1%2]:53"),
            ("[fe80::1%2]:5353", "udp://[fe80::1%2]:5353"),
            (
                "tls://[fe80::1%eth0]:853#dns.example",
                "tls://[fe80::1%2]:853#dns.example",
            ),
            (
                "https://[fe80::1%eth0]/d%20q#dns.example",
                "https://[fe80::1%2]:443/d%20q#dns.example",
            ),
            ("https://192.0.2.1/d%20q", "https://192.0.2.1:443/d%20q"),
        ] {
            assert_eq!(server(text, &gate).unwrap().to_string(), shown, "{text}");
        }
        for text in [
            "fe80::1",
            "fe80::1%wlan0",
            "fe80::1%7",
            "h3://[2001:db8::1]",
        ] {
            assert!(server(text, &gate).is_err(), "{text}");
        }
    }
}
