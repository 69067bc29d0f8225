//! SOCKS5, SOCKS4 and SOCKS4a.

use super::super::auth::test_users;
use super::super::socks5;
use super::*;
use crate::dial::DialErrorKind;
use crate::net::ClientAddr;

/// A request of version 5 by name, without the greeting.
fn request(command: u8, name: &str, port: u16) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap();
    let port = port.to_be_bytes();
    [&[5, command, 0, 3, length][..], name.as_bytes(), &port].concat()
}

/// Says the greeting, the request and more at once, ends, and reads to the end.
async fn at_once(address: SocketAddr, pieces: &[&[u8]]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&pieces.concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    rest(&mut stream).await
}

const GREETING: &[u8] = &[5, 1, 0];
const CHOSEN: &[u8] = &[5, 0];
const DONE: &[u8] = &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

fn refused(code: u8) -> Vec<u8> {
    [CHOSEN, &[5, code, 0, 1, 0, 0, 0, 0, 0, 0]].concat()
}

#[tokio::test]
async fn words_that_do_not_wait_for_the_answer_reach_the_origin() {
    let gate = Gate::new(settings(), [("a.example:80", Ok(echo().await))]);
    let connect = request(1, "a.example", 80);
    let said = at_once(gate.socks().await, &[GREETING, &connect, b"early"]).await;
    assert_eq!(said, [CHOSEN, DONE, b"early"].concat());
    gate.counted("sekisho_session_bytes_total{direction=\"sent\",family=\"ipv4\"} 5")
        .await;
}

#[tokio::test]
async fn a_conversation_in_single_bytes_ends_in_a_tunnel() {
    let gate = Gate::new(settings(), [("a.example:80", Ok(echo().await))]);
    let mut stream = TcpStream::connect(gate.socks().await).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in [GREETING, &request(1, "a.example", 80)].concat() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut said = vec![0; 12];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(said, [CHOSEN, DONE].concat());
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, b"hello");
    gate.counted("sekisho_sessions_total{inbound=\"socks5\"} 1")
        .await;
}

#[tokio::test]
async fn addresses_of_both_families_are_targets() {
    let origin = echo().await;
    let gate = Gate::new(
        settings(),
        [
            ("192.0.2.1:80", Ok(origin)),
            ("[2001:db8::1]:80", Ok(origin)),
        ],
    );
    let address = gate.socks().await;
    let ipv4 = b"\x05\x01\0\x01\xc0\x00\x02\x01\0\x50";
    let ipv6 = b"\x05\x01\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50";
    for connect in [&ipv4[..], ipv6] {
        let said = at_once(address, &[GREETING, connect, b"x"]).await;
        assert_eq!(said, [CHOSEN, DONE, b"x"].concat());
    }
}

#[tokio::test]
async fn version_4_is_served_with_an_address_and_with_a_name() {
    let origin = echo().await;
    let gate = Gate::new(
        settings(),
        [("192.0.2.1:80", Ok(origin)), ("a.example:80", Ok(origin))],
    );
    let address = gate.socks().await;
    for connect in [
        &b"\x04\x01\0\x50\xc0\x00\x02\x01ann\0x"[..],
        b"\x04\x01\0\x50\0\0\0\x07\0a.example\0x",
    ] {
        let said = at_once(address, &[connect]).await;
        assert_eq!(said, b"\0\x5a\0\0\0\0\0\0x");
    }
    let nowhere = at_once(address, &[b"\x04\x01\0\x50\0\0\0\x07\0b.example\0x"]).await;
    assert_eq!(nowhere, b"\0\x5b\0\0\0\0\0\0");
}

#[tokio::test]
async fn failures_are_told_by_their_codes() {
    let failing = |kind| Err(Kind::Dial(kind));
    let gate = Gate::new(
        settings(),
        [
            ("closed.example:80", failing(DialErrorKind::Prohibited)),
            ("nowhere.example:80", failing(DialErrorKind::NotFound)),
            ("away.example:80", failing(DialErrorKind::Unroutable)),
            ("shut.example:80", failing(DialErrorKind::ConnectionRefused)),
            ("silent.example:80", failing(DialErrorKind::ConnectTimeout)),
        ],
    );
    let address = gate.socks().await;
    for (name, code) in [
        ("closed.example", 2),
        ("nowhere.example", 4),
        ("away.example", 3),
        ("shut.example", 5),
        ("silent.example", 6),
        ("not a name", 1),
    ] {
        let said = at_once(address, &[GREETING, &request(1, name, 80)]).await;
        assert_eq!(said, refused(code), "{name}");
    }
    for (bytes, code) in [
        (request(2, "a.example", 80), 7),
        (request(9, "a.example", 80), 7),
        (request(1, "a.example", 0), 1),
        (vec![5, 1, 0, 9], 8),
    ] {
        let said = at_once(address, &[GREETING, &bytes]).await;
        assert_eq!(said, refused(code), "{bytes:?}");
    }
}

#[tokio::test]
async fn who_does_not_speak_socks_is_told_nothing() {
    let gate = Gate::new(settings(), []);
    let address = gate.socks().await;
    assert_eq!(exchange(address, "GET / HTTP/1.1\r\n\r\n").await, "");
    assert_eq!(at_once(address, &[&[5, 1, 1]]).await, [5, 0xff]);
    assert_eq!(at_once(address, &[b""]).await, b"");
    gate.counted("sekisho_session_failures_total{inbound=\"socks5\",side=\"client\"} 2")
        .await;
}

#[tokio::test]
async fn who_says_nothing_in_time_is_let_go() {
    let mut settings = settings();
    settings.proxy.sniff_timeout = Duration::from_millis(20);
    let gate = Gate::new(settings, []);
    let address = gate.socks().await;
    for (words, answer) in [
        (&b""[..], Vec::new()),
        (&[5], vec![5, 0xff]),
        (&[5, 1, 0, 5, 1], refused(1)),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(words).await.unwrap();
        assert_eq!(rest(&mut stream).await, answer, "{words:?}");
    }
    gate.counted("sekisho_sessions_total{inbound=\"socks5\"} 2")
        .await;
}

#[tokio::test]
async fn only_the_users_of_the_file_get_through() {
    let mut settings = settings();
    settings.users = Some(test_users(&[("ann", "secret")]));
    let gate = Gate::new(settings, [("a.example:80", Ok(echo().await))]);
    let address = gate.socks().await;
    let connect = request(1, "a.example", 80);
    let asked = &[5, 2, 0, 2];
    let right = at_once(address, &[asked, b"\x01\x03ann\x06secret", &connect, b"x"]).await;
    assert_eq!(right, [&[5, 2, 1, 0], DONE, b"x"].concat());
    let wrong = at_once(address, &[asked, b"\x01\x03ann\x05wrong", &connect, b"x"]).await;
    assert_eq!(wrong, [5, 2, 1, 1]);
    let nameless = at_once(address, &[GREETING, &connect]).await;
    assert_eq!(nameless, [5, 0xff]);
    let version_4 = at_once(address, &[b"\x04\x01\0\x50\0\0\0\x07ann\0a.example\0"]).await;
    assert_eq!(version_4, b"\0\x5b\0\0\0\0\0\0");
    gate.counted("sekisho_logins_total{outcome=\"missing\"} 2")
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
    let serving = socks5::serve(Arc::clone(&gate.proxy), admitted);
    assert!(size_of_val(&serving) <= 1_024, "{}", size_of_val(&serving));
}
