//! Transparent HTTP, and the site beside it.

use std::pin::Pin;

use super::*;
use crate::dial::DialErrorKind;
use crate::net::{ClientAddr, Host, Prefixed};

struct Wpad;

impl Site for Wpad {
    fn owns(&self, host: &Host) -> bool {
        host.to_string() == "wpad"
    }

    fn serve(
        &self,
        mut stream: Prefixed<TcpStream>,
        _: ClientAddr,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let mut room = [0; 4];
            stream.read_exact(&mut room).await.unwrap();
            stream.write_all(b"site ").await.unwrap();
            stream.write_all(&room).await.unwrap();
        })
    }
}

#[tokio::test]
async fn every_byte_reaches_the_origin_as_it_came() {
    let gate = Gate::new(settings(), [("a.example:80", Ok(echo().await))]);
    let mut stream = TcpStream::connect(gate.plain(None).await).await.unwrap();
    let words = b"POST /x HTTP/1.1\r\nHOST:  a.example\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n\0body";
    stream.write_all(words).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, words);
}

#[tokio::test]
async fn a_port_in_host_is_the_port_of_the_origin() {
    let gate = Gate::new(settings(), [("a.example:8080", Ok(echo().await))]);
    let mut stream = TcpStream::connect(gate.plain(None).await).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: a.example:8080\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(head(&mut stream).await.unwrap(), request);
}

#[tokio::test]
async fn failures_are_told_in_words_with_their_status() {
    let ways = [
        ("lan.example:80", Err(Kind::Dial(DialErrorKind::Prohibited))),
        (
            "slow.example:80",
            Err(Kind::Dial(DialErrorKind::ConnectTimeout)),
        ),
    ];
    let gate = Gate::new(settings(), ways);
    let address = gate.plain(None).await;
    let get = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for (words, status, error) in [
        (get("lan.example"), "403", "destination_ip_prohibited"),
        (get("none.example"), "502", "dns_error"),
        (get("slow.example"), "504", "connection_timeout"),
        (get("not a host"), "400", "http_request_error"),
        (
            "GET / HTTP/1.0\r\n\r\n".to_owned(),
            "400",
            "http_request_error",
        ),
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            "505",
            "http_request_error",
        ),
        (
            format!("GET /{} HTTP/1.1\r\n", "x".repeat(16_384)),
            "431",
            "http_request_error",
        ),
    ] {
        let answer = exchange(address, words).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        let line = format!("\r\nProxy-Status: sekisho; error={error}\r\n");
        assert!(answer.contains(&line), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_request_that_does_not_come_in_time_is_answered_408() {
    let mut settings = settings();
    settings.proxy.sniff_timeout = Duration::from_millis(20);
    let gate = Gate::new(settings, []);
    let answer = exchange(gate.plain(None).await, "GET / HT").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn host_decides_between_the_site_and_the_origins() {
    let gate = Gate::new(settings(), [("a.example:80", Ok(echo().await))]);
    let address = gate.plain(Some(Arc::new(Wpad))).await;
    let own = exchange(address, "GET /proxy.pac HTTP/1.1\r\nHost: wpad\r\n\r\n").await;
    assert_eq!(own, "site GET ");
    let nameless = exchange(address, "GET /proxy.pac HTTP/1.0\r\n\r\n").await;
    assert_eq!(nameless, "site GET ");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(head(&mut stream).await.unwrap(), request);
}

#[tokio::test]
async fn a_refused_client_that_still_sends_is_heard_out_so_that_it_can_read_why() {
    let gate = Gate::new(settings(), []);
    let mut stream = TcpStream::connect(gate.plain(None).await).await.unwrap();
    let words = b"POST / HTTP/1.1\r\nHost: none.example\r\nContent-Length: 2000\r\n\r\n";
    stream.write_all(words).await.unwrap();
    let answer = String::from_utf8(rest(&mut stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    // The first write to a closed connection brings a reset, and the next one fails.
    for _ in 0..2 {
        stream.write_all(&[0; 1_000]).await.unwrap();
    }
}
