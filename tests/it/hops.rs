//! What RFC 9110 and 9112 ask of a proxy between two hops: requests that count them, interim answers, trailers, the body
//! that waits to be asked for, and a bound on the wait for an answer. Over HTTP/1.1 and HTTP/2 to the client.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use http::{Method, Request, Uri};
use nix::sys::signal::Signal;

use crate::support::{
    Gate, H2Client, PATIENCE, Response, Setup, Upstream, connect, read_response, request,
};

const HOST: &str = "www.origin.example";

const DONE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";

/// A gate, and an origin that the test speaks for.
struct Home {
    _upstream: Upstream,
    gate: Gate,
    authority: String,
    origins: Receiver<TcpStream>,
}

impl Home {
    fn start(change: impl FnOnce(Setup) -> Setup) -> Self {
        let upstream = Upstream::start();
        upstream.addresses(HOST, &["127.0.0.1"]);
        let gate = Gate::start(&change(Setup::new(&upstream)));
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

    /// Sends a request with the address of the origin in the place of `ORIGIN`.
    fn ask(&self, head: &str) -> TcpStream {
        let mut client = connect(self.gate.addr("http"));
        let head = head.replace("ORIGIN", &self.authority);
        client.write_all(head.as_bytes()).unwrap();
        client
    }

    /// The connection of the gate, and the head that came on it.
    fn origin(&self) -> (TcpStream, String) {
        let mut stream = self.origins.recv_timeout(3 * PATIENCE).unwrap();
        let head = head(&mut stream);
        (stream, head)
    }

    fn assert_not_asked(&self) {
        assert!(self.origins.try_recv().is_err(), "the origin was asked");
    }

    fn request(&self, method: &Method, path: &str) -> http::request::Builder {
        let uri = format!("http://{}{path}", self.authority);
        Request::builder().method(method.clone()).uri(uri)
    }
}

fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a whole head");
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}

fn assert_timed_out(response: &Response) {
    assert_eq!(response.status, 504, "{}", response.text());
    let why = response.header("proxy-status").expect("Proxy-Status");
    assert_eq!(why, "sekisho; error=http_response_timeout");
}

