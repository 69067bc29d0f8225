//! From one packet to another: the live view, the bound on queries in flight, and the count of everything.
//!
//! Called by both transports; a query takes the view once and finishes with it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use hickory_proto::op::{Header, Metadata, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;
use hickory_server::zone_handler::MessageRequest;
use rustls::ServerConfig;

use super::apexes::Apexes;
use super::audience::Audiences;
use super::chaos;
use super::cookie::Standing;
use super::cookies::Cookies;
use super::fast::{Fast, Last};
use super::forwarded::Forwarded;
use super::in_flight::{InFlight, Place};
use super::line::Witness;
use super::local::Local;
use super::message::{ClientEdns, Draft, ede};
use super::options::{self, Malformed, Said, Wishes};
use super::pipeline;
use super::policy::Reach;
use super::rebind::Rebinding;
use super::screen::{Screened, client_edns, screen};
use super::shape;
use super::truth::Truth;
use crate::config::{Config, Via};
use crate::net::{Acl, Admission, Buckets, ClientAddr};
use crate::resolve::Resolver;
use crate::steer::Steering;
use crate::telemetry::{AnswerLabels, Metrics, QueryLabels, queries_wanted, tell_query};

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In one datagram.
    Udp,
    /// On a connection.
    Tcp,
    /// On an encrypted one (RFC 7858).
    Tls,
}

impl Transport {
    /// `udp`, `tcp` or `tls`, as in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// Everything that decides what clients are told. A reload makes a new one.
#[derive(Debug)]
pub struct View<T = Resolver> {
    /// The networks of the clients; all others are strangers.
    pub networks: Acl,
    /// The address that steered names are answered with.
    pub gate: Ipv4Addr,
    /// The local domain.
    pub domain: Name,
    /// Local zones, hosts files and leases.
    pub local: Local,
    /// Domains with servers of their own.
    pub forwarded: Forwarded,
    /// Which names lead to the gate, and whose AAAA is withheld.
    pub steering: Arc<Steering>,
    /// The longest TTL of a steered answer.
    pub steer_ttl: Duration,
    /// Whether the gate carries QUIC.
    pub quic: bool,
    /// Which addresses the gate could carry sessions to.
    pub(super) reach: Reach,
    /// Which names may carry addresses inside.
    pub(super) rebinding: Rebinding,
    /// How much at once.
    pub limits: Limits,
    /// What clients are told of the server itself.
    pub own: Own,
    /// How clients ask over TLS; `None` where they cannot.
    pub tls: Option<Tls>,
    /// How long the truth may take.
    pub(super) upstream_timeout: Duration,
    /// The truth.
    pub resolver: Arc<T>,
    /// SOA records at hand.
    pub(super) apexes: Apexes,
    /// Who is told the same.
    pub(super) audiences: Audiences,
}

/// What clients are told of the server itself (`dns.version`, `dns.identity`); `None` is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// What it runs.
    pub version: Option<String>,
    /// Which server it is.
    pub identity: Option<String>,
}

/// DNS over TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate and the rest of the server's side.
    pub config: Arc<ServerConfig>,
    /// The port of the gate's own address that is announced to clients (RFC 9462), where there is one.
    pub announced: Option<u16>,
}

/// How much is answered at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Queries in flight; more are dropped.
    pub max_queries: usize,
    /// Queries in flight of one client; more are dropped.
    pub max_queries_per_client: usize,
    /// Queries a second of one client; more are refused. 0: no limit.
    pub rate_limit: u32,
    /// TCP and TLS connections; more wait in the kernel.
    pub max_connections: usize,
    /// How long a connection may be silent while it has no question open.
    pub tcp_idle_timeout: Duration,
}

/// Whose places those of all strangers are.
const STRANGERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// Connections that every client may have.
const LEAST_SHARE: usize = 8;

impl Limits {
    /// What one client may hold of the connections: not more than half of all, or it could close TCP to the others by
    /// doing nothing (RFC 7766 section 6.2.2).
    fn share(self) -> usize {
        (self.max_connections / 2).max(LEAST_SHARE)
    }
}

/// An upstream proxy takes no datagrams, so that QUIC would only be refused.
fn carries_quic(config: &Config) -> bool {
    !config.proxy.quic.is_empty() && config.egress.via == Via::Direct
}

