//! DNS over TLS for clients, and how they find it.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{RData, RecordType};

use crate::dns_garbage::Random;
use crate::support::{
    Ask, Gate, PATIENCE, Setup, TlsClient, Upstream, certificate, connect, dot_client, ipv4_of,
    name, run,
};

fn setup(upstream: &Upstream) -> Setup {
    Setup::new(upstream).set("dns.tls", r#"["127.0.0.1:0"]"#)
}

fn home() -> (Upstream, Gate) {
    let upstream = Upstream::start();
    upstream.addresses("www.example", &["192.0.2.1", "2001:db8::1"]);
    let gate = Gate::start(&setup(&upstream));
    (upstream, gate)
}

/// The certificate that the gate has made for itself.
fn own_certificate(gate: &Gate) -> PathBuf {
    gate.folder().join("state/dns-tls.pem")
}

fn open(gate: &Gate) -> TlsClient {
    dot_client(connect(gate.addr("dns-tls")), &own_certificate(gate))
}

fn framed(packet: &[u8]) -> Vec<u8> {
    let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
    [&length[..], packet].concat()
}

fn read(tls: &mut TlsClient) -> Vec<u8> {
    let mut length = [0; 2];
    tls.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    tls.read_exact(&mut answer).unwrap();
    answer
}

fn ask(tls: &mut TlsClient, packet: &[u8]) -> Vec<u8> {
    tls.write_all(&framed(packet)).unwrap();
    read(tls)
}

fn assert_serves(tls: &mut TlsClient) {
    let packet = ask(tls, &Ask::new("www.example", RecordType::A).bytes());
    let answer = Message::from_vec(&packet).unwrap();
    assert_eq!(ipv4_of(&answer).len(), 1);
}

#[test]
fn a_client_is_answered_over_tls_as_over_tcp_and_aaaa_is_withheld() {
    let (_upstream, gate) = home();
    let mut tls = open(&gate);
    assert_serves(&mut tls);
    assert_eq!(tls.conn.alpn_protocol(), Some(&b"dot"[..]));
    let packet = ask(&mut tls, &Ask::new("www.example", RecordType::AAAA).bytes());
    let answer = Message::from_vec(&packet).unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert!(answer.answers.is_empty() && !answer.authorities.is_empty());
}

#[test]
fn questions_are_pipelined_and_padded_answers_come_in_blocks() {
    let (_upstream, gate) = home();
    let mut tls = open(&gate);
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name("www.example"), RecordType::A));
    let mut edns = Edns::new();
    for (code, data) in [(12, vec![0; 60]), (11, Vec::new())] {
        edns.options_mut().insert(EdnsOption::Unknown(code, data));
    }
    message.set_edns(edns);
    let mut all = Vec::new();
    for id in 0..20 {
        message.metadata.id = id;
        all.extend(framed(&message.to_vec().unwrap()));
    }
    tls.write_all(&all).unwrap();
    let mut ids: Vec<u16> = (0..20)
        .map(|_| {
            let packet = read(&mut tls);
            assert_eq!(packet.len() % 468, 0);
            let answer = Message::from_vec(&packet).unwrap();
            let edns = answer.edns.as_ref().unwrap();
            assert!(edns.option(EdnsCode::Keepalive).is_some());
            answer.metadata.id
        })
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, Vec::from_iter(0..20));
}

#[test]
fn noise_over_tls_leaves_it_serving() {
    let (_upstream, gate) = home();
    let mut random = Random(0x0d07_0d07_0d07_0d07);
    for round in 0..50 {
        let mut tls = open(&gate);
        // Many in one record; the gate may close on one of them.
        let all: Vec<u8> = (0..200).flat_map(|_| framed(&random.packet())).collect();
        tls.write_all(&all).ok();
        if round % 10 == 0 {
            // And what is not even TLS.
            let mut stream = connect(gate.addr("dns-tls"));
            stream.write_all(&random.packet()).ok();
            assert_serves(&mut open(&gate));
        }
    }
    assert_serves(&mut open(&gate));
    assert!(!gate.log_text().contains("panicked"), "a task fell over");
    gate.wait_for_metric("sekisho_dns_in_flight ", 0.0);
    gate.wait_for_metric("sekisho_dns_connections ", 0.0);
}

#[test]
fn a_handshake_that_does_not_come_ends_with_the_idle_timeout() {
    let upstream = Upstream::start();
    let gate = Gate::start(&setup(&upstream).set("dns.tcp-idle-timeout", r#""500ms""#));
    let mut stream = connect(gate.addr("dns-tls"));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&[0x16, 3, 1]).unwrap();
    let mut said = Vec::new();
    if let Err(error) = stream.read_to_end(&mut said) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    assert!(said.is_empty());
}

#[test]
fn the_self_signed_certificate_outlasts_a_restart_and_only_we_can_read_its_key() {
    let (upstream, gate) = home();
    let state = gate.folder().join("state");
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(state.clone()), 0o700);
    assert_eq!(mode(state.join("dns-tls.key")), 0o600);
    let shared = format!("{:?}", state.display().to_string());
    let other = Gate::start(&setup(&upstream).set("state", &shared));
    let mut tls = dot_client(connect(other.addr("dns-tls")), &own_certificate(&gate));
    tls.write_all(&framed(&Ask::new("localhost", RecordType::A).bytes()))
        .unwrap();
    assert!(!read(&mut tls).is_empty());
}

