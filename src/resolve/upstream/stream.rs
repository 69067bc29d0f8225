//! One connection for many queries at a time (RFC 7766), over TCP or TLS (RFC 7858): each has its own ID, answers come
//! in any order. Opened and replaced by `link`.
//!
//! It ends when the server closes it or breaks it, when it was without queries for the time that the server keeps
//! it (RFC 7828), and when nobody holds it any more. Every query on it is told.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::op::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::super::read::read_message;
use super::io_text;
use super::message::{Query, Verdict, judge, keepalive};
use super::random::Random;

/// Queries that wait to be written; more wait to be among them.
const WRITE_QUEUE: usize = 64;
/// IDs in use, those of queries that nobody waits for any more included, before the latter are given free. Well above
/// the queries that one server is asked at a time.
const MAX_IDS: usize = 4096;
/// How long a connection without queries is kept where the server does not say.
const IDLE: Duration = Duration::from_secs(30);
/// How long at most, whatever it says.
const LONGEST_IDLE: Duration = Duration::from_secs(600);

/// Why a query on a connection got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StreamError {
    /// The connection was over before the query was on its way, or is.
    Lost(String),
    /// What came makes no sense.
    Malformed(String),
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Stream {
    requests: mpsc::Sender<Request>,
    answers: Arc<AtomicU64>,
    over: CancellationToken,
}

#[derive(Debug)]
struct Request {
    query: Arc<Query>,
    reply: oneshot::Sender<Result<Message, StreamError>>,
}

#[derive(Debug)]
struct Waiting {
    /// Header and question.
    question: Vec<u8>,
    reply: oneshot::Sender<Result<Message, StreamError>>,
}

impl Stream {
    /// Takes over a connection that was just opened.
    pub(super) fn new<T>(connection: T, random: Random) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (requests, queue) = mpsc::channel(WRITE_QUEUE);
        let answers = Arc::new(AtomicU64::new(0));
        let over = CancellationToken::new();
        let driver = Driver {
            table: Mutex::new(Table {
                waiting: HashMap::new(),
                idle: IDLE,
                since: now(),
            }),
            changed: Notify::new(),
            answers: Arc::clone(&answers),
            random,
        };
        let stop = over.clone();
        tokio::spawn(async move {
            driver.run(connection, queue, &stop).await;
            stop.cancel();
        });
        Self {
            requests,
            answers,
            over,
        }
    }

    /// How many answers came on it.
    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Whether it can take no more queries.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Ends it; the queries on it are told.
    pub(super) fn end(&self) {
        self.over.cancel();
    }

    /// Asks on it.
    ///
    /// # Errors
    ///
    /// [`StreamError`].
    pub(super) async fn ask(&self, query: &Arc<Query>) -> Result<Message, StreamError> {
        let lost = || StreamError::Lost("the connection was closed".to_owned());
        let (reply, answer) = oneshot::channel();
        let query = Arc::clone(query);
        let sent = self.requests.send(Request { query, reply }).await;
        sent.map_err(|_| lost())?;
        answer.await.unwrap_or_else(|_| Err(lost()))
    }
}

/// The task behind a connection.
struct Driver {
    table: Mutex<Table>,
    /// No query waits any more, or the time without one is another.
    changed: Notify,
    answers: Arc<AtomicU64>,
    random: Random,
}

struct Table {
    waiting: HashMap<u16, Waiting>,
    idle: Duration,
    /// The last message in either direction.
    since: Instant,
}

impl Driver {
    async fn run<T>(
        &self,
        connection: T,
        mut queue: mpsc::Receiver<Request>,
        stop: &CancellationToken,
    ) where
        T: AsyncRead + AsyncWrite,
    {
        let (reader, mut writer) = tokio::io::split(connection);
        let why = tokio::select! {
            end = self.read(BufReader::new(reader)) => match end {
                Ok(()) => "the server closed the connection".to_owned(),
                Err(error) => io_text(&error),
            },
            end = self.write(&mut writer, &mut queue) => match end {
                Ok(()) => "the connection is not needed any more".to_owned(),
                Err(error) => io_text(&error),
            },
            () = self.idle() => "the connection was idle".to_owned(),
            () = stop.cancelled() => "the connection was silent".to_owned(),
        };
        stop.cancel();
        queue.close();
        let waiting = std::mem::take(&mut self.table().waiting);
        for (_, one) in waiting {
            let _gone = one.reply.send(Err(StreamError::Lost(why.clone())));
        }
        // Says goodbye where TLS wants it; whether the server hears it does not matter.
        let _heard = tokio::time::timeout(Duration::from_secs(1), writer.shutdown()).await;
    }

