//! Upgrades: a WebSocket, or another protocol, begun by a request to the proxy; on HTTP/1.1 with Upgrade, on HTTP/2 with
//! extended CONNECT. Bytes go both ways at once, and each side may end before the other.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use crate::support::{Gate, H2Client, PATIENCE, Response, Setup, Upstream, connect, read_response};

const HOST: &str = "www.origin.example";

/// An origin that takes each connection to `serve`, with the head of its first request.
fn home(serve: fn(TcpStream, String)) -> (Upstream, Gate, u16) {
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1"]);
    let gate = Gate::start(&Setup::new(&upstream));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                stream.set_read_timeout(Some(3 * PATIENCE)).unwrap();
                let head = head(&mut stream);
                serve(stream, head);
            });
        }
    });
    (upstream, gate, port)
}

fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

const SWITCHED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
      Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\nhello";

/// Speaks first; then everything comes back, with `bye` behind the end.
fn chat(mut stream: TcpStream, asked: String) {
    let asked = asked.to_ascii_lowercase();
    assert!(asked.contains("\r\nupgrade: websocket\r\n"), "{asked}");
    assert!(asked.contains("\r\nconnection: upgrade\r\n"), "{asked}");
    stream.write_all(SWITCHED).unwrap();
    let mut room = [0; 16_384];
    while let Ok(length @ 1..) = stream.read(&mut room) {
        stream.write_all(&room[..length]).unwrap();
    }
    stream.write_all(b"bye").unwrap();
}

/// Says its last before the client does, and goes on listening.
fn lecture(mut stream: TcpStream, _: String) {
    stream.write_all(SWITCHED).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all, "still listening");
    // The test waits for the end of the session, which is whole.
}

fn ask(gate: &Gate, port: u16, early: &str) -> (TcpStream, Response) {
    let mut stream = connect(gate.addr("http"));
    let head = format!(
        "GET http://{HOST}:{port}/chat HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n{early}"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let response = read_response(&mut stream).unwrap();
    (stream, response)
}

#[test]
fn an_upgrade_carries_bytes_both_ways_that_look_like_http() {
    let (_upstream, gate, port) = home(chat);
    let (mut stream, response) = ask(&gate, port, "");
    assert_eq!(response.status, 101, "{}", response.head);
    assert_eq!(response.header("upgrade"), Some("websocket"));
    assert_eq!(response.header("sec-websocket-accept"), Some("x"));
    let words = "GET / HTTP/1.1\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n\0";
    stream.write_all(words.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all, format!("hello{words}bye"));
}

#[test]
fn bytes_of_the_new_protocol_that_come_early_are_not_lost() {
    let (_upstream, gate, port) = home(chat);
    let (mut stream, response) = ask(&gate, port, "early ");
    assert_eq!(response.status, 101);
    stream.write_all(b"late").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    let echoed: String = all.replacen("hello", "", 1);
    assert_eq!(echoed, "early latebye");
}

#[test]
fn an_origin_that_ends_first_still_hears_the_client() {
    let (_upstream, gate, port) = home(lecture);
    let (mut stream, response) = ask(&gate, port, "");
    assert_eq!(response.status, 101);
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all, "hello");
    stream.write_all(b"still listening").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    gate.wait_for_log("sent=15 received=5");
}

#[test]
fn a_wish_that_is_not_granted_leaves_the_connection_as_it_was() {
    let (_upstream, gate, port) = home(|mut stream, _| {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno";
        stream.write_all(answer).unwrap();
        while !head(&mut stream).is_empty() {
            stream.write_all(answer).unwrap();
        }
    });
    let (mut stream, response) = ask(&gate, port, "");
    assert_eq!((response.status, response.text().as_str()), (200, "no"));
    assert_eq!(response.header("connection"), None);
    let head = format!("GET http://{HOST}:{port}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_response(&mut stream).unwrap().status, 200);
    // But nobody guesses what the bytes behind the wish were meant for.
    let (mut stream, response) = ask(&gate, port, &head);
    assert_eq!(response.header("connection"), Some("close"));
    assert!(read_response(&mut stream).is_none());
}

#[test]
fn an_extended_connect_is_an_upgrade_to_the_origin() {
    let (_upstream, gate, port) = home(chat);
    let client = H2Client::connect(gate.addr("http"));
    // The settings of the gate, which offer it, come before this answer.
    assert_eq!(client.get("http://missing.example/").status, 502);
    let mut stream = client.switch(&format!("http://{HOST}:{port}/chat"), "websocket");
    let response = client.answer(&mut stream);
    assert_eq!(response.status, 200, "{}", response.head);
    assert_eq!(response.header("sec-websocket-protocol"), Some("chat"));
    assert_eq!(response.header("sec-websocket-accept"), None);
    assert_eq!(response.header("upgrade"), None);
    let much = vec![b'x'; 50_000];
    client.say(&mut stream, &much, true).unwrap();
    let all = client.rest(&mut stream).unwrap();
    assert_eq!(all.len(), "hello".len() + much.len() + "bye".len());
    assert!(all.starts_with(b"hellox") && all.ends_with(b"xbye"));
}

#[test]
fn an_extended_connect_hears_the_end_of_the_origin_and_speaks_on() {
    let (_upstream, gate, port) = home(lecture);
    let client = H2Client::connect(gate.addr("http"));
    assert_eq!(client.get("http://missing.example/").status, 502);
    let mut stream = client.switch(&format!("http://{HOST}:{port}/chat"), "websocket");
    assert_eq!(client.answer(&mut stream).status, 200);
    assert_eq!(client.rest(&mut stream).unwrap(), b"hello");
    client.say(&mut stream, b"still listening", true).unwrap();
    gate.wait_for_log("sent=15 received=5");
}

#[test]
fn a_protocol_that_the_gate_does_not_know_is_told_as_501() {
    let (_upstream, gate, port) = home(chat);
    let client = H2Client::connect(gate.addr("http"));
    assert_eq!(client.get("http://missing.example/").status, 502);
    let mut stream = client.switch(&format!("http://{HOST}:{port}/"), "connect-udp");
    let response = client.answer(&mut stream);
    assert_eq!(response.status, 501);
    let why = response.header("proxy-status").unwrap();
    assert!(why.contains("error=http_upgrade_failed"), "{why}");
}
