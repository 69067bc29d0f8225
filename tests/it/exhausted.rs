//! What the machine does not give any more: descriptors, and a log that takes no lines. The gate serves what it can, says
//! so once, and goes on when there is some again.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use hickory_proto::rr::RecordType;
use nix::sys::signal::Signal;

use crate::support::{
    Ask, Gate, Origin, PATIENCE, READY, Service, Setup, Upstream, clock, connect, exchange_udp,
    ipv4_of, ports, request, tunnel,
};

/// Waiting clients that have asked for a tunnel.
fn ask_for_tunnels(gate: &Gate, target: &str, count: usize) -> Vec<TcpStream> {
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let asked = |_| {
        let mut stream = connect(gate.addr("http"));
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    (0..count).map(asked).collect()
}

/// Lets a gate that runs have at most so many descriptors from now on.
fn limit_files(gate: &Gate, most: usize) {
    let pid = gate.status("Pid").to_string();
    let limit = format!("--nofile={most}:");
    let set = Command::new("prlimit")
        .args(["--pid", &pid, &limit])
        .status();
    assert!(set.expect("prlimit of util-linux").success());
}

/// Waits for the answer that the tunnel is there.
fn is_open(stream: &mut TcpStream) {
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert!(status.ends_with(b"200"), "{status:?}");
}

#[test]
fn with_few_descriptors_sessions_wait_and_questions_are_answered() {
    for most in [64, 256] {
        let upstream = Upstream::start();
        upstream.addresses("www.origin.example", &["127.0.0.1"]);
        let origin = Origin::start(Service::Echo);
        let target = format!("www.origin.example:{}", origin.port());
        let gate = Gate::launch_with_files(&Setup::new(&upstream), most);
        gate.wait_for_log(READY);
        gate.wait_for_log("the limit on open files is too low for proxy.max-sessions");
        let mut crowd = ask_for_tunnels(&gate, &target, most as usize);
        for stream in &mut crowd[..most as usize / 4] {
            is_open(stream);
        }
        for number in 0..20 {
            let name = format!("n{number}.example");
            upstream.addresses(&name, &["192.0.2.7"]);
            let answer = Ask::new(&name, RecordType::A).udp(&gate);
            assert_eq!(ipv4_of(&answer).len(), 1, "{answer:?}");
        }
        assert!(gate.metric("sekisho_sessions_held_total ") >= 1.0);
        // Those who waited are served as soon as others go.
        let mut waited = crowd.split_off(most as usize / 2);
        drop(crowd);
        for stream in &mut waited[..most as usize / 8] {
            is_open(stream);
        }
        assert!(!gate.log_text().contains("Too many open files"));
    }
}

#[test]
fn without_descriptors_it_says_so_once_and_goes_on_when_there_are_some() {
    let upstream = Upstream::start();
    upstream.addresses("www.origin.example", &["127.0.0.1"]);
    let origin = Origin::start(Service::Echo);
    let target = format!("www.origin.example:{}", origin.port());
    // The limits of another user's process are not ours to change.
    let setup = Setup::new(&upstream).set("user", r#""""#);
    let gate = Gate::start(&setup.set("log.level", r#""info""#));
    let (mut before, _) = tunnel(gate.addr("http"), &target);
    let known = || {
        let answer = Ask::new("www.origin.example", RecordType::A).udp(&gate);
        assert_eq!(ipv4_of(&answer).len(), 1, "{answer:?}");
    };
    known();
    let begun = clock();
    limit_files(&gate, gate.open_files());
    let crowd = ask_for_tunnels(&gate, &target, 100);
    gate.wait_for_log("connections cannot be accepted, and wait");
    // One descriptor more is a client that is let in, and cannot be taken to its origin.
    for _ in 0..40 {
        limit_files(&gate, gate.open_files() + 1);
        known();
        drop(connect(gate.addr("http")));
    }
    before.write_all(b"still here").unwrap();
    before.read_exact(&mut [0; 10]).unwrap();
    let told = gate.log_text();
    let count = |text| told.matches(text).count();
    assert_eq!(count("connections cannot be accepted"), 1, "{told}");
    assert!(count("session failed") <= 10, "{told}");
    limit_files(&gate, 1000);
    let mut stream = ask_for_tunnels(&gate, &target, 1).remove(0);
    is_open(&mut stream);
    let failures = gate.metric("sekisho_accept_failures_total ");
    // A listener waits after each failure, 5 ms at least.
    let most = 2.0 * (1.0 + begun.elapsed().as_secs_f64() / 0.005);
    assert!(failures >= 1.0 && failures <= most, "{failures}, {most}");
    drop(crowd);
}

#[test]
fn a_log_that_takes_no_lines_holds_nobody_up() {
    // A full disk; a pipe whose reader has gone; one whose reader stands still.
    for log in [
        "2>/dev/full",
        "3<>log.pipe 2>log.pipe 3>&-",
        "3<>log.pipe 2>log.pipe",
    ] {
        let upstream = Upstream::start();
        upstream.addresses("www.origin.example", &["127.0.0.1"]);
        let origin = Origin::start(Service::Echo);
        let target = format!("www.origin.example:{}", origin.port());
        let [http, dns, admin] = ports();
        let listen = |address| format!("[\"{address}\"]");
        let setup = Setup::new(&upstream)
            .set("user", r#""""#)
            .set("proxy.http", &listen(http))
            .set("dns.listen", &listen(dns))
            .set("web.admin", &listen(admin))
            .set("log.level", r#""trace""#);
        let mut gate = Gate::launch_logging_to(&setup, log);
        let begun = clock();
        while TcpStream::connect(http).is_err() {
            assert!(begun.elapsed() < PATIENCE, "{log}: it does not start");
            std::thread::yield_now();
        }
        // Each is some lines, and all together more than a pipe and the queue hold.
        for _ in 0..1500 {
            let (stream, answer) = tunnel(http, &target);
            assert_eq!(answer.status, 200);
            drop(stream);
        }
        let question = Ask::new("www.origin.example", RecordType::A).bytes();
        exchange_udp(dns, &question, PATIENCE).expect("an answer");
        let metrics = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let metrics = request(admin, metrics).expect("metrics").text();
        let lost = metrics
            .lines()
            .find(|line| line.starts_with("sekisho_log_lines_lost_total "));
        assert!(
            lost.is_some_and(|line| !line.ends_with(" 0")),
            "{log}: {lost:?}"
        );
        gate.signal(Signal::SIGTERM);
        assert!(gate.wait_for_exit().success(), "{log}");
    }
}
