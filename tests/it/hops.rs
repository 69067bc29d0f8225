//! What RFC 9110 and 9112 ask of a proxy between two hops: a bound on the wait for an answer, and clients
//! of HTTP/2 that are kept informed.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use http::{Method, Request};
use nix::sys::signal::Signal;

use crate::support::{Gate, H2Client, PATIENCE, Response, Setup, Upstream, connect, read_response};

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
