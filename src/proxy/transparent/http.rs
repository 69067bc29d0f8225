//! Transparent HTTP: the Host of the first request says where to go; every byte is passed on as it came.
//!
//! The hosts that are ours are handed to the [`Site`], which shares the listener.

use std::sync::Arc;

use bytes::BytesMut;

use super::super::farewell::farewell;
use super::super::respond::{Failure, Kind};
use super::super::session::Session;
use super::super::sniff::http::{Sniffed, sniff};
use super::super::{Admitted, Proxy, Site};
use crate::net::{Prefixed, Target};
use crate::telemetry::Inbound;

/// Serves one connection.
pub(in crate::proxy) async fn serve(
    proxy: Arc<Proxy>,
    admitted: Admitted,
    site: Option<Arc<dyn Site>>,
) {
    let Admitted {
        mut stream,
        client,
        seat: _seat,
        state,
    } = admitted;
    let settings = &state.settings;
    let mut bytes = BytesMut::new();
    // What is over before the tunnel begins is boxed: a tunnel may stay open for hours and need not keep its room.
    let reading = Box::pin(super::sniff(
        &mut stream,
        &mut bytes,
        settings.proxy.header_bytes,
        settings.proxy.sniff_timeout,
        |new| new.contains(&b'\n'),
        |bytes| answer(bytes, settings.proxy.plain_origin_port),
    ));
    let Some(sniffed) = proxy.cut.run_until_cancelled(reading).await else {
        return;
    };
    if bytes.is_empty() {
        // Opened in advance, and never used.
        return;
    }
    let sniffed = sniffed.and_then(|answer| answer);
    if let (Some(site), Ok(target)) = (site, &sniffed)
        && target.as_ref().is_none_or(|target| site.owns(&target.host))
    {
        let served = site.serve(Prefixed::new(bytes, stream), client);
        proxy.cut.run_until_cancelled(served).await;
        return;
    }
    let session = Session::begin(Arc::clone(&proxy.metrics), client, Inbound::Http);
    let sniffed = sniffed.and_then(|target| {
        target.ok_or_else(|| Failure::of_client(Kind::NoName, "the request names no host"))
    });
    let (stream, failure) = match sniffed {
        Ok(target) => match super::carry(&proxy, &state, &session, stream, &target, bytes).await {
            Ok(()) => return,
            Err((stream, failure)) => {
                session.failed(Some(&target), &failure);
                (stream, failure)
            }
        },
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
