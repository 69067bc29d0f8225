//! Clients that go away, or say their last word, while their origin is being reached.

use super::*;

const HELLO: &[u8] = include_bytes!("../../../tests/captures/chromium.bin");

/// What a client says on each listener, the listener, and what its sessions are counted as.
async fn ways_in(gate: &Gate) -> [(SocketAddr, &'static [u8], &'static str); 5] {
    let forward = gate.forward().await;
    [
        (
            forward,
            b"CONNECT a.example:80 HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "connect",
        ),
        (
            forward,
            b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "forward",
        ),
        (gate.tls().await, HELLO, "tls"),
        (
            gate.plain(None).await,
            b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "http",
        ),
        (
            gate.socks().await,
            b"\x05\x01\0\x05\x01\0\x03\x09a.example\0\x50",
            "socks5",
        ),
    ]
}

#[tokio::test]
async fn the_origin_of_a_client_that_broke_off_is_not_reached() {
    for way in 0..5 {
        let dial = Slow::new().await;
        let gate = Gate::with(settings(), Arc::clone(&dial) as _);
        let (address, words, inbound) = ways_in(&gate).await[way];
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(words).await.unwrap();
        within(dial.begun.notified()).await;
        stream.set_zero_linger().unwrap();
        drop(stream);
        within(dial.ended.notified()).await;
        gate.counted(&format!(
            "sekisho_session_failures_total{{inbound=\"{inbound}\",side=\"client\"}} 1"
        ))
        .await;
    }
}

#[tokio::test]
async fn a_client_that_has_only_said_its_last_word_is_served() {
    for way in [0, 2, 3] {
        let dial = Slow::new().await;
        let gate = Gate::with(settings(), Arc::clone(&dial) as _);
        let (address, words, inbound) = ways_in(&gate).await[way];
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(words).await.unwrap();
        if inbound == "connect" {
            stream.write_all(b"early").await.unwrap();
        }
        stream.shutdown().await.unwrap();
        within(dial.begun.notified()).await;
        dial.go.notify_one();
        let answer = rest(&mut stream).await;
        if inbound == "connect" {
            assert!(answer.ends_with(b"\r\n\r\nearly"), "{answer:?}");
        } else {
            assert_eq!(answer, words);
        }
    }
}
