//! What never ends: answers of origins, and requests of a client that reads nothing. The gate breaks off or holds back,
//! counts it, keeps its memory, and serves others.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use hickory_proto::rr::RecordType;

use crate::support::{Ask, Gate, PATIENCE, Setup, Upstream, connect, ipv4_of};

/// What a peer may have us keep, in KiB.
const LITTLE: usize = 16 * 1024;

/// Far more than anybody takes of it.
const ENDLESS: usize = 64 << 20;

fn home() -> (Upstream, Gate, TcpListener, String) {
    let upstream = Upstream::start();
    upstream.addresses("www.origin.example", &["127.0.0.1"]);
    let setup = Setup::new(&upstream).set("log.level", r#""info""#);
    let gate = Gate::start(&setup);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let get = format!("GET http://www.origin.example:{port}/ HTTP/1.1\r\nHost: a\r\n\r\n");
    (upstream, gate, listener, get)
}

/// An origin that says this to one request, then this again and again until it is hung up on; how many bytes it sent.
fn endless(listener: TcpListener, begin: &'static [u8], again: &'static [u8]) -> JoinHandle<usize> {
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let _length = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(begin).unwrap();
        let many = again.repeat(200);
        let mut sent = 0;
        while sent < ENDLESS && stream.write_all(&many).is_ok() {
            sent += many.len();
        }
        sent
    })
}

fn all_of(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    if let Err(error) = stream.read_to_end(&mut all) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    all
}

#[test]
fn an_answer_that_never_ends_its_head_its_chunks_or_its_trailers_is_broken_off() {
    const CHUNKS: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (begin, again, is_head) in [
        (
            &b"HTTP/1.1 200 OK\r\n"[..],
            &b"X-More: and more\r\n"[..],
            true,
        ),
        (b"HTTP/1.1 200 OK\r\nX-More: ", b"more", true),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", true),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", true),
        (CHUNKS, b"1;more=and-more\r\nx\r\n", false),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
            b"more",
            false,
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"X-More: more\r\n",
            false,
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-More: ",
            b"more",
            false,
        ),
    ] {
        let label = String::from_utf8_lossy(&[begin, again].concat()).into_owned();
        let (_upstream, gate, listener, get) = home();
        let before = gate.status("VmRSS");
        let origin = endless(listener, begin, again);
        let mut client = connect(gate.addr("http"));
        client.write_all(get.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).ok();
        let said = all_of(client);
        let text = String::from_utf8_lossy(&said);
        if is_head {
            assert!(text.contains("HTTP/1.1 502"), "{label}: {text}");
        } else {
            assert!(!said.ends_with(b"0\r\n\r\n"), "{label}: a whole answer");
        }
        assert!(
            origin.join().unwrap() < ENDLESS,
            "{label}: never hung up on"
        );
        gate.wait_for_metric("sekisho_sessions_active ", 0.0);
        gate.wait_for_metric(
            "sekisho_session_failures_total{inbound=\"forward\",side=\"origin\"}",
            1.0,
        );
        let after = gate.status("VmRSS");
        assert!(after < before + LITTLE, "{label}: {before} -> {after} KiB");
    }
}

#[test]
fn ten_thousand_requests_of_a_client_that_reads_nothing_are_held_back() {
    let (upstream, gate, listener, get) = home();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let body = "x".repeat(4096);
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n{body}");
                while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let before = gate.status("VmRSS");
    let mut client = connect(gate.addr("http"));
    let mut writer = client.try_clone().unwrap();
    let bomb = get.repeat(10_000);
    let writing = thread::spawn(move || writer.write_all(bomb.as_bytes()));
    // The first answers are there, and more of them than the kernel holds cannot be.
    client.read_exact(&mut [0; 4096]).unwrap();
    for number in 0..50 {
        let name = format!("n{number}.example");
        upstream.addresses(&name, &["192.0.2.7"]);
        let answer = Ask::new(&name, RecordType::A).udp(&gate);
        assert_eq!(ipv4_of(&answer).len(), 1, "{answer:?}");
        let after = gate.status("VmRSS");
        assert!(after < before + LITTLE, "{before} -> {after} KiB");
    }
    assert!(gate.metric("sekisho_sessions_active ") <= 2.0);
    client.shutdown(Shutdown::Both).unwrap();
    drop(client);
    writing.join().unwrap().ok();
    gate.wait_for_metric("sekisho_sessions_active ", 0.0);
}
