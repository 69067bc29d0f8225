//! The forward proxy, spoken to in HTTP/2.

use ::h2::client::{ResponseFuture, SendRequest};
use ::h2::ext::Protocol;
use ::h2::{Reason, RecvStream, SendStream};
use bytes::Bytes;
use http::{Method, Request, Response};

use super::*;
use crate::dial::DialErrorKind;

/// A client's connection.
async fn connected(gate: &Gate) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(gate.forward().await).await.unwrap();
    let (client, connection) = ::h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { connection.await.ok() });
    client.ready().await.unwrap()
}

fn connect(authority: &str) -> Request<()> {
    let request = Request::builder().method(Method::CONNECT).uri(authority);
    request.body(()).unwrap()
}

async fn open(
    client: &mut SendRequest<Bytes>,
    request: Request<()>,
    ended: bool,
) -> (ResponseFuture, SendStream<Bytes>) {
    std::future::poll_fn(|cx| client.poll_ready(cx))
        .await
        .unwrap();
    client.send_request(request, ended).unwrap()
}

async fn answered(answer: ResponseFuture) -> Response<RecvStream> {
    within(answer).await.unwrap()
}

/// What comes until the other side is done, read as fast as it comes.
async fn all(body: &mut RecvStream) -> Result<Vec<u8>, ::h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = within(body.data()).await {
        let data = data?;
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

async fn text(answer: Response<RecvStream>) -> String {
    String::from_utf8(all(&mut answer.into_body()).await.unwrap()).unwrap()
}

#[tokio::test]
async fn many_tunnels_share_a_connection_and_each_ends_by_itself() {
    let gate = Gate::new(settings(), [("a.example:443", Ok(echo().await))]);
    let mut client = connected(&gate).await;
    let mut open_ones = Vec::new();
    for _ in 0..20 {
        let (answer, send) = open(&mut client, connect("a.example:443"), false).await;
        let answer = answered(answer).await;
        assert_eq!(answer.status(), 200);
        open_ones.push((answer.into_body(), send));
    }
    for (number, (mut body, mut send)) in open_ones.into_iter().enumerate() {
        let words = format!("tunnel {number}");
        send.send_data(words.clone().into(), true).unwrap();
        assert_eq!(all(&mut body).await.unwrap(), words.as_bytes());
    }
    drop(client);
    gate.counted("sekisho_sessions_total{inbound=\"connect\"} 20")
        .await;
    gate.counted("sekisho_session_bytes_total{direction=\"sent\",family=\"ipv4\"} 170")
        .await;
    assert!(!gate.metrics.encode().contains("session_failures_total{"));
}

#[tokio::test]
async fn a_reset_is_passed_on_both_ways_and_ends_only_its_tunnel() {
    let (listener, origin) = listen().await;
    let gate = Gate::new(settings(), [("a.example:443", Ok(origin))]);
    let mut client = connected(&gate).await;
    let (first, _first_send) = open(&mut client, connect("a.example:443"), false).await;
    let (far, _) = listener.accept().await.unwrap();
    let mut first = answered(first).await.into_body();
    let (second, mut second_send) = open(&mut client, connect("a.example:443"), false).await;
    let (mut other, _) = listener.accept().await.unwrap();
    let mut second = answered(second).await.into_body();
    far.set_zero_linger().unwrap();
    drop(far);
    let error = all(&mut first).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CONNECT_ERROR));
    other.write_all(b"alive").await.unwrap();
    let data = within(second.data()).await.unwrap().unwrap();
    assert_eq!(data, "alive");
    second_send.send_reset(Reason::CANCEL);
    let error = within(other.read(&mut [0; 8])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    gate.counted("sekisho_session_failures_total{inbound=\"connect\",side=\"origin\"} 1")
        .await;
    gate.counted("sekisho_session_failures_total{inbound=\"connect\",side=\"client\"} 1")
        .await;
}

