//! Requests in absolute-form (RFC 9112 section 3.2.2), passed on over pooled connections to their origins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{CONNECTION, HOST, UPGRADE};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{Either, Full};
use hyper::body::{Body as _, Incoming};

use super::super::respond::{Failure, Kind};
use super::body::{End, Received, Sent};
use super::headers::{ambiguity, expects_continue, is_coded, pass_on, upgrade, was_here};
use super::pool::Link;
use super::tunnel::Tunnel;
use super::{Body, Connection, said};
use crate::net::{Host, Target};
use crate::telemetry::{Inbound, Side};

/// Answers one request with what its origin says.
pub(super) async fn answer(connection: &Connection, request: Request<Incoming>) -> Response<Body> {
    let session = connection.begin(Inbound::Forward);
    connection.proxy.metrics.http_requests.inc();
    let sent = Arc::new(AtomicU64::new(0));
    let mut request = request;
    let upgrade = upgrade(request.headers()).map(|_| hyper::upgrade::on(&mut request));
    let request = request.map(|body| Sent::http1(body, &sent, &connection.activity));
    let (target, request) = match rewritten(request) {
        Ok(rewritten) => rewritten,
        Err(failure) => {
            session.failed(None, &failure);
            return said(&failure);
        }
    };
    tracing::debug!(client = %connection.client, method = %request.method(), %target, "request");
    let state = connection.proxy.live.load_full();
    let idle = state.settings.proxy.idle_timeout;
    let asked = patient(state.pool.ask(&target, request), &connection.activity, idle);
    let (answer, link) = match answered(connection.unless_gone(asked).await, &target) {
        Ok(answered) => answered,
        Err(failure) => {
            session.failed(Some(&target), &failure);
            return said(&failure);
        }
    };
    let (mut head, body) = answer.into_parts();
    let protocol = head.headers.get(UPGRADE).cloned();
    pass_on(&mut head.headers, head.version);
    head.version = Version::HTTP_11;
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        let end = End {
            session,
            target,
            sent,
            cut: connection.proxy.cut.clone(),
        };
        let pool = Arc::clone(&state.pool);
        let activity = Arc::clone(&connection.activity);
        let body = Received::new(body, link, pool, activity, end);
        return Response::from_parts(head, Either::Right(body));
    }
    let (Some(upgrade), Some(protocol)) = (upgrade, protocol) else {
        let text = format!("{target} switched protocols unasked");
        let failure = Failure::new(Kind::ResponseBroken, Side::Origin, text);
        session.failed(Some(&target), &failure);
        return said(&failure);
    };
    head.headers.insert(UPGRADE, protocol);
    head.headers
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    let reached = link.reached;
    let (origin, said) = link.switched().await;
    let tunnel = Tunnel {
        session,
        target,
        reached,
        origin,
        said,
        idle,
    };
    tunnel.open(connection, upgrade);
    Response::from_parts(head, Either::Left(Full::default()))
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
fn rewritten(request: Request<Sent>) -> Result<(Target, Request<Sent>), Failure> {
    let (mut head, mut body) = request.into_parts();
    if was_here(&head.headers) {
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
    let path = head
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    head.uri = Uri::from(path);
    let protocol = upgrade(&head.headers);
    let expects = head.version != Version::HTTP_10 && expects_continue(&head.headers);
    pass_on(&mut head.headers, head.version);
    if let Some(protocol) = protocol {
        head.headers.insert(UPGRADE, protocol);
        head.headers
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    // RFC 9112 section 3.2.2: what Host said before does not count.
    let host = HeaderValue::try_from(host).map_err(|error| bad(error.to_string()))?;
    head.headers.insert(HOST, host);
    head.version = Version::HTTP_11;
    if !expects || body.is_end_stream() {
        return Ok((target, Request::from_parts(head, body)));
    }
    let wanted = body.hold();
    let mut request = Request::from_parts(head, body);
    hyper::ext::on_informational(&mut request, move |interim| {
        if interim.status() == StatusCode::CONTINUE {
            wanted.say();
        }
    });
    Ok((target, request))
}

/// Waits for the answer as long as something moves, and `None` once nothing did for `idle`.
async fn patient<T>(
    asked: impl Future<Output = T>,
    activity: &AtomicU64,
    idle: Duration,
) -> Option<T> {
    let mut asked = std::pin::pin!(asked);
    loop {
        let before = activity.load(Ordering::Relaxed);
        if let Ok(answer) = tokio::time::timeout(idle, &mut asked).await {
            return Some(answer);
        }
        if activity.load(Ordering::Relaxed) == before {
            // Or the connection is ended before this could be said.
            activity.fetch_add(1, Ordering::Relaxed);
            return None;
        }
    }
}
