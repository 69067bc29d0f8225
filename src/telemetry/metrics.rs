//! Every metric of sekisho, in one table.
//!
//! Names are `sekisho_*` in base units, labels have a fixed and small set of values, and no address is ever part of
//! a name or a label. Every room counts in it; the text format is that of OpenMetrics, served by `web`.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as By;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::writer;
use crate::net::Family;

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The LAN device: a bad request, a refused target, gone before the end.
    Client,
    /// The DNS servers that we ask, and upstream proxies.
    Upstream,
    /// The remote server of the session.
    Origin,
    /// We ourselves: a limit, a lack of descriptors, a mistake.
    Sekisho,
}

impl Side {
    /// The word in logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Origin => "origin",
            Self::Sekisho => "sekisho",
        }
    }
}

/// How a session came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Inbound {
    /// HTTP `CONNECT` on the forward proxy.
    Connect,
    /// Absolute-form HTTP on the forward proxy.
    Forward,
    /// `CONNECT` of SOCKS5, SOCKS4 or SOCKS4a.
    Socks5,
    /// `UDP ASSOCIATE` of SOCKS5.
    Socks5Udp,
    /// TLS, by its SNI.
    Tls,
    /// HTTP, by its Host.
    Http,
    /// QUIC, by its SNI.
    Quic,
}

impl Inbound {
    /// The word in logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Forward => "forward",
            Self::Socks5 => "socks5",
            Self::Socks5Udp => "socks5-udp",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Quic => "quic",
        }
    }
}

macro_rules! label_value {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl EncodeLabelValue for $type {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                self.as_str().encode(encoder)
            }
        }
    )*};
}

label_value!(Side, Inbound);

/// The transport of a query, `udp`, `tcp` or `tls`, and its type: `a`, `aaaa`, `https`, `svcb`, `other`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct QueryLabels {
    /// `udp`, `tcp` or `tls`.
    pub transport: &'static str,
    /// The question's type.
    pub qtype: &'static str,
}

/// The response code of an answer, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AnswerLabels {
    /// `noerror`, `nxdomain`, `servfail`, `refused`, `formerr`, `notimp`, `badvers`, `badcookie`, `other`.
    pub rcode: &'static str,
}

/// What came of one query to one upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct UpstreamLabels {
    /// `answered`, `servfail`, `refused`, `timeout`, `error`, `overload` (not asked: a bound of ours).
    pub outcome: &'static str,
}

/// What came of validating an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DnssecLabels {
    /// `secure`, `insecure` (nobody can sign it), `bogus`.
    pub result: &'static str,
}

/// How a session came in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct InboundLabels {
    /// The inbound.
    pub inbound: Inbound,
}

/// How a session came in, and the family it left by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TrafficLabels {
    /// `sent` (client to origin) or `received`.
    pub direction: &'static str,
    /// `ipv4` or `ipv6`.
    pub family: &'static str,
}

/// An address family.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FamilyLabels {
    /// `ipv4` or `ipv6`.
    pub family: &'static str,
}

impl From<Family> for FamilyLabels {
    fn from(family: Family) -> Self {
        Self {
            family: family.as_str(),
        }
    }
}

/// Why a connection was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    /// `stranger` (outside `lan.networks`), `per-client` (its sessions are used up), `rate` (it makes too many), `total`
    /// (all are used up, for a stream of HTTP/2 or a flow of QUIC), `proxy-protocol` (a listed proxy announced nobody),
    /// `associations` (of all clients, or of this one, are used up); of QUIC also `flows`, `flows-per-client` and
    /// `draining`.
    pub reason: &'static str,
}

/// What came of a name and a password.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LoginLabels {
    /// `right`, `remembered` (right before), `wrong`, `missing`, `limited` (wrong too often), `busy`.
    pub outcome: &'static str,
}

/// A bound that a session met.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LimitLabels {
    /// The key of `[proxy]`: `header-bytes`, `sniff-bytes`, `sniff-timeout` or `idle-timeout`.
    pub limit: &'static str,
}

/// A message of HTTP that was not passed on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FaultLabels {
    /// Whose it was: `client` or `origin`.
    pub side: Side,
    /// What could be read in two ways, or not at all: `first-line`, `host`, `header-name`, `fold`, `bare-cr`, `bare-lf`,
    /// `control`, `length`, `coding`, `length-and-coding`, `chunk`, `size`, `unasked`.
    pub fault: &'static str,
}