#[tokio::test]
async fn a_request_reaches_its_origin_as_http_1() {
    let (origin, mut heard) = scripted(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nKeep-Alive: 5\r\nX: y\r\n\r\n\
         3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n",
    )
    .await;
    let gate = Gate::new(settings(), [("a.example:8080", Ok(origin))]);
    let mut client = connected(&gate).await;
    for _ in 0..2 {
        let request = Request::get("http://a.example:8080/x?y")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("te", "trailers");
        let (answer, _) = open(&mut client, request.body(()).unwrap(), true).await;
        let answer = answered(answer).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x"], "y");
        for gone in ["keep-alive", "transfer-encoding", "connection"] {
            assert!(!answer.headers().contains_key(gone), "{gone}");
        }
        let mut body = answer.into_body();
        assert_eq!(all(&mut body).await.unwrap(), b"abc");
        let trailers = within(body.trailers()).await.unwrap().unwrap();
        assert_eq!(trailers["x-sum"], "7");
        let (number, request) = heard.recv().await.unwrap();
        assert_eq!(number, 0, "the connection to the origin is kept");
        assert!(request.starts_with("GET /x?y HTTP/1.1\r\n"), "{request}");
        let request = request.to_ascii_lowercase();
        for line in ["host: a.example:8080", "cookie: a=1; b=2"] {
            assert!(request.contains(&format!("\r\n{line}\r\n")), "{request}");
        }
        assert!(!request.contains("transfer-encoding"), "{request}");
    }
}

#[tokio::test]
async fn a_body_streams_up_and_an_early_answer_comes_down() {
    let (listener, origin) = listen().await;
    let gate = Gate::new(settings(), [("a.example:80", Ok(origin))]);
    let mut client = connected(&gate).await;
    let request = Request::post("http://a.example/")
        .header("expect", "100-continue")
        .body(())
        .unwrap();
    let (answer, mut send) = open(&mut client, request, false).await;
    let (mut far, _) = listener.accept().await.unwrap();
    let request = head(&mut far).await.unwrap().to_ascii_lowercase();
    assert!(request.contains("transfer-encoding: chunked"), "{request}");
    send.send_data("one".into(), false).unwrap();
    let mut room = [0; 8];
    within(far.read_exact(&mut room)).await.unwrap();
    assert_eq!(&room, b"3\r\none\r\n");
    far.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        .await
        .unwrap();
    let answer = answered(answer).await;
    assert_eq!(answer.status(), 413);
    assert_eq!(text(answer).await, "no");
}

#[tokio::test]
async fn what_fails_is_told_with_its_status_and_why() {
    let ways = [
        ("lan.example:1", Err(Kind::Dial(DialErrorKind::Prohibited))),
        (
            "slow.example:80",
            Err(Kind::Dial(DialErrorKind::ConnectTimeout)),
        ),
    ];
    let gate = Gate::new(settings(), ways);
    let mut client = connected(&gate).await;
    let get = |uri: &str| Request::get(uri);
    for (request, status, error) in [
        (connect("lan.example:1"), 403, "destination_ip_prohibited"),
        (connect("none.example:1"), 502, "dns_error"),
        (
            get("http://slow.example/").body(()).unwrap(),
            504,
            "connection_timeout",
        ),
        (
            get("https://a.example/").body(()).unwrap(),
            400,
            "http_request_error",
        ),
        (
            get("http://a.example/")
                .header("host", "b.example")
                .body(())
                .unwrap(),
            400,
            "http_request_error",
        ),
    ] {
        let (answer, _) = open(&mut client, request, true).await;
        let answer = answered(answer).await;
        assert_eq!(answer.status(), status, "{error}");
        let said = answer.headers()["proxy-status"]
            .to_str()
            .unwrap()
            .to_owned();
        assert_eq!(said, format!("sekisho; error={error}"));
        assert!(!answer.headers().contains_key("connection"));
        assert!(text(answer).await.contains("sekisho: "));
    }
}

#[tokio::test]
async fn each_stream_is_a_session_in_the_limits() {
    let mut settings = settings();
    settings.proxy.max_sessions_per_client = 2;
    let gate = Gate::new(settings, [("a.example:443", Ok(echo().await))]);
    let mut client = connected(&gate).await;
    let (first, mut send) = open(&mut client, connect("a.example:443"), false).await;
    let mut first = answered(first).await.into_body();
    let (second, _) = open(&mut client, connect("a.example:443"), false).await;
    let second = answered(second).await;
    assert_eq!(second.status(), 429);
    assert_eq!(
        second.headers()["proxy-status"],
        "sekisho; error=connection_limit_reached"
    );
    send.send_data(Bytes::new(), true).unwrap();
    assert!(all(&mut first).await.unwrap().is_empty());
    gate.counted("sekisho_sessions_refused_total{reason=\"per-client\"} 1")
        .await;
}

