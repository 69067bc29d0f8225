//! The forward proxy.

use super::*;
use crate::dial::DialErrorKind;

async fn connected(gate: &Gate) -> TcpStream {
    TcpStream::connect(gate.forward().await).await.unwrap()
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=5\r\nX: y\r\n\r\n";

#[tokio::test]
async fn connect_becomes_a_tunnel_and_early_bytes_are_not_lost() {
    let gate = Gate::new(settings(), [("a.example:443", Ok(echo().await))]);
    let mut stream = connected(&gate).await;
    stream
        .write_all(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\nearly ")
        .await
        .unwrap();
    let head = head(&mut stream).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    stream.write_all(b"late").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, b"early late");
    gate.counted("sekisho_session_bytes_total{direction=\"sent\",family=\"ipv4\"} 10")
        .await;
    gate.counted("sekisho_sessions_total{inbound=\"connect\"} 1")
        .await;
}

#[tokio::test]
async fn connect_failures_have_the_promised_status() {
    let ways = [
        (
            "lan.example:443",
            Err(Kind::Dial(DialErrorKind::Prohibited)),
        ),
        (
            "slow.example:443",
            Err(Kind::Dial(DialErrorKind::ConnectTimeout)),
        ),
    ];
    let gate = Gate::new(settings(), ways);
    let address = gate.forward().await;
    for (authority, status, error) in [
        ("lan.example:443", "403", "destination_ip_prohibited"),
        ("none.example:443", "502", "dns_error"),
        ("slow.example:443", "504", "connection_timeout"),
        ("a.example", "400", "http_request_error"),
        ("127.1:443", "400", "http_request_error"),
        ("a.example:0", "400", "http_request_error"),
    ] {
        let words = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        let answer = exchange(address, words).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        let line = format!("proxy-status: sekisho; error={error}\r\n");
        assert!(answer.to_ascii_lowercase().contains(&line), "{answer}");
    }
}

#[tokio::test]
async fn a_request_is_passed_on_without_what_was_meant_for_us_and_the_connection_is_kept() {
    let (origin, mut heard) = scripted(OK).await;
    let gate = Gate::new(settings(), [("a.example:80", Ok(origin))]);
    let mut stream = connected(&gate).await;
    for number in 0..2 {
        stream
            .write_all(
                b"GET http://A.example/x?y HTTP/1.1\r\nHost: other.example\r\nProxy-Connection: keep-alive\r\n\
                  Connection: X-Hop\r\nX-Hop: 1\r\nX-Kept: 1\r\nUpgrade-Insecure-Requests: 1\r\n\r\n",
            )
            .await
            .unwrap();
        let answer = head(&mut stream).await.unwrap().to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 200 ok\r\n"), "{answer}");
        assert!(answer.contains("\r\nvia: 1.1 gate\r\n"), "{answer}");
        assert!(
            answer.contains("\r\nx: y\r\n") && !answer.contains("keep-alive"),
            "{answer}"
        );
        let (connection, request) = heard.recv().await.unwrap();
        assert_eq!(connection, 0, "request {number} on a connection of its own");
        assert!(request.contains("\r\nX-Kept: 1\r\n"), "{request}");
        let request = request.to_ascii_lowercase();
        assert!(request.starts_with("get /x?y http/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nhost: a.example\r\n"), "{request}");
        assert!(request.contains("\r\nvia: 1.1 gate\r\n"), "{request}");
        for gone in ["other.example", "proxy-connection", "x-hop"] {
            assert!(!request.contains(gone), "{request}");
        }
    }
    drop(stream);
    gate.counted("sekisho_http_requests_total 2").await;
    gate.counted("sekisho_sessions_total{inbound=\"forward\"} 2")
        .await;
}

#[tokio::test]
async fn what_a_proxy_cannot_do_is_explained() {
    let gate = Gate::new(settings(), []);
    let address = gate.forward().await;
    for (words, status, text) in [
        (
            "GET / HTTP/1.1\r\nHost: gate\r\n\r\n",
            "400",
            "not a web server",
        ),
        (
            "GET https://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "400",
            "use CONNECT",
        ),
        (
            "GET http://user@a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "400",
            "character",
        ),
        (
            "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nVia: 1.1 x, 1.1 gate\r\n\r\n",
            "508",
            "before",
        ),
        ("GET http://a.example/ HTTP/1.1\r\n\r\n", "400", "no Host"),
        (
            "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
            "400",
            "more than one Host",
        ),
        (
            "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "501",
            "besides chunked",
        ),
        (
            "GET http://none.example/ HTTP/1.1\r\nHost: none.example\r\n\r\n",
            "502",
            "no way to none.example:80",
        ),
    ] {
        let answer = exchange(address, words).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains(text), "{answer}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_explained_and_counted() {
    let mut settings = settings();
    settings.proxy.sniff_timeout = Duration::from_millis(200);
    let gate = Gate::new(settings, []);
    let address = gate.forward().await;
    let long = format!(
        "GET http://a.example/ HTTP/1.1\r\nX: {}\r\n",
        "x".repeat(20_000)
    );
    for (words, status, text) in [
        (
            &include_bytes!("../../../tests/captures/chromium.bin")[..],
            "400",
            "began TLS; enter the proxy as http://",
        ),
        (b"no request\r\n\r\n", "400", "could not be understood"),
        (
            b"GET http://a.example/ HTTP/1.1\r\nHost : a.example\r\n\r\n",
            "400",
            "header",
        ),
        (long.as_bytes(), "431", "proxy.header-bytes"),
        (b"GET http://a.ex", "408", "in time"),
    ] {
        let answer = exchange(address, words).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(
            answer
                .to_ascii_lowercase()
                .contains("\r\nproxy-status: sekisho; error=http_request_error\r\n"),
            "{answer}"
        );
        assert!(answer.contains(text), "{answer}");
    }
    assert_eq!(exchange(address, "").await, "", "opened in advance");
    gate.counted("sekisho_session_failures_total{inbound=\"forward\",side=\"client\"} 5")
        .await;
}

#[tokio::test]
async fn nonsense_after_a_good_request_is_refused_and_counted() {
    let (origin, _heard) = scripted(OK).await;
    let gate = Gate::new(settings(), [("a.example:80", Ok(origin))]);
    let mut stream = connected(&gate).await;
    stream
        .write_all(b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .await
        .unwrap();
    assert!(head(&mut stream).await.is_some());
    stream.write_all(b"no request\r\n\r\n").await.unwrap();
    let answer = String::from_utf8(rest(&mut stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    gate.counted("sekisho_session_failures_total{inbound=\"forward\",side=\"client\"} 1")
        .await;
}

#[tokio::test]
async fn an_origin_that_ends_the_connection_is_told_as_502() {
    let (origin, _heard) = scripted("").await;
    let gate = Gate::new(settings(), [("a.example:80", Ok(origin))]);
    let words = "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n";
    let answer = exchange(gate.forward().await, words).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(
        answer.contains("error=http_response_incomplete"),
        "{answer}"
    );
    gate.counted("sekisho_session_failures_total{inbound=\"forward\",side=\"origin\"} 1")
        .await;
}

#[tokio::test]
async fn an_answer_in_a_coding_that_we_cannot_undo_is_not_passed_on() {
    let (origin, _heard) =
        scripted("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n").await;
    let gate = Gate::new(settings(), [("a.example:80", Ok(origin))]);
    let words = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let answer = exchange(gate.forward().await, words).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("besides chunked"), "{answer}");
}

#[tokio::test]
async fn an_origin_that_stays_silent_is_told_as_504() {
    let (_silent, origin) = listen().await;
    let mut settings = settings();
    settings.proxy.idle_timeout = Duration::from_millis(20);
    let gate = Gate::new(settings, [("a.example:80", Ok(origin))]);
    let words = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let answer = exchange(gate.forward().await, words).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
}

#[tokio::test]
async fn bodies_stream_both_ways_and_are_counted() {
    let (listener, origin) = listen().await;
    let gate = Gate::new(settings(), [("a.example:80", Ok(origin))]);
    let mut stream = connected(&gate).await;
    stream
        .write_all(
            b"POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\n\
              Transfer-Encoding: chunked\r\n\r\n",
        )
        .await
        .unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    let request = head(&mut far).await.unwrap().to_ascii_lowercase();
    assert!(request.contains("transfer-encoding: chunked"), "{request}");
    far.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        .await
        .unwrap();
    let interim = head(&mut stream).await.unwrap();
    assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
    // Each side hears a piece before the other one is sent.
    for piece in ["one", "two"] {
        let chunk = format!("3\r\n{piece}\r\n");
        stream.write_all(chunk.as_bytes()).await.unwrap();
        let mut room = [0; 8];
        far.read_exact(&mut room).await.unwrap();
        assert_eq!(room, chunk.as_bytes());
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nfour")
        .await
        .unwrap();
    assert!(
        head(&mut stream)
            .await
            .unwrap()
            .starts_with("HTTP/1.1 200 ")
    );
    let mut room = [0; 4];
    stream.read_exact(&mut room).await.unwrap();
    assert_eq!(&room, b"four");
    far.write_all(b"five").await.unwrap();
    stream.read_exact(&mut room).await.unwrap();
    assert_eq!(&room, b"five");
    drop(stream);
    gate.counted("sekisho_session_bytes_total{direction=\"sent\",family=\"ipv4\"} 6")
        .await;
    gate.counted("sekisho_session_bytes_total{direction=\"received\",family=\"ipv4\"} 8")
        .await;
}

#[tokio::test]
async fn a_client_that_stops_reading_is_let_go_after_the_idle_timeout() {
    let (listener, origin) = listen().await;
    let mut settings = settings();
    settings.proxy.idle_timeout = Duration::from_millis(50);
    let gate = Gate::new(settings, [("a.example:80", Ok(origin))]);
    let mut stream = connected(&gate).await;
    stream
        .write_all(b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .await
        .unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    head(&mut far).await.unwrap();
    far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
        .await
        .unwrap();
    while far.write_all(&[0; 65_536]).await.is_ok() {}
    gate.counted("sekisho_session_failures_total{inbound=\"forward\",side=\"client\"} 1")
        .await;
}

#[tokio::test]
async fn a_body_of_unknown_length_ends_well_and_its_session_too() {
    let (origin, _heard) =
        scripted("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
            .await;
    let gate = Gate::new(settings(), [("a.example:80", Ok(origin))]);
    let words = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    let answer = exchange(gate.forward().await, words).await;
    assert!(answer.ends_with("3\r\nabc\r\n0\r\n\r\n"), "{answer}");
    gate.counted("sekisho_session_bytes_total{direction=\"received\",family=\"ipv4\"} 3")
        .await;
    assert!(!gate.metrics.encode().contains("session_failures_total{"));
}

#[tokio::test]
async fn a_pooled_connection_that_its_origin_closed_is_replaced() {
    let (listener, origin) = listen().await;
    let gate = Gate::new(settings(), [("a.example:80", Ok(origin))]);
    let mut stream = connected(&gate).await;
    for _ in 0..3 {
        stream
            .write_all(b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n")
            .await
            .unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        head(&mut far).await.unwrap();
        far.write_all(OK.as_bytes()).await.unwrap();
        drop(far);
        let answer = head(&mut stream).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[tokio::test]
async fn other_settings_count_from_the_next_request_and_nothing_old_is_reused() {
    let (origin, mut heard) = scripted(OK).await;
    let gate = Gate::new(settings(), [("a.example:80", Ok(origin))]);
    let mut stream = connected(&gate).await;
    let request = b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n";
    stream.write_all(request).await.unwrap();
    assert!(
        head(&mut stream)
            .await
            .unwrap()
            .starts_with("HTTP/1.1 200 ")
    );
    heard.recv().await.unwrap();
    let closed = Ways::new([("a.example:80", Err(Kind::Dial(DialErrorKind::Prohibited)))]);
    gate.proxy.put(settings(), Arc::new(closed));
    stream.write_all(request).await.unwrap();
    assert!(
        head(&mut stream)
            .await
            .unwrap()
            .starts_with("HTTP/1.1 403 ")
    );
}

#[tokio::test]
async fn an_answer_that_a_stop_cuts_off_is_no_fault_of_the_client() {
    let (origin, _heard) = scripted("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart").await;
    let gate = Gate::new(settings(), [("slow.example:80", Ok(origin))]);
    let mut client = TcpStream::connect(gate.forward().await).await.unwrap();
    let request = b"GET http://slow.example/ HTTP/1.1\r\nHost: slow.example\r\n\r\n";
    client.write_all(request).await.unwrap();
    assert!(head(&mut client).await.is_some());
    gate.proxy.stop();
    assert_eq!(gate.proxy.cut(), 1);
    gate.counted("sekisho_sessions_active 0").await;
    let failures = gate.metrics.encode();
    assert!(
        !failures.contains("sekisho_session_failures_total{"),
        "{failures}"
    );
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel_and_what_was_said_early_is_not_lost() {
    let (listener, origin) = listen().await;
    let gate = Gate::new(settings(), [("a.example:80", Ok(origin))]);
    let mut stream = connected(&gate).await;
    stream
        .write_all(
            b"GET http://a.example/chat HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\n\
              Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
        )
        .await
        .unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    let request = head(&mut far).await.unwrap().to_ascii_lowercase();
    assert!(request.starts_with("get /chat http/1.1\r\n"), "{request}");
    for line in [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-key: x",
    ] {
        assert!(request.contains(&format!("\r\n{line}\r\n")), "{request}");
    }
    far.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello",
    )
    .await
    .unwrap();
    let answer = head(&mut stream).await.unwrap().to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    assert!(answer.contains("\r\nupgrade: websocket\r\n"), "{answer}");
    assert!(answer.contains("\r\nconnection: upgrade\r\n"), "{answer}");
    let mut room = [0; 5];
    within(stream.read_exact(&mut room)).await.unwrap();
    assert_eq!(&room, b"hello");
    stream.write_all(b"GET / not http").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut far).await, b"GET / not http");
    drop(far);
    assert!(rest(&mut stream).await.is_empty());
    gate.counted("sekisho_session_bytes_total{direction=\"received\",family=\"ipv4\"} 5")
        .await;
}

#[tokio::test]
async fn an_origin_that_switches_protocols_unasked_is_not_followed() {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let (origin, _heard) = scripted(answer).await;
    let gate = Gate::new(settings(), [("a.example:80", Ok(origin))]);
    let words = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nUpgrade: x\r\n\r\n";
    let answer = exchange(gate.forward().await, words).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("unasked"), "{answer}");
}

#[tokio::test]
async fn a_request_that_broke_an_old_connection_is_sent_again_only_where_that_does_no_harm() {
    for (method, status) in [("GET", 200), ("POST", 502)] {
        let (listener, origin) = listen().await;
        let gate = Gate::new(settings(), [("a.example:80", Ok(origin))]);
        let mut stream = connected(&gate).await;
        let request = format!(
            "{method} http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let (mut first, _) = listener.accept().await.unwrap();
        head(&mut first).await.unwrap();
        first.write_all(OK.as_bytes()).await.unwrap();
        head(&mut stream).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        head(&mut first).await.unwrap();
        drop(first);
        if status == 200 {
            let (mut second, _) = within(listener.accept()).await.unwrap();
            head(&mut second).await.unwrap();
            second.write_all(OK.as_bytes()).await.unwrap();
        }
        let answer = head(&mut stream).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_request_that_broke_an_old_connection_is_sent_again_once_and_on_a_new_one() {
    const GET: &[u8] = b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let (listener, origin) = listen().await;
    let gate = Gate::new(settings(), [("a.example:80", Ok(origin))]);
    // Two at once, so that two connections rest.
    let (mut client, mut other) = (connected(&gate).await, connected(&gate).await);
    let mut resting = Vec::new();
    for stream in [&mut client, &mut other] {
        stream.write_all(GET).await.unwrap();
        let (mut kept, _) = within(listener.accept()).await.unwrap();
        head(&mut kept).await.unwrap();
        resting.push(kept);
    }
    for (kept, stream) in resting.iter_mut().zip([&mut client, &mut other]) {
        kept.write_all(OK.as_bytes()).await.unwrap();
        head(stream).await.unwrap();
    }
    client.write_all(GET).await.unwrap();
    let mut second = resting.pop().unwrap();
    head(&mut second).await.unwrap();
    drop(second);
    let (mut new, _) = within(listener.accept()).await.unwrap();
    head(&mut new).await.unwrap();
    drop(new);
    let answer = head(&mut client).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_the_origin_does_not_want_is_not_asked_for() {
    let (origin, mut heard) =
        scripted("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n").await;
    let gate = Gate::new(settings(), [("a.example:80", Ok(origin))]);
    let words = "PUT http://a.example/ HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\n\
                 Content-Length: 9\r\n\r\n";
    let mut stream = connected(&gate).await;
    stream.write_all(words.as_bytes()).await.unwrap();
    let answer = head(&mut stream).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 417 "), "{answer}");
    let (_, request) = heard.recv().await.unwrap();
    assert!(
        request
            .to_ascii_lowercase()
            .contains("expect: 100-continue"),
        "{request}"
    );
}
