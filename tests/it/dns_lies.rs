//! Upstreams that lie, over UDP, TCP and TLS: what a client is told is defined and in time, and nothing is kept that
//! was not asked for.

use std::net::TcpListener;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};

use crate::support::{
    Ask, Asked, Gate, Liar, Lie, Setup, Upstream, Way, a, clock, cname, ede, ipv4_of, name, soa,
};

/// What is true of every name.
const TRUTH: &str = "192.0.2.1";
/// What no client may ever be told.
const POISON: &str = "192.0.2.66";
/// How long one question may take at the servers.
const TIMEOUT: Duration = Duration::from_millis(400);

/// What a client is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// The truth.
    Truth,
    /// SERVFAIL with a reason.
    Failure,
    /// The truth where datagrams were lied in, because lies from anybody are passed over; failure on a connection,
    /// where only the server itself could have lied.
    TruthOverUdp,
    /// That there is nothing.
    Nothing,
}

type Make = fn(&Asked) -> Vec<Lie>;

fn say(message: &Message) -> Lie {
    Lie::Say(message.to_vec().expect("a message"))
}

fn with(asked: &Asked, answers: impl IntoIterator<Item = Record>) -> Message {
    let mut message = asked.answer();
    message.answers = answers.into_iter().collect();
    message
}

fn owner(asked: &Asked) -> String {
    asked.name.to_ascii()
}

fn truth(asked: &Asked) -> Message {
    with(asked, [a(&owner(asked), TRUTH)])
}

fn poison(asked: &Asked) -> Message {
    with(asked, [a(&owner(asked), POISON)])
}

fn record(owner: &str, record_type: RecordType, data: &str) -> Record {
    let data = RData::try_from_str(record_type, data).expect("a record");
    Record::from_rdata(name(owner), 86_400, data)
}

/// A chain of so many CNAMEs, and the address at its end.
fn chain(asked: &Asked, links: usize) -> Message {
    let first = owner(asked);
    let hop = |number: usize| match number {
        0 => first.clone(),
        number => format!("hop{number}.{first}"),
    };
    let mut answers: Vec<Record> = (0..links).map(|n| cname(&hop(n), &hop(n + 1))).collect();
    answers.push(a(&hop(links), TRUTH));
    with(asked, answers)
}

/// A loop of so many CNAMEs.
fn ring(asked: &Asked, links: usize) -> Message {
    let mut message = chain(asked, links);
    message.answers.pop();
    if let Some(last) = message.answers.last_mut() {
        *last = cname(&last.name.to_ascii(), &owner(asked));
    }
    message
}

/// An answer of so many addresses; all that is to be said of a name stands in twelve octets.
fn many(asked: &Asked, count: u16) -> Lie {
    let mut message = asked.answer();
    message.edns = None;
    if asked.way == Way::Udp {
        message.metadata.truncation = true;
        return say(&message);
    }
    let mut bytes = message.to_vec().expect("a message");
    bytes[6..8].copy_from_slice(&count.to_be_bytes());
    for number in 0..count {
        let [high, low] = number.to_be_bytes();
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4, 203, 0, high, low]);
    }
    Lie::Say(bytes)
}