#[tokio::test]
async fn a_websocket_comes_in_by_extended_connect_and_leaves_as_an_upgrade() {
    let (listener, origin) = listen().await;
    let gate = Gate::new(settings(), [("a.example:80", Ok(origin))]);
    let mut client = connected(&gate).await;
    // The answer comes after the settings of the gate.
    let nowhere = Request::get("http://none.example/").body(()).unwrap();
    let (answer, _) = open(&mut client, nowhere, true).await;
    assert_eq!(answered(answer).await.status(), 502);
    assert!(client.is_extended_connect_protocol_enabled());
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri("http://a.example/chat")
        .header("sec-websocket-version", "13")
        .body(())
        .unwrap();
    request
        .extensions_mut()
        .insert(Protocol::from_static("websocket"));
    let (answer, mut send) = open(&mut client, request, false).await;
    let (mut far, _) = listener.accept().await.unwrap();
    let request = head(&mut far).await.unwrap();
    assert!(request.starts_with("GET /chat HTTP/1.1\r\n"), "{request}");
    let request = request.to_ascii_lowercase();
    for part in [
        "\r\nupgrade: websocket\r\n",
        "\r\nconnection: upgrade\r\n",
        "\r\nsec-websocket-key: ",
        "\r\nsec-websocket-version: 13\r\n",
    ] {
        assert!(request.contains(part), "{request}");
    }
    far.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\nhello",
    )
    .await
    .unwrap();
    let answer = answered(answer).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
    assert!(!answer.headers().contains_key("sec-websocket-accept"));
    let mut body = answer.into_body();
    assert_eq!(within(body.data()).await.unwrap().unwrap(), "hello");
    send.send_data("bye".into(), true).unwrap();
    assert_eq!(rest(&mut far).await, b"bye");
    drop(far);
    assert!(all(&mut body).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_origin_back() {
    let (listener, origin) = listen().await;
    let gate = Gate::new(settings(), [("a.example:443", Ok(origin))]);
    let mut client = connected(&gate).await;
    let (answer, _send) = open(&mut client, connect("a.example:443"), false).await;
    let (far, _) = listener.accept().await.unwrap();
    let _body = answered(answer).await;
    let piece = [0; 64 * 1024];
    let mut taken = 0;
    // The kernel's buffers are a few MiB at most; a proxy that buffers takes all there is.
    const MOST: usize = 64 * 1024 * 1024;
    while taken < MOST {
        let patience = Duration::from_millis(300);
        if tokio::time::timeout(patience, far.writable())
            .await
            .is_err()
        {
            break;
        }
        taken += far.try_write(&piece).unwrap_or(0);
    }
    assert!(taken < MOST, "{taken}");
}

#[tokio::test]
async fn a_stream_says_who_it_is_as_any_request_does() {
    let (web, _heard) = scripted("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let mut settings = settings();
    settings.users = Some(super::super::auth::test_users(&[("ann", "secret")]));
    let gate = Gate::new(settings, [("web.example:80", Ok(web))]);
    let mut client = connected(&gate).await;
    let get = || Request::builder().uri("http://web.example/");
    let ann = get().header("proxy-authorization", "Basic YW5uOnNlY3JldA==");
    let wrong = get().header("proxy-authorization", "Basic YW5uOndyb25n");
    for (request, status) in [
        (get().body(()).unwrap(), 407),
        (connect("web.example:80"), 407),
        (wrong.body(()).unwrap(), 407),
        (ann.body(()).unwrap(), 200),
    ] {
        let ended = request.method() != Method::CONNECT;
        let (answer, _send) = open(&mut client, request, ended).await;
        let answer = answered(answer).await;
        assert_eq!(answer.status(), status);
        let challenged = answer.headers().contains_key("proxy-authenticate");
        assert_eq!(challenged, status == 407);
    }
    gate.counted("sekisho_logins_total{outcome=\"missing\"} 2")
        .await;
}
