//! CONNECT (RFC 9110 section 9.3.6): the origin is dialed first, then the client is told 200 and the connection, or the
//! stream of HTTP/2, becomes a tunnel.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;

use super::super::respond::{Failure, Kind};
use super::super::session::{Reached, Session};
use super::tunnel::Tunnel;
use super::{Body, Connection, Failed, said};
use crate::dial::Dialed;
use crate::net::Target;
use crate::telemetry::Inbound;

/// Answers CONNECT of HTTP/1.1.
pub(super) async fn answer(
    connection: &Connection,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let session = connection.begin(Inbound::Connect);
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    match reach(connection, authority.unwrap_or_default()).await {
        Ok((target, dialed, idle)) => {
            let tunnel = tunnel(session, target, dialed, idle);
            tunnel.open(connection, hyper::upgrade::on(&mut request));
            Response::new(Either::Left(Full::default()))
        }
        Err(failed) => {
            let (target, failure) = *failed;
            session.failed(target.as_ref(), &failure);
            said(&failure)
        }
    }
}

/// Dials the origin. The duration is how long both sides of the tunnel may be silent.
pub(super) async fn reach(
    connection: &Connection,
    authority: &str,
) -> Result<(Target, Dialed, Duration), Failed> {
    let target = Target::parse(authority, None).map_err(|error| {
        let text = format!("CONNECT needs host:port: {error}");
        Box::new((None, Failure::of_client(Kind::BadRequest, text)))
    })?;
    let state = connection.proxy.live.load_full();
    let here = || connection.wire.upgrade()?.stream.local_addr().ok();
    let dialing = state.dial(connection.client, here, &target);
    match connection
        .unless_gone(dialing)
        .await
        .and_then(|dialed| dialed)
    {
        Ok(dialed) => Ok((target, dialed, state.settings.proxy.idle_timeout)),
        Err(failure) => Err(Box::new((Some(target), failure))),
    }
}

/// The tunnel to the origin that was dialed.
pub(super) fn tunnel(session: Session, target: Target, dialed: Dialed, idle: Duration) -> Tunnel {
    Tunnel {
        session,
        target,
        reached: Reached::from(&dialed),
        origin: dialed.stream,
        said: Bytes::new(),
        idle,
    }
}
