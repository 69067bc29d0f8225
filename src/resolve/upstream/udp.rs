//! One query over UDP (RFC 1035 section 4.2.1), hard to forge an answer to (RFC 5452): each time it is sent, it has a
//! new socket on a port that the kernel picks at random, connected to the server, a new ID and a new mix of cases.
//!
//! A query that got no answer is repeated while the older sockets are still listened to. Messages that are not the
//! answer are passed over. Called by [`Client`](super::Client), which bounds the time.

use std::future::{pending, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hickory_proto::op::Message;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::debug;

use super::super::direct::Said;
use super::super::read::read_message;
use super::message::{Query, Verdict, judge};
use super::random::Random;
use super::{AskError, io_failure};

/// How often a query is sent at most, and so how many sockets it has.
const MAX_SENDS: usize = 5;
/// Longest datagram that is read whole: several times what we say we take.
const MAX_DATAGRAM: usize = 4096;

/// What a server said.
#[derive(Debug)]
pub(super) enum Reply {
    /// The answer.
    Answer(Box<Message>),
    /// That the answer is too long for UDP.
    Truncated,
    /// Something that could be an answer, if the server does not keep the case of names; or be forged.
    OtherCase,
}

/// What a query over UDP is to do.
#[derive(Debug)]
pub(super) struct Manner {
    /// Where to.
    pub(super) server: SocketAddr,
    /// Whether the case of the name is varied.
    pub(super) disguise: bool,
    /// After how long without an answer it is repeated.
    pub(super) repeat: Duration,
}

/// A query that was sent once, until its answer is there.
type Listening<'a> = Pin<Box<dyn Future<Output = Result<Reply, AskError>> + Send + 'a>>;

/// Asks until there is an answer. `garbled` takes note of what looked like one and could not be read.
///
/// # Errors
///
/// [`AskError::Network`] when nobody listens there, or there is no way.
pub(super) async fn exchange(
    manner: &Manner,
    query: &Query,
    random: Random,
    garbled: &Mutex<Option<String>>,
) -> Result<Reply, AskError> {
    let mut sent: Vec<Listening<'_>> = Vec::with_capacity(1);
    loop {
        let (socket, question) = send(manner, query, random).await?;
        sent.push(Box::pin(listen(manner, socket, question, garbled)));
        tokio::select! {
            biased;
            reply = first(&mut sent) => return reply,
            () = sleep(manner.repeat), if sent.len() < MAX_SENDS => {}
        }
    }
}

/// What a server has said already, as if it had been asked here; `None` where that cannot be read.
pub(super) fn given(said: Said, garbled: &Mutex<Option<String>>) -> Option<Reply> {
    match said {
        Said::Truncated => Some(Reply::Truncated),
        Said::OtherCase => Some(Reply::OtherCase),
        Said::Message(bytes) => match read_message(&bytes) {
            Ok(message) => Some(Reply::Answer(Box::new(message))),
            Err(error) => {
                note(garbled, error.to_string());
                None
            }
        },
    }
}

/// What a server says late to what was sent elsewhere; for ever waited for where nothing comes that can be read.
pub(super) async fn late(
    said: Option<oneshot::Receiver<Said>>,
    garbled: &Mutex<Option<String>>,
) -> Reply {
    let heard = match said {
        Some(said) => said.await.ok(),
        None => None,
    };
    match heard.and_then(|said| given(said, garbled)) {
        Some(reply) => reply,
        None => pending().await,
    }
}

/// What the first of them says that has something to say.
async fn first(sent: &mut [Listening<'_>]) -> Result<Reply, AskError> {
    poll_fn(|context| {
        sent.iter_mut()
            .map(|one| one.as_mut().poll(context))
            .find(Poll::is_ready)
            .unwrap_or(Poll::Pending)
    })
    .await
}

/// Sends a query once: the socket for its answer, and header and question as they went out.
async fn send(
    manner: &Manner,
    query: &Query,
    random: Random,
) -> Result<(UdpSocket, Vec<u8>), AskError> {
    let local = match manner.server {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let id = random.id()?;
    let mut bytes = if manner.disguise {
        query.disguised(id, &random.octets(query.name_length())?)
    } else {
        query.with_id(id)
    };
    let sent = async {
        let socket = UdpSocket::bind(SocketAddr::new(local, 0)).await?;
        socket.connect(manner.server).await?;
        socket.send(&bytes).await?;
        Ok(socket)
    };
    let socket = sent.await.map_err(|error: io::Error| io_failure(&error))?;
    bytes.truncate(query.question_end());
    Ok((socket, bytes))
}

async fn listen(
    manner: &Manner,
    socket: UdpSocket,
    question: Vec<u8>,
    garbled: &Mutex<Option<String>>,
) -> Result<Reply, AskError> {
    let mut buffer = vec![0; MAX_DATAGRAM + 1];
    loop {
        let length = receive(&socket, &mut buffer).await;
        let length = length.map_err(|error| io_failure(&error))?;
        match judge(&question, buffer.get(..length).unwrap_or_default()) {
            Verdict::Answer(message) => return Ok(Reply::Answer(message)),
            Verdict::Truncated => return Ok(Reply::Truncated),
            Verdict::Garbled(_) if length > MAX_DATAGRAM => return Ok(Reply::Truncated),
            Verdict::OtherCase if manner.disguise => return Ok(Reply::OtherCase),
            Verdict::OtherCase => match read_message(&buffer[..length]) {
                Ok(message) => return Ok(Reply::Answer(Box::new(message))),
                Err(error) => note(garbled, error.to_string()),
            },
            Verdict::Garbled(error) => note(garbled, error),
            verdict @ (Verdict::OtherQuestion | Verdict::Foreign) => {
                debug!(server = %manner.server, ?verdict, "passed over a datagram");
            }
        }
    }
}

fn note(garbled: &Mutex<Option<String>>, error: String) {
    *garbled.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
}

/// A datagram, or what the network says about the last one that was sent. The latter makes no socket readable.
async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
        if ready.is_readable() {
            match socket.try_recv(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return received,
            }
        }
        if ready.is_error() {
            if let Some(error) = socket.take_error()? {
                return Err(error);
            }
            // Taken note of, so that it wakes us only once.
            let _seen: io::Result<()> =
                socket.try_io(Interest::ERROR, || Err(io::ErrorKind::WouldBlock.into()));
        }
    }
}