    async fn read(&self, mut reader: impl AsyncRead + Unpin) -> io::Result<()> {
        loop {
            let length = match reader.read_u16().await {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut bytes = vec![0; length.into()];
            reader.read_exact(&mut bytes).await?;
            self.deliver(&bytes);
        }
    }

    /// Gives a message to the query it answers; one that answers none is passed over.
    fn deliver(&self, bytes: &[u8]) {
        let Some(id) = bytes.first_chunk::<2>() else {
            return;
        };
        let id = u16::from_be_bytes(*id);
        let mut table = self.table();
        table.since = now();
        let Some(one) = table.waiting.get(&id) else {
            return;
        };
        let outcome = match judge(&one.question, bytes) {
            Verdict::Foreign => return,
            // Nobody but the server writes here, so its answer is not waited for any longer.
            Verdict::OtherQuestion => Err(StreamError::Malformed(
                "the answer is to another question".to_owned(),
            )),
            Verdict::Truncated => Err(StreamError::Malformed("truncated over TCP".to_owned())),
            Verdict::Garbled(error) => Err(StreamError::Malformed(error)),
            // The question went out in lower case; what comes back is the same name.
            Verdict::OtherCase => {
                read_message(bytes).map_err(|error| StreamError::Malformed(error.to_string()))
            }
            Verdict::Answer(message) => Ok(*message),
        };
        if let Ok(message) = &outcome
            && let Some(units) = keepalive(message)
        {
            // Ours is over first, so that no query meets a connection that the server is just closing.
            let said = Duration::from_millis(100) * u32::from(units);
            table.idle = (said - said / 4).min(LONGEST_IDLE);
            self.changed.notify_one();
        }
        self.answers.fetch_add(1, Ordering::Relaxed);
        if let Some(one) = table.waiting.remove(&id) {
            let _gone = one.reply.send(outcome);
        }
        if table.waiting.is_empty() {
            self.changed.notify_one();
        }
    }

    async fn write(
        &self,
        writer: &mut (impl AsyncWrite + Unpin),
        queue: &mut mpsc::Receiver<Request>,
    ) -> io::Result<()> {
        let mut requests = Vec::with_capacity(WRITE_QUEUE);
        let mut frames = Vec::new();
        while queue.recv_many(&mut requests, WRITE_QUEUE).await > 0 {
            for request in requests.drain(..) {
                if let Some(bytes) = self.register(request) {
                    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
                    frames.extend_from_slice(&length.to_be_bytes());
                    frames.extend_from_slice(&bytes);
                }
            }
            writer.write_all(&frames).await?;
            writer.flush().await?;
            frames.clear();
        }
        Ok(())
    }

    /// Gives a query an ID that no other on this connection has, and the octets to write.
    fn register(&self, request: Request) -> Option<Vec<u8>> {
        if request.reply.is_closed() {
            return None;
        }
        let mut table = self.table();
        if table.waiting.len() >= MAX_IDS {
            table.waiting.retain(|_, one| !one.reply.is_closed());
        }
        let id = loop {
            let id = self.random.id().ok()?;
            if !table.waiting.contains_key(&id) {
                break id;
            }
        };
        let bytes = request.query.with_id(id);
        let question = bytes.get(..request.query.question_end())?.to_vec();
        let reply = request.reply;
        table.waiting.insert(id, Waiting { question, reply });
        table.since = now();
        Some(bytes)
    }

    /// Ends when the connection was long enough without queries.
    async fn idle(&self) {
        loop {
            let until = {
                let table = self.table();
                let is_idle = table.waiting.values().all(|one| one.reply.is_closed());
                let until = table.since + table.idle;
                if is_idle && until <= now() {
                    return;
                }
                until.max(now() + Duration::from_millis(100))
            };
            tokio::select! {
                () = sleep_until(until) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the shell around a connection; tokio's clock, which tests can pause"
)]
fn now() -> Instant {
    Instant::now()
}
