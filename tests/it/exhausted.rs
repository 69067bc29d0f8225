//! What the machine does not give any more: descriptors, and a log that takes no lines. The gate serves what it can, says
//! so once, and goes on when there is some again.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use hickory_proto::rr::RecordType;

use crate::support::{Ask, Gate, Origin, READY, Service, Setup, Upstream, connect, ipv4_of};

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
