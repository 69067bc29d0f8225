//! The connections to origins that requests share: dialed for the first, kept for the next. Called by `forward`.
//!
//! A connection has no task of its own: whoever waits for its answer, or for a piece of the body, moves it. That saves
//! the way from one task to another and back with every request. While a connection rests nobody looks at it; it is
//! looked at before it is used again, and now and then.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::super::respond::{Failure, Kind};
use super::super::seam::Dial;
use super::super::session::Reached;
use super::SMALLEST_HEAD;
use super::body::Sent;
use super::origin::{Answers, OriginWire};
use super::sieve::fault;
use crate::config::Rule;
use crate::net::{Target, keep_alive};
use crate::telemetry::{Side, chain};

/// How long a connection to an origin is kept for the next request.
const POOL_IDLE: Duration = Duration::from_secs(90);

/// How often the connections that rest are looked at: those that their origin has ended would stay half open.
const POOL_LOOK: Duration = Duration::from_secs(5);

/// How many connections rest for one origin.
const POOL_PER_ORIGIN: usize = 32;

/// How many connections rest.
const POOL_TOTAL: usize = 1_024;

/// The connections that rest, and the way to new ones.
#[derive(Debug)]
pub(in crate::proxy) struct Pool {
    dial: Arc<dyn Dial>,
    /// Of all sessions that share it.
    rule: Option<Arc<Rule>>,
    builder: Builder,
    header_bytes: usize,
    resting: Mutex<Resting>,
}

#[derive(Debug, Default)]
struct Resting {
    by_origin: HashMap<Target, Vec<Rest>>,
    count: usize,
    /// Whether somebody looks at them now and then.
    watched: bool,
}

#[derive(Debug)]
struct Rest {
    link: Box<Link>,
    since: Instant,
}

impl Pool {
    /// An empty pool, which is filled by `dial`, as `rule` has it.
    pub(in crate::proxy) fn new(
        dial: Arc<dyn Dial>,
        rule: Option<Arc<Rule>>,
        header_bytes: usize,
    ) -> Arc<Self> {
        let header_bytes = header_bytes.max(SMALLEST_HEAD);
        let mut builder = Builder::new();
        builder
            .max_buf_size(header_bytes)
            .preserve_header_case(true);
        Arc::new(Self {
            dial,
            rule,
            builder,
            header_bytes,
            resting: Mutex::default(),
        })
    }

    /// The origin's answer, and the connection that it comes on. A request that an origin cannot have heard, because it
    /// had ended the connection, is sent again on another one (RFC 9112 section 9.3.1). One that it may have
    /// heard is sent once more, where that does no harm, and on a new one: a request that makes its origin fall over shall
    /// not go through all that rest.
    pub(super) async fn ask(
        &self,
        target: &Target,
        mut request: Request<Sent>,
    ) -> Result<(Response<Incoming>, Box<Link>), Failure> {
        let mut heard = false;
        loop {
            let kept = if heard { None } else { self.take(target) };
            let (mut link, used) = match kept {
                Some(link) => (link, true),
                None => (Box::pin(self.open(target)).await?, false),
            };
            let again = used.then(|| repeated(&request)).flatten();
            let mut lost = match link.ask(request).await {
                Ok(answer) => return Ok((answer, link)),
                Err(lost) => lost,
            };
            let unheard = lost.request.take();
            heard = unheard.is_none();
            match unheard.or(again) {
                Some(same) if used && !lost.garbled => request = same,
                _ => return Err(lost.failure(target)),
            }
        }
    }

    async fn open(&self, target: &Target) -> Result<Box<Link>, Failure> {
        let dialed = self.dial.dial(target, self.rule.as_deref()).await?;
        // The connection may end at any time; whoever uses it will find out.
        keep_alive(&dialed.stream).ok();
        let reached = Reached::from(&dialed);
        let (wire, answers) = OriginWire::new(dialed.stream, self.header_bytes);
        let handshake = self.builder.handshake(TokioIo::new(wire));
        let (asking, connection) = handshake.await.map_err(|error| {
            let text = format!("{target}: {}", chain(&error));
            Failure::new(Kind::ResponseBroken, Side::Origin, text)
        })?;
        Ok(Box::new(Link {
            asking,
            connection,
            answers,
            reached,
            over: false,
        }))
    }

    /// The connection that has rested for the shortest time.
    fn take(&self, target: &Target) -> Option<Box<Link>> {
        let mut resting = self.resting();
        let Resting {
            by_origin, count, ..
        } = &mut *resting;
        let links = by_origin.get_mut(target)?;
        let mut found = None;
        while let Some(mut rest) = links.pop() {
            *count -= 1;
            if rest.link.is_free() {
                found = Some(rest.link);
                break;
            }
        }
        if links.is_empty() {
            by_origin.remove(target);
        }
        found
    }

    /// Keeps a connection for the next request, where it can take one and there is room.
    pub(super) fn keep(self: &Arc<Self>, target: Target, mut link: Box<Link>) {
        if !link.is_free() {
            return;
        }
        let mut resting = self.resting();
        if resting.count >= POOL_TOTAL {
            return;
        }
        let links = resting.by_origin.entry(target).or_default();
        if links.len() >= POOL_PER_ORIGIN {
            return;
        }
        links.push(Rest { link, since: now() });
        resting.count += 1;
        if !resting.watched
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            resting.watched = true;
            drop(resting);
            runtime.spawn(watch(Arc::downgrade(self)));
        }
    }

    /// Lets go of what has ended or rested for too long; whether any is left.
    fn look(&self, now: Instant) -> bool {
        let mut resting = self.resting();
        let mut count = 0;
        resting.by_origin.retain(|_, links| {
            links.retain_mut(|rest| {
                now.saturating_duration_since(rest.since) < POOL_IDLE && rest.link.is_free()
            });
            count += links.len();
            !links.is_empty()
        });
        resting.count = count;
        resting.watched = count > 0;
        resting.watched
    }

    fn resting(&self) -> MutexGuard<'_, Resting> {
        // Every change is complete before anything can panic.
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn watch(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(POOL_LOOK).await;
        let Some(pool) = pool.upgrade() else { return };
        if !pool.look(now()) {
            return;
        }
    }
}

