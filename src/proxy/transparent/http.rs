//! Transparent HTTP: the Host of a request says where to go; every byte is passed on as it came.
//!
//! The hosts that are ours are handed to the [`Site`], which shares the listener.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::TcpStream;

use super::super::farewell::farewell;
use super::super::respond::{Failure, Kind};
use super::super::session::{Reached, Session};
use super::super::sniff::http::{Sniffed, sniff};
use super::super::{Admitted, Proxy, Site, State};
use super::follow::Follower;
use crate::net::{ClientAddr, Prefixed, Target};
use crate::relay::{Turned, Watched};
use crate::telemetry::Inbound;

/// Serves one connection, of which some bytes may have been read: its first request says where it goes, and each later one that names another host begins a
/// session of its own.
pub(in crate::proxy) async fn serve(
    proxy: Arc<Proxy>,
    admitted: Admitted,
    mut bytes: BytesMut,
    site: Option<Arc<dyn Site>>,
) {
    let Admitted {
        mut stream,
        client,
        seat: _seat,
        mut state,
    } = admitted;
    loop {
        // A session may stay open for hours: what is over before it is boxed.
        let turned = session(&proxy, &state, client, stream, bytes, site.as_ref()).await;
        let Some(Turned { client, said }) = turned else {
            return;
        };
        stream = client;
        bytes = BytesMut::from(&*said);
        state = proxy.live.load_full();
    }
}

/// One session, to the end or to a request that is for another origin.
async fn session(
    proxy: &Arc<Proxy>,
    state: &Arc<State>,
    client: ClientAddr,
    mut stream: TcpStream,
    mut bytes: BytesMut,
    site: Option<&Arc<dyn Site>>,
) -> Option<Turned> {
    let settings = &state.settings.proxy;
    let reading = Box::pin(super::sniff(
        &mut stream,
        &mut bytes,
        settings.header_bytes,
        settings.sniff_timeout,
        |new| new.contains(&b'\n'),
        |bytes| answer(bytes, settings.plain_origin_port),
    ));
    let sniffed = proxy.cut.run_until_cancelled(reading).await?;
    if bytes.is_empty() {
        // Opened in advance, and never used.
        return None;
    }
    let sniffed = sniffed.and_then(|answer| answer);
    if let (Some(site), Ok(target)) = (site, &sniffed)
        && target.as_ref().is_none_or(|target| site.owns(&target.host))
    {
        let served = site.serve(Prefixed::new(bytes, stream), client);
        proxy.cut.run_until_cancelled(served).await;
        return None;
    }
    let session = Session::begin(Arc::clone(&proxy.metrics), client, Inbound::Http);
    let sniffed = sniffed.and_then(|target| {
        target.ok_or_else(|| Failure::of_client(Kind::NoName, "the request names no host"))
    });
    let (stream, failure) = match sniffed {
        Ok(target) => {
            let port = settings.plain_origin_port;
            let follower = Follower::new(target.clone(), port, settings.header_bytes);
            let mut watched = Watched::new(follower);
            let said = watched.pass(&bytes);
            let begun = super::begin(proxy, state, &session, stream, &target, &said);
            match Box::pin(begun).await {
                Ok(None) => return None,
                Ok(Some((client, dialed))) => {
                    let reached = Reached::from(&dialed);
                    let first = u64::try_from(said.len()).unwrap_or(u64::MAX);
                    // The session may last for hours and needs none of these bytes any more.
                    drop(said);
                    drop(bytes);
                    let (idle, cut) = (settings.idle_timeout, &proxy.cut);
                    let carry = &proxy.carry;
                    let following = carry.follow(client, dialed.stream, idle, cut, watched);
                    let (mut carried, turned) = following.await;
                    carried.sent += first;
                    session.ended(&target, &reached, &carried);
                    return turned;
                }
                Err((stream, failure)) => {
                    session.failed(Some(&target), &failure);
                    (stream, failure)
                }
            }
        }
        Err(failure) => {
            session.failed(None, &failure);
            (stream, failure)
        }
    };
    drop(session);
    if failure.kind != Kind::Gone {
        let words = failure.raw();
        proxy
            .cut
            .run_until_cancelled(Box::pin(farewell(stream, &words)))
            .await;
    }
    None
}

fn answer(bytes: &[u8], default_port: u16) -> Option<Result<Option<Target>, Failure>> {
    let (kind, why) = match sniff(bytes, default_port) {
        Sniffed::NeedMore => return None,
        Sniffed::Found(target) => return Some(Ok(target)),
        Sniffed::Malformed(why) => (Kind::BadRequest, why.to_owned()),
        Sniffed::Host(error) => (Kind::BadRequest, error.to_string()),
        Sniffed::TooManyHeaders => (
            Kind::HeadTooLarge,
            "the request has more than 100 headers".to_owned(),
        ),
        Sniffed::Version => (
            Kind::Version,
            "this is another version of HTTP, and not over TLS".to_owned(),
        ),
    };
    Some(Err(Failure::of_client(kind, why)))
}