/// Why a connection of HTTP/2 was ended with ENHANCE_YOUR_CALM.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FloodLabels {
    /// What there was too much of: `resets` (streams given up before they were answered), or `frames`.
    pub reason: &'static str,
}

/// Why an upstream proxy did not take a session on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ViaLabels {
    /// `unreached`, `timeout`, `broken`, `credentials` or `refused`.
    pub reason: &'static str,
}

/// A session that failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FailureLabels {
    /// How it came in.
    pub inbound: Inbound,
    /// Whose fault it was.
    pub side: Side,
}

/// Why a datagram was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DropLabels {
    /// `flight` (not remembered: the first flight is too long), `busy` (no room in the kernel), `too-long` (for the path);
    /// of QUIC also `stray` (of no flow), `queue` (waited for too long), `not-quic`, `version` (answered with ours); of
    /// SOCKS5 also `stranger` (not the client of the association), `malformed`, `fragment`, `refused` (closed to clients),
    /// `unresolved`, `unreachable`, `via` (it would go around an upstream proxy), `unasked` (from an address that was not
    /// sent to).
    pub reason: &'static str,
}

/// How a reload went.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReloadLabels {
    /// `done` or `failed`.
    pub outcome: &'static str,
}

/// Where names of this network come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LocalLabels {
    /// `hosts` or `leases`.
    pub source: &'static str,
}

/// The metrics of one gate. Counting is lock-free once a label set was seen.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Queries from clients.
    pub dns_queries: By<QueryLabels, Counter>,
    /// Answers to clients.
    pub dns_answers: By<AnswerLabels, Counter>,
    /// Answers from which AAAA was withheld.
    pub dns_withheld: Counter,
    /// Answers that pointed the client to the gate.
    pub dns_steered: Counter,
    /// Answers from which addresses inside were taken.
    pub dns_rebound: Counter,
    /// Lines of the query log dropped because nobody read them fast enough.
    pub dns_query_lines_dropped: Counter,
    /// Queries being answered now.
    pub dns_in_flight: Gauge,
    /// Queries dropped because `dns.max-queries` were in flight.
    pub dns_overload: Counter,
    /// Queries dropped because `dns.max-queries-per-client` of their client were in flight.
    pub dns_client_overload: Counter,
    /// Queries refused because their client was over `dns.rate-limit`.
    pub dns_rate_limited: Counter,
    /// TLS handshakes of DNS clients that failed.
    pub dns_tls_failures: Counter,
    /// DNS connections over TCP and TLS that are open now.
    pub dns_connections: Gauge,
    /// DNS connections over TCP and TLS that were closed because their client had its share of them.
    pub dns_connections_refused: Counter,
    /// Questions the cache could answer.
    pub cache_hits: Counter,
    /// Questions it could not.
    pub cache_misses: Counter,
    /// Expired answers told because the upstreams gave no new one in time.
    pub cache_stale: Counter,
    /// Answers asked for again before their end.
    pub cache_prefetches: Counter,
    /// Failures told without asking again.
    pub cache_failures: Counter,
    /// Names denied because one above them is.
    pub cache_cut: Counter,
    /// Answers held now, stale ones included.
    pub cache_entries: Gauge,
    /// The memory that they are estimated to take.
    pub cache_bytes: Gauge,
    /// Answers that held and were thrown out at `dns.cache.entries` or `dns.cache.bytes`.
    pub cache_evictions: Counter,
    /// Flushes, by signal or by the admin.
    pub cache_flushes: Counter,
    /// Queries to upstreams.
    pub upstream_queries: By<UpstreamLabels, Counter>,
    /// Queries that found out whether a server is back, or there at all.
    pub upstream_probes: Counter,
    /// Upstreams that are down now.
    pub upstreams_down: Gauge,
    /// From a query to an upstream to its good answer, connection included.
    pub upstream_seconds: Histogram,
    /// Answers of upstreams that were validated.
    pub dnssec_answers: By<DnssecLabels, Counter>,
    /// Sessions begun.
    pub sessions: By<InboundLabels, Counter>,
    /// Sessions open now.
    pub sessions_active: Gauge,
    /// Connections not taken.
    pub sessions_refused: By<RefusalLabels, Counter>,
    /// Times that a listener took no more connections because `proxy.max-sessions` were open.
    pub sessions_held: Counter,
    /// Times that no connection could be accepted.
    pub accept_failures: Counter,
    /// Sessions that ended at a bound.
    pub session_limits: By<LimitLabels, Counter>,
    /// Messages of HTTP that the screen did not pass.
    pub http_faults: By<FaultLabels, Counter>,
    /// Connections of HTTP/2 that were ended because their client did something without end.
    pub http2_floods: By<FloodLabels, Counter>,
    /// Bytes relayed.
    pub session_bytes: By<TrafficLabels, Counter>,
    /// From the wish to connect to the connection, name resolution included.
    pub connect_seconds: By<FamilyLabels, Histogram>,
    /// Single connection attempts that failed.
    pub connect_failures: By<FamilyLabels, Counter>,
    /// Whether a family is ill.
    pub family_ill: By<FamilyLabels, Gauge>,
    /// Connections that found out whether a family is well again.
    pub family_probes: Counter,
    /// Datagrams of clients that were not sent, or not to each candidate.
    pub udp_dropped: By<DropLabels, Counter>,
    /// Associations of SOCKS5 open now.
    pub associations: Gauge,
    /// Names and passwords that were asked for (`proxy.users`).
    pub logins: By<LoginLabels, Counter>,
    /// Sessions that an upstream proxy did not take on.
    pub via_failures: By<ViaLabels, Counter>,
    /// Sessions refused because a hello named no server.
    pub sessions_nameless: By<InboundLabels, Counter>,
    /// Sessions that failed.
    pub session_failures: By<FailureLabels, Counter>,
    /// Directions of sessions that went over to splice.
    pub relay_spliced: Counter,
    /// Times that a direction copied although it was worth a pipe, because none was left.
    pub relay_without_pipe: Counter,
    /// Requests forwarded in absolute-form.
    pub http_requests: Counter,
    /// Reloads.
    pub reloads: By<ReloadLabels, Counter>,
    /// Names known from hosts files and leases now.
    pub local_names: By<LocalLabels, Gauge>,
    /// Times that they were read.
    pub local_reads: By<LocalLabels, Counter>,
    /// Leases whose names were not taken, counted at each reading.
    pub lease_names_refused: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Bucket bounds for connection set-up, in seconds: a LAN-near origin up to the default connect timeout.
