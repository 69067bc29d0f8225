//! What the tools of DNS engineers make of the gate: dig, delv, drill, kdig.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::gate::{Gate, config};
use crate::home::{GATE, Home};
use crate::internet::{DUAL, RESOLVER, SIX};
use crate::namespace::must;
use crate::requirements::home;

fn serving() -> String {
    format!(
        "{}[dns]\ntls = [\"lan:853\"]\nversion = \"sekisho\"\nidentity = \"gate-one\"\n",
        config("ipv6-only")
    )
}

/// What a program on the client printed, whether it was content or not.
fn said(home: &Home, line: &str) -> (bool, String) {
    let mut words = line.split_whitespace();
    let mut command = home.client.command(words.next().expect("a program"));
    let output = command.args(words).output().expect("a program that runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output.status.success(), text)
}

#[test]
fn dig_has_nothing_to_complain_about_with_any_of_its_options() {
    let Some(home) = home() else { return };
    let _gate = Gate::start(&home, &serving());
    let good = |options: &str| {
        let answer = home.dig(&format!("{options} {DUAL} A"));
        assert!(answer.is("NOERROR"), "{options}: {}", answer.0);
        assert_eq!(answer.data(), ["A 203.0.113.10"], "{options}");
        for complaint in [
            "WARNING",
            ";; Warning",
            "Got bad packet",
            "mismatch",
            "BADCOOKIE",
        ] {
            assert!(!answer.0.contains(complaint), "{options}: {}", answer.0);
        }
        assert!(answer.flag("qr") && answer.flag("rd") && answer.flag("ra"));
        answer.0
    };
    for options in [
        "+noedns +nocookie",
        "+tcp",
        "+tcp +keepopen",
        "+dnssec",
        "+cdflag",
        "+bufsize=512",
        "+bufsize=4096",
        "+ednsopt=65001:c0ffee",
        "+subnet=192.0.2.0/24",
        "+padding=128",
        "+expire",
        "+ednsflags=0x4000",
        "+tcp +padding=128",
        "+zflag",
        "-4",
    ] {
        good(options);
    }
    let cookie = good("+cookie");
    let (_, cookie) = cookie.split_once("; COOKIE: ").expect("a cookie");
    let (cookie, verdict) = cookie.split_once(' ').expect("a verdict");
    assert!(verdict.starts_with("(good)"), "{verdict}");
    assert_eq!(cookie.len(), 48, "{cookie}");
    let again = good(&format!("+cookie={cookie}"));
    assert!(again.contains("(good)"), "{again}");
    let named = good("+nsid");
    assert!(named.contains("(\"gate-one\")"), "{named}");
    let kept = good("+tcp +keepalive");
    assert!(kept.contains("; TCP KEEPALIVE: 10.0 secs"), "{kept}");
    // Said back, it would claim that the answer was made for that network.
    assert!(!good("+subnet=192.0.2.0/24").contains("CLIENT-SUBNET"));

    for (question, rcode) in [
        ("+edns=1 +noednsnegotiation dual.origin.net A", "BADVERS"),
        ("+opcode=notify dual.origin.net A", "NOTIMP"),
        ("+opcode=update dual.origin.net A", "NOTIMP"),
        ("+opcode=15 dual.origin.net A", "NOTIMP"),
        ("+norecurse never.asked.net A", "REFUSED"),
        ("dual.origin.net ANY", "NOERROR"),
        ("dual.origin.net TYPE65280", "NOERROR"),
        ("nowhere.origin.net A", "NXDOMAIN"),
        (". NS", "NOERROR"),
    ] {
        let answer = home.dig(question);
        assert!(answer.is(rcode), "{question}: {}", answer.0);
        assert!(!answer.has("AAAA"), "{question}: {}", answer.0);
    }
    let negotiated = home.dig(&format!("+edns=1 {DUAL} A"));
    assert!(negotiated.is("NOERROR"), "{}", negotiated.0);
    let chaos = home.dig("CH TXT version.bind");
    assert_eq!(chaos.data(), ["TXT \"sekisho\""]);
    let transfer = home.dig("origin.net AXFR");
    assert!(transfer.0.contains("Transfer failed"), "{}", transfer.0);
}

#[test]
fn dig_kdig_and_drill_read_the_same_from_every_transport() {
    let Some(home) = home() else { return };
    let _gate = Gate::start(&home, &serving());
    let certificate = own_certificate(&home);
    let verified = format!(
        "+tls-ca={} +tls-hostname=sekisho.home.arpa",
        certificate.display()
    );
    for (name, address) in [(DUAL, "203.0.113.10"), (SIX, GATE)] {
        for line in [
            format!("dig +short @{GATE} {name} A"),
            format!("dig +short +tcp @{GATE} {name} A"),
            format!("dig +short +tls {verified} @{GATE} {name} A"),
            format!("kdig +short @{GATE} {name} A"),
            format!("kdig +short +tcp @{GATE} {name} A"),
            format!("kdig +short +tls @{GATE} {name} A"),
            format!("kdig +short +tls {verified} @{GATE} {name} A"),
            format!("drill -Q @{GATE} {name} A"),
            format!("drill -Q -t @{GATE} {name} A"),
            format!("drill -Q -b 1232 @{GATE} {name} A"),
        ] {
            let (content, text) = said(&home, &line);
            assert!(content, "{line}: {text}");
            assert_eq!(text.trim(), address, "{line}");
        }
        for line in [
            format!("dig +short @{GATE} {name} AAAA"),
            format!("dig +short +tls {verified} @{GATE} {name} AAAA"),
            format!("kdig +short +tls {verified} @{GATE} {name} AAAA"),
            format!("drill -Q @{GATE} {name} AAAA"),
        ] {
            let (content, text) = said(&home, &line);
            assert!(content, "{line}: {text}");
            assert_eq!(text.trim(), "", "{line}");
        }
    }
}

/// The certificate that the gate has made for itself, where the client's programs may read it.
fn own_certificate(home: &Home) -> PathBuf {
    let copy = home.folder().join("gate.pem");
    fs::copy(home.folder().join("state/dns-tls.pem"), &copy).expect("a certificate");
    copy
}

#[test]
fn kdig_knows_the_gate_by_its_certificate_and_nobody_else() {
    let Some(home) = home() else { return };
    let _gate = Gate::start(&home, &serving());
    let certificate = own_certificate(&home);
    let pin = must(Command::new("sh").current_dir(home.folder()).args([
        "-c",
        "openssl x509 -in gate.pem -pubkey -noout | openssl pkey -pubin -outform der | \
         openssl dgst -sha256 -binary | openssl base64",
    ]));
    let pin = pin.trim();
    let ask = |options: &str| {
        said(
            &home,
            &format!("kdig +tls {options} @{GATE} {DUAL} A {SIX} A nowhere.origin.net A"),
        )
    };
    for options in [
        format!("+tls-pin={pin}"),
        format!(
            "+tls-ca={} +tls-hostname=sekisho.home.arpa",
            certificate.display()
        ),
        format!("+tls-ca={} +tls-hostname={GATE}", certificate.display()),
        format!("+tls-pin={pin} +keepopen +padding +nsid +cookie"),
        "+keepopen +padding=64".to_owned(),
    ] {
        let (content, text) = ask(&options);
        assert!(content, "{options}: {text}");
        assert_eq!(
            text.matches("status: NOERROR").count(),
            2,
            "{options}: {text}"
        );
        assert_eq!(
            text.matches("status: NXDOMAIN").count(),
            1,
            "{options}: {text}"
        );
        for missing in ["WARNING", "ERROR"] {
            assert!(
                !text.replace("NOERROR", "").contains(missing),
                "{options}: {text}"
            );
        }
        // Padded to blocks of 468 octets where the query was padded, as kdig does of itself over TLS.
        let sizes = text
            .lines()
            .filter_map(|line| line.strip_prefix(";; Received "));
        let sizes: Vec<_> = sizes
            .map(|rest| rest.split(' ').next().unwrap_or(""))
            .collect();
        assert_eq!(sizes, ["468"; 3], "{options}: {text}");
    }
    let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for options in [
        format!("+tls-pin={other}"),
        format!(
            "+tls-ca={} +tls-hostname=dns.elsewhere.net",
            certificate.display()
        ),
        format!(
            "+tls-ca={} +tls-hostname=sekisho.home.arpa",
            home.internet.authority.display()
        ),
    ] {
        let (_, text) = ask(&options);
        assert!(!text.contains("status: NOERROR"), "{options}: {text}");
    }
}

#[test]
fn delv_and_drill_validate_what_comes_through_the_gate() {
    let Some(home) = home() else { return };
    let upstream = format!("[dns.upstream]\nservers = [\"{RESOLVER}\"]\n");
    let _gate = Gate::start(&home, &(config("ipv6-only") + &upstream));
    let folder = home.folder();
    let anchor = folder.join("secure.net.anchor");
    let key = fs::read_to_string(&anchor).expect("a key");
    let words: Vec<_> = key.split_whitespace().collect();
    let start = words
        .iter()
        .position(|word| *word == "DNSKEY")
        .expect("a key")
        + 1;
    let [flags, protocol, algorithm, public] = words[start..start + 4] else {
        panic!("{key}");
    };
    let keys = format!(
        "trust-anchors {{ \"secure.net\" static-key {flags} {protocol} {algorithm} \"{public}\"; }};\n"
    );
    let bind = folder.join("delv.keys");
    fs::write(&bind, keys).expect("a file");
    let delv = |question: &str| {
        let keys = bind.display();
        said(
            &home,
            &format!("delv -a {keys} +root=secure.net @{GATE} {question}"),
        )
    };
    for (question, wanted) in [
        ("four.secure.net A", "; fully validated"),
        ("alias.secure.net A", "; fully validated"),
        ("a.wild.secure.net A", "; fully validated"),
        ("secure.net SOA", "; fully validated"),
        (
            "nowhere.secure.net A",
            "; negative response, fully validated",
        ),
        (
            "bogus.secure.net A",
            "resolution failed: RRSIG failed to verify",
        ),
    ] {
        let (_, text) = delv(question);
        assert!(text.contains(wanted), "{question}: {text}");
    }
    let drill = |question: &str| {
        let key = anchor.display();
        said(&home, &format!("drill -S -k {key} @{GATE} {question}"))
    };
    let (_, text) = drill("four.secure.net A");
    assert!(text.contains(";; Chase successful"), "{text}");
    let (_, text) = drill("bogus.secure.net A");
    assert!(!text.contains(";; Chase successful"), "{text}");
}
