//! What a stream of HTTP/2 says back: an answer of ours, or the body of an origin as the client makes room for it (RFC
//! 9113 section 5.2). Called by `h2` and `h2_tunnel`.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use ::h2::server::SendResponse;
use ::h2::{Reason, SendStream};
use bytes::Bytes;
use http::Response;
use http::header::CONNECTION;
use http_body_util::{BodyExt as _, Collected};
use hyper::body::{Body as _, Frame};

use super::super::respond::Failure;
use super::body::Received;

/// Passes a body on as the client takes it. How it ended is told where the body is dropped.
pub(super) async fn pass_on(mut body: Received, mut send: SendStream<Bytes>, idle: Duration) {
    loop {
        let frame = poll_fn(|cx| {
            if send.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(()));
            }
            Pin::new(&mut body).poll_frame(cx).map(Ok)
        });
        let Ok(Ok(frame)) = tokio::time::timeout(idle, frame).await else {
            return send.send_reset(Reason::CANCEL);
        };
        let taken = match frame {
            None => return end(&mut send),
            Some(Err(_)) => return send.send_reset(Reason::INTERNAL_ERROR),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => give(&mut send, data, idle).await,
                Err(frame) => return trailers(&mut send, frame),
            },
        };
        if taken.is_none() {
            return send.send_reset(Reason::CANCEL);
        }
    }
}

/// Sends bytes as the client makes room for them; `None` where it went away, or made none for `idle`.
pub(super) async fn give(
    send: &mut SendStream<Bytes>,
    mut data: Bytes,
    idle: Duration,
) -> Option<()> {
    while !data.is_empty() {
        send.reserve_capacity(data.len());
        let room = poll_fn(|cx| send.poll_capacity(cx));
        let room = tokio::time::timeout(idle, room).await.ok()??.ok()?;
        let piece = data.split_to(room.min(data.len()));
        if !piece.is_empty() {
            send.send_data(piece, false).ok()?;
        }
    }
    Some(())
}

fn end(send: &mut SendStream<Bytes>) {
    // Only fails where the client is gone.
    send.send_data(Bytes::new(), true).ok();
}

fn trailers(send: &mut SendStream<Bytes>, frame: Frame<Bytes>) {
    match frame.into_trailers() {
        Ok(trailers) => {
            send.send_trailers(trailers).ok();
        }
        Err(_) => end(send),
    }
}

pub(super) fn say(respond: &mut SendResponse<Bytes>, failure: &Failure, is_head: bool) {
    let mut response = failure.response().map(|_| ());
    response.headers_mut().remove(CONNECTION);
    // Only fails where the client is gone.
    if let Ok(mut send) = respond.send_response(response, is_head)
        && !is_head
    {
        send.send_data(failure.body().into(), true).ok();
    }
}

/// Says an answer of our own.
pub(super) async fn answer_whole(
    respond: &mut SendResponse<Bytes>,
    head: Response<()>,
    body: http_body_util::Full<Bytes>,
) {
    let Ok(body) = body.collect().await.map(Collected::to_bytes);
    // Only fails where the client is gone.
    if let Ok(mut send) = respond.send_response(head, body.is_empty())
        && !body.is_empty()
    {
        send.send_data(body, true).ok();
    }
}