#[test]
fn a_certificate_from_files_is_read_again_at_a_reload_and_a_bad_one_changes_nothing() {
    let upstream = Upstream::start();
    upstream.addresses("www.example", &["192.0.2.1"]);
    let folder = tempfile::tempdir().unwrap();
    let path = |file: &str| folder.path().join(file);
    let write = |(chain, key): (String, String)| {
        fs::write(path("chain.pem"), chain).unwrap();
        fs::write(path("key.pem"), key).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(path("chain.pem"), path("trusted.pem")).unwrap();
    };
    write(certificate());
    let text = |file: &str| format!("{:?}", path(file).display().to_string());
    let setup = setup(&upstream)
        .set("dns.tls-certificate", &text("chain.pem"))
        .set("dns.tls-key", &text("key.pem"));
    let gate = Gate::start(&setup);
    let client = || dot_client(connect(gate.addr("dns-tls")), &path("trusted.pem"));
    let mut first = client();
    assert_serves(&mut first);

    write(certificate());
    gate.reload(&setup, "reloaded");
    assert_serves(&mut client());
    assert_serves(&mut first);

    fs::write(path("key.pem"), certificate().1).unwrap();
    let line = gate.reload(&setup, "reload failed");
    assert!(line.contains("key.pem"), "{line}");
    assert_serves(&mut client());

    fs::write(path("sekisho.toml"), setup.text()).unwrap();
    fs::create_dir(path("zones")).unwrap();
    let checked = run(folder.path(), &["check", "--config", "sekisho.toml"]);
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(78), "{said}");
    assert!(said.contains("dns.tls-certificate: ") && said.contains("key.pem"));
    assert!(
        said.contains(": the key is not that of the certificate; name"),
        "{said}"
    );
    fs::remove_file(path("key.pem")).unwrap();
    let checked = run(folder.path(), &["check", "--config", "sekisho.toml"]);
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(said.contains("dns.tls-key: could not read"), "{said}");
}

#[test]
fn clients_that_look_for_an_encrypted_resolver_find_it_only_where_there_is_one() {
    let (upstream, gate) = home();
    let question = Ask::new("_dns.resolver.arpa", RecordType::SVCB);
    let answer = question.udp(&gate);
    let RData::SVCB(binding) = &answer.answers[0].data else {
        panic!("{answer:?}");
    };
    let port = gate.addr("dns-tls").port();
    let text = binding.to_string();
    assert!(text.contains("alpn=dot"), "{text}");
    assert!(text.contains(&format!("port={port}")), "{text}");
    assert!(text.contains("ipv4hint=127.0.0.1"), "{text}");
    let target = binding.target_name.to_ascii();
    assert_eq!(target, "sekisho.home.arpa.");
    let address = Ask::new(&target, RecordType::A).udp(&gate);
    assert_eq!(
        ipv4_of(&address),
        ["127.0.0.1".parse::<std::net::Ipv4Addr>().unwrap()]
    );
    let other = Ask::new("other.resolver.arpa", RecordType::SVCB).udp(&gate);
    assert!(other.answers.is_empty());

    let without = Gate::start(&Setup::new(&upstream));
    let answer = question.udp(&without);
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert!(answer.answers.is_empty() && !answer.authorities.is_empty());
    assert_eq!(without.find_addr("dns-tls"), None);
    assert!(!without.folder().join("state").exists());
}

#[test]
fn five_hundred_connections_of_noise_cost_no_memory() {
    let (_upstream, gate) = home();
    let mut random = Random(0x0500_0500_0500_0500);
    let mut noise = |rounds: usize| {
        for _ in 0..rounds {
            let mut tls = open(&gate);
            let all: Vec<u8> = (0..20).flat_map(|_| framed(&random.packet())).collect();
            tls.write_all(&all).ok();
        }
        gate.wait_for_metric("sekisho_dns_connections ", 0.0);
    };
    // What is allocated once is there after the first.
    noise(100);
    let (memory, files) = (gate.status("VmRSS"), gate.open_files());
    noise(500);
    let after = gate.status("VmRSS");
    assert!(after < memory + 16 * 1024, "{memory} -> {after} KiB");
    assert!(gate.open_files() <= files + 8, "{files} before");
    assert_serves(&mut open(&gate));
}
