//! Servers of DNS over HTTPS that answer as RFC 8484 does not allow: the next server is asked, or the client is told, in
//! time; nothing of it is kept, no redirect is followed, and no more is read than a message can have.

use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::RecordType;

use crate::support::{
    Ask, Body, Doh, Gate, PATIENCE, Page, Setup, Upstream, a, clock, ede, ipv4_of, name,
};

const TRUTH: &str = "192.0.2.1";
const POISON: &str = "192.0.2.66";
const TIMEOUT: Duration = Duration::from_millis(500);

/// How the server misbehaves, by the first label of the name that is asked about.
const WAYS: &[&str] = &[
    "s500", "s404", "s301", "s307", "html", "large", "length", "endless", "cut", "half", "drip",
    "empty", "noise", "question",
];

fn answer(query: &Message, address: &str) -> Message {
    let mut message = query.clone();
    message.metadata.message_type = MessageType::Response;
    let owner = query.queries[0].name().to_ascii();
    message.answers = vec![a(&owner, address)];
    message
}

/// An answer that would be good if it were not for one thing.
fn page(query: &Message, elsewhere: &str) -> Page {
    let owner = query.queries[0].name().to_ascii();
    let poison = answer(query, POISON).to_vec().unwrap();
    let mut page = Page::of(Body::Whole(poison.clone()));
    match owner.split('.').next().unwrap_or_default() {
        "s500" => page.status = 500,
        "s404" => page.status = 404,
        status @ ("s301" | "s307") => {
            page.status = status[1..].parse().unwrap();
            page.headers.push(("location", elsewhere.to_owned()));
        }
        "html" => page.headers = vec![("content-type", "text/html".to_owned())],
        "large" => {
            let large = [poison, vec![0; 70_000]].concat();
            page.body = Body::Whole(large);
        }
        "length" => {
            page.headers.push(("content-length", "60".to_owned()));
            page.body = Body::Cut(poison[..30].to_vec());
        }
        "endless" => page.body = Body::Endless,
        "cut" => page.body = Body::Cut(poison),
        "half" => page.body = Body::Whole(poison[..poison.len() / 2].to_vec()),
        "drip" => page.body = Body::Drip(poison),
        "empty" => page.body = Body::Whole(Vec::new()),
        "noise" => page.body = Body::Whole(vec![0xff; 300]),
        "question" => {
            let mut lie = answer(query, POISON);
            lie.queries[0].set_name(name("bank.example"));
            page.body = Body::Whole(lie.to_vec().unwrap());
        }
        _ => page.body = Body::Whole(answer(query, TRUTH).to_vec().unwrap()),
    }
    page
}

struct Home {
    doh: Doh,
    elsewhere: Doh,
    good: Upstream,
    setup: Setup,
}

/// A gate whose first server is the bad one; the second, where there is one, is good.
fn home(second: bool) -> Home {
    let elsewhere =
        Doh::start(|query| Page::of(Body::Whole(answer(query, POISON).to_vec().unwrap())));
    let location = elsewhere.server();
    let doh = Doh::start(move |query| page(query, &location));
    let good = Upstream::start();
    for way in WAYS {
        good.addresses(&format!("{way}.example"), &[TRUTH]);
    }
    let mut servers = format!("\"{}\"", doh.server());
    if second {
        servers.push_str(&format!(", \"udp://{}\"", good.address()));
    }
    let setup = Setup::new(&good)
        .mode("off")
        .set("dns.upstream.servers", &format!("[{servers}]"))
        .set("dns.upstream.strategy", "\"ordered\"")
        .set(
            "dns.upstream.timeout",
            &format!("\"{}ms\"", TIMEOUT.as_millis()),
        )
        .set(
            "dns.upstream.ca",
            &format!("[{:?}, {:?}]", doh.certificate(), elsewhere.certificate()),
        );
    Home {
        doh,
        elsewhere,
        good,
        setup,
    }
}

fn asked(gate: &Gate, owner: &str) -> Message {
    let begun = clock();
    let answer = Ask::new(owner, RecordType::A).tcp(gate);
    let took = begun.elapsed();
    assert!(took < 4 * TIMEOUT, "{owner}: {took:?}");
    assert!(
        !format!("{answer:?}").contains(POISON),
        "{owner}: {answer:?}"
    );
    answer
}

#[test]
fn a_server_that_breaks_https_is_told_as_a_failure_and_nothing_of_it_is_kept() {
    let home = home(false);
    let gate = Gate::start(&home.setup);
    assert_eq!(ipv4_of(&asked(&gate, "good.example")).len(), 1);
    let before = gate.status("VmRSS");
    for way in WAYS {
        let requests = home.doh.requests();
        let answer = asked(&gate, &format!("{way}.example"));
        assert_eq!(
            answer.metadata.response_code,
            ResponseCode::ServFail,
            "{way}"
        );
        assert!(matches!(ede(&answer), Some(22 | 23)), "{way}: {answer:?}");
        assert!(answer.answers.is_empty(), "{way}");
        assert!(home.doh.requests() > requests, "{way} was not asked");
    }
    for _ in 0..5 {
        asked(&gate, "endless.example");
    }
    assert_eq!(ipv4_of(&asked(&gate, "bank.example")).len(), 1);
    let after = gate.status("VmRSS");
    assert!(after < before + 32 * 1024, "{before} -> {after} KiB");
    assert_eq!(home.elsewhere.requests(), 0, "a redirect was followed");
    let log = gate.log_text();
    assert!(!log.contains("panicked"));
    // What it sends instead of answers is not for the log.
    assert!(!log.contains(|letter: char| letter.is_control() && letter != '\n'));
    assert!(log.lines().all(|line| line.len() < 1024));
}

#[test]
fn where_a_server_breaks_https_the_next_one_answers() {
    let home = home(true);
    let truth: std::net::Ipv4Addr = TRUTH.parse().unwrap();
    for way in WAYS {
        // One that has not learned yet which server is bad.
        let gate = Gate::start(&home.setup);
        let requests = home.doh.requests();
        let owner = format!("{way}.example");
        assert_eq!(ipv4_of(&asked(&gate, &owner)), [truth], "{way}");
        // A slow handshake lets the second be asked before the first has heard of it.
        let begun = clock();
        while home.doh.requests() == requests {
            assert!(begun.elapsed() < PATIENCE, "{way} was not asked");
            std::thread::yield_now();
        }
        // What is kept is the good one's.
        assert_eq!(ipv4_of(&asked(&gate, &owner)), [truth], "{way}");
        assert_eq!(home.good.count(&owner, RecordType::A), 1, "{way}");
    }
    assert_eq!(home.elsewhere.requests(), 0, "a redirect was followed");
}
