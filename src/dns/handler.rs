//! From one packet to another: the live view, the bound on queries in flight, and the count of everything.
//!
//! Called by both transports; a query takes the view once and finishes with it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hickory_proto::op::{Header, Metadata, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;
use hickory_server::zone_handler::MessageRequest;

use super::forwarded::Forwarded;
use super::line::Witness;
use super::local::Local;
use super::message::ClientEdns;
use super::pipeline;
use super::policy::Reach;
use super::rebind::Rebinding;
use super::screen::{Screened, client_edns, screen};
use super::shape;
use super::truth::Truth;
use crate::config::Config;
use crate::net::{Acl, Admission, ClientAddr};
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
}

impl Transport {
    /// `udp` or `tcp`, as in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
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
    /// Which addresses the gate could carry sessions to.
    pub(super) reach: Reach,
    /// Which names may carry addresses inside.
    pub(super) rebinding: Rebinding,
    /// How much at once.
    pub limits: Limits,
    /// The truth.
    pub resolver: Arc<T>,
}

/// How much is answered at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Queries in flight; more are dropped.
    pub max_queries: usize,
    /// TCP connections; more wait in the kernel.
    pub max_connections: usize,
    /// How long a connection may be silent while it has no question open.
    pub tcp_idle_timeout: Duration,
}

/// Connections that every client may have.
const LEAST_SHARE: usize = 8;

impl Limits {
    /// What one client may hold of the connections: not more than half of all, or it could close TCP to the others by
    /// doing nothing (RFC 7766 section 6.2.2).
    fn share(self) -> usize {
        (self.max_connections / 2).max(LEAST_SHARE)
    }
}

impl<T: Truth> View<T> {
    /// What a configuration asks for, with the list and the truth that other parts share.
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
            reach: Reach::new(config),
            rebinding: Rebinding::new(config),
            limits: Limits {
                max_queries: config.dns.max_queries,
                max_connections: config.dns.max_connections,
                tcp_idle_timeout: config.dns.tcp_idle_timeout,
            },
            resolver,
        }
    }
}

/// Answers queries.
#[derive(Debug)]
pub struct Handler<T = Resolver> {
    view: ArcSwap<View<T>>,
    in_flight: AtomicUsize,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
}

impl<T: Truth> Handler<T> {
    /// A handler that answers from `view`, and within its limits.
    pub fn new(view: View<T>, metrics: Arc<Metrics>) -> Self {
        let limits = view.limits;
        Self {
            view: ArcSwap::from_pointee(view),
            in_flight: AtomicUsize::new(0),
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

    pub(super) fn limits(&self) -> Limits {
        self.view.load().limits
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
        let _place = self.place()?;
        let header = Header::read(&mut BinDecoder::new(packet)).ok()?;
        let questions = usize::from(header.counts.queries);
        // Nothing is read for more than one question: the count alone would decide how much memory is taken.
        let request = (questions == 1)
            .then(|| Request::from_bytes(packet.to_vec(), no_address(), Protocol::Tcp).ok())
            .flatten();
        let message: Option<&MessageRequest> = request.as_deref();
        self.reply(&header.metadata, questions, message, client, transport)
            .await
    }

    /// Whether a transport with so many questions open may take one more; counts the one that it then drops.
    pub(super) fn has_room(&self, open: usize) -> bool {
        let room = open < self.limits().max_queries;
        if !room {
            self.metrics.dns_overload.inc();
        }
        room
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    async fn reply(
        &self,
        metadata: &Metadata,
        questions: usize,
        message: Option<&MessageRequest>,
        client: ClientAddr,
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let view = self.view.load_full();
        let admitted = view.networks.contains(client.ip());
        let edns: Option<ClientEdns> = message.and_then(client_edns);
        let query: Option<&Query> = message
            .filter(|_| questions == 1)
            .and_then(|message| message.queries.queries().first())
            .map(|lower| lower.original());
        let screened = screen(admitted, metadata, questions, message);
        if matches!(screened, Screened::Silence) {
            return None;
        }
        self.count_query(query, transport);
        let mut witness =
            queries_wanted().then(|| Witness::new(now(), client.ip(), transport.as_str(), query));
        let mut reply = match screened {
            Screened::Silence => return None,
            Screened::Refused(draft) => {
                if let Some(witness) = &mut witness {
                    witness.saw(&draft);
                }
                shape::reply(metadata, query.cloned(), edns, *draft)
            }
            Screened::Asked(asked) => {
                if let Some(witness) = &mut witness {
                    let question = asked.question(&asked.query.name, asked.query.query_type);
                    witness.cached = view.resolver.holds(&question);
                }
                let draft = pipeline::run(&view, client.ip(), &asked).await;
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
        let packet = reply.encode(shape::limit(transport, edns));
        self.count_answer(reply.metadata.response_code);
        Some(packet)
    }

    /// A place among the queries in flight, or the count of one more that had none.
    fn place(&self) -> Option<Place<'_>> {
        let most = self.limits().max_queries;
        let taken = self
            .in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                (now < most).then_some(now + 1)
            });
        if taken.is_err() {
            self.metrics.dns_overload.inc();
            return None;
        }
        self.metrics.dns_in_flight.inc();
        Some(Place {
            in_flight: &self.in_flight,
            metrics: &self.metrics,
        })
    }

    fn count_query(&self, query: Option<&Query>, transport: Transport) {
        let qtype = match query.map(|query| query.query_type) {
            Some(RecordType::A) => "a",
            Some(RecordType::AAAA) => "aaaa",
            Some(RecordType::HTTPS) => "https",
            Some(RecordType::SVCB) => "svcb",
            _ => "other",
        };
        let transport = transport.as_str();
        self.metrics
            .dns_queries
            .get_or_create(&QueryLabels { transport, qtype })
            .inc();
    }

    fn count_answer(&self, rcode: ResponseCode) {
        let rcode = match rcode {
            ResponseCode::NoError => "noerror",
            ResponseCode::NXDomain => "nxdomain",
            ResponseCode::ServFail => "servfail",
            ResponseCode::Refused => "refused",
            ResponseCode::FormErr => "formerr",
            ResponseCode::NotImp => "notimp",
            ResponseCode::BADVERS => "badvers",
            _ => "other",
        };
        self.metrics
            .dns_answers
            .get_or_create(&AnswerLabels { rcode })
            .inc();
    }
}

/// One of the queries in flight; given back when dropped.
#[derive(Debug)]
struct Place<'a> {
    in_flight: &'a AtomicUsize,
    metrics: &'a Metrics,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.metrics.dns_in_flight.dec();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the shell around the pipeline; tokio's clock, which tests can pause"
)]
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// hickory's `Request` wants to know the sender; we keep it apart, made canonical.
fn no_address() -> std::net::SocketAddr {
    (Ipv4Addr::UNSPECIFIED, 0).into()
}