impl<T: Truth> View<T> {
    /// What a configuration asks for, with the list and the truth that other parts share; TLS is added by who has the
    /// certificate.
    pub fn new(
        config: &Config,
        local: impl Into<Local>,
        steering: Arc<Steering>,
        resolver: Arc<T>,
    ) -> Self {
        Self {
            networks: config.lan.networks.clone(),
            gate: config.lan.address,
            domain: config.lan.domain.clone(),
            local: local.into(),
            forwarded: Forwarded::new(&config.dns),
            steering,
            steer_ttl: config.steer.ttl,
            quic: carries_quic(config),
            reach: Reach::new(config),
            rebinding: Rebinding::new(config),
            limits: Limits {
                max_queries: config.dns.max_queries,
                max_queries_per_client: config.dns.max_queries_per_client,
                rate_limit: config.dns.rate_limit,
                max_connections: config.dns.max_connections,
                tcp_idle_timeout: config.dns.tcp_idle_timeout,
            },
            own: Own {
                version: config.dns.version.clone(),
                identity: config.dns.identity.clone(),
            },
            tls: None,
            upstream_timeout: config.dns.upstream.timeout,
            resolver,
            apexes: Apexes::default(),
            audiences: Audiences::default(),
        }
    }
}

/// Answers queries.
#[derive(Debug)]
pub struct Handler<T = Resolver> {
    view: ArcSwap<View<T>>,
    in_flight: Arc<InFlight>,
    buckets: Mutex<Buckets>,
    cookies: Cookies,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
}

impl<T: Truth> Handler<T> {
    /// A handler that answers from `view`, and within its limits.
    pub fn new(view: View<T>, metrics: Arc<Metrics>) -> Self {
        let limits = view.limits;
        Self {
            view: ArcSwap::from_pointee(view),
            in_flight: InFlight::new(Arc::clone(&metrics)),
            buckets: Mutex::default(),
            cookies: Cookies::new(),
            admission: Admission::new(limits.max_connections, limits.share()),
            metrics,
        }
    }

    /// Answers from another view and within its limits from now on; queries in flight finish with theirs, and open
    /// connections stay.
    pub fn replace(&self, view: View<T>) {
        let limits = view.limits;
        self.view.store(Arc::new(view));
        self.admission.limit(limits.max_connections, limits.share());
    }

    pub(super) fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    pub(super) fn view(&self) -> Arc<View<T>> {
        self.view.load_full()
    }

    /// The view as it is now, for as long as it takes to answer at once.
    pub(super) fn current(&self) -> Guard<Arc<View<T>>> {
        self.view.load()
    }

    pub(super) fn limits(&self) -> Limits {
        self.view.load().limits
    }

