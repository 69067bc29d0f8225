//! Files that are no files, too large or gone: each is named, what was answered before is answered still, and nothing is
//! waited on.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use hickory_proto::rr::RecordType;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::support::{Ask, Gate, PATIENCE, Setup, Upstream, certificate, clock, ipv4_of};

const ZONE: &str =
    "$TTL 60\n@ SOA ns admin 1 60 60 60 60\n@ NS ns\nns A 192.168.1.1\nnas A 192.168.1.9\n";
const NAS: [Ipv4Addr; 1] = [Ipv4Addr::new(192, 168, 1, 9)];

fn pipe(path: &Path) {
    mkfifo(path, Mode::from_bits_truncate(0o644)).unwrap();
}

/// 100 MiB of holes.
fn large(path: &Path) {
    let file = fs::File::create(path).unwrap();
    file.set_len(100 << 20).unwrap();
}

fn folder(path: &Path) {
    fs::create_dir(path).unwrap();
}

fn remove(path: &Path) {
    if path.is_dir() {
        fs::remove_dir(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
}

fn reload(gate: &Gate, outcome: &str, why: &str) {
    let from = gate.log_len();
    gate.signal(Signal::SIGHUP);
    gate.wait_for_log_after(from, outcome);
    gate.wait_for_log_after(from, why);
}

#[test]
fn what_cannot_be_read_at_a_reload_is_named_and_leaves_the_old_answers() {
    let upstream = Upstream::start();
    let (chain, key) = certificate();
    let setup = Setup::new(&upstream)
        .zone("lab.home.arpa.zone", ZONE)
        .set("steer.never-files", r#"["never.txt"]"#)
        .set("dns.upstream.ca", r#"["ca.pem"]"#)
        .set("dns.tls", r#"["127.0.0.1:0"]"#)
        .set("dns.tls-certificate", r#""chain.pem""#)
        .set("dns.tls-key", r#""key.pem""#);
    let gate = Gate::start_in(&setup, |here| {
        fs::write(here.join("never.txt"), "never.example\n").unwrap();
        fs::write(here.join("ca.pem"), &chain).unwrap();
        fs::write(here.join("chain.pem"), &chain).unwrap();
        fs::write(here.join("key.pem"), &key).unwrap();
    });
    let memory = gate.status("VmRSS");
    let good = |gate: &Gate| {
        let answer = Ask::new("nas.lab.home.arpa", RecordType::A).udp(gate);
        assert_eq!(ipv4_of(&answer), NAS);
    };
    good(&gate);
    let here = gate.folder();
    for file in ["never.txt", "ca.pem", "chain.pem", "key.pem"] {
        let path = here.join(file);
        let text = fs::read(&path).unwrap();
        for (make, why) in [
            (pipe as fn(&Path), "it is no file"),
            (folder, "it is no file"),
            (large, "bytes"),
        ] {
            remove(&path);
            make(&path);
            reload(&gate, "reload failed", why);
            assert!(gate.log_text().contains(file));
            good(&gate);
        }
        remove(&path);
        fs::write(&path, text).unwrap();
        reload(&gate, "reloaded", "reloaded");
    }
    let zone = here.join("zones/large.example.zone");
    large(&zone);
    reload(&gate, "reload failed", "large.example.zone");
    good(&gate);
    remove(&zone);
    // A zone folder that is gone.
    fs::rename(here.join("zones"), here.join("away")).unwrap();
    reload(&gate, "reload failed", "zones");
    good(&gate);
    fs::rename(here.join("away"), here.join("zones")).unwrap();
    reload(&gate, "reloaded", "reloaded");
    good(&gate);
    let after = gate.status("VmRSS");
    assert!(after < memory + 160 * 1024, "{memory} -> {after} KiB");
}

#[test]
fn a_followed_file_that_becomes_a_pipe_a_folder_or_too_large_is_told_and_followed_on() {
    let upstream = Upstream::start();
    let setup = Setup::new(&upstream).set("dns.hosts", r#"["hosts"]"#);
    let gate = Gate::start_in(&setup, |here| {
        fs::write(here.join("hosts"), "192.168.1.9 nas\n").unwrap();
    });
    let path = gate.folder().join("hosts");
    for (make, why) in [
        (pipe as fn(&Path), "it is no file"),
        (folder, "it is no file"),
        (large, "it has more than"),
    ] {
        let from = gate.log_len();
        remove(&path);
        make(&path);
        gate.wait_for_log_after(from, why);
        remove(&path);
        gate.write("hosts", "192.168.1.9 nas\n");
        // It is looked at once a second.
        let begun = clock();
        while ipv4_of(&Ask::new("nas", RecordType::A).udp(&gate)) != NAS {
            assert!(begun.elapsed() < PATIENCE, "no longer followed");
            std::thread::yield_now();
        }
    }
}
