//! PURE. `[proxy]`: where sessions come in, and how many.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::Section;
use super::forwarded::Forwarded;
use super::lan::Listening;
use super::value::{self, Wrong};
use crate::net::{Acl, ListenAddr};

/// The proxy side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Forward proxy: absolute-form and CONNECT.
    pub http: Vec<ListenAddr>,
    /// SOCKS5 and SOCKS4.
    pub socks: Vec<ListenAddr>,
    /// The file of those who may use the forward proxy and SOCKS; `None`: every client may.
    pub users: Option<PathBuf>,
    /// Transparent TLS, by SNI.
    pub tls: Vec<ListenAddr>,
    /// The port of the origins that transparent TLS is taken to.
    pub tls_origin_port: u16,
    /// Transparent HTTP, by Host.
    pub plain: Vec<ListenAddr>,
    /// The port of the origins that transparent HTTP is taken to where Host names none.
    pub plain_origin_port: u16,
    /// Transparent QUIC, by SNI.
    pub quic: Vec<ListenAddr>,
    /// The port of the origins that transparent QUIC is taken to.
    pub quic_origin_port: u16,
    /// QUIC flows at once, of each listener; more are refused.
    pub quic_flows: usize,
    /// QUIC flows at once of one client; more are refused.
    pub quic_flows_per_client: usize,
    /// How long a QUIC flow may stay silent.
    pub quic_idle_timeout: Duration,
    /// Sessions at once; more wait in the kernel.
    pub max_sessions: usize,
    /// Sessions at once of one client; more are refused.
    pub max_sessions_per_client: usize,
    /// New connections a second of one client; more are refused. 0 is no limit.
    pub rate_limit: u32,
    /// How many of them may come at once.
    pub rate_burst: u32,
    /// UDP associations of SOCKS5 at once; more are refused.
    pub max_associations: usize,
    /// UDP associations at once of one client; more are refused.
    pub max_associations_per_client: usize,
    /// How long one may stay silent.
    pub association_timeout: Duration,
    /// Peers that announce their clients by the PROXY protocol, and must.
    pub proxy_protocol_from: Acl,
    /// How long a session may stay silent.
    pub idle_timeout: Duration,
    /// How long an origin may take to begin its answer to a request of the forward proxy.
    pub response_timeout: Duration,
    /// How long a client may take to say where it wants to go.
    pub sniff_timeout: Duration,
    /// How many bytes it may take, in bytes.
    pub sniff_bytes: usize,
    /// The longest head of an HTTP message, in bytes.
    pub header_bytes: usize,
    /// The name by which the gate goes in Via (RFC 9110 section 7.6.3); without one it does not.
    pub via: Option<String>,
    /// What becomes of Forwarded (RFC 7239).
    pub forwarded: Forwarded,
    /// What becomes of X-Forwarded-For.
    pub x_forwarded_for: Forwarded,
}

impl Proxy {
    /// Reads `[proxy]`; `folder` is where the configuration file stands.
    pub(super) fn read(
        mut section: Section<'_, '_>,
        listening: Listening,
        folder: Option<&Path>,
    ) -> Option<Self> {
        let http = listening.read(&mut section, "http", &["lan:3128"]);
        let socks = listening.read(&mut section, "socks", &["lan:1080"]);
        let users = section.text("users", "", |text| value::optional_path(text, folder));
        let tls = listening.read(&mut section, "tls", &["lan:443"]);
        let tls_origin_port = port(&mut section, "tls-origin-port", 443);
        let plain = listening.read(&mut section, "plain", &["lan:80"]);
        let plain_origin_port = port(&mut section, "plain-origin-port", 80);
        let quic = listening.read(&mut section, "quic", &["lan:443"]);
        let quic_origin_port = port(&mut section, "quic-origin-port", 443);
        let quic_flows = section.number("quic-flows", 4_096, 1..1_000_001);
        let quic_flows_per_client = section.number("quic-flows-per-client", 1_024, 1..1_000_001);
        if quic_flows_per_client > quic_flows && section.is_written("quic-flows-per-client") {
            section.report(
                "quic-flows-per-client",
                Wrong::new("it is more than quic-flows", "write a smaller number"),
            );
        }
        let quic_idle_timeout = section.text("quic-idle-timeout", "2m", value::some_duration);
        let max_sessions = section.number("max-sessions", 16_384, 1..1_000_001);
        let per_client = section.number("max-sessions-per-client", 4_096, 1..1_000_001);
        if per_client > max_sessions && section.is_written("max-sessions-per-client") {
            section.report(
                "max-sessions-per-client",
                Wrong::new("it is more than max-sessions", "write a smaller number"),
            );
        }
        let rate_limit = section.number("rate-limit", 0, 0..1_000_001);
        let rate_burst = section.number("rate-burst", 200, 1..1_000_001);
        let max_associations = section.number("max-associations", 1_024, 1..100_001);
        let associations_per_client =
            section.number("max-associations-per-client", 256, 1..100_001);
        let association_timeout = section.text("association-timeout", "5m", value::some_duration);
        let proxy_protocol_from = section.texts("proxy-protocol-from", &[], value::network);
        let idle_timeout = section.text("idle-timeout", "1h", value::some_duration);
        let response_timeout = section.text("response-timeout", "15m", value::some_duration);
        let sniff_timeout = section.text("sniff-timeout", "10s", value::some_duration);
        let sniff_bytes = section.text("sniff-bytes", "64KiB", |text| {
            value::bytes_within(text, 1 << 10, 1 << 20)
        });
        // hyper does not read with a smaller buffer.
        let header_bytes = section.text("header-bytes", "64KiB", |text| {
            value::bytes_within(text, 8 << 10, 1 << 20)
        });
        let via = section.text("via", "", pseudonym);
        let forwarded = section.text("forwarded", "transparent", Forwarded::parse);
        let x_forwarded_for = section.text("x-forwarded-for", "transparent", Forwarded::parse);
        section.finish();
        Some(Self {
            http,
            socks,
            users: users?,
            tls,
            tls_origin_port,
            plain,
            plain_origin_port,
            quic,
            quic_origin_port,
            quic_flows: quic_flows as usize,
            quic_flows_per_client: quic_flows_per_client as usize,
            quic_idle_timeout: quic_idle_timeout?,
            max_sessions: max_sessions as usize,
            max_sessions_per_client: per_client as usize,
            rate_limit,
            rate_burst,
            max_associations: max_associations as usize,
            max_associations_per_client: associations_per_client as usize,
            association_timeout: association_timeout?,
            proxy_protocol_from: Acl::new(proxy_protocol_from),
            idle_timeout: idle_timeout?,
            response_timeout: response_timeout?,
            sniff_timeout: sniff_timeout?,
            sniff_bytes: sniff_bytes?,
            header_bytes: header_bytes?,
            via: via?,
            forwarded: forwarded?,
            x_forwarded_for: x_forwarded_for?,
        })
    }
}

/// A name in Via, which is a token (RFC 9110 section 5.6.2).
fn pseudonym(text: &str) -> Result<Option<String>, Wrong> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if text.chars().all(is_token) {
        return Ok((!text.is_empty()).then(|| text.to_owned()));
    }
    Err(Wrong::new(
        "it is not one word of letters, digits and `-._`",
        "write a name such as \"gate-1\", or \"\" for none",
    ))
}

fn port(section: &mut Section<'_, '_>, key: &'static str, default: u16) -> u16 {
    let port = section.number(key, u32::from(default), 1..65_536);
    u16::try_from(port).unwrap_or(default)
}
