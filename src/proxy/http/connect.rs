//! CONNECT (RFC 9110 section 9.3.6): the origin is dialed first, then the client is told 200 and the connection becomes
//! a tunnel.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;

use super::super::respond::{Failure, Kind};
use super::super::session::Reached;
use super::tunnel::Tunnel;
use super::{Body, Connection, said};
use crate::net::Target;
use crate::telemetry::Inbound;

pub(super) async fn answer(
    connection: &Connection,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let session = connection.begin(Inbound::Connect);
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let target = match Target::parse(authority.unwrap_or_default(), None) {
        Ok(target) => target,
        Err(error) => {
            let text = format!("CONNECT needs host:port: {error}");
            let failure = Failure::of_client(Kind::BadRequest, text);
            session.failed(None, &failure);
            return said(&failure);
        }
    };
    let state = connection.proxy.live.load_full();
    let dialing = connection.unless_gone(state.dial.dial(&target)).await;
    let dialed = match dialing.and_then(|dialed| dialed) {
        Ok(dialed) => dialed,
        Err(failure) => {
            session.failed(Some(&target), &failure);
            return said(&failure);
        }
    };
    let tunnel = Tunnel {
        session,
        target,
        reached: Reached::from(&dialed),
        origin: dialed.stream,
        said: Bytes::new(),
        idle: state.settings.proxy.idle_timeout,
    };
    tunnel.open(connection, hyper::upgrade::on(&mut request));
    Response::new(Either::Left(Full::default()))
}
