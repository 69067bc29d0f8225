//! Transparent TLS: the SNI says where to go; nothing is decrypted.

use std::sync::Arc;

use bytes::BytesMut;

use super::super::farewell::farewell;
use super::super::respond::{Failure, Kind};
use super::super::session::{Reached, Session};
use super::super::sniff::tls::{Sniffed, sniff};
use super::super::{Admitted, Proxy};
use crate::net::{Host, Target};
use crate::telemetry::Inbound;

/// Serves one connection, of which some bytes may have been read.
pub(in crate::proxy) async fn serve(proxy: Arc<Proxy>, admitted: Admitted, mut bytes: BytesMut) {
    let Admitted {
        mut stream,
        client,
        seat: _seat,
        state,
    } = admitted;
    let settings = &state.settings;
    // What is over before the tunnel begins is boxed: a tunnel may stay open for hours and need not keep its room.
    let reading = Box::pin(super::sniff(
        &mut stream,
        &mut bytes,
        settings.proxy.sniff_bytes,
        settings.proxy.sniff_timeout,
        |_| true,
        answer,
    ));
    let Some(sniffed) = proxy.cut.run_until_cancelled(reading).await else {
        return;
    };
    if bytes.is_empty() {
        // Opened in advance, and never used.
        return;
    }
    let session = Session::begin(Arc::clone(&proxy.metrics), client, Inbound::Tls);
    let (stream, failure) = match sniffed.and_then(|answer| answer) {
        Ok(host) => {
            let target = Target::new(host, settings.proxy.tls_origin_port);
            let begun = super::begin(&proxy, &state, &session, stream, &target, &bytes);
            match Box::pin(begun).await {
                Ok(None) => return,
                Ok(Some((client, dialed))) => {
                    let reached = Reached::from(&dialed);
                    let first = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    // A tunnel may live for hours and needs none of these bytes any more.
                    drop(bytes);
                    let idle = settings.proxy.idle_timeout;
                    let carrying = proxy.carry.carry(client, dialed.stream, idle, &proxy.cut);
                    let mut carried = carrying.await;
                    carried.sent += first;
                    return session.ended(&target, &reached, &carried);
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
    if !matches!(failure.kind, Kind::Gone | Kind::Version) {
        let words = failure.alert();
        proxy
            .cut
            .run_until_cancelled(Box::pin(farewell(stream, &words)))
            .await;
    }
}

fn answer(bytes: &[u8]) -> Option<Result<Host, Failure>> {
    let (kind, why) = match sniff(bytes) {
        Sniffed::NeedMore => return None,
        Sniffed::Found(host) => return Some(Ok(host)),
        Sniffed::NoName => (Kind::NoName, "the ClientHello names no server"),
        // Who does not speak TLS could not read an alert.
        Sniffed::NotTls => (Kind::Version, "the client does not speak TLS"),
        Sniffed::Malformed(why) => (Kind::BadRequest, why),
    };
    Some(Err(Failure::of_client(kind, why)))
}