/// The same request once more, where sending it twice does no harm (RFC 9110 section 9.2.2) and nothing of it is used
/// up by sending.
fn repeated(request: &Request<Sent>) -> Option<Request<Sent>> {
    if !request.method().is_idempotent() || !request.body().is_end_stream() {
        return None;
    }
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = request.method().clone();
    head.uri = request.uri().clone();
    head.version = request.version();
    head.headers = request.headers().clone();
    head.extensions = request.extensions().clone();
    Some(Request::from_parts(head, Sent::nothing()))
}

/// A connection to an origin.
#[derive(Debug)]
pub(in crate::proxy) struct Link {
    asking: SendRequest<Sent>,
    connection: Connection<TokioIo<OriginWire>, Sent>,
    answers: Answers,
    pub(super) reached: Reached,
    /// The connection has ended.
    over: bool,
}

/// A request without an answer.
struct Lost {
    /// Where nothing of it was sent.
    request: Option<Request<Sent>>,
    error: Option<hyper::Error>,
    /// The origin did answer, but not in HTTP.
    garbled: bool,
}

impl Link {
    /// Moves the connection on.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        // What went wrong is told to whoever waits for the answer or its body.
        self.over = self.over || self.connection.poll_without_shutdown(cx).is_ready();
    }

    /// Whether another request can be sent.
    fn is_free(&mut self) -> bool {
        self.poll(&mut Context::from_waker(Waker::noop()));
        !self.over && self.asking.is_ready()
    }

    async fn ask(&mut self, request: Request<Sent>) -> Result<Response<Incoming>, Lost> {
        self.answers.expect(request.method() == Method::HEAD);
        let mut answer = pin!(self.asking.try_send_request(request));
        let (connection, over) = (&mut self.connection, &mut self.over);
        poll_fn(|cx| {
            *over = *over || connection.poll_without_shutdown(cx).is_ready();
            match answer.as_mut().poll(cx) {
                Poll::Ready(Ok(answer)) => Poll::Ready(Ok(answer)),
                Poll::Ready(Err(mut lost)) => {
                    let request = lost.take_message();
                    let error = lost.into_error();
                    Poll::Ready(Err(Lost {
                        request,
                        garbled: error.is_parse() || fault(&error).is_some(),
                        error: Some(error),
                    }))
                }
                Poll::Pending if *over => Poll::Ready(Err(Lost {
                    request: None,
                    error: None,
                    garbled: false,
                })),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// The socket after the protocols were switched, and what the origin has said in the new one.
    pub(super) async fn switched(mut self: Box<Self>) -> (TcpStream, Bytes) {
        poll_fn(|cx| {
            self.poll(cx);
            if self.over {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        let parts = self.connection.into_parts();
        parts.io.into_inner().take_apart(parts.read_buf)
    }
}

impl Lost {
    fn failure(&self, target: &Target) -> Failure {
        match &self.error {
            // The body, which the client sends.
            Some(error) if error.is_user() => match fault(error) {
                Some(fault) => Failure::of_request(fault),
                None => Failure::of_client(Kind::BadRequest, chain(error)),
            },
            Some(error) => match fault(error) {
                Some(fault) => Failure::of_answer(fault, target),
                None => Failure::new(
                    Kind::ResponseBroken,
                    Side::Origin,
                    format!("{target} gave no answer: {}", chain(error)),
                ),
            },
            None => Failure::new(
                Kind::ResponseBroken,
                Side::Origin,
                format!("{target} gave no answer: the connection was closed"),
            ),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "connections rest for a time that no test waits for; `look` takes it as an argument"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Ways, scripted};
    use super::*;

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

    async fn home() -> (Arc<Pool>, Target) {
        let (origin, _) = scripted(OK).await;
        let ways = Ways::new([("a.example:80", Ok(origin))]);
        let target = Target::parse("a.example:80", None).unwrap();
        (Pool::new(Arc::new(ways), None, 16_384), target)
    }

    async fn used(pool: &Pool, target: &Target) -> Box<Link> {
        let request = Request::get("/").header("host", "a.example");
        let request = request.body(Sent::nothing()).unwrap();
        let (answer, link) = pool.ask(target, request).await.unwrap();
        assert_eq!(answer.status(), 200);
        link
    }

    #[tokio::test]
    async fn connections_beyond_the_bound_are_not_kept() {
        let (pool, target) = home().await;
        let mut links = Vec::new();
        for _ in 0..=POOL_PER_ORIGIN {
            links.push(used(&pool, &target).await);
        }
        for link in links {
            pool.keep(target.clone(), link);
        }
        assert_eq!(pool.resting().count, POOL_PER_ORIGIN);
        pool.resting().count = POOL_TOTAL;
        let link = pool.take(&target).unwrap();
        pool.resting().count = POOL_TOTAL;
        pool.keep(target, link);
        assert_eq!(pool.resting().count, POOL_TOTAL);
    }

    #[tokio::test]
    async fn a_connection_rests_no_longer_than_it_may() {
        let (pool, target) = home().await;
        let link = used(&pool, &target).await;
        pool.keep(target.clone(), link);
        let soon = now();
        assert!(pool.look(soon));
        assert!(!pool.look(soon + POOL_IDLE + Duration::from_secs(1)));
        assert!(pool.take(&target).is_none());
    }
}
