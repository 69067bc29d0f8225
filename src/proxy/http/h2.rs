//! HTTP/2 to the client, in cleartext and with prior knowledge (RFC 9113 section 3.3), on the port of HTTP/1.1: requests,
//! tunnels (RFC 9113 section 8.5) and WebSockets (RFC 8441). Called by `super` where a connection begins with the preface.
//!
//! Every stream is a session of its own, with a seat of its own, and ends without the others.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use ::h2::ext::Protocol;
use ::h2::server::{self, Builder, SendResponse};
use ::h2::{Reason, RecvStream};
use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Method, Request, Response};
use hyper::body::Body as _;
use tokio::net::TcpStream;

use super::super::respond::{Failure, Kind};
use super::super::session::Session;
use super::super::{Proxy, Settings};
use super::body::{Interim, Sent};
use super::h2_answer::{answer_whole, pass_on, say};
use super::h2_request::{as_http1, key, size};
use super::{Connection, Failed, connect, forward, h2_tunnel, max_forwards};
use crate::net::{ClientAddr, Full};
use crate::telemetry::Inbound;

/// Streams that one connection may have open.
const MOST_STREAMS: u32 = 256;

/// What a stream may send before it is read, in bytes.
const STREAM_WINDOW: u32 = 128 * 1024;

/// What all streams of a connection may send before it is read: one that is not read must not hold up the others.
const CONNECTION_WINDOW: u32 = MOST_STREAMS * STREAM_WINDOW;

/// What is kept for a client that does not read, for each stream, in bytes.
const SEND_BUFFER: usize = 64 * 1024;

/// Streams that a client may begin and reset before they are looked at (CVE-2023-44487), and those that we reset because
/// it broke the rules: one more ends the connection.
const MOST_RESETS: usize = 64;

/// Streams that a client may begin and reset before they are answered, from one look at the connection to the next: each
/// has begun a resolution and a dial by then. Twice all that it may have open, so that no page left in haste comes near.
const MOST_REGRETS: usize = 2 * MOST_STREAMS as usize;

/// How long a client may take to hear that its connection ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// The answer to an extended CONNECT is the same for every key: RFC 8441 section 5 has none.
const HEADERS_OF_HTTP1: [&str; 2] = ["sec-websocket-accept", "sec-websocket-key"];

type Client = server::Connection<TcpStream, Bytes>;

/// Serves one connection, whose first bytes are the preface.
pub(super) async fn serve(
    proxy: &Arc<Proxy>,
    client: ClientAddr,
    stream: TcpStream,
    settings: &Settings,
) {
    let proxied = &settings.proxy;
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MOST_STREAMS)
        // h2 says 431, and not why, of what is longer than this; we say it of what is longer than half.
        .max_header_list_size(u32::try_from(2 * proxied.header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MOST_RESETS)
        .max_local_error_reset_streams(Some(MOST_RESETS))
        .max_send_buffer_size(SEND_BUFFER)
        .enable_connect_protocol();
    let handshake = builder.handshake::<_, Bytes>(stream);
    let handshake = tokio::time::timeout(proxied.sniff_timeout, handshake);
    let Some(Ok(Ok(mut connection))) = proxy.cut.run_until_cancelled(handshake).await else {
        tracing::debug!(%client, "a client began HTTP/2 and did not go on");
        return;
    };
    let mut stopping = false;
    let mut empty = false;
    let regrets = Arc::<AtomicUsize>::default();
    // As long as HTTP/1.1 waits between two requests; a header block that does not go on is no stream yet.
    let mut look = pin!(tokio::time::sleep(proxied.sniff_timeout));
    loop {
        tokio::select! {
            biased;
            () = proxy.cut.cancelled() => return,
            () = proxy.stop.cancelled(), if !stopping => {
                stopping = true;
                connection.graceful_shutdown();
            }
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    empty = false;
                    if regrets.load(Ordering::Relaxed) >= MOST_REGRETS {
                        tracing::debug!(%client, "a client resets its streams without end");
                        proxy.count_flood("resets");
                        return dismiss(connection, Reason::ENHANCE_YOUR_CALM).await;
                    }
                    let regrets = Arc::clone(&regrets);
                    let answering =
                        answer(Arc::clone(proxy), client, request, respond, regrets, proxied.header_bytes);
                    proxy.sessions.spawn(Box::pin(answering));
                }
                Some(Err(error)) => {
                    if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                        proxy.count_flood("frames");
                    }
                    tracing::debug!(%client, %error, "the connection of a client ended badly");
                    return;
                }
                None => return,
            },
            () = &mut look => {
                if empty && !connection.has_streams() {
                    tracing::debug!(%client, "the connection of a client asked nothing for too long");
                    return dismiss(connection, Reason::NO_ERROR).await;
                }
                regrets.store(0, Ordering::Relaxed);
                empty = !connection.has_streams();
                look.set(tokio::time::sleep(proxied.sniff_timeout));
            }
        }
    }
}

