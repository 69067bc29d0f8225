//! The way to one server over connections: one at a time, opened when a query needs it and replaced when it has ended.
//! Called by [`Client`](super::Client).
//!
//! A query whose connection ends before its answer came is asked again on a new one: whatever the connection was good
//! for before, the server may close it at any time (RFC 7766 section 6.2.4).

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hickory_proto::op::Message;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use rustls::ClientConfig;
use tokio::net::TcpStream;

use super::exchange::Exchange;
use super::message::Query;
use super::random::Random;
use super::stream::{Stream, StreamError};
use super::{AskError, io_failure, tls};
use crate::config::{Server, Transport};

/// On how many connections that end without any answer a query is asked.
const MAX_DEAD: usize = 2;
/// On how many connections it is asked at all, where each gave answers to others before it ended.
const MAX_CONNECTIONS: usize = 64;

/// The way to a server.
pub(super) struct Link {
    server: Server,
    /// For the encrypted transports.
    tls: Option<Arc<ClientConfig>>,
    random: Random,
    /// Owns the tasks that drive connections of hickory.
    provider: TokioRuntimeProvider,
    slot: Mutex<Option<Arc<Connection>>>,
    /// Held by the one who opens a connection.
    opening: tokio::sync::Mutex<()>,
}

/// An open connection.
#[derive(Debug)]
pub(super) enum Connection {
    /// Ours.
    Stream(Stream),
    /// Hickory's.
    Exchange(Exchange),
}

impl Connection {
    /// How many answers came on it.
    pub(super) fn answers(&self) -> u64 {
        match self {
            Self::Stream(stream) => stream.answers(),
            Self::Exchange(exchange) => exchange.answers(),
        }
    }

    async fn ask(&self, query: &Arc<Query>) -> Result<Message, StreamError> {
        match self {
            Self::Stream(stream) => stream.ask(query).await,
            Self::Exchange(exchange) => exchange.ask(query).await,
        }
    }
}

impl Link {
    /// A way on which nothing is open yet.
    pub(super) fn new(server: &Server, tls: Option<ClientConfig>, random: Random) -> Self {
        Self {
            server: server.clone(),
            tls: tls.map(Arc::new),
            random,
            provider: TokioRuntimeProvider::new(),
            slot: Mutex::new(None),
            opening: tokio::sync::Mutex::new(()),
        }
    }

    /// Asks. `waits_on` tells which connection the query is on, and how many answers that had given before.
    ///
    /// # Errors
    ///
    /// [`AskError`].
    pub(super) async fn ask(
        &self,
        query: &Arc<Query>,
        waits_on: &mut Option<(Arc<Connection>, u64)>,
    ) -> Result<Message, AskError> {
        let mut dead = 0;
        let mut why = String::new();
        for _ in 0..MAX_CONNECTIONS {
            let connection = self.connection().await?;
            let answers = connection.answers();
            *waits_on = Some((Arc::clone(&connection), answers));
            match connection.ask(query).await {
                Ok(message) => return Ok(message),
                Err(StreamError::Malformed(text)) => return Err(AskError::Malformed(text)),
                Err(StreamError::Lost(text)) => why = text,
            }
            self.discard(&connection);
            if connection.answers() == answers {
                dead += 1;
            }
            if dead == MAX_DEAD {
                break;
            }
        }
        Err(AskError::Network(why))
    }

    /// The open connection, or a new one. Others wait while one opens it.
    async fn connection(&self) -> Result<Arc<Connection>, AskError> {
        if let Some(connection) = self.held() {
            return Ok(connection);
        }
        let _opening = self.opening.lock().await;
        if let Some(connection) = self.held() {
            return Ok(connection);
        }
        let connection = Arc::new(self.open().await?);
        *self.slot() = Some(Arc::clone(&connection));
        Ok(connection)
    }

    fn held(&self) -> Option<Arc<Connection>> {
        let mut slot = self.slot();
        if let Some(Connection::Stream(stream)) = slot.as_deref()
            && stream.is_over()
        {
            *slot = None;
        }
        slot.clone()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Connection>>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(&self) -> Result<Connection, AskError> {
        let failed = |error: io::Error| io_failure(&error);
        let server = &self.server;
        let tls = || {
            let without = || AskError::Network("TLS could not be set up".to_owned());
            self.tls.as_ref().ok_or_else(without)
        };
        Ok(match server.transport {
            Transport::Udp | Transport::Tcp => {
                let stream = connect(server.address).await.map_err(failed)?;
                Connection::Stream(Stream::new(stream, self.random))
            }
            Transport::Tls => {
                let stream = tls::connect(tls()?, server).await.map_err(failed)?;
                Connection::Stream(Stream::new(stream, self.random))
            }
            Transport::Https | Transport::Quic | Transport::H3 => {
                Connection::Exchange(Exchange::open(server, tls()?, &self.provider).await?)
            }
        })
    }

    /// Uses it no more. Queries on it are told where it is ours, and asked again by those who wait for them.
    pub(super) fn discard(&self, connection: &Arc<Connection>) {
        let mut slot = self.slot();
        let is_held = |held: &Arc<Connection>| Arc::ptr_eq(held, connection);
        if slot.as_ref().is_some_and(is_held) {
            *slot = None;
        }
        if let Connection::Stream(stream) = &**connection {
            stream.end();
        }
    }
}

/// A connection over TCP on which small messages do not wait for each other.
pub(super) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}
