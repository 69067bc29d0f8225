//! Upstreams that are asked over TLS and HTTPS: unbound, which validates.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::client::Answer;
use crate::gate::{Gate, config, on_gate};
use crate::home::Home;
use crate::requirements::{home, tell};
use crate::secure::{VALIDATOR, VALIDATOR_NAME, Validator};
use crate::wait::{SOON, now, until};

fn asking(server: &str) -> String {
    let upstream = format!("[dns.upstream]\nservers = [\"{server}\"]\nca = [\"authority.pem\"]\n");
    format!("{}{upstream}", config("ipv6-only"))
}

/// An answer, and whether it is marked as validated.
fn assert_told(home: &Home, question: &str, rcode: &str, authentic: bool) -> Answer {
    let answer = home.dig(question);
    assert!(answer.is(rcode), "{question}: {}", answer.0);
    assert_eq!(answer.flag("ad"), authentic, "{question}: {}", answer.0);
    answer
}

#[test]
fn what_unbound_has_validated_is_told_as_such_only_where_nobody_on_the_way_could_say_so() {
    let Some(home) = home() else { return };
    let _validator = Validator::start(&home);
    for (server, believed) in [
        (format!("tls://{VALIDATOR}#{VALIDATOR_NAME}"), true),
        (format!("udp://{VALIDATOR}"), false),
        (
            format!("https://{VALIDATOR}/dns-query#{VALIDATOR_NAME}"),
            true,
        ),
        (format!("tcp://{VALIDATOR}"), false),
    ] {
        let gate = Gate::start(&home, &asking(&server));
        let signed = assert_told(&home, "+dnssec four.secure.net A", "NOERROR", believed);
        assert_eq!(signed.data()[0], "A 203.0.113.30");
        assert!(signed.has("RRSIG"), "{server}: {}", signed.0);
        let asked = assert_told(&home, "+adflag four.secure.net A", "NOERROR", believed);
        assert_eq!(asked.data(), ["A 203.0.113.30"], "{server}");
        assert_told(&home, "+noadflag four.secure.net A", "NOERROR", false);
        assert_told(
            &home,
            "+tcp +dnssec a.wild.secure.net A",
            "NOERROR",
            believed,
        );
        let alias = assert_told(&home, "alias.secure.net A", "NOERROR", believed);
        assert_eq!(
            alias.data(),
            ["CNAME four.secure.net.", "A 203.0.113.30"],
            "{server}"
        );
        let none = assert_told(&home, "+dnssec nowhere.secure.net A", "NXDOMAIN", believed);
        assert!(none.has("NSEC"), "{server}: {}", none.0);
        // What is of our own making is nobody's signed word.
        let withheld = assert_told(&home, "+dnssec www.secure.net AAAA", "NOERROR", false);
        assert!(!withheld.has("RRSIG") && !withheld.has("AAAA"), "{server}");
        let bogus = assert_told(&home, "bogus.secure.net A", "SERVFAIL", false);
        assert!(bogus.0.contains("EDE: 6 (DNSSEC Bogus)"), "{}", bogus.0);
        assert_told(&home, "dual.origin.net A", "NOERROR", false);
        assert!(gate.stop().success());
    }
}

