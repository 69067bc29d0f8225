//! Bodies on their way through: what a client sends, and what an origin answers. Made by `forward`; moved by hyper, piece
//! by piece as the other side takes them, so that none is ever held as a whole.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use ::h2::RecvStream;
use bytes::Bytes;
use http::{Response, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::super::screen::Fault;
use super::super::session::Session;
use super::pool::{Link, Pool};
use super::sieve::fault;
use super::wire::Watched;
use crate::net::Target;
use crate::relay::{Carried, Ended};
use crate::telemetry::{Side, chain};

/// How long an origin may take to say whether it wants the body (RFC 9110 section 10.1.1: not for ever).
const CONTINUE: Duration = Duration::from_secs(1);

/// The way of interim answers to a client (RFC 9110 section 15.2). The screen bounds how many an origin may send.
#[derive(Clone, Debug)]
pub(super) enum Interim {
    /// Onto the connection, past hyper.
    Http1(Weak<Watched>),
    /// To whoever waits for the answer.
    Http2(Arc<Mutex<Vec<Response<()>>>>),
}

impl Interim {
    pub(super) fn http2() -> Self {
        Self::Http2(Arc::default())
    }

    pub(super) fn push(&self, answer: Response<()>) {
        match self {
            Self::Http1(wire) => {
                if let Some(wire) = wire.upgrade() {
                    wire.say_between(&written(&answer));
                }
            }
            Self::Http2(answers) => held(answers).push(answer),
        }
    }

    /// Those of HTTP/2 that wait to be passed on.
    pub(super) fn take(&self) -> Vec<Response<()>> {
        match self {
            Self::Http1(_) => Vec::new(),
            Self::Http2(answers) => std::mem::take(&mut *held(answers)),
        }
    }

    /// Whether the client is to be told by us, and not by hyper, to send its body.
    fn tells_to_continue(&self) -> bool {
        matches!(self, Self::Http2(_))
    }
}

fn held(answers: &Mutex<Vec<Response<()>>>) -> MutexGuard<'_, Vec<Response<()>>> {
    // Every change is complete before anything can panic.
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A head as HTTP/1.1 has it.
fn written(answer: &Response<()>) -> Vec<u8> {
    let status = answer.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
    for (name, value) in answer.headers() {
        for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(piece);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Where the pieces of a request's body come from.
#[derive(Debug)]
enum Source {
    Nothing,
    Http1(Incoming),
    Http2(RecvStream),
}

/// The body of a request.
#[derive(Debug)]
pub(in crate::proxy) struct Sent {
    source: Source,
    bytes: Arc<AtomicU64>,
    activity: Arc<AtomicU64>,
    /// Not a byte before the origin wants them.
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    wanted: Arc<Wanted>,
    patience: Pin<Box<Sleep>>,
    /// Where the client is told to go on; of HTTP/1.1 hyper tells it.
    interim: Option<Interim>,
}

/// Whether the origin wants the body.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    said: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Wanted {
    /// The origin does (100 Continue).
    pub(super) fn say(&self) {
        self.said.store(true, Ordering::Release);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = &*waker {
            waker.wake_by_ref();
        }
    }
}

impl Held {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let waker = &self.wanted.waker;
        *waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        if self.wanted.said.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.patience.as_mut().poll(cx)
    }
}

impl Sent {
    /// No body.
    pub(super) fn nothing() -> Self {
        Self {
            source: Source::Nothing,
            bytes: Arc::default(),
            activity: Arc::default(),
            held: None,
        }
    }

    /// A body that is counted in `bytes` and keeps its connection awake by `activity`.
    pub(super) fn http1(body: Incoming, bytes: &Arc<AtomicU64>, activity: &Arc<AtomicU64>) -> Self {
        if body.is_end_stream() {
            return Self::nothing();
        }
        Self {
            source: Source::Http1(body),
            bytes: Arc::clone(bytes),
            activity: Arc::clone(activity),
            held: None,
        }
    }

    /// As [`Self::http1`].
    pub(super) fn http2(
        body: RecvStream,
        bytes: &Arc<AtomicU64>,
        activity: &Arc<AtomicU64>,
    ) -> Self {
        if body.is_end_stream() {
            return Self::nothing();
        }
        Self {
            source: Source::Http2(body),
            bytes: Arc::clone(bytes),
            activity: Arc::clone(activity),
            held: None,
        }
    }

    /// Holds the body back until the origin wants it, or does not say.
    pub(super) fn hold(&mut self, interim: Option<Interim>) -> Arc<Wanted> {
        let wanted = Arc::<Wanted>::default();
        self.held = Some(Held {
            wanted: Arc::clone(&wanted),
            patience: Box::pin(tokio::time::sleep(CONTINUE)),
            interim: interim.filter(Interim::tells_to_continue),
        });
        wanted
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        if let Some(held) = &mut this.held {
            ready!(held.poll(cx));
            if let Some(interim) = &held.interim {
                let mut answer = Response::new(());
                *answer.status_mut() = StatusCode::CONTINUE;
                interim.push(answer);
            }
            this.held = None;
        }
        let polled = match &mut this.source {
            Source::Nothing => return Poll::Ready(None),
            Source::Http1(body) => Pin::new(body).poll_frame(cx).map_err(Broken::from),
            Source::Http2(body) => poll_stream(body, cx).map_err(Broken::from),
        };
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            this.bytes.fetch_add(length(frame), Ordering::Relaxed);
            this.activity.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Nothing => true,
            Source::Http1(body) => body.is_end_stream(),
            Source::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Nothing => SizeHint::with_exact(0),
            Source::Http1(body) => body.size_hint(),
            // What the request says of it was compared by HTTP/2 itself (RFC 9113 section 8.1.1).
            Source::Http2(_) => SizeHint::default(),
        }
    }
}