const LIES: &[(&str, Told, Make)] = &[
    ("id", Told::TruthOverUdp, |asked| {
        let mut lie = poison(asked);
        lie.metadata.id ^= 0x5555;
        vec![say(&lie), say(&truth(asked))]
    }),
    ("id-only", Told::Failure, |asked| {
        let mut lie = poison(asked);
        lie.metadata.id ^= 0x5555;
        vec![say(&lie)]
    }),
    ("question", Told::TruthOverUdp, |asked| {
        let mut lie = with(asked, [a("bank.example", POISON)]);
        lie.queries[0].set_name(name("bank.example"));
        vec![say(&lie), say(&truth(asked))]
    }),
    ("type", Told::TruthOverUdp, |asked| {
        let mut lie = poison(asked);
        lie.queries[0].set_query_type(RecordType::TXT);
        vec![say(&lie), say(&truth(asked))]
    }),
    ("questions", Told::TruthOverUdp, |asked| {
        let mut lie = poison(asked);
        lie.queries.push(lie.queries[0].clone());
        vec![say(&lie), say(&truth(asked))]
    }),
    ("no-question", Told::TruthOverUdp, |asked| {
        let mut lie = poison(asked);
        lie.queries.clear();
        vec![say(&lie), say(&truth(asked))]
    }),
    ("query-bit", Told::TruthOverUdp, |asked| {
        let mut lie = poison(asked);
        lie.metadata.message_type = MessageType::Query;
        vec![say(&lie), say(&truth(asked))]
    }),
    ("opcode", Told::TruthOverUdp, |asked| {
        let mut lie = poison(asked);
        lie.metadata.op_code = OpCode::Notify;
        vec![say(&lie), say(&truth(asked))]
    }),
    ("port", Told::TruthOverUdp, |asked| match asked.way {
        Way::Udp => {
            let lie = poison(asked).to_vec().expect("a message");
            vec![Lie::Elsewhere(lie), say(&truth(asked))]
        }
        Way::Tcp | Way::Tls => vec![say(&truth(asked))],
    }),
    ("empty", Told::TruthOverUdp, |asked| {
        vec![Lie::Say(Vec::new()), say(&truth(asked))]
    }),
    ("short", Told::TruthOverUdp, |asked| {
        let cut = truth(asked).to_vec().expect("a message")[..11].to_vec();
        vec![Lie::Say(cut), say(&truth(asked))]
    }),
    ("rdata", Told::TruthOverUdp, |asked| {
        let mut lie = poison(asked);
        lie.edns = None;
        let mut lie = lie.to_vec().expect("a message");
        // An address of three octets.
        let length = lie.len();
        lie[length - 5] = 3;
        lie.pop();
        vec![Lie::Say(lie), say(&truth(asked))]
    }),
    ("endless-truncation", Told::Failure, |asked| {
        let mut lie = poison(asked);
        lie.metadata.truncation = true;
        vec![say(&lie)]
    }),
    ("more-answers", Told::Truth, |asked| {
        let lies = ["bank.example", "example"].map(|owner| a(owner, POISON));
        let mut lie = truth(asked);
        lie.answers.extend(lies);
        lie.answers.push(cname("www.bank.example", "bank.example"));
        lie.answers
            .push(record("www.bank.example", RecordType::A, POISON));
        vec![say(&lie)]
    }),
    ("poisoned", Told::Truth, |asked| {
        let mut lie = truth(asked);
        lie.authorities = vec![
            record("bank.example", RecordType::NS, "ns.bank.example."),
            record("example", RecordType::NS, "ns.bank.example."),
            record(".", RecordType::NS, "ns.bank.example."),
            record(
                "bank.example",
                RecordType::SOA,
                "ns.bank.example. root.bank.example. 1 2 3 4 5",
            ),
        ];
        lie.additionals = ["bank.example", "ns.bank.example", "www.bank.example"]
            .map(|owner| a(owner, POISON))
            .to_vec();
        vec![say(&lie)]
    }),
    ("loop1", Told::Failure, |asked| vec![say(&ring(asked, 1))]),
    ("loop2", Told::Failure, |asked| vec![say(&ring(asked, 2))]),
    ("loop17", Told::Failure, |asked| vec![say(&ring(asked, 17))]),
    ("chain16", Told::Truth, |asked| vec![say(&chain(asked, 16))]),
    ("chain17", Told::Failure, |asked| {
        vec![say(&chain(asked, 17))]
    }),
    ("chain50", Told::Failure, |asked| match asked.way {
        Way::Udp => {
            let mut lie = asked.answer();
            lie.metadata.truncation = true;
            vec![say(&lie)]
        }
        Way::Tcp | Way::Tls => vec![say(&chain(asked, 50))],
    }),
    ("dname-alone", Told::Nothing, |asked| {
        let dname = |owner: &str| {
            Record::from_rdata(
                name(owner),
                300,
                RData::Unknown {
                    code: RecordType::from(39),
                    rdata: hickory_proto::rr::rdata::NULL::with(b"\x04bank\x07example\0".to_vec()),
                },
            )
        };
        let lie = with(
            asked,
            [
                dname(&owner(asked)),
                dname("example"),
                a("bank.example", POISON),
            ],
        );
        vec![say(&lie)]
    }),
    ("foreign-soa", Told::Nothing, |asked| {
        let mut lie = asked.answer();
        lie.metadata.response_code = ResponseCode::NXDomain;
        lie.authorities = vec![soa("bank.example", 86_400)];
        vec![say(&lie)]
    }),
    ("missing-with-address", Told::Nothing, |asked| {
        let mut lie = with(asked, [a("bank.example", POISON)]);
        lie.metadata.response_code = ResponseCode::NXDomain;
        vec![say(&lie)]
    }),
    ("referral", Told::Failure, |asked| {
        let mut lie = asked.answer();
        lie.authorities = vec![record("example", RecordType::NS, "ns.bank.example.")];
        lie.additionals = vec![a("ns.bank.example", POISON)];
        vec![say(&lie)]
    }),
    ("failure-with-address", Told::Failure, |asked| {
        let mut lie = poison(asked);
        lie.metadata.response_code = ResponseCode::ServFail;
        vec![say(&lie)]
    }),
    ("endless-ttl", Told::Truth, |asked| {
        let mut lie = truth(asked);
        lie.answers[0].ttl = 0xffff_ffff;
        vec![say(&lie)]
    }),
    ("twice", Told::Truth, |asked| {
        let mut lie = truth(asked);
        lie.answers.push(lie.answers[0].clone());
        vec![say(&lie)]
    }),
    ("drip", Told::Failure, |asked| {
        vec![Lie::Drip(poison(asked).to_vec().expect("a message"))]
    }),
    ("reset", Told::Failure, |_| vec![Lie::Reset]),
    ("close", Told::Failure, |_| vec![Lie::Close]),
    ("silence", Told::Failure, |_| vec![]),
    ("frame", Told::Failure, |_| vec![Lie::Raw(vec![0xff; 3])]),
    // The last, because the server is asked over TCP from then on.
    ("case", Told::Truth, |asked| match asked.way {
        Way::Udp => {
            let mut lie = poison(asked);
            lie.queries[0].set_name(asked.name.clone());
            vec![say(&lie)]
        }
        Way::Tcp | Way::Tls => vec![say(&truth(asked))],
    }),
];

