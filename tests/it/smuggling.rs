//! Request smuggling: whatever two readers could take differently is refused by the gate, and no byte of it comes to an
//! origin, whether it stands first on its connection or behind a good request. Answers likewise.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::{Gate, PATIENCE, Response, Setup, Upstream, connect, read_response};

const HOST: &str = "www.origin.example";

/// An origin that keeps every byte it gets, and answers each empty line with the same bytes.
struct Raw {
    port: u16,
    got: Arc<Mutex<Vec<u8>>>,
    /// The number of connections so far, with each.
    connections: Receiver<()>,
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

impl Raw {
    fn start(answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let got = Arc::<Mutex<Vec<u8>>>::default();
        let (tell, connections) = channel();
        let all = Arc::clone(&got);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if tell.send(()).is_err() {
                    return;
                }
                let all = Arc::clone(&all);
                thread::spawn(move || serve(stream, answer, &all));
            }
        });
        Self {
            port,
            got,
            connections,
        }
    }

    fn got(&self) -> String {
        String::from_utf8_lossy(&self.got.lock().unwrap()).into_owned()
    }
}

fn serve(mut stream: TcpStream, answer: &[u8], all: &Mutex<Vec<u8>>) {
    stream.set_read_timeout(Some(3 * PATIENCE)).unwrap();
    let mut since = Vec::new();
    let mut room = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut room) {
        all.lock().unwrap().extend_from_slice(&room[..length]);
        since.extend_from_slice(&room[..length]);
        while let Some(end) = since.windows(4).position(|four| four == b"\r\n\r\n") {
            since.drain(..end + 4);
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    }
}

struct Home {
    _upstream: Upstream,
    gate: Gate,
    origin: Raw,
}

fn home(answer: &'static [u8]) -> Home {
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1"]);
    Home {
        gate: Gate::start(&Setup::new(&upstream)),
        origin: Raw::start(answer),
        _upstream: upstream,
    }
}

impl Home {
    /// The bytes with the address of the origin in the place of `ORIGIN`.
    fn to_origin(&self, bytes: &str) -> String {
        bytes.replace("ORIGIN", &format!("{HOST}:{}", self.origin.port))
    }

    fn counted(&self, side: &str, fault: &str, count: f64) {
        let name = format!("sekisho_http_faults_total{{side=\"{side}\",fault=\"{fault}\"}}");
        self.gate.wait_for_metric(&name, count);
    }
}

fn assert_refused(response: &Response, status: u16) {
    assert_eq!(response.status, status, "{}", response.text());
    let why = response.header("proxy-status").expect("Proxy-Status");
    assert!(why.starts_with("sekisho; error=http_"), "{why}");
    assert_eq!(response.header("connection"), Some("close"));
    assert!(!response.body.is_empty(), "a body for people");
}

fn assert_closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest)),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

/// A request with `smuggled` in it must be refused with the status, counted, and not be heard by the origin: sent
/// alone, sent behind a good request, and sent byte by byte.
fn refused_with(status: u16, fault: &str, bytes: &str) {
    let home = home(OK);
    let bad = home.to_origin(bytes);
    let mut stream = connect(home.gate.addr("http"));
    stream.write_all(bad.as_bytes()).unwrap();
    assert_refused(&read_response(&mut stream).expect("a refusal"), status);
    assert_closed(stream);
    home.counted("client", fault, 1.0);
    assert_eq!(home.origin.got(), "");

    let mut stream = connect(home.gate.addr("http"));
    let good = home.to_origin("GET http://ORIGIN/good HTTP/1.1\r\nHost: ORIGIN\r\n\r\n");
    stream.write_all(format!("{good}{bad}").as_bytes()).unwrap();
    let first = read_response(&mut stream).expect("the answer to the good request");
    assert_eq!((first.status, first.text().as_str()), (200, "ok"));
    assert_refused(&read_response(&mut stream).expect("a refusal"), status);
    assert_closed(stream);

    let mut stream = connect(home.gate.addr("http"));
    for byte in bad.as_bytes() {
        // The gate need not hear it to the end.
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
    }
    assert_refused(&read_response(&mut stream).expect("a refusal"), status);
    let got = home.origin.got();
    assert!(!got.contains("smuggled"), "{got}");
    assert_eq!(got.matches("HTTP/1.1").count(), 1, "{got}");
}

