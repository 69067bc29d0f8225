//! Reloads that follow one another while clients ask: every answer is right, the certificate is the newest, and nothing
//! stays open.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use nix::sys::signal::Signal;

use crate::support::{
    Ask, Gate, Origin, PATIENCE, Service, Setup, Upstream, certificate, clock, connect, dot_client,
    ipv4_of, tunnel,
};

const RELOADS: usize = 60;
const REAL: [std::net::Ipv4Addr; 1] = [std::net::Ipv4Addr::new(192, 0, 2, 1)];

/// Ends the load, also where the test has failed: else it would go on for ever.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn sixty_reloads_under_load_give_no_wrong_answer_and_leave_nothing_open() {
    let upstream = Upstream::start();
    upstream.addresses("www.example", &["192.0.2.1", "2001:db8::1"]);
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = |file: &str| folder.path().join(file);
    let text = |file: &str| format!("{:?}", path(file).display().to_string());
    let certificates = [certificate(), certificate()];
    let write = |round: usize| {
        let (chain, key) = &certificates[round % 2];
        fs::write(path("chain.pem"), chain).unwrap();
        fs::write(path("key.pem"), key).unwrap();
    };
    write(0);
    let setup = Setup::new(&upstream)
        .set("dns.tls", r#"["127.0.0.1:0"]"#)
        .set("dns.rate-limit", "0")
        .set("dns.tls-certificate", &text("chain.pem"))
        .set("dns.tls-key", &text("key.pem"))
        .zone(
            "lab.home.arpa.zone",
            "$TTL 60\n@ SOA ns admin 1 60 60 60 60\n@ NS ns\nns A 192.0.2.1\n",
        );
    let gate = Gate::start(&setup);
    let ask_tls = |round: usize| {
        let trusted = path("trusted.pem");
        fs::write(&trusted, &certificates[round % 2].0).unwrap();
        let mut tls = dot_client(connect(gate.addr("dns-tls")), &trusted);
        let packet = Ask::new("ns.lab.home.arpa", RecordType::A).bytes();
        let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
        tls.write_all(&[&length[..], &packet].concat()).unwrap();
        let mut length = [0; 2];
        tls.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        tls.read_exact(&mut answer).unwrap();
        assert_eq!(ipv4_of(&Message::from_vec(&answer).unwrap()), REAL);
    };
    ask_tls(0);
    let over = AtomicBool::new(false);
    let asked = AtomicUsize::new(0);
    let before = thread::scope(|scope| {
        for tcp in [false, true] {
            let (gate, over, asked) = (&gate, &over, &asked);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    for owner in ["ns.lab.home.arpa", "www.example"] {
                        let ask = Ask::new(owner, RecordType::A);
                        let answer = if tcp { ask.tcp(gate) } else { ask.udp(gate) };
                        // Where the root is not to be had, validation fails; it never makes another address.
                        let bogus = owner == "www.example"
                            && answer.metadata.response_code == ResponseCode::ServFail;
                        assert!(bogus || ipv4_of(&answer) == REAL, "{owner}: {answer:?}");
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _over = Over(&over);
        let mut before = 0;
        for round in 1..=RELOADS {
            write(round);
            let dnssec = if round % 3 == 0 { "true" } else { "false" };
            gate.reload(&setup.clone().set("dns.dnssec", dnssec), "reloaded");
            ask_tls(round);
            if round == 6 {
                before = gate.open_files();
            }
        }
        before
    });
    assert!(asked.load(Ordering::Relaxed) > 0);
    gate.reload(&setup, "reloaded");
    assert_eq!(
        ipv4_of(&Ask::new("www.example", RecordType::A).udp(&gate)),
        REAL
    );
    gate.wait_for_metric("sekisho_dns_connections ", 0.0);
    gate.wait_for_metric("sekisho_dns_in_flight ", 0.0);
    let after = gate.open_files();
    assert!(after <= before + 8, "{before} -> {after}");
    assert!(!gate.log_text().contains("panicked"));
}

#[test]
fn a_storm_of_signals_beside_a_hundred_tunnels_cuts_none_and_the_last_file_is_in_force() {
    let upstream = Upstream::start();
    upstream.addresses("www.origin.example", &["127.0.0.1"]);
    let setup = Setup::new(&upstream).set("log.level", r#""info""#);
    let gate = Gate::start(&setup);
    let origin = Origin::start(Service::Echo);
    let target = format!("www.origin.example:{}", origin.port());
    let mut tunnels: Vec<_> = (0..100)
        .map(|_| tunnel(gate.addr("http"), &target).0)
        .collect();
    let zone = |last: usize| {
        let text = format!("$TTL 60\n@ SOA ns admin 1 60 60 60 60\n@ NS ns\nns A 192.0.2.{last}\n");
        setup.clone().zone("lab.home.arpa.zone", &text)
    };
    let mut memory = Vec::new();
    for round in 0..200 {
        if round % 10 == 0 {
            gate.rewrite_config(&zone(round));
            memory.push(gate.status("VmRSS"));
        }
        gate.signal(Signal::SIGHUP);
        let stream = &mut tunnels[round % 100];
        stream.write_all(b"through").unwrap();
        let mut back = [0; 7];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"through");
    }
    // Signals come together, but never is the last one lost.
    gate.rewrite_config(&zone(250));
    gate.signal(Signal::SIGHUP);
    let begun = clock();
    let last = std::net::Ipv4Addr::new(192, 0, 2, 250);
    while ipv4_of(&Ask::new("ns.lab.home.arpa", RecordType::A).udp(&gate)) != [last] {
        assert!(begun.elapsed() < PATIENCE, "the last file is not in force");
    }
    for stream in &mut tunnels {
        stream.write_all(b"still").unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
    }
    assert_eq!(gate.metric("sekisho_sessions_active "), 100.0);
    let after = gate.status("VmRSS");
    println!("VmRSS {memory:?} -> {after} KiB");
    assert!(after < memory[2] + 16 * 1024, "{memory:?} -> {after} KiB");
    assert!(!gate.log_text().contains("panicked"));
}