#[test]
fn an_origin_that_never_answers_is_given_up_on() {
    let home = Home::start(|setup| setup.set("proxy.response-timeout", r#""300ms""#));
    let mut client = home.ask("GET http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\n\r\n");
    let first = home.origin();
    assert_timed_out(&read_response(&mut client).expect("an answer"));
    let client = H2Client::connect(home.gate.addr("http"));
    let request = home.request(&Method::GET, "/").body(()).unwrap();
    let mut stream = client.ask(request, true);
    let second = home.origin();
    assert_timed_out(&client.answer(&mut stream));
    // Nothing that comes too late is taken for the answer to another request.
    for (mut stream, _) in [first, second] {
        stream.write_all(DONE).ok();
    }
    home.gate.wait_for_metric(
        "sekisho_session_limits_total{limit=\"response-timeout\"}",
        2.0,
    );
}

#[test]
fn an_answer_that_has_begun_may_take_longer_than_its_head() {
    let home = Home::start(|setup| setup.set("proxy.response-timeout", r#""3s""#));
    let mut slow = home.ask("GET http://ORIGIN/slow HTTP/1.1\r\nHost: ORIGIN\r\n\r\n");
    let (mut origin, _) = home.origin();
    origin
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        .unwrap();
    // As long as another that is given up on.
    let mut other = home.ask("GET http://ORIGIN/never HTTP/1.1\r\nHost: ORIGIN\r\n\r\n");
    assert_timed_out(&read_response(&mut other).expect("an answer"));
    origin.write_all(b"done").unwrap();
    assert_eq!(read_response(&mut slow).unwrap().text(), "done");
}

/// RFC 9110 section 15.2: an interim answer says that the request is being worked on.
#[test]
fn interim_answers_begin_the_wait_for_the_answer_anew() {
    let home = Home::start(|setup| setup.set("proxy.response-timeout", r#""3s""#));
    for version in ["1.1", "1.0"] {
        let get = format!("GET http://ORIGIN/slow HTTP/{version}\r\nHost: ORIGIN\r\n\r\n");
        let mut slow = home.ask(&get);
        let (mut origin, _) = home.origin();
        // Asked later, and silent: when it is given up on, the time of the first one would be over, too.
        let mut other = home.ask("GET http://ORIGIN/never HTTP/1.1\r\nHost: ORIGIN\r\n\r\n");
        let _silent = home.origin();
        other.set_read_timeout(Some(PATIENCE / 40)).unwrap();
        while let Err(error) = other.peek(&mut [0]) {
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            origin
                .write_all(b"HTTP/1.1 102 Processing\r\n\r\n")
                .expect("still waited for");
        }
        other.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_timed_out(&read_response(&mut other).expect("an answer"));
        origin.write_all(DONE).unwrap();
        let mut answer = head(&mut slow);
        while answer.starts_with("http/1.1 102 ") {
            answer = head(&mut slow);
        }
        assert!(
            answer.starts_with(&format!("http/{version} 200 ")),
            "{answer}"
        );
    }
}

#[test]
fn options_and_trace_go_as_many_hops_as_they_may() {
    let home = Home::start(|setup| setup);
    for method in ["OPTIONS", "TRACE"] {
        let head =
            format!("{method} http://ORIGIN/x HTTP/1.1\r\nHost: ORIGIN\r\nMax-Forwards: 5\r\n\r\n");
        let mut client = home.ask(&head);
        let (mut origin, seen) = home.origin();
        assert!(seen.contains("\r\nmax-forwards: 4\r\n"), "{seen}");
        origin.write_all(DONE).unwrap();
        assert_eq!(read_response(&mut client).unwrap().text(), "done");
    }
    // To the others it says nothing (RFC 9110 section 7.6.2).
    let get = "GET http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\nMax-Forwards: 0\r\n\r\n";
    let _client = home.ask(get);
    let (_origin, seen) = home.origin();
    assert!(seen.contains("\r\nmax-forwards: 0\r\n"), "{seen}");
}

#[test]
fn the_last_hop_answers_options_itself() {
    let home = Home::start(|setup| setup);
    let mut client =
        home.ask("OPTIONS http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\nMax-Forwards: 0\r\n\r\n");
    let response = read_response(&mut client).unwrap();
    assert_eq!(response.status, 200);
    let allow = response.header("allow").expect("Allow");
    assert!(
        allow.contains("CONNECT") && allow.contains("GET"),
        "{allow}"
    );
    let client = H2Client::connect(home.gate.addr("http"));
    let request = home.request(&Method::OPTIONS, "/");
    let request = request.header("max-forwards", "0").body(()).unwrap();
    let mut stream = client.ask(request, true);
    let response = client.answer(&mut stream);
    assert_eq!(response.status, 200);
    assert!(response.header("allow").is_some());
    assert_eq!(client.rest(&mut stream).unwrap(), b"");
    home.assert_not_asked();
}

#[test]
fn the_last_hop_shows_a_trace_what_it_got_and_no_secret_of_it() {
    let home = Home::start(|setup| setup);
    let mut client = home.ask(
        "TRACE http://ORIGIN/x?y HTTP/1.1\r\nHost: ORIGIN\r\nMax-Forwards: 0\r\nVia: 1.1 other\r\n\
         Cookie: secret\r\nAuthorization: secret\r\nProxy-Authorization: secret\r\n\r\n",
    );
    let response = read_response(&mut client).unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("message/http"));
    let text = response.text();
    let first = format!("TRACE http://{}/x?y HTTP/1.1\r\n", home.authority);
    assert!(text.starts_with(&first), "{text}");
    assert!(
        text.to_ascii_lowercase().contains("\r\nvia: 1.1 other\r\n"),
        "{text}"
    );
    assert!(
        text.ends_with("\r\n\r\n") && !text.contains("secret"),
        "{text}"
    );
    let client = H2Client::connect(home.gate.addr("http"));
    let request = home.request(&Method::TRACE, "/x");
    let request = request.header("max-forwards", "0").body(()).unwrap();
    let mut stream = client.ask(request, true);
    assert_eq!(client.answer(&mut stream).status, 200);
    let text = String::from_utf8(client.rest(&mut stream).unwrap()).unwrap();
    assert!(text.starts_with("TRACE http://"), "{text}");
    home.assert_not_asked();
}

#[test]
fn a_count_of_hops_that_is_none_and_a_trace_with_a_body_are_refused() {
    let home = Home::start(|setup| setup);
    for (method, lines) in [
        ("OPTIONS", "Max-Forwards: -1\r\n"),
        ("OPTIONS", "Max-Forwards: \r\n"),
        ("TRACE", "Max-Forwards: 1, 2\r\n"),
        ("TRACE", "Max-Forwards: 1\r\nMax-Forwards: 2\r\n"),
        ("TRACE", "Content-Length: 1\r\n"),
    ] {
        let head = format!(
            "{method} http://{}/ HTTP/1.1\r\nHost: x\r\n{lines}\r\nx",
            home.authority
        );
        let response = request(home.gate.addr("http"), head.as_bytes()).unwrap();
        assert_eq!(response.status, 400, "{method} {lines}");
        assert!(response.header("proxy-status").is_some());
    }
    home.assert_not_asked();
}

#[test]
fn the_options_of_a_server_as_a_whole_are_asked_for_by_a_star() {
    let home = Home::start(|setup| setup);
    for (line, seen) in [
        ("OPTIONS http://ORIGIN", "options * http/1.1\r\n"),
        ("OPTIONS http://ORIGIN/", "options / http/1.1\r\n"),
        ("OPTIONS http://ORIGIN?x", "options /?x http/1.1\r\n"),
        ("GET http://ORIGIN", "get / http/1.1\r\n"),
        ("GET http://ORIGIN?x", "get /?x http/1.1\r\n"),
    ] {
        let mut client = home.ask(&format!(
            "{line} HTTP/1.1\r\nHost: ORIGIN\r\nX: {line}\r\n\r\n"
        ));
        let (mut origin, head) = home.origin();
        assert!(head.starts_with(seen), "{line}: {head}");
        origin
            .write_all(b"HTTP/1.1 204 None\r\nConnection: close\r\n\r\n")
            .unwrap();
        assert_eq!(read_response(&mut client).unwrap().status, 204);
    }
}

#[test]
fn on_http_2_the_star_stands_in_the_path_and_only_options_has_it() {
    let home = Home::start(|setup| setup);
    let client = H2Client::connect(home.gate.addr("http"));
    let asked = |method: &Method, path: &str| {
        let uri = Uri::builder().scheme("http").path_and_query(path);
        let uri = uri.authority(home.authority.as_str()).build().unwrap();
        let request = Request::builder().method(method.clone()).uri(uri);
        client.ask(request.body(()).unwrap(), true)
    };
    let mut stream = asked(&Method::OPTIONS, "*");
    let (mut origin, head) = home.origin();
    assert!(head.starts_with("options * http/1.1\r\n"), "{head}");
    origin.write_all(DONE).unwrap();
    assert_eq!(client.answer(&mut stream).status, 200);
    let mut stream = asked(&Method::GET, "*");
    assert_eq!(client.answer(&mut stream).status, 400);
    home.assert_not_asked();
}

#[test]
fn who_takes_trailers_is_told_to_the_origin() {
    let home = Home::start(|setup| setup);
    for (lines, told) in [
        ("TE: trailers\r\nConnection: TE\r\n", true),
        ("TE: gzip;q=0.5, Trailers\r\n", true),
        ("TE: gzip\r\n", false),
        ("", false),
    ] {
        let head = format!("GET http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\n{lines}\r\n");
        let _client = home.ask(&head);
        let (_origin, head) = home.origin();
        let said = head.contains("\r\nte: trailers\r\n") && head.contains("\r\nconnection: te\r\n");
        assert_eq!(said, told, "{lines}: {head}");
        assert!(!head.contains("gzip"), "{head}");
    }
    let client = H2Client::connect(home.gate.addr("http"));
    let request = home.request(&Method::GET, "/").header("te", "trailers");
    let _stream = client.ask(request.body(()).unwrap(), true);
    let (_origin, head) = home.origin();
    assert!(head.contains("\r\nte: trailers\r\n"), "{head}");
}

#[test]
fn interim_answers_reach_a_client_of_http_2() {
    let home = Home::start(|setup| setup);
    let client = H2Client::connect(home.gate.addr("http"));
    let request = home.request(&Method::GET, "/").body(()).unwrap();
    let mut stream = client.ask(request, true);
    let (mut origin, _) = home.origin();
    origin
        .write_all(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-mine\r\nX-Mine: 1\r\n\r\n")
        .unwrap();
    assert_eq!(client.interim(&mut stream).status(), 102);
    let hints = client.interim(&mut stream);
    assert_eq!(
        (hints.status().as_u16(), &hints.headers()["link"]),
        (103, &"</a>".parse().unwrap())
    );
    for hop in ["connection", "x-mine"] {
        assert!(!hints.headers().contains_key(hop), "{hints:?}");
    }
    origin.write_all(DONE).unwrap();
    assert_eq!(client.answer(&mut stream).status, 200);
    assert_eq!(client.rest(&mut stream).unwrap(), b"done");
}

#[test]
fn interim_answers_stand_before_their_answer_and_clients_of_http_1_0_hear_of_none() {
    let home = Home::start(|setup| setup);
    let get = "GET http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\n\r\n";
    let mut client = home.ask(&get.repeat(2));
    let mut origin = None;
    for number in 0..2 {
        let (mut stream, _) = match origin.take() {
            None => home.origin(),
            Some(mut stream) => {
                let head = head(&mut stream);
                (stream, head)
            }
        };
        let hints =
            format!("HTTP/1.1 103 Early Hints\r\nLink: </{number}>\r\nKeep-Alive: 5\r\n\r\n");
        stream.write_all(hints.as_bytes()).unwrap();
        // Before the answer is there.
        let hints = format!("http/1.1 103 early hints\r\nlink: </{number}>\r\n\r\n");
        assert_eq!(head(&mut client), hints);
        stream.write_all(DONE).unwrap();
        assert_eq!(read_response(&mut client).unwrap().text(), "done");
        origin = Some(stream);
    }
    let mut client = home.ask("GET http://ORIGIN/ HTTP/1.0\r\n\r\n");
    let mut stream = origin.take().unwrap();
    head(&mut stream);
    stream
        .write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        .unwrap();
    stream.write_all(DONE).unwrap();
    let answer = head(&mut client);
    assert!(answer.starts_with("http/1.0 200 "), "{answer}");
}

#[test]
fn on_http_2_a_body_waits_until_the_origin_wants_it() {
    let home = Home::start(|setup| setup);
    let client = H2Client::connect(home.gate.addr("http"));
    let expecting = || {
        let request = home
            .request(&Method::PUT, "/")
            .header("expect", "100-continue");
        request.header("content-length", 4).body(()).unwrap()
    };
    let mut stream = client.ask(expecting(), false);
    let (mut origin, seen) = home.origin();
    assert!(seen.contains("\r\nexpect: 100-continue\r\n"), "{seen}");
    origin.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    assert_eq!(client.interim(&mut stream).status(), 100);
    client.say(&mut stream, b"body", true).unwrap();
    let mut body = [0; 4];
    origin.read_exact(&mut body).unwrap();
    assert_eq!(&body, b"body");
    origin
        .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ndone")
        .unwrap();
    assert_eq!(client.answer(&mut stream).status, 200);
    assert_eq!(client.rest(&mut stream).unwrap(), b"done");

    let mut stream = client.ask(expecting(), false);
    let (mut origin, _) = home.origin();
    origin
        .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nmuch")
        .unwrap();
    assert_eq!(client.answer(&mut stream).status, 413);
    assert_eq!(client.rest(&mut stream).unwrap(), b"much");
}

#[test]
fn pings_are_answered_while_an_answer_is_waited_for() {
    let home = Home::start(|setup| setup);
    let client = H2Client::connect(home.gate.addr("http"));
    let request = home.request(&Method::GET, "/").body(()).unwrap();
    let mut stream = client.ask(request, true);
    let (mut origin, _) = home.origin();
    for _ in 0..3 {
        client.ping();
    }
    origin.write_all(DONE).unwrap();
    assert_eq!(client.answer(&mut stream).status, 200);
}

#[test]
fn a_drain_tells_clients_of_http_2_to_go_and_finishes_their_streams() {
    let mut home = Home::start(|setup| setup);
    let client = H2Client::connect(home.gate.addr("http"));
    let request = home.request(&Method::GET, "/").body(()).unwrap();
    let mut stream = client.ask(request, true);
    let (mut origin, _) = home.origin();
    home.gate.signal(Signal::SIGTERM);
    home.gate.wait_for_log("draining");
    client.wait_for_goaway();
    origin.write_all(DONE).unwrap();
    assert_eq!(client.answer(&mut stream).status, 200);
    assert_eq!(client.rest(&mut stream).unwrap(), b"done");
    assert_eq!(home.gate.wait_for_exit().code(), Some(0));
}