/// What the server says: a lie of the table, and else the truth.
fn script(asked: &Asked) -> Vec<Lie> {
    if asked.record_type != RecordType::A {
        let mut nothing = asked.answer();
        nothing.authorities = vec![soa("example", 60)];
        return vec![say(&nothing)];
    }
    for (label, _, make) in LIES {
        if asked.is(&format!("{label}.example")) {
            return make(asked);
        }
    }
    vec![say(&truth(asked))]
}

fn gate(liar: &Liar, transport: &str) -> Gate {
    // Only its address is looked at, and that is set at once.
    let unused = Upstream::start();
    let server = format!("[\"{transport}://{}\"]", liar.address());
    let mut setup = Setup::new(&unused)
        .mode("off")
        .set("dns.upstream.servers", &server)
        .set(
            "dns.upstream.timeout",
            &format!("\"{}ms\"", TIMEOUT.as_millis()),
        );
    if let Some(path) = liar.certificate() {
        setup = setup.set("dns.upstream.ca", &format!("[{path:?}]"));
    }
    Gate::start(&setup)
}

fn is_poisoned(answer: &Message) -> bool {
    format!("{answer:?}").contains(POISON)
}

fn lie_over(transport: &str) {
    let liar = match transport {
        "tls" => Liar::tls(script),
        _ => Liar::start(script),
    };
    let gate = gate(&liar, transport);
    for &(label, told, _) in LIES {
        let told = match (told, transport) {
            (Told::TruthOverUdp, "udp") => Told::Truth,
            (Told::TruthOverUdp, _)
                if ["port", "id", "empty", "short", "query-bit", "opcode"].contains(&label) =>
            {
                Told::Truth
            }
            (Told::TruthOverUdp, _) => Told::Failure,
            (told, _) => told,
        };
        let begun = clock();
        let answer = Ask::new(&format!("{label}.example"), RecordType::A).tcp(&gate);
        let took = begun.elapsed();
        println!(
            "{transport} {label}: {} {} in {took:?}",
            answer.metadata.response_code,
            answer.answers.len()
        );
        assert!(took < TIMEOUT + Duration::from_secs(1), "{label}: {took:?}");
        assert!(!is_poisoned(&answer), "{label}: {answer:?}");
        match told {
            Told::Truth | Told::TruthOverUdp => {
                assert_eq!(
                    ipv4_of(&answer),
                    [TRUTH.parse::<std::net::Ipv4Addr>().unwrap()],
                    "{label} {answer:?}"
                );
                assert!(
                    answer.answers.iter().all(|record| record.ttl <= 86_400),
                    "{label}"
                );
            }
            Told::Failure => {
                assert_eq!(
                    answer.metadata.response_code,
                    ResponseCode::ServFail,
                    "{label}"
                );
                assert!(ede(&answer).is_some(), "{label}: {answer:?}");
                assert!(answer.answers.is_empty());
            }
            Told::Nothing => {
                let code = answer.metadata.response_code;
                assert!(
                    [ResponseCode::NoError, ResponseCode::NXDomain].contains(&code),
                    "{label}"
                );
                assert!(ipv4_of(&answer).is_empty());
            }
        }
    }
    // Whatever was said of these beside the question: the server itself is asked about them.
    for owner in [
        "bank.example",
        "www.bank.example",
        "ns.bank.example",
        "example",
        "hop1.chain16.example",
    ] {
        assert_eq!(liar.count(owner, RecordType::A), 0, "{owner}");
        let answer = Ask::new(owner, RecordType::A).tcp(&gate);
        assert_eq!(ipv4_of(&answer).len(), 1, "{owner}: {answer:?}");
        assert!(!is_poisoned(&answer));
        assert!(
            liar.count(owner, RecordType::A) > 0,
            "{owner} was not asked"
        );
    }
    assert!(!gate.log_text().contains("panicked"), "a task fell over");
    gate.wait_for_metric("sekisho_dns_in_flight ", 0.0);
}

