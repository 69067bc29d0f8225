//! Transparent TLS.

use super::super::transparent;
use super::*;
use crate::dial::DialErrorKind;
use crate::net::ClientAddr;

const HELLO: &[u8] = include_bytes!("../../../tests/captures/chromium.bin");
const NO_NAME: &[u8] = include_bytes!("../../../tests/captures/openssl-no-name.bin");

/// A fatal alert of this description.
fn alert(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}

async fn answer(gate: &Gate, words: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(gate.tls().await).await.unwrap();
    stream.write_all(words).await.unwrap();
    rest(&mut stream).await
}

#[tokio::test]
async fn a_hello_in_many_segments_reaches_its_origin_unchanged_and_the_rest_follows() {
    let gate = Gate::new(settings(), [("video.example.test:443", Ok(echo().await))]);
    let mut stream = TcpStream::connect(gate.tls().await).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in HELLO.chunks(97) {
        stream.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut back = vec![0; HELLO.len()];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(back, HELLO);
    stream.write_all(b"more").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, b"more");
    let sent = HELLO.len() + 4;
    gate.counted(&format!(
        "sekisho_session_bytes_total{{direction=\"sent\",family=\"ipv4\"}} {sent}"
    ))
    .await;
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_told_by_an_alert() {
    let gate = Gate::new(settings(), []);
    assert_eq!(answer(&gate, HELLO).await, alert(112));
    assert_eq!(answer(&gate, NO_NAME).await, alert(112));
    gate.counted("sekisho_session_failures_total{inbound=\"tls\",side=\"client\"} 1")
        .await;
    for (kind, description) in [
        (Kind::Dial(DialErrorKind::Prohibited), 112),
        (Kind::Dial(DialErrorKind::ConnectTimeout), 80),
    ] {
        let gate = Gate::new(settings(), [("video.example.test:443", Err(kind))]);
        assert_eq!(answer(&gate, HELLO).await, alert(description), "{kind:?}");
    }
}

#[tokio::test]
async fn what_is_not_tls_is_closed_without_a_word_and_broken_tls_with_an_alert() {
    let gate = Gate::new(settings(), []);
    assert_eq!(answer(&gate, b"GET / HTTP/1.1\r\n\r\n").await, b"");
    assert_eq!(answer(&gate, &[22, 3, 1, 0, 0]).await, alert(50));
}

#[tokio::test]
async fn a_hello_longer_than_the_limit_is_refused() {
    let mut settings = settings();
    settings.proxy.sniff_bytes = 64;
    let gate = Gate::new(settings, []);
    assert_eq!(answer(&gate, &HELLO[..64]).await, alert(50));
}

#[tokio::test]
async fn a_client_that_says_nothing_in_time_is_let_go() {
    let mut settings = settings();
    settings.proxy.sniff_timeout = Duration::from_millis(20);
    let gate = Gate::new(settings, []);
    assert_eq!(answer(&gate, &HELLO[..20]).await, alert(80));
    assert_eq!(answer(&gate, b"").await, b"");
    gate.counted("sekisho_sessions_total{inbound=\"tls\"} 1")
        .await;
}

#[tokio::test]
async fn a_session_takes_little_memory() {
    let gate = Gate::new(settings(), []);
    let (listener, address) = listen().await;
    let _client = TcpStream::connect(address).await.unwrap();
    let (stream, peer) = listener.accept().await.unwrap();
    let admitted = gate
        .proxy
        .admit(stream, ClientAddr::new(peer), None)
        .unwrap();
    let serving =
        transparent::tls::serve(Arc::clone(&gate.proxy), admitted, bytes::BytesMut::new());
    assert!(size_of_val(&serving) <= 1_024, "{}", size_of_val(&serving));
}
