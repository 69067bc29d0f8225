//! Requests in absolute-form (RFC 9112 section 3.2.2), and those of HTTP/2, passed on over pooled connections to their
//! origins.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{CONNECTION, HOST, HeaderMap, TE, UPGRADE};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Request, Response, StatusCode, Version, response};
use http_body_util::{Either, Full};
use hyper::body::{Body as _, Incoming};
use tokio::sync::Notify;

use super::super::respond::{Failure, Kind};
use super::super::session::Session;
use super::body::{End, Interim, Received, Sent};
use super::forwarded::tell;
use super::headers::{
    ambiguity, expects_continue, is_coded, pass_on, takes_trailers, upgrade, was_here,
};
use super::max_forwards;
use super::pool::{Link, Pool};
use super::tunnel::Tunnel;
use super::{Body, Connection, Failed, OfServer, said};
use crate::config::Proxy;
use crate::net::{Host, Target};
use crate::telemetry::{Inbound, Side};

/// Answers one request of HTTP/1.1 with what its origin says.
pub(super) async fn answer(
    connection: &Connection,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let session = connection.begin(Inbound::Forward);
    connection.proxy.metrics.http_requests.inc();
    let sent = Arc::new(AtomicU64::new(0));
    // To the screen any wish is one, be it for a protocol that is not passed on.
    let wished = request.headers().contains_key(UPGRADE);
    let upgrade = upgrade(request.headers()).map(|_| hyper::upgrade::on(&mut request));
    let mut request = request.map(|body| Sent::http1(body, &sent, &connection.activity));
    match max_forwards::count(&mut request) {
        Ok(None) => {}
        Ok(Some(response)) => return response.map(Either::Left),
        Err(failure) => {
            session.failed(None, &failure);
            return said(&failure);
        }
    }
    let knows_interim = request.version() != Version::HTTP_10;
    let interim = knows_interim.then(|| Interim::Http1(connection.wire.clone()));
    let reply = ask(connection, request, interim.as_ref())
        .await
        .and_then(|reply| {
            if upgrade.is_none() {
                reply.not_switched()?;
            }
            Ok(reply)
        });
    let reply = match reply {
        Ok(reply) => reply,
        Err(failed) => {
            let (target, failure) = *failed;
            session.failed(target.as_ref(), &failure);
            return said(&failure);
        }
    };
    let Some(upgrade) = upgrade.filter(|_| reply.is_switched()) else {
        let mut response = reply.answer(connection, session, sent).map(Either::Right);
        if wished
            && !connection
                .wire
                .upgrade()
                .is_some_and(|wire| wire.stays_http())
        {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        return response;
    };
    let mut response = Response::new(Either::Left(Full::default()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().clone_from(reply.headers());
    if let Some(protocol) = &reply.protocol {
        response.headers_mut().insert(UPGRADE, protocol.clone());
    }
    let connected = HeaderValue::from_static("upgrade");
    response.headers_mut().insert(CONNECTION, connected);
    reply.tunnel(session).await.open(connection, upgrade);
    response
}

/// What came of asking an origin.
pub(super) struct Reply {
    target: Target,
    head: response::Parts,
    body: Incoming,
    link: Box<Link>,
    pool: Arc<Pool>,
    idle: Duration,
    /// What the origin says it speaks from now on, or could.
    protocol: Option<HeaderValue>,
}

/// Asks the origin that the request names. Interim answers go to `interim`: not to clients of HTTP/1.0, which know
/// none. Of the failure only its session can tell.
pub(super) async fn ask(
    connection: &Connection,
    request: Request<Sent>,
    interim: Option<&Interim>,
) -> Result<Reply, Failed> {
    let state = connection.proxy.live.load_full();
    let settings = &state.settings.proxy;
    let via = settings.via.as_deref();
    let worked_on = Arc::new(Notify::new());
    let (target, request) = rewritten(request, connection, settings, interim, &worked_on)
        .map_err(|failure| Box::new((None, failure)))?;
    tracing::debug!(client = %connection.client, method = %request.method(), %target, "request");
    let idle = settings.idle_timeout;
    let pool = state.pool(connection.client, &target);
    // Pinned where they are: each that takes the other by value would double its size.
    let asked = {
        let asking = pin!(pool.ask(&target, request));
        let patience = settings.response_timeout.min(idle);
        let asking = pin!(patient(asking, &connection.activity, &worked_on, patience));
        connection.unless_gone(asking).await
    };
    let (answer, link) = match answered(asked, &target) {
        Ok(answered) => answered,
        Err(failure) => return Err(Box::new((Some(target), failure))),
    };
    let (mut head, body) = answer.into_parts();
    let protocol = head.headers.remove(UPGRADE);
    pass_on(&mut head.headers, head.version, via);
    head.version = Version::HTTP_11;
    Ok(Reply {
        target,
        head,
        body,
        link,
        pool: Arc::clone(pool),
        idle,
        protocol,
    })
}

impl Reply {
    /// Whether the connection speaks another protocol now.
    pub(super) fn is_switched(&self) -> bool {
        self.head.status == StatusCode::SWITCHING_PROTOCOLS
    }

    /// A failure where the connection speaks another protocol, although nobody asked for one.
    pub(super) fn not_switched(&self) -> Result<(), Failed> {
        if !self.is_switched() {
            return Ok(());
        }
        let text = format!("{} switched protocols unasked", self.target);
        let failure = Failure::new(Kind::ResponseBroken, Side::Origin, text);
        Err(Box::new((Some(self.target.clone()), failure)))
    }

    /// The headers that are for the client.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// How long both sides may be silent.
    pub(super) fn idle(&self) -> Duration {
        self.idle
    }

    /// The answer, with whose body the session ends.
    pub(super) fn answer(
        self,
        connection: &Connection,
        session: Session,
        sent: Arc<AtomicU64>,
    ) -> Response<Received> {
        let end = End {
            session,
            target: self.target,
            sent,
            cut: connection.proxy.cut.clone(),
        };
        let activity = Arc::clone(&connection.activity);
        let body = Received::new(self.body, self.link, self.pool, activity, end);
        Response::from_parts(self.head, body)
    }

    /// The far end of a tunnel, where protocols were switched.
    pub(super) async fn tunnel(self, session: Session) -> Tunnel {
        let reached = self.link.reached;
        let (origin, said) = self.link.switched().await;
        Tunnel {
            session,
            target: self.target,
            reached,
            origin,
            said,
            idle: self.idle,
        }
    }
}

type Answered = (Response<Incoming>, Box<Link>);

/// The answer, where it is one that can be passed on.
fn answered(
    asked: Result<Option<Result<Answered, Failure>>, Failure>,
    target: &Target,
) -> Result<Answered, Failure> {
    let failure = |kind, text| Failure::new(kind, Side::Origin, text);
    let answered = asked?.ok_or_else(|| {
        let text = format!("{target} did not answer the request in time");
        failure(Kind::ResponseTimeout, text)
    })??;
    if is_coded(answered.0.headers()) {
        let text = format!("{target} answered in a transfer coding besides chunked");
        return Err(failure(Kind::ResponseBroken, text));
    }
    Ok(answered)
}

/// The request as the origin shall see it.
fn rewritten(
    request: Request<Sent>,
    connection: &Connection,
    settings: &Proxy,
    interim: Option<&Interim>,
    worked_on: &Arc<Notify>,
) -> Result<(Target, Request<Sent>), Failure> {
    let via = settings.via.as_deref();
    let (mut head, mut body) = request.into_parts();
    if via.is_some_and(|name| was_here(&head.headers, name)) {
        return Err(Failure::of_client(
            Kind::Loop,
            "the request was sent through this proxy before",
        ));
    }
    let bad = |text: String| Failure::of_client(Kind::BadRequest, text);
    if let Some(why) = ambiguity(&head.headers, head.version) {
        return Err(bad(why.to_owned()));
    }
    if is_coded(&head.headers) {
        return Err(Failure::of_client(
            Kind::Coding,
            "the request has a transfer coding besides chunked",
        ));
    }
    let authority = head
        .uri
        .authority()
        .map_or("", http::uri::Authority::as_str);
    let target = Target::parse(authority, Some(80)).map_err(|error| bad(error.to_string()))?;
    let host = match (&target.host, target.port) {
        (Host::Addr(std::net::IpAddr::V6(address)), 80) => format!("[{address}]"),
        (host, 80) => host.to_string(),
        _ => target.to_string(),
    };
    let path = match head.uri.path_and_query() {
        _ if head.extensions.get::<OfServer>().is_some() => PathAndQuery::from_static("*"),
        Some(path) => path.clone(),
        None => PathAndQuery::from_static("/"),
    };
    head.uri = Uri::from(path);
    let protocol = upgrade(&head.headers);
    let trailers = head.version != Version::HTTP_10 && takes_trailers(&head.headers);
    let expects = head.version != Version::HTTP_10 && expects_continue(&head.headers);
    pass_on(&mut head.headers, head.version, via);
    tell(&mut head.headers, connection.client.ip(), settings);
    // Ours to ask of the next hop: they can be passed back.
    let options = match (protocol.is_some(), trailers) {
        (true, true) => "upgrade, te",
        (true, false) => "upgrade",
        (false, true) => "te",
        (false, false) => "",
    };
    if !options.is_empty() {
        let options = HeaderValue::from_static(options);
        head.headers.insert(CONNECTION, options);
    }
    if let Some(protocol) = protocol {
        head.headers.insert(UPGRADE, protocol);
    }
    if trailers {
        let trailers = HeaderValue::from_static("trailers");
        head.headers.insert(TE, trailers);
    }
    // RFC 9112 section 3.2.2: what Host said before does not count.
    let host = HeaderValue::try_from(host).map_err(|error| bad(error.to_string()))?;
    head.headers.insert(HOST, host);
    head.version = Version::HTTP_11;
    let wanted = (expects && !body.is_end_stream()).then(|| body.hold(interim.cloned()));
    let mut request = Request::from_parts(head, body);
    let interim = interim.cloned().zip(Some(settings.via.clone()));
    let (activity, worked_on) = (Arc::clone(&connection.activity), Arc::clone(worked_on));
    hyper::ext::on_informational(&mut request, move |answer| {
        // An origin that says "not yet" (102 says nothing else) is not silent, whoever hears of it. That this ends is
        // for the screen, which bounds how many there may be.
        activity.fetch_add(1, Ordering::Relaxed);
        worked_on.notify_one();
        if answer.status() == StatusCode::CONTINUE {
            // Whoever waits with a body is told when it is taken; to others it says nothing.
            if let Some(wanted) = &wanted {
                wanted.say();
            }
        } else if let Some((interim, via)) = &interim {
            let mut passed = Response::new(());
            *passed.status_mut() = answer.status();
            passed.headers_mut().clone_from(answer.headers());
            pass_on(passed.headers_mut(), answer.version(), via.as_deref());
            interim.push(passed);
        }
    });
    Ok((target, request))
}

/// Waits for the answer as long as something moves, and `None` once nothing did for so long; from each time on that the
/// origin says it is worked on.
async fn patient<T>(
    mut asked: Pin<&mut impl Future<Output = T>>,
    activity: &AtomicU64,
    worked_on: &Notify,
    patience: Duration,
) -> Option<T> {
    loop {
        let before = activity.load(Ordering::Relaxed);
        tokio::select! {
            biased;
            answer = asked.as_mut() => return Some(answer),
            () = worked_on.notified() => {}
            () = tokio::time::sleep(patience) => {
                if activity.load(Ordering::Relaxed) == before {
                    // Or the connection is ended before this could be said.
                    activity.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
            }
        }
    }
}
