//! Bodies are passed on as they are taken, and never held: a side that is slow holds the other one back, and the gate
//! needs no memory for what is between them. An early answer comes back while the request is still on its way.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use http::Request;

use crate::support::{Gate, H2Client, PATIENCE, Setup, Upstream, connect, read_response};

const HOST: &str = "www.origin.example";

/// Far more than the kernel holds for two connections, in bytes.
const MUCH: usize = 64 * 1024 * 1024;

/// What the gate may take for a body of which both sides' kernels are full, in KiB.
const MOST_GROWTH: usize = 16 * 1024;

/// Nothing moves any more when it has not moved for so long. Where a busy machine has us think so too soon, less is held.
const STALLED: Duration = Duration::from_millis(400);

/// An origin that takes one connection, and is told by the test what to do with it.
fn home() -> (Upstream, Gate, u16, Receiver<TcpStream>) {
    let upstream = Upstream::start();
    upstream.addresses(HOST, &["127.0.0.1"]);
    let gate = Gate::start(&Setup::new(&upstream));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (give, take) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_read_timeout(Some(3 * PATIENCE)).unwrap();
            if give.send(stream).is_err() {
                return;
            }
        }
    });
    (upstream, gate, port, take)
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

/// Writes until nothing is taken any more: how much was.
fn fill(stream: &mut TcpStream) -> usize {
    stream.set_write_timeout(Some(STALLED)).unwrap();
    let piece = vec![b'x'; 65_536];
    let mut sent = 0;
    while sent < MUCH {
        match stream.write(&piece[..piece.len().min(MUCH - sent)]) {
            Ok(length) => sent += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_write_timeout(None).unwrap();
    sent
}

fn assert_held_back(gate: &Gate, before: usize, sent: usize) {
    let after = gate.status("VmRSS");
    assert!(sent < MUCH, "somebody holds all of it");
    assert!(
        after < before + MOST_GROWTH,
        "{before} -> {after} KiB with {sent} bytes on their way"
    );
}

fn write_rest(mut stream: TcpStream, left: usize) {
    let piece = vec![b'x'; 65_536];
    let mut left = left;
    while left > 0 {
        let length = piece.len().min(left);
        stream.write_all(&piece[..length]).expect("taken");
        left -= length;
    }
}

fn read_exactly(stream: &mut TcpStream, length: usize) {
    let mut room = vec![0; 65_536];
    let mut left = length;
    while left > 0 {
        let most = room.len().min(left);
        let read = stream.read(&mut room[..most]).expect("more");
        assert!(read > 0, "{left} bytes are missing");
        left -= read;
    }
}

const DONE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";

#[test]
fn an_upload_to_a_slow_origin_is_held_back() {
    let (_upstream, gate, port, origins) = home();
    let mut client = connect(gate.addr("http"));
    let before = gate.status("VmRSS");
    let request = format!(
        "PUT http://{HOST}:{port}/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {MUCH}\r\n\r\n"
    );
    client.write_all(request.as_bytes()).unwrap();
    let mut origin = origins.recv_timeout(PATIENCE).unwrap();
    head(&mut origin);
    let sent = fill(&mut client);
    assert_held_back(&gate, before, sent);
    let writing = client.try_clone().unwrap();
    let writer = thread::spawn(move || write_rest(writing, MUCH - sent));
    read_exactly(&mut origin, MUCH);
    origin.write_all(DONE).unwrap();
    assert_eq!(read_response(&mut client).unwrap().text(), "done");
    writer.join().unwrap();
}

#[test]
fn a_download_to_a_slow_client_is_held_back() {
    let (_upstream, gate, port, origins) = home();
    let mut client = connect(gate.addr("http"));
    let before = gate.status("VmRSS");
    let request = format!("GET http://{HOST}:{port}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    let mut origin = origins.recv_timeout(PATIENCE).unwrap();
    head(&mut origin);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n");
    origin.write_all(answer.as_bytes()).unwrap();
    let sent = fill(&mut origin);
    assert_held_back(&gate, before, sent);
    let writer = thread::spawn(move || write_rest(origin, MUCH - sent));
    head(&mut client);
    read_exactly(&mut client, MUCH);
    writer.join().unwrap();
}

#[test]
fn an_upload_on_http_2_to_a_slow_origin_is_held_back() {
    let (_upstream, gate, port, origins) = home();
    let client = H2Client::connect(gate.addr("http"));
    let before = gate.status("VmRSS");
    let request = Request::put(format!("http://{HOST}:{port}/")).header("content-length", MUCH);
    let mut stream = client.ask(request.body(()).unwrap(), false);
    let mut origin = origins.recv_timeout(PATIENCE).unwrap();
    head(&mut origin);
    let piece = vec![b'x'; 16_384];
    let mut sent = 0;
    while sent < MUCH && client.offer(&mut stream, &piece, STALLED) {
        sent += piece.len();
    }
    assert_held_back(&gate, before, sent);
    let reader = thread::spawn(move || {
        read_exactly(&mut origin, MUCH);
        origin.write_all(DONE).unwrap();
        origin
    });
    while sent < MUCH {
        client.say(&mut stream, &piece, false).unwrap();
        sent += piece.len();
    }
    client.say(&mut stream, b"", true).unwrap();
    assert_eq!(client.answer(&mut stream).status, 200);
    assert_eq!(client.rest(&mut stream).unwrap(), b"done");
    drop(reader.join().unwrap());
}

#[test]
fn a_download_on_http_2_to_a_slow_client_is_held_back() {
    let (_upstream, gate, port, origins) = home();
    let client = H2Client::connect(gate.addr("http"));
    let before = gate.status("VmRSS");
    let request = Request::get(format!("http://{HOST}:{port}/"));
    let mut stream = client.ask(request.body(()).unwrap(), true);
    let mut origin = origins.recv_timeout(PATIENCE).unwrap();
    head(&mut origin);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n");
    origin.write_all(answer.as_bytes()).unwrap();
    assert_eq!(client.answer(&mut stream).status, 200);
    let sent = fill(&mut origin);
    assert_held_back(&gate, before, sent);
    let writer = thread::spawn(move || write_rest(origin, MUCH - sent));
    let mut received = 0;
    while let Some(data) = client.read(&mut stream) {
        received += data.unwrap().len();
    }
    assert_eq!(received, MUCH);
    writer.join().unwrap();
}

const TOO_LARGE: &[u8] =
    b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmuch";

#[test]
fn an_early_answer_comes_back_to_a_client_that_reads_only_when_it_has_sent_all() {
    let (_upstream, gate, port, origins) = home();
    let mut client = connect(gate.addr("http"));
    let request = format!(
        "PUT http://{HOST}:{port}/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {MUCH}\r\n\r\n"
    );
    client.write_all(request.as_bytes()).unwrap();
    let mut origin = origins.recv_timeout(PATIENCE).unwrap();
    head(&mut origin);
    origin.write_all(TOO_LARGE).unwrap();
    let sent = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&sent);
    let mut writing = client.try_clone().unwrap();
    let writer = thread::spawn(move || {
        let piece = vec![b'x'; 65_536];
        while counted.load(Ordering::Relaxed) < MUCH {
            writing.write_all(&piece)?;
            counted.fetch_add(piece.len(), Ordering::Relaxed);
        }
        std::io::Result::Ok(())
    });
    writer
        .join()
        .unwrap()
        .expect("nobody breaks the connection");
    let response = read_response(&mut client).unwrap();
    assert_eq!((response.status, response.text().as_str()), (413, "much"));
    assert!(read_response(&mut client).is_none(), "and then it is over");
}

#[test]
fn an_early_answer_of_an_origin_that_breaks_off_is_not_lost() {
    let (_upstream, gate, port, origins) = home();
    let mut client = connect(gate.addr("http"));
    let request = format!(
        "PUT http://{HOST}:{port}/ HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    client.write_all(request.as_bytes()).unwrap();
    let mut origin = origins.recv_timeout(PATIENCE).unwrap();
    head(&mut origin);
    // Unread bytes make a RST of the end.
    client.write_all(b"4\r\nbody\r\n").unwrap();
    origin.peek(&mut [0; 9]).unwrap();
    origin.write_all(TOO_LARGE).unwrap();
    drop(origin);
    client.write_all(b"4\r\nbody\r\n").ok();
    let response = read_response(&mut client).unwrap();
    assert_eq!((response.status, response.text().as_str()), (413, "much"));
}

#[test]
fn an_early_answer_comes_back_on_http_2() {
    let (_upstream, gate, port, origins) = home();
    let client = H2Client::connect(gate.addr("http"));
    let request = Request::put(format!("http://{HOST}:{port}/")).header("content-length", MUCH);
    let mut stream = client.ask(request.body(()).unwrap(), false);
    let mut origin = origins.recv_timeout(PATIENCE).unwrap();
    head(&mut origin);
    let piece = vec![b'x'; 16_384];
    while client.offer(&mut stream, &piece, STALLED) {}
    origin.write_all(TOO_LARGE).unwrap();
    assert_eq!(client.answer(&mut stream).status, 413);
    assert_eq!(client.rest(&mut stream).unwrap(), b"much");
}

#[test]
fn a_body_is_sent_when_the_origin_wants_it() {
    let (_upstream, gate, port, origins) = home();
    let mut client = connect(gate.addr("http"));
    let request = format!(
        "PUT http://{HOST}:{port}/ HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\n\
         Content-Length: 4\r\n\r\n"
    );
    client.write_all(request.as_bytes()).unwrap();
    let mut origin = origins.recv_timeout(PATIENCE).unwrap();
    assert!(head(&mut origin).contains("\r\nexpect: 100-continue\r\n"));
    origin.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    assert!(head(&mut client).starts_with("http/1.1 100 "));
    client.write_all(b"body").unwrap();
    read_exactly(&mut origin, 4);
    origin.write_all(DONE).unwrap();
    assert_eq!(read_response(&mut client).unwrap().text(), "done");
}

#[test]
fn a_body_that_the_origin_does_not_want_is_not_sent() {
    let (_upstream, gate, port, origins) = home();
    let mut client = connect(gate.addr("http"));
    let request = format!(
        "PUT http://{HOST}:{port}/ HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\n\
         Content-Length: 4\r\n\r\n"
    );
    client.write_all(request.as_bytes()).unwrap();
    let mut origin = origins.recv_timeout(PATIENCE).unwrap();
    head(&mut origin);
    origin.write_all(TOO_LARGE).unwrap();
    let response = read_response(&mut client).unwrap();
    assert_eq!((response.status, response.text().as_str()), (413, "much"));
}

#[test]
fn trailers_pass_both_ways_where_they_are_announced() {
    let (_upstream, gate, port, origins) = home();
    let mut client = connect(gate.addr("http"));
    let request = format!(
        "PUT http://{HOST}:{port}/ HTTP/1.1\r\nHost: {HOST}\r\nTE: trailers\r\nTrailer: X-Sum\r\n\
         Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 7\r\n\r\n"
    );
    client.write_all(request.as_bytes()).unwrap();
    let mut origin = origins.recv_timeout(PATIENCE).unwrap();
    assert!(head(&mut origin).contains("\r\ntrailer: x-sum\r\n"));
    let body = head(&mut origin);
    assert_eq!(body, "4\r\nbody\r\n0\r\nx-sum: 7\r\n\r\n");
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Back\r\n\r\n\
                   2\r\nok\r\n0\r\nX-Back: 8\r\n\r\n";
    origin.write_all(answer).unwrap();
    head(&mut client);
    assert_eq!(head(&mut client), "2\r\nok\r\n0\r\nx-back: 8\r\n\r\n");
}
