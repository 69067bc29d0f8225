//! One upstream server over UDP and TCP (RFC 1035 section 4.2, RFC 7766), through the connection layer of hickory.
//! Called by `upstreams`, which has the order and the failover.
//!
//! UDP takes a fresh socket on a random port per query and repeats a query that got no answer; foreign sources, ids
//! and questions are passed over by hickory. TCP is one connection for all queries, opened when it is first needed
//! and again when it has died.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hickory_proto::op::{
    DnsRequest, DnsRequestOptions, Edns, Message, MessageType, OpCode, Query, ResponseCode,
};
use hickory_resolver::config::{ConnectionConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsExchange, FirstAnswer};
use hickory_resolver::net::{DnsHandle, NetError};
use hickory_resolver::{ConnectionProvider, PoolContext, TlsConfig};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use super::answer::{extended_errors, is_endless, is_referral, read};
use super::{Answer, ExtendedError, Question};
use crate::config::{Server, Transport};

/// UDP payload that we announce: passes any path without fragments (RFC 9715).
const UDP_PAYLOAD: u16 = 1232;
/// Longest time after which an unanswered UDP query is repeated, on another socket.
const MAX_REPEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Queries that one connection takes before it says busy.
const MAX_ACTIVE_REQUESTS: usize = 1024;
/// Queries to one server at a time; more wait. Below [`MAX_ACTIVE_REQUESTS`], because a finished query still counts
/// there until the connection's task has run.
const MAX_QUERIES: usize = 768;

/// Why a server gave no answer that is of use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AskError {
    /// Nothing came in time.
    #[error("no answer in time")]
    Timeout,
    /// It could not be reached, or the connection broke.
    #[error("cannot be reached: {0}")]
    Network(String),
    /// It said that it has no answer.
    #[error("answered {rcode}")]
    Failed {
        /// Its response code.
        rcode: ResponseCode,
        /// What it said about it.
        extended_errors: Vec<ExtendedError>,
    },
    /// What it said makes no sense.
    #[error("answered nonsense: {0}")]
    Malformed(String),
    /// Not asked, because too many queries to it are under way.
    #[error("too many queries to it are under way")]
    Overload,
}

impl From<NetError> for AskError {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Timeout => Self::Timeout,
            NetError::Proto(error) => Self::Malformed(error.to_string()),
            error => Self::Network(error.to_string()),
        }
    }
}

/// One server.
#[derive(Debug)]
pub(super) struct Client {
    server: Server,
    timeout: Duration,
    permits: Semaphore,
    udp: Link,
    tcp: Link,
}

/// How far a query came, for what to do when its time is over.
#[derive(Default)]
struct Progress {
    begun: bool,
    /// UDP brought an answer, if a truncated one.
    heard: bool,
    /// The TCP connection it waits on, and how many answers that had given before.
    waits_on: Option<(Arc<Connection>, u64)>,
}

impl Client {
    /// A client that has opened nothing yet.
    pub(super) fn new(server: &Server, timeout: Duration) -> Self {
        let link = |config| Link::new(server.address, config, timeout);
        Self {
            server: server.clone(),
            timeout,
            permits: Semaphore::new(MAX_QUERIES),
            udp: link(ConnectionConfig::udp()),
            tcp: link(ConnectionConfig::tcp()),
        }
    }

    /// Where the server is.
    pub(super) fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Asks it, within the time it has for everything, the connection included.
    ///
    /// # Errors
    ///
    /// [`AskError`] unless it answered NOERROR or NXDOMAIN.
    pub(super) async fn ask(&self, question: &Question) -> Result<Answer, AskError> {
        let mut progress = Progress::default();
        let outcome = timeout(self.timeout, self.exchange(question, &mut progress)).await;
        let outcome = outcome.unwrap_or(Err(AskError::Timeout));
        match outcome {
            Err(AskError::Timeout) if !progress.begun => Err(AskError::Overload),
            Err(AskError::Timeout) => {
                // A connection that is silent as a whole has lost its path without a word; the kernel would notice
                // only after many minutes.
                if let Some((connection, answers)) = progress.waits_on
                    && connection.answers.load(Ordering::Relaxed) == answers
                {
                    self.tcp.discard(&connection).await;
                }
                Err(without_tcp(progress.heard, AskError::Timeout))
            }
            outcome => outcome.map_err(|error| without_tcp(progress.heard, error)),
        }
    }

    async fn exchange(
        &self,
        question: &Question,
        progress: &mut Progress,
    ) -> Result<Answer, AskError> {
        let permit = self.permits.acquire().await;
        let _permit = permit.map_err(|_| AskError::Overload)?;
        progress.begun = true;
        let mut message = self.send(self.request(question, true), progress).await?;
        // A server older than EDNS says so in this way (RFC 6891 section 7).
        if message.metadata.response_code == ResponseCode::FormErr
            && message.edns.is_none()
            && !question.dnssec_ok
        {
            message = self.send(self.request(question, false), progress).await?;
        }
        let rcode = message.metadata.response_code;
        if !matches!(rcode, ResponseCode::NoError | ResponseCode::NXDomain) {
            return Err(AskError::Failed {
                rcode,
                extended_errors: extended_errors(message.edns.as_ref()),
            });
        }
        let asked = Query::query(question.name.clone(), question.record_type);
        if message.metadata.op_code != OpCode::Query || message.queries != [asked] {
            return Err(AskError::Malformed(
                "the answer is to another question".to_owned(),
            ));
        }
        if is_endless(question, &message.answers) {
            return Err(AskError::Malformed(
                "aliases that loop or do not end".to_owned(),
            ));
        }
        let authoritative = message.metadata.authoritative;
        let answer = read(question, message);
        if is_referral(authoritative, &answer) {
            return Err(AskError::Malformed(
                "a referral to other servers".to_owned(),
            ));
        }
        Ok(answer)
    }