/// Why the client's body did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum Broken {
    #[error(transparent)]
    Http1(#[from] hyper::Error),
    #[error("the stream broke")]
    Http2(#[from] ::h2::Error),
}

fn poll_stream(
    body: &mut RecvStream,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, ::h2::Error>>> {
    if let Some(data) = ready!(body.poll_data(cx)) {
        return Poll::Ready(Some(data.map(|data| {
            // Whoever takes a piece asks for no more before it is sent. This fails where the stream is reset, which is
            // told with the next piece.
            body.flow_control().release_capacity(data.len()).ok();
            Frame::data(data)
        })));
    }
    let trailers = ready!(body.poll_trailers(cx));
    Poll::Ready(
        trailers
            .transpose()
            .map(|trailers| trailers.map(Frame::trailers)),
    )
}

/// The body of an answer, with which its session ends.
#[derive(Debug)]
pub(in crate::proxy) struct Received {
    body: Incoming,
    /// The connection that the body comes on, and where it goes afterwards.
    link: Option<Box<Link>>,
    pool: Arc<Pool>,
    bytes: u64,
    activity: Arc<AtomicU64>,
    /// Asked to the end; a body without a stated length knows its end only then.
    done: bool,
    error: Option<String>,
    fault: Option<Fault>,
    end: Option<End>,
}

/// What is known of the session when the answer begins.
#[derive(Debug)]
pub(super) struct End {
    pub(super) session: Session,
    pub(super) target: Target,
    pub(super) sent: Arc<AtomicU64>,
    /// Whether we were told to stop.
    pub(super) cut: CancellationToken,
}

impl Received {
    pub(super) fn new(
        body: Incoming,
        link: Box<Link>,
        pool: Arc<Pool>,
        activity: Arc<AtomicU64>,
        end: End,
    ) -> Self {
        Self {
            body,
            link: Some(link),
            pool,
            bytes: 0,
            activity,
            done: false,
            error: None,
            fault: None,
            end: Some(end),
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        if let Some(link) = &mut this.link {
            link.poll(cx);
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.bytes = this.bytes.saturating_add(length(frame));
                // Nothing comes after trailers, and whoever has them need not ask.
                this.done = frame.is_trailers();
                this.activity.fetch_add(1, Ordering::Relaxed);
            }
            Poll::Ready(Some(Err(error))) => {
                this.error = Some(chain(error));
                this.fault = fault(error);
            }
            Poll::Ready(None) => this.done = true,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let (Some(end), Some(link)) = (self.end.take(), self.link.take()) else {
            return;
        };
        let ended = match self.error.take() {
            Some(error) => Ended::Broken(Side::Origin, io::Error::other(error)),
            None if self.done || self.body.is_end_stream() => Ended::Closed,
            None if end.cut.is_cancelled() => Ended::Cut,
            None => Ended::Broken(
                Side::Client,
                io::Error::other("the client did not take the whole answer"),
            ),
        };
        if let Some(fault) = self.fault {
            end.session.count_fault(Side::Origin, fault);
        }
        let whole = matches!(ended, Ended::Closed);
        let carried = Carried {
            sent: end.sent.load(Ordering::Relaxed),
            received: self.bytes,
            ended,
        };
        end.session.ended(&end.target, &link.reached, &carried);
        if whole {
            self.pool.keep(end.target, link);
        }
    }
}

fn length(frame: &Frame<Bytes>) -> u64 {
    let length = frame.data_ref().map_or(0, Bytes::len);
    u64::try_from(length).unwrap_or(u64::MAX)
}
