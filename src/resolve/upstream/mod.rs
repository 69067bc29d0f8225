//! One upstream server, over the transport that is configured. Called by `upstreams`, which has the order and the
//! failover.
//!
//! UDP is `udp`, with TCP for what it truncates; TCP and TLS are `stream`; HTTPS, QUIC and HTTP/3 are `exchange`. The
//! latter are connections, which `link` opens and replaces. `message` has what goes out and what counts as its answer.

mod exchange;
#[cfg(fuzzing)]
pub mod fuzzing;
mod link;
mod message;
mod random;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, Query as Queried, ResponseCode};
use nix::errno::Errno;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::{error, info};

use self::link::{Connection, Link};
use self::message::Query;
use self::random::NoRandomness;
pub(super) use self::random::Random;
pub use self::tls::{Trust, TrustError};
use self::udp::Reply;
use super::answer::{extended_errors, is_endless, read, refers};
use super::direct::Peer;
use super::upstreams::{Given, Heard};
use super::{Answer, ExtendedError, Question};
use crate::config::{Server, Transport, Upstream};

/// Longest time after which an unanswered UDP query is repeated, on another socket.
const MAX_REPEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Queries to one server at a time; more wait.
const MAX_QUERIES: usize = 768;
/// How long a server that does not keep the case of names is asked over TCP at once.
const CASE_MEMORY: Duration = Duration::from_secs(600);

/// After how long an unanswered UDP query is repeated, where a server has this time for everything.
pub(super) fn repeat_interval(timeout: Duration) -> Duration {
    (timeout / 3).min(MAX_REPEAT_INTERVAL)
}

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
    /// Not asked, because something of ours has its bound.
    #[error(transparent)]
    Overload(#[from] Overload),
}

/// What has its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Overload {
    /// The queries to one server.
    #[error("too many queries to it are under way")]
    Queries,
    /// The files of the process, or of the machine.
    #[error("no file may be opened any more (see `LimitNOFILE=`, `ulimit -n`)")]
    Files,
}

impl From<NoRandomness> for AskError {
    fn from(_: NoRandomness) -> Self {
        Self::Network("the system gives no random numbers".to_owned())
    }
}

/// One server.
#[derive(Debug)]
pub(super) struct Client {
    server: Server,
    timeout: Duration,
    case_randomization: bool,
    permits: Semaphore,
    random: Random,
    link: Link,
    /// Until when the server counts as one that does not keep the case of names over UDP.
    case_lost: Mutex<Option<Instant>>,
}

/// How far a query came, for what to do when its time is over.
#[derive(Default)]
struct Progress {
    begun: bool,
    /// What was heard of the server over UDP already.
    said: Option<Heard>,
    /// Why what UDP brought was not enough.
    heard: Option<&'static str>,
    /// What UDP brought could not be read; it may have been forged, so it was not the end.
    garbled: Mutex<Option<String>>,
    /// The connection it waits on, and how many answers that had given before.
    waits_on: Option<(Arc<Connection>, u64)>,
}

impl Client {
    /// A client that has opened nothing yet.
    pub(super) fn new(server: &Server, config: &Upstream, trust: &Trust) -> Self {
        // The other protocols are named by hickory.
        let protocols: &[&[u8]] = match server.transport {
            Transport::Tls => &[b"dot"],
            _ => &[],
        };
        let tls = server.transport.is_encrypted().then(|| {
            let tls = trust.client(protocols);
            tls.inspect_err(|error| error!(%server, %error, "TLS could not be set up"))
        });
        let random = Random;
        Self {
            server: server.clone(),
            timeout: config.timeout,
            case_randomization: config.case_randomization,
            permits: Semaphore::new(MAX_QUERIES),
            random,
            link: Link::new(server, tls.and_then(Result::ok), random),
            case_lost: Mutex::new(None),
        }
    }

    /// It, for questions that nobody waits for in a task; `None` where it is not asked so now.
    pub(super) fn peer(&self) -> Option<Peer> {
        let plain = self.server.transport == Transport::Udp
            && !(self.case_randomization && self.case_is_lost());
        plain.then_some(Peer {
            server: self.server.address,
            disguise: self.case_randomization,
        })
    }

