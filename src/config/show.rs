//! PURE. The configuration in force, as TOML that can be read back, with every `auto` filled in.

use std::path::PathBuf;
use std::time::Duration;

use hickory_proto::rr::Name;
use serde::Serialize;
use tracing_subscriber::filter::LevelFilter;

use super::log::LEVELS;
use super::{
    Aaaa, Cache, Config, Dns, Families, Format, Mode, Names, Outlet, Rule, RuleSteer, Strategy,
    Upstream, UpstreamZone, Via,
};
use crate::net::{Acl, ListenAddr, ProxyVersion};

/// A [`Config`] as it would stand in a file; serialize it to show it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Shown {
    user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    lan: LanShown,
    dns: DnsShown,
    steer: SteerShown,
    proxy: ProxyShown,
    egress: EgressShown,
    web: WebShown,
    log: LogShown,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rule: Vec<RuleShown>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct LanShown {
    address: String,
    networks: Vec<String>,
    domain: String,
    allow_public: bool,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Threads {
    Auto(&'static str),
    Count(u32),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct DnsShown {
    listen: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zones: Option<String>,
    tls: Vec<String>,
    tls_certificate: String,
    tls_key: String,
    hosts: Vec<String>,
    leases: Vec<String>,
    threads: Threads,
    dnssec: bool,
    trust_anchor: String,
    rebind_allow: Vec<String>,
    version: String,
    identity: String,
    max_queries: usize,
    max_queries_per_client: usize,
    rate_limit: u32,
    max_connections: usize,
    tcp_idle_timeout: String,
    upstream: UpstreamShown,
    cache: CacheShown,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct UpstreamShown {
    servers: Vec<String>,
    strategy: &'static str,
    timeout: String,
    ca: Vec<String>,
    case_randomization: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    zone: Vec<UpstreamZoneShown>,
}

#[derive(Debug, Serialize)]
struct UpstreamZoneShown {
    domain: String,
    servers: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct CacheShown {
    entries: usize,
    bytes: String,
    min_ttl: String,
    max_ttl: String,
    max_negative_ttl: String,
    stale: String,
    prefetch: bool,
    nxdomain_cut: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct SteerShown {
    mode: Mode,
    names: &'static str,
    ttl: String,
    never: Vec<String>,
    always: Vec<String>,
    never_files: Vec<String>,
    always_files: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct RuleShown {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    domains: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    domain_files: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clients: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aaaa: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steer: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    send_proxy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    families: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ProxyShown {
    http: Vec<String>,
    socks: Vec<String>,
    users: String,
    tls: Vec<String>,
    tls_origin_port: u16,
    plain: Vec<String>,
    plain_origin_port: u16,
    quic: Vec<String>,
    quic_origin_port: u16,
    quic_flows: usize,
    quic_flows_per_client: usize,
    quic_idle_timeout: String,
    max_sessions: usize,
    max_sessions_per_client: usize,
    rate_limit: u32,
    rate_burst: u32,
    max_associations: usize,
    max_associations_per_client: usize,
    association_timeout: String,
    proxy_protocol_from: Vec<String>,
    idle_timeout: String,
    response_timeout: String,
    sniff_timeout: String,
    sniff_bytes: String,
    header_bytes: String,
    via: String,
    forwarded: &'static str,
    x_forwarded_for: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct EgressShown {
    prefer: &'static str,
    attempt_delay: String,
    connect_timeout: String,
    allow: Vec<String>,
    deny: Vec<String>,
    via: String,
    ipv4: OutletShown,
    ipv6: OutletShown,
}

#[derive(Debug, Serialize)]
struct OutletShown {
    source: String,
    interface: String,
    mark: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct WebShown {
    listen: Vec<String>,
    admin: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct LogShown {
    level: &'static str,
    format: &'static str,
    queries: bool,
}

impl Config {
    /// The configuration as it would stand in a file.
    pub fn shown(&self) -> Shown {
        let Self {
            path: _,
            user,
            state,
            lan,
            dns,
            steer,
            rules,
            proxy,
            egress,
            web,
            log,
        } = self;
        Shown {
            user: user.clone().unwrap_or_default(),
            state: state.as_ref().map(|folder| folder.display().to_string()),
            lan: LanShown {
                address: lan.address.to_string(),
                networks: networks(&lan.networks),
                domain: name(&lan.domain),
                allow_public: lan.allow_public,
            },
            dns: dns_shown(dns),
            steer: SteerShown {
                mode: steer.mode,
                names: match (steer.mode, steer.names) {
                    (Mode::Off | Mode::Ipv6Only, _) => "default",
                    (Mode::Address, Names::Ipv6) => "ipv6",
                    (Mode::Address, Names::All) => "all",
                },
                ttl: duration(steer.ttl),
                never: names(&steer.never),
                always: names(&steer.always),
                never_files: paths(&steer.never_files),
                always_files: paths(&steer.always_files),
            },
            proxy: ProxyShown {
                http: listeners(&proxy.http),
                socks: listeners(&proxy.socks),
                users: proxy
                    .users
                    .as_ref()
                    .map(|file| file.display().to_string())
                    .unwrap_or_default(),
                tls: listeners(&proxy.tls),
                tls_origin_port: proxy.tls_origin_port,
                plain: listeners(&proxy.plain),
                plain_origin_port: proxy.plain_origin_port,
                quic: listeners(&proxy.quic),
                quic_origin_port: proxy.quic_origin_port,
                quic_flows: proxy.quic_flows,
                quic_flows_per_client: proxy.quic_flows_per_client,
                quic_idle_timeout: duration(proxy.quic_idle_timeout),
                max_sessions: proxy.max_sessions,
                max_sessions_per_client: proxy.max_sessions_per_client,
                rate_limit: proxy.rate_limit,
                rate_burst: proxy.rate_burst,
                max_associations: proxy.max_associations,
                max_associations_per_client: proxy.max_associations_per_client,
                association_timeout: duration(proxy.association_timeout),
                proxy_protocol_from: networks(&proxy.proxy_protocol_from),
                idle_timeout: duration(proxy.idle_timeout),
                response_timeout: duration(proxy.response_timeout),
                sniff_timeout: duration(proxy.sniff_timeout),
                sniff_bytes: bytes(proxy.sniff_bytes),
                header_bytes: bytes(proxy.header_bytes),
                via: proxy.via.clone().unwrap_or_default(),
                forwarded: proxy.forwarded.as_str(),
                x_forwarded_for: proxy.x_forwarded_for.as_str(),
            },
            egress: EgressShown {
                prefer: egress.prefer.as_str(),
                attempt_delay: duration(egress.attempt_delay),
                connect_timeout: duration(egress.connect_timeout),
                allow: networks(&egress.allow),
                deny: networks(&egress.deny),
                via: egress.via.written(),
                ipv4: outlet(&egress.ipv4),
                ipv6: outlet(&egress.ipv6),
            },
            web: WebShown {
                listen: listeners(&web.listen),
                admin: listeners(&web.admin),
            },
            log: LogShown {
                level: level(log.level),
                format: match log.format {
                    Format::Text => "text",
                    Format::Json => "json",
                },
                queries: log.queries,
            },
            rule: rules.iter().map(rule).collect(),
        }
    }
}

fn dns_shown(dns: &Dns) -> DnsShown {
    let Dns {
        listen,
        tls,
        certificate,
        zones,
        zones_required: _,
        hosts,
        leases,
        threads,
        dnssec,
        trust_anchor,
        rebind_allow,
        version,
        identity,
        max_queries,
        max_queries_per_client,
        rate_limit,
        max_connections,
        tcp_idle_timeout,
        upstream,
        cache,
    } = dns;
    let file = |path: Option<&PathBuf>| path.map(|path| path.display().to_string());
    let chain = certificate.as_ref().map(|certificate| &certificate.chain);
    let key = certificate.as_ref().map(|certificate| &certificate.key);
    DnsShown {
        listen: listeners(listen),
        zones: file(zones.as_ref()),
        tls: listeners(tls),
        tls_certificate: file(chain).unwrap_or_default(),
        tls_key: file(key).unwrap_or_default(),
        hosts: paths(hosts),
        leases: paths(leases),
        threads: threads.map_or(Threads::Auto("auto"), Threads::Count),
        dnssec: *dnssec,
        trust_anchor: file(trust_anchor.as_ref()).unwrap_or_default(),
        rebind_allow: names(rebind_allow),
        version: version.clone().unwrap_or_default(),
        identity: identity.clone().unwrap_or_default(),
        max_queries: *max_queries,
        max_queries_per_client: *max_queries_per_client,
        rate_limit: *rate_limit,
        max_connections: *max_connections,
        tcp_idle_timeout: duration(*tcp_idle_timeout),
        upstream: upstream_shown(upstream),
        cache: cache_shown(cache),
    }
}

fn upstream_shown(upstream: &Upstream) -> UpstreamShown {
    let Upstream {
        servers,
        strategy,
        timeout,
        ca,
        case_randomization,
        zones,
    } = upstream;
    let zone = |zone: &UpstreamZone| UpstreamZoneShown {
        domain: name(&zone.domain),
        servers: zone.servers.iter().map(ToString::to_string).collect(),
    };
    UpstreamShown {
        servers: servers.iter().map(ToString::to_string).collect(),
        strategy: match strategy {
            Strategy::Fastest => "fastest",
            Strategy::Ordered => "ordered",
            Strategy::Race => "race",
        },
        timeout: duration(*timeout),
        ca: paths(ca),
        case_randomization: *case_randomization,
        zone: zones.iter().map(zone).collect(),
    }
}

fn cache_shown(cache: &Cache) -> CacheShown {
    let Cache {
        entries,
        bytes: most,
        min_ttl,
        max_ttl,
        max_negative_ttl,
        stale,
        prefetch,
        nxdomain_cut,
    } = cache;
    CacheShown {
        entries: *entries,
        bytes: bytes(*most),
        min_ttl: duration(*min_ttl),
        max_ttl: duration(*max_ttl),
        max_negative_ttl: duration(*max_negative_ttl),
        stale: duration(*stale),
        prefetch: *prefetch,
        nxdomain_cut: *nxdomain_cut,
    }
}

fn outlet(outlet: &Outlet) -> OutletShown {
    let Outlet {
        source,
        interface,
        mark,
    } = outlet;
    let auto = || "auto".to_owned();
    OutletShown {
        source: source.map_or_else(auto, |source| source.to_string()),
        interface: interface.clone().unwrap_or_else(auto),
        mark: *mark,
    }
}

fn rule(rule: &Rule) -> RuleShown {
    RuleShown {
        domains: names(&rule.domains),
        domain_files: paths(&rule.domain_files),
        clients: rule.clients.as_ref().map(networks),
        aaaa: rule.aaaa.map(|aaaa| match aaaa {
            Aaaa::Withhold => "withhold",
            Aaaa::Pass => "pass",
        }),
        steer: rule.steer.map(|steer| match steer {
            RuleSteer::Never => "never",
            RuleSteer::Always => "always",
        }),
        send_proxy: rule.send_proxy.map(ProxyVersion::as_str),
        families: rule.families.map(Families::as_str),
        via: rule.via.as_ref().map(Via::written),
    }
}

fn listeners(addresses: &[ListenAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

fn networks(acl: &Acl) -> Vec<String> {
    acl.networks().iter().map(ToString::to_string).collect()
}

fn names(names: &[Name]) -> Vec<String> {
    names.iter().map(name).collect()
}

fn name(name: &Name) -> String {
    let text = name.to_ascii();
    match text.strip_suffix('.') {
        Some("") | None => text,
        Some(text) => text.to_owned(),
    }
}

fn paths(paths: &[PathBuf]) -> Vec<String> {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect()
}

/// In the largest unit that holds it without a rest.
fn duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ];
    units
        .into_iter()
        .find(|(unit, _)| milliseconds > 0 && milliseconds.is_multiple_of(*unit))
        .map_or_else(
            || match milliseconds {
                0 => "0s".to_owned(),
                _ => format!("{milliseconds}ms"),
            },
            |(unit, word)| format!("{}{word}", milliseconds / unit),
        )
}

fn bytes(bytes: usize) -> String {
    match bytes {
        0 => "0".to_owned(),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => bytes.to_string(),
    }
}

fn level(level: LevelFilter) -> &'static str {
    LEVELS
        .iter()
        .find(|(_, known)| *known == level)
        .map_or("info", |(word, _)| word)
}
