//! PURE. `[dns]`: how clients are answered.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hickory_proto::rr::Name;

use super::cache::Cache;
use super::file::Section;
use super::lan::Listening;
use super::upstream::{Gate, Upstream};
use super::value::{self, Wrong};
use crate::net::{Interfaces, ListenAddr};

/// The DNS side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Where clients ask, over UDP and TCP alike.
    pub listen: Vec<ListenAddr>,
    /// Where clients ask over TLS (RFC 7858).
    pub tls: Vec<ListenAddr>,
    /// The certificate for them and its key; `None`: a self-signed one.
    pub certificate: Option<Certificate>,
    /// The folder of `NAME.zone` files; `None` where there is no configuration file that it could stand beside.
    pub zones: Option<PathBuf>,
    /// Whether the file named the folder; the default one may be missing.
    pub zones_required: bool,
    /// Hosts files to answer from.
    pub hosts: Vec<PathBuf>,
    /// DHCP lease files to answer from.
    pub leases: Vec<PathBuf>,
    /// Sockets for UDP at each address, each with a loop of its own; `None`: the processors that we may run on.
    pub threads: Option<u32>,
    /// Whether answers are validated (RFC 4035).
    pub dnssec: bool,
    /// A file of DS or DNSKEY records that are trusted; `None`: those of the root, built in.
    pub trust_anchor: Option<PathBuf>,
    /// Domains that may carry private addresses.
    pub rebind_allow: Vec<Name>,
    /// What `version.bind` is told (class CH); `None`: nothing.
    pub version: Option<String>,
    /// What `id.server` and `hostname.bind` are told (class CH, RFC 4892); `None`: nothing.
    pub identity: Option<String>,
    /// Queries in flight; more are dropped, as a full socket buffer would.
    pub max_queries: usize,
    /// Queries in flight of one client; more are dropped.
    pub max_queries_per_client: usize,
    /// Queries a second of one client, over a second or so; more are refused. 0: no limit.
    pub rate_limit: u32,
    /// Open TCP and TLS connections; more wait in the kernel.
    pub max_connections: usize,
    /// How long a connection may stay silent (RFC 7766 section 6.2.3).
    pub tcp_idle_timeout: Duration,
    /// The servers that we ask.
    pub upstream: Upstream,
    /// The cache of what they said.
    pub cache: Cache,
}

/// A certificate for DNS over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The PEM file of the certificate and what leads to its root.
    pub chain: PathBuf,
    /// The PEM file of its private key.
    pub key: PathBuf,
}

impl Dns {
    /// Reads `[dns]`; `folder` is where the configuration file stands.
    pub(super) fn read(
        mut section: Section<'_, '_>,
        listening: &Listening,
        folder: Option<&Path>,
        interfaces: &Interfaces,
        resolv_conf: &str,
    ) -> Option<Self> {
        let listen = listening.read(&mut section, "listen", &["lan:53"]);
        let tls = listening.read(&mut section, "tls", &[]);
        let chain = section.text("tls-certificate", "", |text| {
            value::optional_path(text, folder)
        });
        let key = section.text("tls-key", "", |text| value::optional_path(text, folder));
        let certificate = certificate(&section, chain.flatten(), key.flatten());
        let zones_required = section.is_written("zones");
        let zones = section.text("zones", "zones", |text| Ok(PathBuf::from(text)));
        let hosts = section.texts("hosts", &[], |text| value::path(text, folder));
        let leases = section.texts("leases", &[], |text| value::path(text, folder));
        let threads = section.number_or_auto("threads", 1..257);
        let dnssec = section.flag("dnssec", false);
        let trust_anchor = section.text("trust-anchor", "", |text| {
            value::optional_path(text, folder)
        });
        let rebind_allow = section.texts("rebind-allow", &[], value::domain);
        let version = section.text("version", "", value::character_string);
        let identity = section.text("identity", "", value::character_string);
        let max_queries = section.number("max-queries", 4096, 1..1_000_001);
        let max_queries_per_client = section.number("max-queries-per-client", 1024, 1..1_000_001);
        let rate_limit = section.number("rate-limit", 0, 0..10_000_001);
        let max_connections = section.number("max-connections", 512, 1..100_001);
        let tcp_idle_timeout = section.text("tcp-idle-timeout", "10s", value::some_duration);
        let upstream = {
            let gate = Gate {
                own: &[&listen[..], &tls[..]].concat(),
                interfaces,
            };
            Upstream::read(section.section("upstream"), &gate, folder, resolv_conf)
        };
        let cache = Cache::read(section.section("cache"));
        section.finish();
        Some(Self {
            listen,
            tls,
            certificate: certificate?,
            zones: folder.zip(zones).map(|(folder, zones)| folder.join(zones)),
            zones_required,
            hosts,
            leases,
            threads,
            dnssec,
            trust_anchor: trust_anchor?,
            rebind_allow,
            version: version?,
            identity: identity?,
            max_queries: max_queries as usize,
            max_queries_per_client: max_queries_per_client as usize,
            rate_limit,
            max_connections: max_connections as usize,
            tcp_idle_timeout: tcp_idle_timeout?,
            upstream: upstream?,
            cache: cache?,
        })
    }
}

/// Both files or none.
fn certificate(
    section: &Section<'_, '_>,
    chain: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Option<Option<Certificate>> {
    let (key, missing) = match (chain, key) {
        (Some(chain), Some(key)) => return Some(Some(Certificate { chain, key })),
        (None, None) => return Some(None),
        (Some(_), None) => ("tls-certificate", "tls-key"),
        (None, Some(_)) => ("tls-key", "tls-certificate"),
    };
    section.report(
        key,
        Wrong::new(
            format!("dns.{missing} is not there"),
            "name both files, or none for a self-signed certificate",
        ),
    );
    None
}