    /// Where the server is.
    pub(super) fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Asks it, within the time it has for everything, the connection included. Where it has been asked already over UDP,
    /// `given` is what came of that, and when it was.
    ///
    /// # Errors
    ///
    /// [`AskError`] unless it answered NOERROR or NXDOMAIN.
    pub(super) async fn ask(
        &self,
        question: &Question,
        given: Option<Given>,
    ) -> Result<Answer, AskError> {
        let passed = given.as_ref().map_or(Duration::ZERO, |given| {
            now().into_std().saturating_duration_since(given.asked)
        });
        let mut progress = Progress {
            said: given.map(|given| given.said),
            ..Progress::default()
        };
        let left = self.timeout.saturating_sub(passed);
        let outcome = timeout(left, self.exchange(question, &mut progress)).await;
        let error = match outcome {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) if !progress.begun => Overload::Queries.into(),
            Err(_) => {
                // A connection that is silent as a whole has lost its path without a word; the kernel would notice
                // only after many minutes.
                if let Some((connection, answers)) = &progress.waits_on
                    && connection.answers() == *answers
                {
                    self.link.discard(connection);
                }
                let garbled = progress.garbled.into_inner();
                match garbled.unwrap_or_else(PoisonError::into_inner) {
                    Some(text) => AskError::Malformed(text),
                    None => AskError::Timeout,
                }
            }
        };
        Err(match after_udp(progress.heard, error) {
            AskError::Network(text) => AskError::Network(format!("{}: {text}", self.server)),
            AskError::Malformed(text) => AskError::Malformed(format!("{}: {text}", self.server)),
            error => error,
        })
    }

    async fn exchange(
        &self,
        question: &Question,
        progress: &mut Progress,
    ) -> Result<Answer, AskError> {
        let permit = self.permits.acquire().await;
        let _permit = permit.map_err(|_| Overload::Queries)?;
        progress.begun = true;
        let mut message = self.send(question, true, progress).await?;
        // A server older than EDNS says so in this way (RFC 6891 section 7). It has no signatures; whether there must be
        // some is for validation to say.
        if message.metadata.response_code == ResponseCode::FormErr && message.edns.is_none() {
            message = self.send(question, false, progress).await?;
        }
        let mut answer = told(question, message)?;
        // Anybody on the way could have set it in the clear.
        answer.authentic &= self.server.transport.is_encrypted();
        Ok(answer)
    }

    async fn send(
        &self,
        question: &Question,
        edns: bool,
        progress: &mut Progress,
    ) -> Result<Message, AskError> {
        let query = |transport| Query::new(question, transport, edns).map_err(AskError::Malformed);
        let Transport::Udp = self.server.transport else {
            let query = Arc::new(query(self.server.transport)?);
            return self.link.ask(&query, &mut progress.waits_on).await;
        };
        let case_was_lost = self.case_randomization && self.case_is_lost();
        let mut case_is_lost = case_was_lost;
        if !case_was_lost {
            let manner = udp::Manner {
                server: self.server.address,
                disguise: self.case_randomization,
                repeat: repeat_interval(self.timeout),
            };
            let query = query(Transport::Udp)?;
            let garbled = &progress.garbled;
            let (given, late) = match progress.said.take() {
                Some(Heard::Said(said)) => (udp::given(said, garbled), None),
                Some(Heard::Nothing(late)) => (None, Some(late)),
                None => (None, None),
            };
            let reply = match given {
                Some(reply) => reply,
                // What was sent first is still listened for.
                None => tokio::select! {
                    biased;
                    reply = udp::late(late, garbled) => reply,
                    reply = udp::exchange(&manner, &query, self.random, garbled) => reply?,
                },
            };
            match reply {
                Reply::Answer(message) => return Ok(*message),
                Reply::Truncated => progress.heard = Some("truncated over UDP"),
                Reply::OtherCase => {
                    case_is_lost = true;
                    progress.heard = Some(
                        "the case of the name was not kept over UDP (`case-randomization = false` accepts that)",
                    );
                }
            }
        }
        let query = Arc::new(query(Transport::Tcp)?);
        let outcome = self.link.ask(&query, &mut progress.waits_on).await;
        if case_is_lost {
            // Only a server that TCP reaches is asked so again: the message may have been forged.
            let until = outcome.is_ok().then(|| now() + CASE_MEMORY);
            if until.is_some() && !case_was_lost {
                info!(server = %self.server, "upstream does not keep the case of names: asked over TCP");
            }
            *self.case_lost() = until;
        }
        outcome
    }

    fn case_is_lost(&self) -> bool {
        self.case_lost().is_some_and(|until| until > now())
    }

    fn case_lost(&self) -> MutexGuard<'_, Option<Instant>> {
        self.case_lost
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the answer to a query says, reduced to what was asked.
///
/// # Errors
///
/// [`AskError`] unless it is NOERROR or NXDOMAIN and makes sense.
pub(super) fn told(question: &Question, message: Message) -> Result<Answer, AskError> {
    let rcode = message.metadata.response_code;
    if !matches!(rcode, ResponseCode::NoError | ResponseCode::NXDomain) {
        return Err(AskError::Failed {
            rcode,
            extended_errors: extended_errors(message.edns.as_ref()),
        });
    }
    let malformed = |what: &str| Err(AskError::Malformed(what.to_owned()));
    let asked = Queried::query(question.name.clone(), question.record_type);
    if message.metadata.op_code != OpCode::Query || message.queries != [asked] {
        return malformed("the answer is to another question");
    }
    if message.metadata.truncation {
        return malformed("truncated over a transport without limits");
    }
    if is_endless(question, &message.answers) {
        return malformed("aliases that loop or do not end");
    }
    let refers = refers(&message);
    let answer = read(question, message);
    if refers && answer.answers.is_empty() {
        return malformed("a referral to other servers");
    }
    Ok(answer)
}

/// A server that answers over UDP is not down because TCP does not reach it.
fn after_udp(heard: Option<&'static str>, error: AskError) -> AskError {
    match (heard, error) {
        (Some(heard), error @ (AskError::Timeout | AskError::Network(_))) => {
            AskError::Malformed(format!("{heard}, and over TCP: {error}"))
        }
        (_, error) => error,
    }
}

/// What an error of a socket says about the server.
fn io_failure(error: &io::Error) -> AskError {
    let ours = [Errno::EMFILE, Errno::ENFILE].map(|errno| Some(errno as i32));
    if error.kind() == io::ErrorKind::TimedOut {
        AskError::Timeout
    } else if ours.contains(&error.raw_os_error()) {
        Overload::Files.into()
    } else {
        AskError::Network(io_text(error))
    }
}

/// An error of a socket for people: without its number.
fn io_text(error: &io::Error) -> String {
    if let Some(text) = tls::explain(error) {
        return text;
    }
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if error.raw_os_error().is_some() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the shell that remembers for a while; tokio's clock, which tests can pause"
)]
fn now() -> Instant {
    Instant::now()
}