const CONNECT_BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Bucket bounds for answers of upstreams, in seconds: a resolver on the LAN up to the default timeout.
const UPSTREAM_BUCKETS: [f64; 11] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

impl Metrics {
    /// A table with everything at zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("sekisho"),
            dns_queries: By::default(),
            dns_answers: By::default(),
            dns_withheld: Counter::default(),
            dns_steered: Counter::default(),
            dns_rebound: Counter::default(),
            dns_query_lines_dropped: Counter::default(),
            dns_in_flight: Gauge::default(),
            dns_overload: Counter::default(),
            dns_client_overload: Counter::default(),
            dns_rate_limited: Counter::default(),
            dns_tls_failures: Counter::default(),
            dns_connections: Gauge::default(),
            dns_connections_refused: Counter::default(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            cache_stale: Counter::default(),
            cache_prefetches: Counter::default(),
            cache_failures: Counter::default(),
            cache_cut: Counter::default(),
            cache_entries: Gauge::default(),
            cache_bytes: Gauge::default(),
            cache_evictions: Counter::default(),
            cache_flushes: Counter::default(),
            upstream_queries: By::default(),
            upstream_probes: Counter::default(),
            upstreams_down: Gauge::default(),
            upstream_seconds: Histogram::new(UPSTREAM_BUCKETS),
            dnssec_answers: By::default(),
            sessions: By::default(),
            sessions_active: Gauge::default(),
            sessions_refused: By::default(),
            sessions_held: Counter::default(),
            accept_failures: Counter::default(),
            session_limits: By::default(),
            http_faults: By::default(),
            http2_floods: By::default(),
            session_bytes: By::default(),
            connect_seconds: By::new_with_constructor(|| Histogram::new(CONNECT_BUCKETS)),
            connect_failures: By::default(),
            family_ill: By::default(),
            family_probes: Counter::default(),
            udp_dropped: By::default(),
            associations: Gauge::default(),
            logins: By::default(),
            via_failures: By::default(),
            sessions_nameless: By::default(),
            session_failures: By::default(),
            relay_spliced: Counter::default(),
            relay_without_pipe: Counter::default(),
            http_requests: Counter::default(),
            reloads: By::default(),
            local_names: By::default(),
            local_reads: By::default(),
            lease_names_refused: Counter::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "dns_queries",
            "Queries from clients",
            self.dns_queries.clone(),
        );
        registry.register(
            "dns_answers",
            "Answers to clients",
            self.dns_answers.clone(),
        );
        registry.register(
            "dns_withheld",
            "Answers from which AAAA was withheld",
            self.dns_withheld.clone(),
        );
        registry.register(
            "dns_steered",
            "Answers that pointed the client to the gate",
            self.dns_steered.clone(),
        );
        registry.register(
            "dns_rebound",
            "Answers from which private addresses were taken",
            self.dns_rebound.clone(),
        );
        registry.register(
            "dns_query_lines_dropped",
            "Lines of the query log dropped because its reader is too slow",
            self.dns_query_lines_dropped.clone(),
        );
        registry.register(
            "dns_in_flight",
            "Queries being answered now",
            self.dns_in_flight.clone(),
        );
        registry.register(
            "dns_overload",
            "Queries dropped at dns.max-queries",
            self.dns_overload.clone(),
        );
        registry.register(
            "dns_client_overload",
            "Queries dropped at dns.max-queries-per-client",
            self.dns_client_overload.clone(),
        );
        registry.register(
            "dns_rate_limited",
            "Queries refused at dns.rate-limit",
            self.dns_rate_limited.clone(),
        );
        registry.register(
            "dns_tls_failures",
            "TLS handshakes of DNS clients that failed",
            self.dns_tls_failures.clone(),
        );
        registry.register(
            "dns_connections",
            "DNS connections over TCP and TLS open now",
            self.dns_connections.clone(),
        );
        registry.register(
            "dns_connections_refused",
            "DNS connections closed because their client had half of dns.max-connections",
            self.dns_connections_refused.clone(),
        );
        registry.register(
            "cache_hits",
            "Questions answered from the cache",
            self.cache_hits.clone(),
        );
        registry.register(
            "cache_misses",
            "Questions the cache could not answer",
            self.cache_misses.clone(),
        );
        registry.register(
            "cache_stale",
            "Expired answers told because no new one came in time",
            self.cache_stale.clone(),
        );
        registry.register(
            "cache_prefetches",
            "Answers asked for again before their end",
            self.cache_prefetches.clone(),
        );
        registry.register(
            "cache_failures",
            "Failures told without asking again",
            self.cache_failures.clone(),
        );
        registry.register(
            "cache_cut",
            "Names denied because one above them is",
            self.cache_cut.clone(),
        );
        registry.register(
            "cache_entries",
            "Answers held in the cache now",
            self.cache_entries.clone(),
        );
        registry.register_with_unit(
            "cache",
            "Memory that the answers in the cache are estimated to take",
            Unit::Bytes,
            self.cache_bytes.clone(),
        );
        registry.register(
            "cache_evictions",
            "Answers thrown out of a full cache",
            self.cache_evictions.clone(),
        );
        registry.register(
            "cache_flushes",
            "Flushes of the cache",
            self.cache_flushes.clone(),
        );
        registry.register(
            "upstream_queries",
            "Queries to upstreams by outcome",
            self.upstream_queries.clone(),
        );
        registry.register(
            "upstream_probes",
            "Queries to upstreams that were down or slow, to find out how they are",
            self.upstream_probes.clone(),
        );
        registry.register(
            "upstreams_down",
            "Upstreams that are down now",
            self.upstreams_down.clone(),
        );
        registry.register_with_unit(
            "upstream",
            "Time to a good answer of an upstream",
            Unit::Seconds,
            self.upstream_seconds.clone(),
        );
        registry.register(
            "dnssec_answers",
            "Answers of upstreams validated, by result",
            self.dnssec_answers.clone(),
        );
        registry.register(
            "sessions",
            "Sessions begun by inbound",
            self.sessions.clone(),
        );
        registry.register(
            "sessions_active",
            "Sessions open now",
            self.sessions_active.clone(),
        );
        registry.register(
            "sessions_refused",
            "Connections not taken by reason",
            self.sessions_refused.clone(),
        );
        registry.register(
            "sessions_held",
            "Times that a listener took no more connections at proxy.max-sessions",
            self.sessions_held.clone(),
        );
        registry.register(
            "log_lines_lost",
            "Log lines that nobody took",
            writer::lost(),
        );
        registry.register(
            "accept_failures",
            "Times that a connection could not be accepted, mostly for the want of descriptors",
            self.accept_failures.clone(),
        );
        registry.register(
            "session_limits",
            "Sessions that ended at a bound, by its key",
            self.session_limits.clone(),
        );
        registry.register(
            "http_faults",
            "Messages of HTTP/1 that were not passed on, by whose they were and what is wrong",
            self.http_faults.clone(),
        );
        registry.register(
            "http2_floods",
            "Connections of HTTP/2 that were ended for what their client did without end, by what it was",
            self.http2_floods.clone(),
        );
        registry.register_with_unit(
            "session",
            "Traffic relayed by direction and family",
            Unit::Bytes,
            self.session_bytes.clone(),
        );
        registry.register_with_unit(
            "connect",
            "Time to reach an origin by family",
            Unit::Seconds,
            self.connect_seconds.clone(),
        );
        registry.register(
            "connect_failures",
            "Failed connection attempts by family",
            self.connect_failures.clone(),
        );
        registry.register(
            "family_ill",
            "1 while sessions cannot leave by a family",
            self.family_ill.clone(),
        );
        registry.register(
            "family_probes",
            "Connections made to find out whether an ill family is well again",
            self.family_probes.clone(),
        );
        registry.register(
            "udp_dropped",
            "Datagrams of clients not sent to an origin, by reason",
            self.udp_dropped.clone(),
        );
        registry.register(
            "associations",
            "UDP associations of SOCKS5 open now",
            self.associations.clone(),
        );
        registry.register(
            "logins",
            "Names and passwords of clients checked by outcome",
            self.logins.clone(),
        );
        registry.register(
            "via_failures",
            "Sessions that an upstream proxy did not take on, by reason",
            self.via_failures.clone(),
        );
        registry.register(
            "sessions_nameless",
            "Sessions refused because the ClientHello names no server",
            self.sessions_nameless.clone(),
        );
        registry.register(
            "session_failures",
            "Failed sessions by inbound and side",
            self.session_failures.clone(),
        );
        registry.register(
            "relay_spliced",
            "Relay directions that went over to splice",
            self.relay_spliced.clone(),
        );
        registry.register(
            "relay_without_pipe",
            "Times that a relay copied because no pipe was left",
            self.relay_without_pipe.clone(),
        );
        registry.register(
            "http_requests",
            "Requests forwarded in absolute-form",
            self.http_requests.clone(),
        );
        registry.register("reloads", "Reloads by outcome", self.reloads.clone());
        registry.register(
            "local_names",
            "Names known from hosts files and DHCP leases now",
            self.local_names.clone(),
        );
        registry.register(
            "local_reads",
            "Times that hosts files or DHCP leases were read",
            self.local_reads.clone(),
        );
        registry.register(
            "lease_names_refused",
            "DHCP leases whose names were not taken",
            self.lease_names_refused.clone(),
        );
    }

    /// The whole table as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // Writing into a String cannot fail.
        text::encode(&mut out, &self.registry).ok();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_prefixed_has_units_and_holds_no_address() {
        let metrics = Metrics::new();
        metrics
            .dns_queries
            .get_or_create(&QueryLabels {
                transport: "udp",
                qtype: "aaaa",
            })
            .inc();
        metrics
            .connect_seconds
            .get_or_create(&Family::V6.into())
            .observe(0.02);
        metrics
            .session_failures
            .get_or_create(&FailureLabels {
                inbound: Inbound::Tls,
                side: Side::Origin,
            })
            .inc();
        let text = metrics.encode();
        assert!(
            text.contains("sekisho_dns_queries_total{transport=\"udp\",qtype=\"aaaa\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("sekisho_connect_seconds_count{family=\"ipv6\"} 1"),
            "{text}"
        );
        assert!(text.contains("side=\"origin\""), "{text}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.starts_with("sekisho_"), "{line}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