#[test]
fn lies_over_udp_are_passed_over_or_told_as_failures() {
    lie_over("udp");
}

#[test]
fn lies_over_tcp_are_told_as_failures() {
    lie_over("tcp");
}

#[test]
fn lies_over_tls_are_told_as_failures() {
    lie_over("tls");
}

#[test]
fn an_answer_of_thousands_of_records_is_passed_on_or_told_as_a_failure_and_costs_little() {
    let liar = Liar::start(|asked| {
        // Written by us, 4000 of them are longer than a message can be.
        vec![many(
            asked,
            if asked.is("many.example") { 2000 } else { 4000 },
        )]
    });
    let gate = gate(&liar, "udp");
    let begun = clock();
    let ask = Ask::new("many.example", RecordType::A);
    assert_eq!(ask.tcp(&gate).answers.len(), 2000);
    assert!(ask.udp(&gate).metadata.truncation);
    let answer = Ask::new("most.example", RecordType::A).tcp(&gate);
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    let before = gate.status("VmRSS");
    for round in 0..10 {
        Ask::new(&format!("other{round}.example"), RecordType::A).tcp(&gate);
    }
    let after = gate.status("VmRSS");
    println!(
        "all after {:?}, VmRSS {before} -> {after} KiB",
        begun.elapsed()
    );
    // Each of them took as long as this while every record was compared with every other.
    assert!(begun.elapsed() < 12 * Duration::from_millis(300));
    assert!(after < before + 32 * 1024);
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_waited_for_no_longer_than_the_timeout() {
    for transport in ["tcp", "tls", "https"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let unused = Upstream::start();
        let server = format!("[\"{transport}://{}\"]", listener.local_addr().unwrap());
        let gate = Gate::start(
            &Setup::new(&unused)
                .set("dns.upstream.servers", &server)
                .set("dns.upstream.timeout", r#""300ms""#),
        );
        for owner in ["one.example", "two.example"] {
            let begun = clock();
            let answer = Ask::new(owner, RecordType::A).udp(&gate);
            assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
            assert!(ede(&answer).is_some(), "{transport}");
            assert!(begun.elapsed() < Duration::from_secs(2), "{transport}");
        }
    }
}

#[test]
fn behind_a_server_that_lies_the_next_one_is_asked_and_only_its_answer_is_told_and_kept() {
    // Lies that are no answer; those that hold the truth, too, are the first server's to give.
    let lies = LIES.iter().filter(|&&(label, told, _)| {
        told == Told::Failure && !label.starts_with("chain") && !label.starts_with("loop")
    });
    for &(label, _, make) in lies {
        let liar = Liar::start(move |asked| match asked.record_type {
            RecordType::A => make(asked),
            _ => script(asked),
        });
        let good = Upstream::start();
        let owner = format!("{label}.example");
        for owner in [owner.as_str(), "bank.example"] {
            good.addresses(owner, &[TRUTH]);
        }
        let setup = Setup::new(&good)
            .mode("off")
            .upstreams(&[liar.address(), good.address()])
            .set("dns.upstream.strategy", "\"ordered\"")
            .set("dns.upstream.timeout", "\"300ms\"");
        let gate = Gate::start(&setup);
        let truth = [TRUTH.parse::<std::net::Ipv4Addr>().unwrap()];
        for _ in 0..2 {
            let answer = Ask::new(&owner, RecordType::A).tcp(&gate);
            assert_eq!(ipv4_of(&answer), truth, "{label}: {answer:?}");
        }
        assert!(liar.count(&owner, RecordType::A) > 0, "{label}");
        assert!(good.count(&owner, RecordType::A) > 0, "{label}");
        let bank = Ask::new("bank.example", RecordType::A).tcp(&gate);
        assert_eq!(ipv4_of(&bank), truth, "{label}: {bank:?}");
    }
}