fn refused(fault: &str, bytes: &str) {
    refused_with(400, fault, bytes);
}

#[test]
fn content_length_with_transfer_encoding_is_refused() {
    refused(
        "length-and-coding",
        "POST http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 6\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    );
}

#[test]
fn transfer_encoding_with_content_length_is_refused() {
    refused(
        "length-and-coding",
        "POST http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked\r\n\
         Content-Length: 4\r\n\r\n1\r\nG\r\n0\r\n\r\n",
    );
}

#[test]
fn two_lengths_are_refused() {
    refused(
        "length",
        "POST http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 1\r\n\
         Content-Length: 2\r\n\r\nab",
    );
}

#[test]
fn the_same_length_twice_is_refused() {
    refused(
        "length",
        "POST http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 1\r\n\
         Content-Length: 1\r\n\r\na",
    );
}

#[test]
fn a_list_of_lengths_is_refused() {
    refused(
        "length",
        "POST http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 1, 1\r\n\r\na",
    );
}

#[test]
fn a_length_with_a_sign_is_refused() {
    refused(
        "length",
        "POST http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: +1\r\n\r\na",
    );
}

#[test]
fn a_length_with_a_space_in_it_is_refused() {
    refused(
        "length",
        "POST http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 1 1\r\n\r\na",
    );
}

#[test]
fn a_hexadecimal_length_is_refused() {
    refused(
        "length",
        "POST http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 0x1\r\n\r\na",
    );
}

#[test]
fn a_length_that_overflows_is_refused() {
    refused(
        "length",
        "POST http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 18446744073709551617\r\n\r\na",
    );
}

#[test]
fn a_coding_that_only_looks_like_chunked_is_refused() {
    refused(
        "coding",
        "POST http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    );
}

#[test]
fn chunked_twice_is_refused() {
    refused(
        "coding",
        "POST http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
}

#[test]
fn chunked_before_another_coding_is_refused() {
    refused(
        "coding",
        "POST http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\n\
         Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    );
}

#[test]
fn an_honest_coding_that_we_do_not_know_is_told_as_501() {
    refused_with(
        501,
        "coding",
        "POST http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    );
}

#[test]
fn a_coding_in_http_1_0_is_refused() {
    refused(
        "coding",
        "POST http://ORIGIN/smuggled HTTP/1.0\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
}

#[test]
fn a_vertical_tab_before_chunked_is_refused() {
    refused(
        "control",
        "POST http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    );
}

#[test]
fn a_space_before_the_colon_is_refused() {
    refused(
        "header-name",
        "POST http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    );
}

#[test]
fn a_header_that_goes_on_in_a_second_line_is_refused() {
    refused(
        "fold",
        "POST http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
}

#[test]
fn a_line_that_ends_in_lf_alone_is_refused() {
    refused(
        "bare-lf",
        "POST http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
}

#[test]
fn a_cr_without_lf_is_refused() {
    refused(
        "bare-cr",
        "POST http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
}

#[test]
fn a_nul_in_a_header_is_refused() {
    refused(
        "control",
        "POST http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\nX: \0\r\n\r\n",
    );
}

#[test]
fn two_hosts_are_refused() {
    refused(
        "host",
        "GET http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\nHost: other.example\r\n\r\n",
    );
}

#[test]
fn no_host_is_refused() {
    refused("host", "GET http://ORIGIN/smuggled HTTP/1.1\r\n\r\n");
}

#[test]
fn a_host_that_is_none_is_refused() {
    refused(
        "host",
        "GET http://ORIGIN/smuggled HTTP/1.1\r\nHost: other.example, ORIGIN\r\n\r\n",
    );
}

#[test]
fn http_0_9_is_refused() {
    refused("first-line", "GET http://ORIGIN/smuggled\r\n\r\n");
}

#[test]
fn two_spaces_in_the_request_line_are_refused() {
    refused(
        "first-line",
        "GET  http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\n\r\n",
    );
}

#[test]
fn another_version_is_told_as_505() {
    refused_with(
        505,
        "first-line",
        "GET http://ORIGIN/smuggled HTTP/1.2\r\nHost: ORIGIN\r\n\r\n",
    );
}

#[test]
fn connect_with_a_body_is_refused() {
    refused(
        "length",
        "CONNECT ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: 31\r\n\r\nGET /smuggled HTTP/1.1\r\nX: y\r\n\r\n",
    );
}

#[test]
fn more_headers_than_a_hundred_are_told_as_431() {
    let many = "X: smuggled\r\n".repeat(100);
    refused_with(
        431,
        "size",
        &format!("GET http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\n{many}\r\n"),
    );
}

/// What an origin gets of a body whose chunks end badly is no whole request, and nothing behind it is one.
fn broken_off(chunks: &str) {
    let home = home(OK);
    let head = "POST http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked\r\n\r\n";
    let behind = "GET http://ORIGIN/smuggled HTTP/1.1\r\nHost: ORIGIN\r\n\r\n";
    let bytes = home.to_origin(&format!("{head}{chunks}{behind}"));
    let mut stream = connect(home.gate.addr("http"));
    stream.write_all(bytes.as_bytes()).unwrap();
    if let Some(response) = read_response(&mut stream) {
        // Or the origin was quicker than the fault, with an answer to the head alone.
        assert!(matches!(response.status, 200 | 400), "{}", response.head);
    }
    assert_closed(stream);
    let got = home.origin.got();
    assert!(
        !got.contains("smuggled") && !got.contains("\r\n0\r\n\r\n"),
        "{got}"
    );
}

#[test]
fn the_size_of_a_chunk_with_a_sign_breaks_the_request_off() {
    broken_off("+3\r\nabc\r\n0\r\n\r\n");
}

#[test]
fn the_size_of_a_chunk_with_a_prefix_breaks_the_request_off() {
    broken_off("0x3\r\nabc\r\n0\r\n\r\n");
}

#[test]
fn a_size_that_overflows_breaks_the_request_off() {
    broken_off("10000000000000003\r\nabc\r\n0\r\n\r\n");
}

#[test]
fn a_size_that_ends_in_lf_alone_breaks_the_request_off() {
    broken_off("3\nabc\r\n0\r\n\r\n");
}

#[test]
fn an_extension_that_ends_in_lf_alone_breaks_the_request_off() {
    broken_off("3;a\nabc\r\n0\r\n\r\n");
}

#[test]
fn an_extension_with_a_cr_in_it_breaks_the_request_off() {
    broken_off("3;a\rb\r\nabc\r\n0\r\n\r\n");
}

#[test]
fn a_chunk_that_is_longer_than_its_size_breaks_the_request_off() {
    broken_off("3\r\nabcd\r\n0\r\n\r\n");
}

#[test]
fn a_trailer_with_a_space_before_its_colon_breaks_the_request_off() {
    broken_off("3\r\nabc\r\n0\r\nX : y\r\n\r\n");
}

#[test]
fn a_trailer_that_is_folded_breaks_the_request_off() {
    broken_off("3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n");
}

#[test]
fn extensions_of_chunks_do_not_pass_and_trailers_are_no_headers() {
    let home = home(OK);
    let bytes = home.to_origin(
        "POST http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked\r\n\r\n\
         3;a=\"b\"\r\nabc\r\n0\r\nContent-Length: 5\r\nHost: other.example\r\n\r\n",
    );
    let mut stream = connect(home.gate.addr("http"));
    stream.write_all(bytes.as_bytes()).unwrap();
    assert_eq!(read_response(&mut stream).unwrap().status, 200);
    let got = home.origin.got();
    assert!(
        !got.contains("a=") && !got.contains("other.example"),
        "{got}"
    );
}

#[test]
fn what_looks_like_a_head_in_a_body_is_the_body_and_one_behind_it_is_a_head() {
    let home = home(b"");
    let inner =
        "GET http://ORIGIN/inner HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\nX : y\n\n";
    let inner = home.to_origin(inner);
    let length = inner.len();
    let bytes = home.to_origin(&format!(
        "POST http://ORIGIN/one HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: {length}\r\n\r\n{inner}"
    ));
    let mut stream = connect(home.gate.addr("http"));
    stream.write_all(bytes.as_bytes()).unwrap();
    home.origin.connections.recv_timeout(PATIENCE).unwrap();
    let begun = crate::support::clock();
    while !home.origin.got().ends_with("X : y\n\n") {
        assert!(begun.elapsed() < PATIENCE, "{}", home.origin.got());
    }
}

#[test]
fn host_is_replaced_by_the_authority_of_the_target() {
    let home = home(OK);
    let bytes = home.to_origin("GET http://ORIGIN/ HTTP/1.1\r\nHost: other.example\r\n\r\n");
    let mut stream = connect(home.gate.addr("http"));
    stream.write_all(bytes.as_bytes()).unwrap();
    assert_eq!(read_response(&mut stream).unwrap().status, 200);
    // RFC 9112 section 3.2.2: a proxy must.
    let got = home.origin.got();
    assert!(!got.contains("other.example"), "{got}");
    assert!(
        got.contains(&home.to_origin("\r\nHost: ORIGIN\r\n")),
        "{got}"
    );
}

#[test]
fn the_transparent_proxy_takes_no_target_that_is_another_host_than_host() {
    let home = home(OK);
    let bytes =
        home.to_origin("GET http://ORIGIN/smuggled HTTP/1.1\r\nHost: other.example\r\n\r\n");
    let mut stream = connect(home.gate.addr("plain"));
    stream.write_all(bytes.as_bytes()).unwrap();
    assert_eq!(read_response(&mut stream).unwrap().status, 400);
    assert_eq!(home.origin.got(), "");
}

#[test]
fn a_target_that_could_name_another_host_is_refused() {
    let home = home(OK);
    for target in [
        "http://a@ORIGIN/smuggled",
        "http://ORIGIN@other.example/smuggled",
        "http://ORIGIN\\@other.example/smuggled",
        "http://ORIGIN:80/smuggled",
        "http://[::1]ORIGIN/smuggled",
        "http://[ORIGIN]/smuggled",
        "http:///smuggled",
        "http:/ORIGIN/smuggled",
        "http:ORIGIN/smuggled",
        "//ORIGIN/smuggled",
        "ORIGIN/smuggled",
        "/smuggled",
        "*",
        "http://ORIGIN\r/smuggled",
        "http://ORIGIN\0/smuggled",
        "http://ORIGIN\t/smuggled",
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: ORIGIN\r\n\r\n");
        let mut stream = connect(home.gate.addr("http"));
        stream.write_all(home.to_origin(&bytes).as_bytes()).unwrap();
        let response = read_response(&mut stream).expect("a refusal");
        assert_refused(&response, 400);
        assert_eq!(home.origin.got(), "", "{target}");
    }
}

#[test]
fn the_transparent_proxy_takes_no_host_that_the_origin_could_read_otherwise() {
    let home = home(OK);
    for lines in [
        "Host : ORIGIN",
        "Host: other.example\r\n ORIGIN",
        "X: y\r\n Host: ORIGIN",
        "Host: other.example\r\nHost: ORIGIN",
        "Host: other.example\rHost: ORIGIN",
        "Host: ORIGIN\0",
        "Host: ORIGIN, other.example",
        "Host: a@ORIGIN",
        "Host: ORIGIN/",
        " Host: ORIGIN",
        "Host ORIGIN",
    ] {
        let bytes = format!("GET /smuggled HTTP/1.1\r\n{lines}\r\n\r\n");
        let mut stream = connect(home.gate.addr("plain"));
        stream.write_all(home.to_origin(&bytes).as_bytes()).unwrap();
        let response = read_response(&mut stream).expect("a refusal");
        assert_eq!(response.status, 400, "{lines:?}");
        assert_eq!(home.origin.got(), "", "{lines:?}");
    }
}

/// An answer must not come to the client, be told as 502, be counted, and its connection not be used again.
fn answer_refused(fault: &str, answer: &'static [u8]) {
    let home = home(answer);
    let head = home.to_origin("GET http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\n\r\n");
    for _ in 0..2 {
        let mut stream = connect(home.gate.addr("http"));
        stream.write_all(head.as_bytes()).unwrap();
        let response = read_response(&mut stream).expect("a refusal");
        assert_refused(&response, 502);
        let why = response.header("proxy-status").unwrap();
        assert!(why.contains("error=http_protocol_error"), "{why}");
        home.origin
            .connections
            .recv_timeout(PATIENCE)
            .expect("a connection of its own");
    }
    home.counted("origin", fault, 2.0);
    assert!(
        home.origin.connections.try_recv().is_err(),
        "asked once more"
    );
}

#[test]
fn an_answer_with_both_lengths_is_told_as_502() {
    answer_refused(
        "length-and-coding",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
}

#[test]
fn an_answer_with_two_lengths_is_told_as_502() {
    answer_refused(
        "length",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    );
}

#[test]
fn an_answer_with_the_same_length_twice_is_told_as_502() {
    answer_refused(
        "length",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
    );
}

#[test]
fn an_answer_with_a_folded_header_is_told_as_502() {
    answer_refused(
        "fold",
        b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 0\r\n\r\n",
    );
}

#[test]
fn an_answer_with_a_space_before_a_colon_is_told_as_502() {
    answer_refused(
        "header-name",
        b"HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n",
    );
}

#[test]
fn an_answer_with_a_cr_without_lf_is_told_as_502() {
    answer_refused(
        "bare-cr",
        b"HTTP/1.1 200 OK\r\nX: y\rZ: a\r\nContent-Length: 0\r\n\r\n",
    );
}

#[test]
fn an_answer_in_another_coding_is_told_as_502() {
    answer_refused(
        "coding",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nabc",
    );
}

#[test]
fn an_answer_that_has_no_body_and_states_its_length_is_told_as_502() {
    answer_refused(
        "length",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nab",
    );
}

#[test]
fn an_answer_that_nobody_asked_for_reaches_nobody() {
    let home = home(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled");
    let head = home.to_origin("GET http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\n\r\n");
    let mut stream = connect(home.gate.addr("http"));
    for _ in 0..3 {
        stream.write_all(head.as_bytes()).unwrap();
        let response = read_response(&mut stream).unwrap();
        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
        home.origin
            .connections
            .recv_timeout(PATIENCE)
            .expect("a connection of its own");
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_closed(stream);
}

#[test]
fn a_body_whose_chunks_end_badly_is_not_a_whole_one_to_the_client() {
    let home = home(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n+3\r\nabc\r\n0\r\n\r\n",
    );
    let head = home.to_origin("GET http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\n\r\n");
    let mut stream = connect(home.gate.addr("http"));
    stream.write_all(head.as_bytes()).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).ok();
    let all = String::from_utf8(all).unwrap();
    assert!(!all.contains("\r\n0\r\n\r\n"), "{all}");
    home.counted("origin", "chunk", 1.0);
}