#[test]
fn a_server_with_another_certificate_is_not_asked_and_everybody_is_told_why() {
    let Some(home) = home() else { return };
    let _validator = Validator::start(&home);
    let mut gate = Gate::start(&home, &config("ipv6-only"));
    let wrong = "its certificate is not valid for `dns.elsewhere.net`";
    let unnamed = format!("its certificate is not valid for `{VALIDATOR}`");
    let unknown = "its certificate is signed by nobody that we trust";
    for (server, trusted, why) in [
        (format!("tls://{VALIDATOR}#dns.elsewhere.net"), true, wrong),
        (
            format!("https://{VALIDATOR}/dns-query#dns.elsewhere.net"),
            true,
            wrong,
        ),
        (format!("tls://{VALIDATOR}"), true, unnamed.as_str()),
        (
            format!("tls://{VALIDATOR}#{VALIDATOR_NAME}"),
            false,
            unknown,
        ),
    ] {
        let mut text = asking(&server);
        if !trusted {
            text = text.replace("ca = [\"authority.pem\"]\n", "");
        }
        let before = gate.said().lines().count();
        gate.reload(&text, "reloaded");
        let answer = home.dig("four.secure.net A");
        assert!(answer.is("SERVFAIL"), "{server}: {}", answer.0);
        assert!(answer.0.contains("EDE: 23 (Network Error)"), "{}", answer.0);
        assert!(answer.0.contains(why), "{server}: {}", answer.0);
        let said = gate.said();
        let told = said
            .lines()
            .skip(before)
            .any(|line| line.contains(" WARN upstream down ") && line.contains(why));
        assert!(told, "{server} is not in the log:\n{said}");
    }
    assert!(gate.stop().success());
}

/// Asks for one name after the other until it is told to stop: the response code of each answer, and the longest time
/// that one took.
fn ask_on(home: &Home, over: &AtomicBool) -> (Vec<u8>, Duration) {
    let patience = Some(Duration::from_secs(5));
    home.client.inside(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.connect(on_gate(53)).expect("a route");
        socket.set_read_timeout(patience).expect("a timeout");
        let (mut rcodes, mut slowest) = (Vec::new(), Duration::ZERO);
        for number in 0..u16::MAX {
            if over.load(Ordering::Relaxed) {
                break;
            }
            let label = format!("{number:05}");
            let query = [
                &number.to_be_bytes(),
                b"\x01\0\0\x01\0\0\0\0\0\0\x05".as_slice(),
                label.as_bytes(),
                b"\x04wild\x06secure\x03net\0\0\x01\0\x01",
            ]
            .concat();
            let start = now();
            socket.send(&query).expect("to ask");
            let mut answer = [0; 1232];
            socket.recv(&mut answer).expect("an answer");
            assert_eq!(answer[..2], query[..2], "the answer to another question");
            slowest = slowest.max(start.elapsed());
            rcodes.push(answer[3] & 15);
        }
        (rcodes, slowest)
    })
}

#[test]
fn a_server_that_is_started_anew_costs_no_query() {
    let Some(home) = home() else { return };
    let mut validator = Validator::start(&home);
    for server in [
        format!("tls://{VALIDATOR}#{VALIDATOR_NAME}"),
        format!("https://{VALIDATOR}/dns-query#{VALIDATOR_NAME}"),
    ] {
        let gate = Gate::start(&home, &asking(&server));
        assert!(home.dig("first.wild.secure.net A").is("NOERROR"));
        // The connection that the gate holds is no more.
        validator.crash();
        validator.resume();
        let answer = home.dig("second.wild.secure.net A");
        assert!(answer.is("NOERROR"), "{server}: {}", answer.0);

        // A client that goes on asking meanwhile gets an answer each time, in the time of one query, and a good one in
        // the end.
        let over = AtomicBool::new(false);
        let (rcodes, slowest) = thread::scope(|scope| {
            let asking = scope.spawn(|| ask_on(&home, &over));
            validator.crash();
            validator.resume();
            until("good answers again", SOON, || {
                let answer = home.dig("third.wild.secure.net A");
                answer.is("NOERROR").then_some(())
            });
            over.store(true, Ordering::Relaxed);
            asking.join().expect("answers")
        });
        let good = rcodes.iter().filter(|rcode| **rcode == 0).count();
        let failed = rcodes.iter().filter(|rcode| **rcode == 2).count();
        tell(&format!(
            "{server} started anew: {good} good answers, {failed} SERVFAIL, {slowest:?} at most"
        ));
        assert!(good > 0 && good + failed == rcodes.len(), "{rcodes:?}");
        assert!(slowest < Duration::from_secs(3), "{slowest:?}");
        assert!(gate.stop().success());
    }
}
