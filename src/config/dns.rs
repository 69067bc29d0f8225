//! PURE. `[dns]`, `[dns.upstream]` and `[dns.cache]`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::Section;
use super::lan::Listening;
use super::value::{self, Wrong};
use crate::net::ListenAddr;

/// The DNS side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Where clients ask, over UDP and TCP alike.
    pub listen: Vec<ListenAddr>,
    /// The folder of `NAME.zone` files; `None` where there is no configuration file that it could stand beside.
    pub zones: Option<PathBuf>,
    /// Whether the file named the folder; the default one may be missing.
    pub zones_required: bool,
    /// Queries in flight; more are dropped, as a full socket buffer would.
    pub max_queries: usize,
    /// Open TCP connections; more wait in the kernel.
    pub max_connections: usize,
    /// How long a TCP connection may stay silent (RFC 7766 section 6.2.3).
    pub tcp_idle_timeout: Duration,
    /// The servers that we ask.
    pub upstream: Upstream,
    /// The cache of what they said.
    pub cache: Cache,
}

/// The servers that we ask, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The servers; the first that answers is used.
    pub servers: Vec<Server>,
    /// How long one server may take for one query.
    pub timeout: Duration,
}

/// One server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// How to ask.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

/// How a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP, and TCP after a truncated answer.
    Udp,
    /// TCP.
    Tcp,
}

/// The cache's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Answers held at most.
    pub entries: usize,
    /// Shortest time an answer is kept.
    pub min_ttl: Duration,
    /// Longest time an answer is kept.
    pub max_ttl: Duration,
    /// Longest time that "there is no such thing" is kept.
    pub max_negative_ttl: Duration,
}

/// The port of DNS (RFC 1035 section 4.2).
const PORT: u16 = 53;

impl Dns {
    /// Reads `[dns]`; `folder` is where the configuration file stands.
    pub(super) fn read(
        mut section: Section<'_, '_>,
        listening: &Listening,
        folder: Option<&Path>,
        resolv_conf: &str,
    ) -> Option<Self> {
        let listen = listening.read(&mut section, "listen", &["lan:53"]);
        let zones_required = section.is_written("zones");
        let zones = section.text("zones", "zones", |text| Ok(PathBuf::from(text)));
        let max_queries = section.number("max-queries", 4096, 1..1_000_001);
        let max_connections = section.number("max-connections", 512, 1..100_001);
        let tcp_idle_timeout = section.text("tcp-idle-timeout", "10s", value::some_duration);
        let upstream = Upstream::read(section.section("upstream"), &listen, resolv_conf);
        let cache = Cache::read(section.section("cache"));
        section.finish();
        Some(Self {
            listen,
            zones: folder.zip(zones).map(|(folder, zones)| folder.join(zones)),
            zones_required,
            max_queries: max_queries as usize,
            max_connections: max_connections as usize,
            tcp_idle_timeout: tcp_idle_timeout?,
            upstream: upstream?,
            cache: cache?,
        })
    }
}

impl Upstream {
    fn read(mut section: Section<'_, '_>, own: &[ListenAddr], resolv_conf: &str) -> Option<Self> {
        let is_own = |server: &Server| own.contains(&ListenAddr(server.address));
        let servers = section.texts("servers", &["auto"], |text| {
            if text == "auto" {
                let mut servers = nameservers(resolv_conf);
                if servers.is_empty() {
                    return Err(Wrong::new(
                        "`auto` found no server in /etc/resolv.conf",
                        "write the servers to ask, such as [\"192.168.1.1\"]",
                    ));
                }
                servers.retain(|server| !is_own(server));
                if servers.is_empty() {
                    return Err(Wrong::new(
                        "`auto` found no server but the gate itself in /etc/resolv.conf",
                        "write the servers to ask, such as [\"192.168.1.1\"]",
                    ));
                }
                return Ok(servers);
            }
            let server = value::server(text)?;
            if is_own(&server) {
                return Err(Wrong::new(
                    format!("`{text}` is the gate itself"),
                    "write the servers that it asks, such as [\"192.168.1.1\"]",
                ));
            }
            Ok(vec![server])
        });
        let servers: Vec<Server> = servers.into_iter().flatten().collect();
        if servers.is_empty() && section.is_empty_list("servers") {
            section.report(
                "servers",
                Wrong::new("there is no server to ask", "write [\"auto\"] or addresses"),
            );
        }
        let timeout = section.text("timeout", "2s", value::some_duration);
        section.finish();
        Some(Self {
            servers,
            timeout: timeout?,
        })
    }
}

impl Cache {
    fn read(mut section: Section<'_, '_>) -> Option<Self> {
        let entries = section.number("entries", 100_000, 0..100_000_001);
        let min_ttl = section.text("min-ttl", "0s", value::duration);
        let max_ttl = section.text("max-ttl", "1d", value::duration);
        let max_negative_ttl = section.text("max-negative-ttl", "1h", value::duration);
        if let (Some(min), Some(max)) = (min_ttl, max_ttl)
            && min > max
        {
            section.report(
                "min-ttl",
                Wrong::new("it is longer than max-ttl", "write a shorter one"),
            );
        }
        section.finish();
        Some(Self {
            entries: entries as usize,
            min_ttl: min_ttl?,
            max_ttl: max_ttl?,
            max_negative_ttl: max_negative_ttl?,
        })
    }
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