/// Tells the client to go.
async fn dismiss(mut connection: Client, reason: Reason) {
    connection.abrupt_shutdown(reason);
    let closing = poll_fn(|cx| connection.poll_closed(cx));
    tokio::time::timeout(FAREWELL, closing).await.ok();
}

/// Whether the client has reset the stream, while it waited to be looked at.
fn is_reset(respond: &mut SendResponse<Bytes>) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    respond.poll_reset(&mut cx).is_ready()
}

/// Serves one stream; `regrets` counts those of its connection that were reset before they were answered.
async fn answer(
    proxy: Arc<Proxy>,
    client: ClientAddr,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    regrets: Arc<AtomicUsize>,
    header_bytes: usize,
) {
    if is_reset(&mut respond) {
        regrets.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let protocol = request.extensions().get::<Protocol>().cloned();
    let is_head = request.method() == Method::HEAD;
    let inbound = if request.method() == Method::CONNECT && protocol.is_none() {
        Inbound::Connect
    } else {
        Inbound::Forward
    };
    let session = Session::begin(Arc::clone(&proxy.metrics), client, inbound);
    let seat = match proxy.admission.enter_if_room(client.ip()) {
        Ok(seat) => seat,
        Err(full) => {
            let failure = refused(&proxy, full);
            session.failed(None, &failure);
            return say(&mut respond, &failure, is_head);
        }
    };
    let connection = Connection {
        proxy,
        client,
        activity: Arc::default(),
        wire: Weak::new(),
        seat: Arc::new(seat),
    };
    if size(&request) > header_bytes {
        let text = "the head of the request is too long";
        let failure = Failure::of_client(Kind::HeadTooLarge, text);
        session.failed(None, &failure);
        return say(&mut respond, &failure, is_head);
    }
    // Boxed, as few gates have users, and every stream would hold the room.
    if let Err(failure) = Box::pin(connection.log_in(request.headers())).await {
        session.failed(None, &failure);
        return say(&mut respond, &failure, is_head);
    }
    let stream = Stream {
        connection,
        session,
        respond,
    };
    let done = match (inbound, protocol) {
        // Boxed, so that a tunnel does not hold the room that a request takes.
        (Inbound::Connect, _) => Box::pin(stream.tunnel(request)).await,
        (_, Some(protocol)) => Box::pin(stream.switch(request, protocol.as_str())).await,
        (_, None) => Box::pin(stream.forward(request)).await,
    };
    if let Err((mut stream, failed)) = done {
        let (target, failure) = *failed;
        stream.session.failed(target.as_ref(), &failure);
        if failure.kind == Kind::Gone {
            regrets.fetch_add(1, Ordering::Relaxed);
        } else {
            say(&mut stream.respond, &failure, is_head);
        }
    }
}

fn refused(proxy: &Proxy, full: Full) -> Failure {
    let (kind, reason, text) = match full {
        Full::Total => (Kind::Sessions, "total", "the gate has no room left"),
        Full::Client => (
            Kind::ClientSessions,
            "per-client",
            "this client has too many sessions open",
        ),
    };
    proxy.count_refusal(reason);
    Failure::of_client(kind, text)
}

/// A stream whose request was not answered yet.
struct Stream {
    connection: Connection,
    session: Session,
    respond: SendResponse<Bytes>,
}

type Done = Result<(), (Stream, Failed)>;

impl Stream {
    async fn tunnel(mut self, request: Request<RecvStream>) -> Done {
        let reached = {
            let authority = request.uri().authority().map(http::uri::Authority::as_str);
            let authority = authority.unwrap_or_default();
            let reaching = pin!(connect::reach(&self.connection, authority));
            unless_reset(&mut self.respond, reaching).await
        };
        let (target, dialed, idle) = match reached {
            Ok(reached) => reached,
            Err(failed) => return Err((self, failed)),
        };
        let Ok(send) = self.respond.send_response(Response::new(()), false) else {
            return Err((self, gone()));
        };
        let tunnel = connect::tunnel(self.session, target, dialed, idle);
        h2_tunnel::run(tunnel, request.into_body(), send, &self.connection.proxy).await;
        Ok(())
    }

    async fn forward(mut self, request: Request<RecvStream>) -> Done {
        self.connection.proxy.metrics.http_requests.inc();
        let request = match as_http1(request) {
            Ok(request) => request,
            Err(failure) => return Err((self, Box::new((None, failure)))),
        };
        let sent = Arc::<AtomicU64>::default();
        let activity = &self.connection.activity;
        let mut request = request.map(|body| Sent::http2(body, &sent, activity));
        match max_forwards::count(&mut request) {
            Ok(None) => {}
            Ok(Some(response)) => {
                let (head, body) = response.into_parts();
                answer_whole(&mut self.respond, Response::from_parts(head, ()), body).await;
                return Ok(());
            }
            Err(failure) => return Err((self, Box::new((None, failure)))),
        }
        let asked = {
            let interim = Interim::http2();
            let asking = pin!(forward::ask(&self.connection, request, Some(&interim)));
            telling(&mut self.respond, &interim, asking).await
        };
        let reply = match asked {
            Ok(reply) => reply,
            Err(failed) => return Err((self, failed)),
        };
        if let Err(failed) = reply.not_switched() {
            return Err((self, failed));
        }
        self.pass_back(reply, sent).await
    }

    async fn switch(mut self, request: Request<RecvStream>, protocol: &str) -> Done {
        self.connection.proxy.metrics.http_requests.inc();
        if !protocol.eq_ignore_ascii_case("websocket") {
            let text = format!("the gate does not know the protocol {protocol}");
            let failure = Failure::of_client(Kind::Upgrade, text);
            return Err((self, Box::new((None, failure))));
        }
        let (head, body) = match as_http1(request) {
            Ok(request) => request.into_parts(),
            Err(failure) => return Err((self, Box::new((None, failure)))),
        };
        let mut request = Request::from_parts(head, Sent::nothing());
        *request.method_mut() = Method::GET;
        let headers = request.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert("sec-websocket-key", key());
        let asked = {
            let asking = pin!(forward::ask(&self.connection, request, None));
            unless_reset(&mut self.respond, asking).await
        };
        let reply = match asked {
            Ok(reply) => reply,
            Err(failed) => return Err((self, failed)),
        };
        if !reply.is_switched() {
            return self.pass_back(reply, Arc::default()).await;
        }
        let mut response = Response::new(());
        *response.headers_mut() = reply.headers().clone();
        for name in HEADERS_OF_HTTP1 {
            response.headers_mut().remove(name);
        }
        let Ok(send) = self.respond.send_response(response, false) else {
            return Err((self, gone()));
        };
        let tunnel = reply.tunnel(self.session).await;
        h2_tunnel::run(tunnel, body, send, &self.connection.proxy).await;
        Ok(())
    }

    async fn pass_back(mut self, reply: forward::Reply, sent: Arc<AtomicU64>) -> Done {
        let idle = reply.idle();
        let answer = reply.answer(&self.connection, self.session, sent);
        let (head, body) = answer.into_parts();
        let ended = body.is_end_stream();
        let head = Response::from_parts(head, ());
        if let Ok(send) = self.respond.send_response(head, ended)
            && !ended
        {
            pass_on(body, send, idle).await;
        }
        Ok(())
    }
}

/// The outcome, or a failure as soon as the client has reset the stream.
async fn unless_reset<T>(
    respond: &mut SendResponse<Bytes>,
    doing: Pin<&mut impl Future<Output = Result<T, Failed>>>,
) -> Result<T, Failed> {
    telling(respond, &Interim::http2(), doing).await
}

/// As [`unless_reset`], and passes interim answers on to the client as they come.
async fn telling<T>(
    respond: &mut SendResponse<Bytes>,
    interim: &Interim,
    mut doing: Pin<&mut impl Future<Output = Result<T, Failed>>>,
) -> Result<T, Failed> {
    poll_fn(|cx| {
        let done = doing.as_mut().poll(cx);
        for answer in interim.take() {
            // Only fails where the client is gone.
            respond.send_informational(answer).ok();
        }
        if done.is_ready() {
            return done;
        }
        respond.poll_reset(cx).map(|_| Err(gone()))
    })
    .await
}

fn gone() -> Failed {
    let failure = Failure::of_client(Kind::Gone, "the client reset the stream");
    Box::new((None, failure))
}