    async fn send(
        &self,
        request: DnsRequest,
        progress: &mut Progress,
    ) -> Result<Message, NetError> {
        if self.server.transport == Transport::Udp {
            match self.udp.send(&request, &mut None).await {
                Ok(message) if !message.metadata.truncation => return Ok(message),
                // Truncated, or cut off because it is longer than we said we take.
                Ok(_) | Err(NetError::Proto(_)) => progress.heard = true,
                Err(error) => return Err(error),
            }
        }
        self.tcp.send(&request, &mut progress.waits_on).await
    }

    fn request(&self, question: &Question, edns: bool) -> DnsRequest {
        let mut message = Message::new(0, MessageType::Query, OpCode::Query);
        message.metadata.id = Message::query().metadata.id;
        message.metadata.recursion_desired = true;
        message.metadata.checking_disabled = question.checking_disabled;
        // Answers are shared between askers, so one asker's mix of cases has no place in them.
        let name = question.name.to_lowercase();
        message.add_query(Query::query(name, question.record_type));
        if edns {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_PAYLOAD)
                .set_dnssec_ok(question.dnssec_ok);
            message.set_edns(edns);
        }
        let mut options = DnsRequestOptions::default();
        options.retry_interval = (self.timeout / 3).min(MAX_REPEAT_INTERVAL);
        DnsRequest::new(message, options)
    }
}

/// The way to a server over one transport: at most one connection, made when it is needed.
struct Link {
    address: SocketAddr,
    config: ConnectionConfig,
    timeout: Duration,
    /// Owns the tasks that drive the connections.
    provider: TokioRuntimeProvider,
    slot: Mutex<Option<Arc<Connection>>>,
}

struct Connection {
    exchange: DnsExchange<TokioRuntimeProvider>,
    answers: AtomicU64,
}

impl Link {
    fn new(address: SocketAddr, mut config: ConnectionConfig, timeout: Duration) -> Self {
        config.port = address.port();
        Self {
            address,
            config,
            timeout,
            provider: TokioRuntimeProvider::new(),
            slot: Mutex::new(None),
        }
    }

    /// Sends a query and waits for the answer; if a connection that was there before has died, once more on another.
    async fn send(
        &self,
        request: &DnsRequest,
        waits_on: &mut Option<(Arc<Connection>, u64)>,
    ) -> Result<Message, NetError> {
        let (connection, reused) = self.connection().await?;
        match connection.send(request, waits_on).await {
            Err(error) if is_broken(&error) => {
                self.discard(&connection).await;
                if !reused {
                    return Err(error);
                }
            }
            outcome => return outcome,
        }
        let (connection, _) = self.connection().await?;
        let outcome = connection.send(request, waits_on).await;
        if outcome.as_ref().is_err_and(is_broken) {
            self.discard(&connection).await;
        }
        outcome
    }

    /// The connection, and whether it was there before. Others wait while one opens it.
    async fn connection(&self) -> Result<(Arc<Connection>, bool), NetError> {
        let mut slot = self.slot.lock().await;
        if let Some(connection) = slot.as_ref() {
            return Ok((Arc::clone(connection), true));
        }
        let mut options = ResolverOpts::default();
        options.timeout = self.timeout;
        options.max_active_requests = MAX_ACTIVE_REQUESTS;
        let context = PoolContext::new(options, TlsConfig::new()?);
        let exchange = self
            .provider
            .new_connection(self.address.ip(), &self.config, &context)?
            .await?;
        let connection = Arc::new(Connection {
            exchange,
            answers: AtomicU64::new(0),
        });
        *slot = Some(Arc::clone(&connection));
        Ok((connection, false))
    }

    async fn discard(&self, connection: &Arc<Connection>) {
        let mut slot = self.slot.lock().await;
        if slot
            .as_ref()
            .is_some_and(|held| Arc::ptr_eq(held, connection))
        {
            *slot = None;
        }
    }
}

impl Connection {
    async fn send(
        self: &Arc<Self>,
        request: &DnsRequest,
        waits_on: &mut Option<(Arc<Self>, u64)>,
    ) -> Result<Message, NetError> {
        *waits_on = Some((Arc::clone(self), self.answers.load(Ordering::Relaxed)));
        let response = self.exchange.send(request.clone()).first_answer().await?;
        self.answers.fetch_add(1, Ordering::Relaxed);
        Ok(response.into_message())
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("address", &self.address)
            .field("protocol", &self.config.protocol)
            .finish_non_exhaustive()
    }
}

/// A server that answers over UDP is not down because TCP does not reach it.
fn without_tcp(heard: bool, error: AskError) -> AskError {
    match error {
        AskError::Timeout | AskError::Network(_) if heard => {
            AskError::Malformed(format!("truncated over UDP, and over TCP: {error}"))
        }
        error => error,
    }
}

/// Whether the connection is of no more use. A closed one answers "busy" too, and its own limit is never reached.
fn is_broken(error: &NetError) -> bool {
    !matches!(error, NetError::Timeout | NetError::Proto(_))
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{Name, RecordType};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_query_beyond_the_bound_is_our_fault_and_not_the_servers() {
        let server = Server {
            transport: Transport::Udp,
            address: SocketAddr::from(([127, 0, 0, 1], 9)),
            name: None,
            path: None,
        };
        let client = Client::new(&server, Duration::from_secs(2));
        assert_eq!(client.permits.forget_permits(MAX_QUERIES), MAX_QUERIES);
        let question = Question {
            name: Name::root(),
            record_type: RecordType::NS,
            dnssec_ok: false,
            checking_disabled: false,
        };
        assert_eq!(client.ask(&question).await, Err(AskError::Overload));
    }
}
