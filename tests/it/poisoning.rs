//! Bad origins: whatever one says beside the answer to a request reaches no other request, and what has two meanings
//! reaches nobody. The connections to an origin are shared, so that one visitor could poison them for all.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::support::{Gate, PATIENCE, Response, Setup, Upstream, connect, read_response};

const HOST: &str = "www.origin.example";

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";

/// A gate, and an origin that the test speaks for.
struct Home {
    _upstream: Upstream,
    gate: Gate,
    authority: String,
    origins: Receiver<TcpStream>,
}

impl Home {
    fn start() -> Self {
        let upstream = Upstream::start();
        upstream.addresses(HOST, &["127.0.0.1"]);
        let gate = Gate::start(&Setup::new(&upstream));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = format!("{HOST}:{}", listener.local_addr().unwrap().port());
        let (give, origins) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                stream.set_read_timeout(Some(3 * PATIENCE)).unwrap();
                if give.send(stream).is_err() {
                    return;
                }
            }
        });
        Self {
            _upstream: upstream,
            gate,
            authority,
            origins,
        }
    }

    /// Sends a request on a connection of its own, and takes it at the origin, which must have a new connection for it.
    fn asked(&self, method: &str) -> (TcpStream, TcpStream) {
        let mut client = connect(self.gate.addr("http"));
        let authority = &self.authority;
        let head = format!("{method} http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        client.write_all(head.as_bytes()).unwrap();
        let origin = self.origins.recv_timeout(3 * PATIENCE);
        let mut origin = origin.expect("a connection of its own");
        read_head(&mut origin);
        (client, origin)
    }

    /// The next request goes another way, and gets its own answer.
    fn assert_clean(&self) {
        let (mut client, mut origin) = self.asked("GET");
        origin.write_all(OK.as_bytes()).unwrap();
        assert_eq!(read_response(&mut client).unwrap().text(), "ok");
    }

    /// What a client gets of an answer; the connection that it came on must not be used again.
    fn answered(&self, method: &str, answer: &str) -> Option<Response> {
        let (mut client, mut origin) = self.asked(method);
        origin.write_all(answer.as_bytes()).unwrap();
        let response = read_response(&mut client);
        self.assert_clean();
        response
    }
}

fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a whole head");
        head.push(byte[0]);
    }
}

#[test]
fn a_good_answer_leaves_its_connection_to_the_next_request() {
    let home = Home::start();
    let (mut client, mut origin) = home.asked("GET");
    for _ in 0..3 {
        origin.write_all(OK.as_bytes()).unwrap();
        assert_eq!(read_response(&mut client).unwrap().text(), "ok");
        let authority = &home.authority;
        let head = format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        client.write_all(head.as_bytes()).unwrap();
        read_head(&mut origin);
    }
}

#[test]
fn an_answer_that_comes_while_the_connection_rests_is_nobodys() {
    let home = Home::start();
    let (mut client, mut origin) = home.asked("GET");
    origin.write_all(OK.as_bytes()).unwrap();
    assert_eq!(read_response(&mut client).unwrap().text(), "ok");
    origin.write_all(EVIL.as_bytes()).unwrap();
    home.assert_clean();
}

#[test]
fn a_byte_behind_an_answer_ends_its_connection() {
    let home = Home::start();
    for more in ["\n", "\r\n", "x", "HTTP/1.1 100 Continue\r\n\r\n", EVIL] {
        let response = home.answered("GET", &format!("{OK}{more}")).unwrap();
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "ok"),
            "{more:?}"
        );
    }
}

#[test]
fn a_body_where_there_is_none_is_nobodys_answer() {
    let home = Home::start();
    for (method, answer, status) in [
        (
            "HEAD",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n{EVIL}"),
            200,
        ),
        (
            "HEAD",
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{EVIL}"),
            200,
        ),
        (
            "GET",
            format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 42\r\n\r\n{EVIL}"),
            304,
        ),
        ("GET", format!("HTTP/1.1 204 No Content\r\n\r\n{EVIL}"), 204),
    ] {
        let (mut client, mut origin) = home.asked(method);
        origin.write_all(answer.as_bytes()).unwrap();
        let mut head = [0; 12];
        client.read_exact(&mut head).unwrap();
        assert!(head.ends_with(format!(" {status}").as_bytes()), "{answer}");
        home.assert_clean();
    }
}

#[test]
fn what_is_no_answer_is_told_as_502() {
    let home = Home::start();
    for answer in [
        "<html>".to_owned() + "\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 099 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 2000 OK\r\n\r\n".to_owned(),
        "HTTP/1.1  200 OK\r\n\r\n".to_owned(),
        "HTTP/2.0 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1\t200\tOK\r\n\r\n".to_owned(),
        format!("\r\n{OK}"),
        "HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nX\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\n: y\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok".to_owned(),
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 103 Early Hints\r\nContent-Length: 1\r\n\r\nx".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n".to_owned(),
        "HTTP/1.1 100 Continue\r\n\r\n".repeat(100),
    ] {
        let response = home.answered("GET", &answer).expect("an answer");
        assert_eq!(response.status, 502, "{answer:?}");
        assert!(response.header("proxy-status").is_some(), "{answer:?}");
    }
}

#[test]
fn a_body_that_breaks_off_is_no_whole_one_and_nothing_behind_it_is_an_answer() {
    let home = Home::start();
    for chunks in [
        "10000000000000002\r\nok\r\n0\r\n\r\n",
        "2\nok\r\n0\r\n\r\n",
        "2;a\rb\r\nok\r\n0\r\n\r\n",
        "2\r\nok0\r\n\r\n",
        "2\r\nok\r\n0\r\nX : y\r\n\r\n",
        "2\r\nok\r\n-1\r\n\r\n",
        "\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        let (mut client, mut origin) = home.asked("GET");
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        origin
            .write_all(format!("{head}{chunks}{EVIL}").as_bytes())
            .unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).ok();
        let all = String::from_utf8(all).unwrap();
        assert!(
            !all.contains("0\r\n\r\n") && !all.contains("evil"),
            "{chunks:?}: {all}"
        );
        home.assert_clean();
    }
}
