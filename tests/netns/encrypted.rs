//! Upstreams that are asked over TLS and HTTPS: unbound, which validates.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::client::Answer;
use crate::gate::{Gate, config};
use crate::home::Home;
use crate::requirements::home;
use crate::secure::{VALIDATOR, VALIDATOR_NAME, Validator};

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
            .any(|line| line.contains(" INFO upstream down ") && line.contains(why));
        assert!(told, "{server} is not in the log:\n{said}");
    }
    assert!(gate.stop().success());
}

#[test]
fn a_server_that_is_started_anew_costs_no_query() {
    let Some(home) = home() else { return };
    let mut validator = Validator::start(&home);
    let mut gate = Gate::start(&home, &config("ipv6-only"));
    for server in [
        format!("tls://{VALIDATOR}#{VALIDATOR_NAME}"),
        format!("https://{VALIDATOR}/dns-query#{VALIDATOR_NAME}"),
    ] {
        gate.reload(&asking(&server), "reloaded");
        assert!(home.dig("first.wild.secure.net A").is("NOERROR"));
        // The connection that the gate holds is no more, and nobody has told it.
        validator.crash();
        validator.resume();
        let answer = home.dig("second.wild.secure.net A");
        assert!(answer.is("NOERROR"), "{server}: {}", answer.0);

        // Clients that go on asking meanwhile each get an answer in the time of one query, and good ones in the end.
        let over = AtomicBool::new(false);
        let ask = |number: u32| home.dig(&format!("q{number}.wild.secure.net A"));
        let answers = thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut answers = Vec::new();
                for number in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    answers.push(ask(number));
                }
                answers
            });
            validator.crash();
            validator.resume();
            crate::wait::until("good answers again", crate::wait::SOON, || {
                home.dig("again.wild.secure.net A")
                    .is("NOERROR")
                    .then_some(())
            });
            over.store(true, Ordering::Relaxed);
            asking.join().expect("answers")
        });
        for answer in &answers {
            assert!(
                answer.is("NOERROR") || answer.is("SERVFAIL"),
                "{}",
                answer.0
            );
            assert!(answer.time() < Duration::from_secs(3), "{}", answer.0);
        }
    }
    assert!(gate.stop().success());
}