    /// How a connection is served that begins now.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        let view = self.view.load();
        view.tls.as_ref().map(|tls| Arc::clone(&tls.config))
    }

    /// Whether an address is one of our clients'.
    pub fn admits(&self, client: ClientAddr) -> bool {
        self.view.load().networks.contains(client.ip())
    }

    /// The packet that answers a packet; `None` where silence is the answer: too short for a header, a response, or
    /// too many queries in flight.
    pub async fn answer(
        &self,
        packet: &[u8],
        client: ClientAddr,
        transport: Transport,
    ) -> Option<Vec<u8>> {
        if let Some(answer) = self.answer_at_once(packet, client, transport) {
            return Some(answer);
        }
        let (answer, _place) = self.answer_and_hold(packet, client, transport).await?;
        Some(answer)
    }

    fn answer_at_once(
        &self,
        packet: &[u8],
        client: ClientAddr,
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let mut answer = Vec::new();
        Fast::new(self, transport, Last::default())?.answer(packet, client, &mut answer)?;
        Some(answer)
    }

    /// As [`Handler::answer`], with the place among the queries in flight: to be held until the answer is sent. A packet
    /// that is given away is no longer held while the answer is waited for.
    pub(super) async fn answer_and_hold(
        &self,
        packet: impl AsRef<[u8]> + Send,
        client: ClientAddr,
        transport: Transport,
    ) -> Option<(Vec<u8>, Place)> {
        let place = self.enter(client)?;
        let answer = self
            .answer_in(&place, packet, client, transport, false)
            .await?;
        Some((answer, place))
    }

    /// A place among the queries in flight; where there is none, that is counted. Strangers have no more of them together
    /// than one client: they only say that they are where they seem to be.
    pub(super) fn enter(&self, client: ClientAddr) -> Option<Place> {
        let Limits {
            max_queries,
            max_queries_per_client,
            ..
        } = self.limits();
        let who = match self.admits(client) {
            true => client.ip(),
            false => STRANGERS,
        };
        self.in_flight
            .enter(who, max_queries, max_queries_per_client)
    }

    /// As [`Handler::answer_and_hold`], for a query that has its place; `granted`: and was counted against the client's rate.
    pub(super) async fn answer_in(
        &self,
        _place: &Place,
        packet: impl AsRef<[u8]> + Send,
        client: ClientAddr,
        transport: Transport,
        granted: bool,
    ) -> Option<Vec<u8>> {
        let header = Header::read(&mut BinDecoder::new(packet.as_ref())).ok()?;
        let questions = usize::from(header.counts.queries);
        // Nothing is read for more than one question: the count alone would decide how much memory is taken.
        let request = (questions <= 1)
            .then(|| {
                Request::from_bytes(packet.as_ref().to_vec(), no_address(), Protocol::Tcp).ok()
            })
            .flatten();
        let whole_options = request.is_none() || options::are_whole(packet.as_ref());
        // From here on a question takes no more memory than its name, however long the packet was.
        drop(packet);
        let message = Read {
            metadata: header.metadata,
            questions,
            request,
            whole_options,
        };
        self.reply(message, client, transport, granted).await
    }

    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    async fn reply(
        &self,
        Read {
            metadata,
            questions,
            request,
            whole_options,
        }: Read,
        client: ClientAddr,
        transport: Transport,
        granted: bool,
    ) -> Option<Vec<u8>> {
        let metadata = &metadata;
        let message: Option<&MessageRequest> = request.as_deref();
        let view = self.view.load_full();
        let admitted = view.networks.contains(client.ip());
        let edns: Option<ClientEdns> = message.and_then(client_edns);
        let query: Option<Query> = message
            .filter(|_| questions == 1)
            .and_then(|message| message.queries.queries().first())
            .map(|lower| lower.original().clone());
        let wishes = match whole_options {
            true => Wishes::read(message.and_then(|message| message.edns.as_ref()), transport),
            false => Err(Malformed),
        };
        let mut screened = screen(admitted, metadata, questions, message, wishes);
        drop(request);
        if matches!(screened, Screened::Silence) {
            return None;
        }
        if admitted
            && !granted
            && let Some(draft) = self.over_the_rate(&view, client)
        {
            screened = Screened::Refused(Box::new(draft));
        }
        let record_type = query.as_ref().map(Query::query_type);
        self.count_queries(record_type.unwrap_or(RecordType::ZERO), transport, 1);
        let mut witness = queries_wanted()
            .then(|| Witness::new(now(), client.ip(), transport.as_str(), query.as_ref()));
        let (said, standing) = self.said(&view, admitted, wishes, client);
        let mut saw = |draft: &Draft| {
            if let Some(witness) = &mut witness {
                witness.saw(draft);
            }
        };
        let mut reply = match screened {
            Screened::Silence => return None,
            Screened::Refused(draft) => {
                saw(&draft);
                shape::reply(metadata, query, edns, *draft)
            }
            Screened::CookieOnly => {
                let rcode = match standing {
                    Standing::New | Standing::Good => ResponseCode::NoError,
                    Standing::Bad => ResponseCode::BADCOOKIE,
                };
                let draft = Draft::empty(rcode);
                saw(&draft);
                shape::reply(metadata, None, edns, draft)
            }
            Screened::Chaos(query) => {
                let own = &view.own;
                let draft = chaos::answer(&query, own.version.as_deref(), own.identity.as_deref());
                saw(&draft);
                shape::reply(metadata, Some(*query), edns, draft)
            }
            Screened::Asked(asked) => {
                if let Some(witness) = &mut witness {
                    let question = asked.question(&asked.query.name, asked.query.query_type);
                    witness.cached = view.resolver.holds(&question);
                }
                let begun = view.moment();
                let draft = pipeline::run(&view, client.ip(), &asked).await;
                view.keep(client.ip(), &asked, &draft, begun.at(now()));
                if draft.withheld {
                    self.metrics.dns_withheld.inc();
                }
                if draft.steered {
                    self.metrics.dns_steered.inc();
                }
                if draft.rebound {
                    self.metrics.dns_rebound.inc();
                }
                if let Some(witness) = &mut witness {
                    witness.saw(&draft);
                }
                shape::shape(&asked, draft)
            }
        };
        if let Some(witness) = witness
            && !tell_query(witness.line(&reply, now()))
        {
            self.metrics.dns_query_lines_dropped.inc();
        }
        let packet = options::encode(&mut reply, said, shape::limit(transport, edns));
        self.count_answers(reply.metadata.response_code, 1);
        Some(packet)
    }

    /// Whether a client may ask once more now (`dns.rate-limit`).
    pub(super) fn grants(&self, view: &View<T>, client: IpAddr) -> bool {
        let rate = view.limits.rate_limit;
        if rate == 0 {
            return true;
        }
        // Every change is complete before anything can panic.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.take(client, rate, rate, now())
    }

    /// What is told to a client that asks too often.
    fn over_the_rate(&self, view: &View<T>, client: ClientAddr) -> Option<Draft> {
        if self.grants(view, client.ip()) {
            return None;
        }
        self.metrics.dns_rate_limited.inc();
        let rate = view.limits.rate_limit;
        let text = format!("over the query rate limit of {rate}/s");
        Some(Draft::empty(ResponseCode::Refused).because(ede::PROHIBITED, &text))
    }

    /// What answers cookies.
    pub(super) fn cookies(&self) -> &Cookies {
        &self.cookies
    }

    /// The options of the answer to a client of ours, and what its cookie is worth.
    fn said(
        &self,
        view: &View<T>,
        admitted: bool,
        wishes: Result<Wishes, Malformed>,
        client: ClientAddr,
    ) -> (Said, Standing) {
        let wishes = wishes.ok().filter(|_| admitted).unwrap_or_default();
        let cookie = wishes
            .cookie
            .and_then(|cookie| self.cookies.answer(&cookie, client.ip()));
        let (cookie, standing) = cookie.map_or((None, Standing::New), |(data, standing)| {
            (Some(data), standing)
        });
        let said = Said {
            cookie,
            nsid: view.own.identity.clone().filter(|_| wishes.nsid),
            keepalive: wishes.keepalive.then_some(view.limits.tcp_idle_timeout),
            padding: wishes.padding,
        };
        (said, standing)
    }

    /// Counts queries of a type; where none could be read, that is [`RecordType::ZERO`].
    pub(super) fn count_queries(&self, record_type: RecordType, transport: Transport, count: u64) {
        if count == 0 {
            return;
        }
        let qtype = match record_type {
            RecordType::A => "a",
            RecordType::AAAA => "aaaa",
            RecordType::HTTPS => "https",
            RecordType::SVCB => "svcb",
            _ => "other",
        };
        let transport = transport.as_str();
        self.metrics
            .dns_queries
            .get_or_create(&QueryLabels { transport, qtype })
            .inc_by(count);
    }

    /// Counts answers.
    pub(super) fn count_answers(&self, rcode: ResponseCode, count: u64) {
        if count == 0 {
            return;
        }
        let rcode = match rcode {
            ResponseCode::NoError => "noerror",
            ResponseCode::NXDomain => "nxdomain",
            ResponseCode::ServFail => "servfail",
            ResponseCode::Refused => "refused",
            ResponseCode::FormErr => "formerr",
            ResponseCode::NotImp => "notimp",
            ResponseCode::BADVERS => "badvers",
            ResponseCode::BADCOOKIE => "badcookie",
            _ => "other",
        };
        self.metrics
            .dns_answers
            .get_or_create(&AnswerLabels { rcode })
            .inc_by(count);
    }
}

/// What could be read of a packet.
struct Read {
    metadata: Metadata,
    questions: usize,
    request: Option<Request>,
    /// Whether its OPT record ends with an option, and not in one.
    whole_options: bool,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the shell around the pipeline; tokio's clock, which tests can pause"
)]
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// hickory's `Request` wants to know the sender; we keep it apart, made canonical.
fn no_address() -> std::net::SocketAddr {
    (Ipv4Addr::UNSPECIFIED, 0).into()
}
