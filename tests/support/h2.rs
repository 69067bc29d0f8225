//! A client of HTTP/2 without TLS, as one that knows the proxy speaks to it.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::{PATIENCE, Response};

/// A connection of HTTP/2, which lives as long as this and its streams are used.
#[derive(Debug)]
pub(crate) struct H2Client {
    runtime: Runtime,
    send: SendRequest<Bytes>,
    pings: Mutex<PingPong>,
}

/// A stream of it.
#[derive(Debug)]
pub(crate) struct H2Stream {
    answer: Option<ResponseFuture>,
    send: SendStream<Bytes>,
    body: Option<RecvStream>,
}

impl H2Client {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (send, pings) = runtime.block_on(async {
            let stream = TcpStream::connect(to).await.expect("connected");
            let (send, mut connection) = h2::client::handshake(stream).await.expect("HTTP/2");
            let pings = connection.ping_pong().expect("not taken yet");
            tokio::spawn(async move { connection.await.ok() });
            (send, Mutex::new(pings))
        });
        Self {
            runtime,
            send,
            pings,
        }
    }

    /// What must happen, in time.
    fn wait<T>(&self, doing: impl Future<Output = T>) -> T {
        self.runtime.block_on(async {
            let done = tokio::time::timeout(PATIENCE, doing).await;
            done.expect("this should have happened by now")
        })
    }

    /// Begins a request.
    pub(crate) fn ask(&self, request: Request<()>, ended: bool) -> H2Stream {
        let mut send = self.wait(self.send.clone().ready()).expect("a stream");
        let (answer, send) = send.send_request(request, ended).expect("sent");
        H2Stream {
            answer: Some(answer),
            send,
            body: None,
        }
    }

    /// A request without a body, and its whole answer.
    pub(crate) fn get(&self, uri: &str) -> Response {
        let request = Request::get(uri).body(()).expect("a request");
        let mut stream = self.ask(request, true);
        let mut response = self.answer(&mut stream);
        response.body = self.rest(&mut stream).expect("the whole body");
        response
    }

    /// Asks whether the other side is there, and hears that it is.
    pub(crate) fn ping(&self) {
        let mut pings = self.pings.lock().expect("nobody panicked");
        self.wait(pings.ping(Ping::opaque())).expect("a pong");
    }

    /// Waits until the other side takes no more requests.
    pub(crate) fn wait_for_goaway(&self) {
        self.wait(async {
            while self.send.clone().ready().await.is_ok() {
                tokio::task::yield_now().await;
            }
        });
    }

    /// The next interim answer.
    pub(crate) fn interim(&self, stream: &mut H2Stream) -> http::Response<()> {
        let answer = stream.answer.as_mut().expect("not answered yet");
        let interim = std::future::poll_fn(|cx| answer.poll_informational(cx));
        self.wait(interim)
            .expect("an interim answer")
            .expect("no error")
    }

    /// Asks for a tunnel.
    pub(crate) fn tunnel(&self, authority: &str) -> (H2Stream, Response) {
        let request = Request::builder().method(Method::CONNECT).uri(authority);
        let mut stream = self.ask(request.body(()).expect("a request"), false);
        let response = self.answer(&mut stream);
        (stream, response)
    }

    /// Extended CONNECT (RFC 8441).
    pub(crate) fn switch(&self, uri: &str, protocol: &'static str) -> H2Stream {
        let request = Request::builder().method(Method::CONNECT).uri(uri);
        let mut request = request
            .header("sec-websocket-version", "13")
            .body(())
            .expect("a request");
        let protocol = Protocol::from_static(protocol);
        request.extensions_mut().insert(protocol);
        self.ask(request, false)
    }

    /// The head of the answer, written as HTTP/1 has it.
    pub(crate) fn answer(&self, stream: &mut H2Stream) -> Response {
        self.answered(stream).expect("an answer")
    }

    /// As [`Self::answer`], where the stream may be reset instead.
    pub(crate) fn answered(&self, stream: &mut H2Stream) -> Result<Response, h2::Error> {
        let answer = stream.answer.take().expect("not answered yet");
        let (head, body) = self.wait(answer)?.into_parts();
        stream.body = Some(body);
        let mut text = format!("HTTP/2.0 {}\r\n", head.status);
        for (name, value) in &head.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        Ok(Response {
            status: head.status.as_u16(),
            head: text,
            body: Vec::new(),
        })
    }

    /// Sends bytes as the gate takes them.
    pub(crate) fn say(&self, stream: &mut H2Stream, bytes: &[u8], ended: bool) -> Option<()> {
        let mut bytes = Bytes::copy_from_slice(bytes);
        while !bytes.is_empty() {
            stream.send.reserve_capacity(bytes.len());
            let room = std::future::poll_fn(|cx| stream.send.poll_capacity(cx));
            let room = self.wait(room)?.ok()?;
            let piece = bytes.split_to(room.min(bytes.len()));
            stream.send.send_data(piece, false).ok()?;
        }
        if ended {
            stream.send.send_data(Bytes::new(), true).ok()?;
        }
        Some(())
    }

    /// Sends the bytes, where the gate makes room for all of them in this time.
    pub(crate) fn offer(&self, stream: &mut H2Stream, bytes: &[u8], patience: Duration) -> bool {
        stream.send.reserve_capacity(bytes.len());
        let roomy = self.runtime.block_on(async {
            let room = async {
                while stream.send.capacity() < bytes.len() {
                    std::future::poll_fn(|cx| stream.send.poll_capacity(cx))
                        .await?
                        .ok()?;
                }
                Some(())
            };
            tokio::time::timeout(patience, room).await
        });
        if roomy.ok().flatten().is_none() {
            return false;
        }
        let piece = Bytes::copy_from_slice(bytes);
        stream.send.send_data(piece, false).is_ok()
    }

    /// Sends trailers, and with them the end.
    pub(crate) fn trail(&self, stream: &mut H2Stream, trailers: HeaderMap) {
        stream.send.send_trailers(trailers).expect("sent");
    }

    /// Breaks the stream off.
    pub(crate) fn reset(&self, stream: &mut H2Stream) {
        stream.send.send_reset(Reason::CANCEL);
    }

    /// The next bytes; `None` at the end.
    pub(crate) fn read(&self, stream: &mut H2Stream) -> Option<Result<Bytes, h2::Error>> {
        let body = stream.body.as_mut().expect("answered");
        let data = self.wait(body.data())?;
        Some(data.inspect(|data| {
            body.flow_control().release_capacity(data.len()).ok();
        }))
    }

    /// All bytes up to the end.
    pub(crate) fn rest(&self, stream: &mut H2Stream) -> Result<Vec<u8>, h2::Error> {
        let mut all = Vec::new();
        while let Some(data) = self.read(stream) {
            all.extend_from_slice(&data?);
        }
        Ok(all)
    }

    /// What comes behind the body.
    pub(crate) fn trailers(&self, stream: &mut H2Stream) -> Option<HeaderMap> {
        let body = stream.body.as_mut().expect("answered");
        self.wait(body.trailers()).expect("whole")
    }
}
