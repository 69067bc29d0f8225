//! `dns.dnssec` against real signed zones, with unbound as the judge of what is secure, insecure and bogus.

use std::fs;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use tempfile::TempDir;

use crate::support::{Ask, Gate, Setup, Signed, Upstream, ede, run};

/// A gate that trusts the root of these servers, and the folder with its anchor.
fn gate(signed: &Signed) -> (Gate, TempDir) {
    let folder = TempDir::new().unwrap();
    let anchor = folder.path().join("anchor");
    fs::write(&anchor, signed.anchor()).unwrap();
    let setup = Setup::new(&Upstream::start())
        .upstreams(&[signed.upstream])
        .set("dns.dnssec", "true")
        .set(
            "dns.trust-anchor",
            &format!("{:?}", anchor.display().to_string()),
        )
        .set("steer.mode", r#""off""#);
    (Gate::start(&setup), folder)
}

#[test]
fn every_answer_is_what_unbound_makes_of_it() {
    let Some(signed) = Signed::start() else {
        return;
    };
    let (gate, _folder) = gate(&signed);
    let mut asks = vec![
        (".".to_owned(), RecordType::SOA),
        (".".to_owned(), RecordType::DNSKEY),
        ("zz".to_owned(), RecordType::DS),
        ("zz".to_owned(), RecordType::NS),
        ("leaf.zz".to_owned(), RecordType::TXT),
        ("missing.zz".to_owned(), RecordType::TXT),
        ("missing".to_owned(), RecordType::TXT),
        ("unsigned.zz".to_owned(), RecordType::DS),
    ];
    for zone in [
        "nsec", "nsec3", "optout", "often", "rsa", "ed", "changed", "wrong", "bare", "unproved",
        "expired", "future", "unsigned",
    ] {
        for (owner, record_type) in [
            ("", RecordType::SOA),
            ("", RecordType::MX),
            ("", RecordType::DS),
            ("", RecordType::DNSKEY),
            ("", RecordType::SRV),
            ("www.", RecordType::A),
            ("WWW.", RecordType::TXT),
            ("www.", RecordType::MX),
            ("www.", RecordType::DS),
            ("a.wild.", RecordType::TXT),
            ("a.b.wild.", RecordType::TXT),
            ("a.wild.", RecordType::MX),
            ("wild.", RecordType::TXT),
            ("ent.", RecordType::TXT),
            ("missing.", RecordType::TXT),
            ("a.b.missing.", RecordType::DS),
            ("a.www.", RecordType::TXT),
            ("alias.", RecordType::TXT),
            ("alias.", RecordType::CNAME),
            ("alias.", RecordType::MX),
            ("far.", RecordType::TXT),
            ("near.", RecordType::TXT),
            ("gone.", RecordType::TXT),
            ("www.old.", RecordType::TXT),
            ("missing.old.", RecordType::TXT),
            ("sub.", RecordType::DS),
        ] {
            asks.push((format!("{owner}{zone}.zz"), record_type));
        }
    }
    let mut wrong = Vec::new();
    let mut made = [0; 3];
    for (owner, record_type) in &asks {
        let ask = Ask::new(owner, *record_type).dnssec_ok();
        let (ours, judged) = (ask.tcp(&gate), signed.asked(signed.judge, &ask));
        let told = [&ours, &judged].map(|answer| {
            let data = answer.answers.iter();
            let data = data
                .filter(|record| record.record_type() != RecordType::RRSIG)
                .count();
            (
                answer.metadata.response_code,
                answer.metadata.authentic_data,
                data,
            )
        });
        let of = match told[1] {
            (ResponseCode::ServFail, ..) => 2,
            (_, authentic, _) => usize::from(!authentic),
        };
        made[of] += 1;
        if told[0] != told[1] {
            wrong.push(format!(
                "{owner} {record_type}: {:?} EDE {:?}, unbound {:?}",
                told[0],
                ede(&ours),
                told[1]
            ));
        }
    }
    // Secure, insecure and bogus.
    assert!(made.iter().all(|made| *made > 40), "{made:?}");
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        asks.len(),
        wrong.join("\n")
    );
}

#[test]
fn a_client_is_told_what_is_wrong_and_has_it_all_the_same_with_cd() {
    let Some(signed) = Signed::start() else {
        return;
    };
    let (gate, folder) = gate(&signed);
    for (owner, code) in [
        ("www.changed.zz", 6),
        ("www.expired.zz", 7),
        ("www.future.zz", 8),
        ("www.wrong.zz", 9),
        ("www.bare.zz", 10),
        ("missing.unproved.zz", 12),
    ] {
        let ask = Ask::new(owner, RecordType::TXT);
        let answer = ask.udp(&gate);
        assert_eq!(
            answer.metadata.response_code,
            ResponseCode::ServFail,
            "{owner}"
        );
        assert_eq!(ede(&answer), Some(code), "{owner}: {answer:?}");
        assert!(answer.answers.is_empty());
        let answer = ask.checking_disabled().udp(&gate);
        assert_ne!(
            answer.metadata.response_code,
            ResponseCode::ServFail,
            "{owner}"
        );
        assert!(!answer.metadata.authentic_data, "{owner}");
    }
    // AD only for those who read it, signatures only for those who want them.
    let plain = Ask::new("www.nsec.zz", RecordType::TXT).udp(&gate);
    assert!(!plain.metadata.authentic_data && plain.answers.len() == 1);
    let full = Ask::new("www.nsec.zz", RecordType::TXT)
        .dnssec_ok()
        .udp(&gate);
    assert!(full.metadata.authentic_data && full.answers.len() == 2);

    // A file that is broken later leaves the old trust in force.
    fs::write(folder.path().join("anchor"), ". IN DS nonsense\n").unwrap();
    let from = gate.log_len();
    gate.signal(nix::sys::signal::Signal::SIGHUP);
    let said = gate.wait_for_log_after(from, "reload failed");
    assert!(
        said.contains("line 1: the DS record cannot be read"),
        "{said}"
    );
    let full = Ask::new("leaf.zz", RecordType::TXT).dnssec_ok().udp(&gate);
    assert!(full.metadata.authentic_data);
}

#[test]
fn a_trust_anchor_that_cannot_be_used_is_a_problem_of_the_configuration() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("zones")).unwrap();
    let setup = Setup::new(&Upstream::start())
        .set("dns.dnssec", "true")
        .set("dns.trust-anchor", r#""anchor""#);
    fs::write(folder.path().join("x.toml"), setup.text()).unwrap();
    for (text, problem) in [
        (None, "anchor: No such file"),
        (
            Some("; nothing\n"),
            "anchor: there is no DS or DNSKEY record to trust",
        ),
        (
            Some("\n. IN A 192.0.2.1\n"),
            "anchor: line 2: `A` is neither DS nor DNSKEY",
        ),
    ] {
        if let Some(text) = text {
            fs::write(folder.path().join("anchor"), text).unwrap();
        }
        for command in ["check", "run"] {
            let output = run(folder.path(), &[command, "--config", "x.toml"]);
            assert_eq!(output.status.code(), Some(78), "{command}: {output:?}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains(problem), "{command}: {said}");
        }
    }
}
