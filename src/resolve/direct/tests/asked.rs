//! Questions asked without a task, and what becomes of those who wait.

mod otherwise;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record};
use tokio::sync::mpsc;

use super::super::{Asker, Begun, Lines};
use super::generated::name;
use crate::config::{Dns, Server, Strategy, Transport};
use crate::resolve::cache::Key;
use crate::resolve::tests::{
    Reply, Scripted, TIMEOUT, address, code, good, looked_up, outcomes, question, reply, server_at,
    settings,
};
use crate::resolve::{Question, ResolveError, Resolver, Simple, Trust, now};
use crate::telemetry::Metrics;

/// Tells the addresses that it is told.
struct Teller(mpsc::UnboundedSender<Option<Vec<u8>>>);

impl Asker for Teller {
    fn told(self: Box<Self>, simple: Option<&Simple>) -> Option<fn()> {
        self.0
            .send(simple.map(|simple| simple.data().flatten().copied().collect()))
            .ok();
        None
    }
}

/// Those who ask, and what they are told.
struct Askers {
    teller: mpsc::UnboundedSender<Option<Vec<u8>>>,
    told: mpsc::UnboundedReceiver<Option<Vec<u8>>>,
    begun: Begun,
    lines: Lines,
}

impl Askers {
    fn new() -> Self {
        let (teller, told) = mpsc::unbounded_channel();
        Self {
            teller,
            told,
            begun: Begun::default(),
            lines: Lines::default(),
        }
    }

    /// Asks, without sending yet; says whether it goes this way.
    fn begin(&mut self, resolver: &Resolver, text: &str) -> bool {
        let question = question(text);
        let teller = Teller(self.teller.clone());
        let asker = || -> Option<Box<dyn Asker>> { Some(Box::new(teller)) };
        let key = Key::of(&question);
        resolver.begin(&question, &key, &wire(&question), &mut self.begun, asker)
    }

    /// Sends what was begun.
    fn send(&mut self) {
        self.begun.send(&mut self.lines);
    }

    /// Waits for what is told next, as the thread of a listener would, and lets the server run, which shares this one.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Ok(told) = self.told.try_recv() {
                return told;
            }
            self.lines.attend(None, Duration::ZERO).unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Asks one question alone.
    async fn ask(&mut self, resolver: &Resolver, text: &str) -> Option<Vec<u8>> {
        assert!(self.begin(resolver, text), "{text}");
        self.send();
        self.next().await
    }
}

fn wire(question: &Question) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in question.name.iter() {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.extend(label);
    }
    wire.extend([0, 0, 1, 0, 1]);
    wire
}

fn resolver_with(servers: &[Server], timeout: Duration, change: impl FnOnce(&mut Dns)) -> Resolver {
    let mut dns = settings(servers, timeout);
    change(&mut dns);
    Resolver::new(&dns, &Trust::nobody(), Arc::new(Metrics::new()))
}

fn resolver(server: &Scripted) -> Resolver {
    resolver_with(&[server.on(Transport::Udp)], TIMEOUT, |_| {})
}

#[tokio::test]
async fn who_asks_is_told_and_the_answer_is_in_the_cache_afterwards() {
    let server = Scripted::start(|_, query| good(query, 1)).await;
    let resolver = resolver(&server);
    let mut askers = Askers::new();
    let told = askers.ask(&resolver, "a.example.").await;
    assert_eq!(told, Some(vec![192, 0, 2, 1]));
    assert!(resolver.holds(&question("a.example.")));
    assert!(!askers.begin(&resolver, "a.example."), "it is known");
    assert_eq!(looked_up(&resolver, "A.example.").await, [address(1)]);
    assert_eq!(server.count(Transport::Udp), 1);
    assert_eq!(outcomes(&resolver, "answered"), 1);
}

#[tokio::test]
async fn two_who_ask_the_same_cause_one_query_and_a_task_that_asks_it_joins() {
    let server = Scripted::start(|_, query| good(query, 1)).await;
    let resolver = resolver(&server);
    let mut askers = Askers::new();
    assert!(askers.begin(&resolver, "a.example.") && askers.begin(&resolver, "a.example."));
    let question = question("a.example.");
    let joined = resolver.lookup(&question);
    let told = async {
        tokio::task::yield_now().await;
        askers.send();
        (askers.next().await, askers.next().await)
    };
    let (answer, told) = tokio::join!(joined, told);
    assert_eq!(answer.unwrap().answers[0].data, address(1));
    let one = Some(vec![192, 0, 2, 1]);
    assert_eq!(told, (one.clone(), one));
    assert_eq!(server.count(Transport::Udp), 1);
}

#[tokio::test]
async fn what_is_flushed_meanwhile_is_told_to_who_waits_and_not_kept() {
    let server = Scripted::start(|_, query| good(query, 1)).await;
    let resolver = resolver(&server);
    let mut askers = Askers::new();
    assert!(askers.begin(&resolver, "a.example."));
    resolver.forget(|_| true);
    askers.send();
    assert_eq!(askers.next().await, Some(vec![192, 0, 2, 1]));
    assert!(!resolver.holds(&question("a.example.")));
    assert_eq!(
        askers.ask(&resolver, "a.example.").await,
        Some(vec![192, 0, 2, 1])
    );
    assert_eq!(server.count(Transport::Udp), 2);
}

#[tokio::test]
async fn what_was_said_before_a_flush_is_not_taken_over_after_it() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let server = Scripted::start(
        move |_, query| match count.fetch_add(1, Ordering::Relaxed) {
            0 => code(query, ResponseCode::ServFail),
            _ => good(query, 2),
        },
    )
    .await;
    for before in [true, false] {
        asked.store(0, Ordering::Relaxed);
        let resolver = resolver(&server);
        let mut askers = Askers::new();
        assert!(askers.begin(&resolver, "a.example."));
        if before {
            resolver.forget(|_| true);
        }
        askers.send();
        assert_eq!(askers.next().await, None);
        if !before {
            resolver.forget(|_| true);
        }
        assert_eq!(looked_up(&resolver, "a.example.").await, [address(2)]);
    }
}

#[tokio::test]
async fn what_is_no_answer_to_the_query_is_passed_over() {
    let server = Scripted::start(|_, query| {
        let wrong = |change: &dyn Fn(&mut Message)| {
            let mut replies = good(query, 9);
            let Some(Reply::Send(message)) = replies.first_mut() else {
                unreachable!("one message");
            };
            change(message);
            replies
        };
        let mut all = wrong(&|message| message.metadata.id ^= 1);
        all.extend(wrong(&|message| {
            message.queries[0].name = name("b.example.")
        }));
        all.extend(wrong(&|message| message.queries.clear()));
        for code in [ResponseCode::ServFail, ResponseCode::Refused] {
            all.extend(wrong(&|message| {
                message.metadata.response_code = code;
                message.queries.clear();
            }));
        }
        all.extend(wrong(&|message| {
            message.metadata.op_code = hickory_proto::op::OpCode::Notify
        }));
        all.extend(wrong(&|message| {
            message.metadata.message_type = hickory_proto::op::MessageType::Query;
        }));
        all.extend(good(query, 1));
        all
    })
    .await;
    for case_randomization in [false, true] {
        let resolver = resolver_with(&[server.on(Transport::Udp)], TIMEOUT, |dns| {
            dns.upstream.case_randomization = case_randomization;
        });
        let told = Askers::new().ask(&resolver, "a.example.").await;
        assert_eq!(told, Some(vec![192, 0, 2, 1]));
    }
}

#[tokio::test]
async fn the_names_are_asked_for_in_random_cases_and_kept_in_lower_case() {
    let names = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&names);
    let server = Scripted::start(move |_, query| {
        seen.lock().unwrap().push(query.queries[0].name.to_string());
        good(query, 1)
    })
    .await;
    let resolver = resolver_with(&[server.on(Transport::Udp)], TIMEOUT, |dns| {
        dns.upstream.case_randomization = true;
    });
    let text = "a-long-name-with-many-letters.example.";
    assert!(Askers::new().ask(&resolver, text).await.is_some());
    let asked = names.lock().unwrap().pop().unwrap();
    assert!(asked != text && asked.eq_ignore_ascii_case(text), "{asked}");
    let answer = resolver.lookup(&question(text)).await.unwrap();
    assert_eq!(answer.answers[0].name.to_string(), text);
}

#[tokio::test]
async fn many_at_once_are_all_answered_over_more_than_one_socket() {
    let server = Scripted::start(|_, query| {
        let text = query.queries[0].name.to_string();
        let number: u16 = text
            .trim_matches(|it: char| !it.is_ascii_digit())
            .parse()
            .unwrap();
        let [high, low] = number.to_be_bytes();
        let mut message = reply(query);
        let data = RData::A(std::net::Ipv4Addr::new(203, 0, high, low).into());
        let owner = query.queries[0].name.clone();
        message.add_answer(Record::from_rdata(owner, 60, data));
        vec![Reply::Send(message)]
    })
    .await;
    let resolver = resolver(&server);
    let mut askers = Askers::new();
    let (count, batch) = (5000_u16, 100);
    for from in (0..count).step_by(batch) {
        for number in from..from + 100 {
            assert!(askers.begin(&resolver, &format!("n{number}.example.")));
        }
        askers.send();
        for _ in 0..batch {
            assert!(askers.next().await.is_some());
        }
    }
    assert_eq!(server.count(Transport::Udp), usize::from(count));
    for number in [0, 255, 256, 4095, 4096, count - 1] {
        let [high, low] = number.to_be_bytes();
        let told = looked_up(&resolver, &format!("n{number}.example.")).await;
        let data = RData::A(std::net::Ipv4Addr::new(203, 0, high, low).into());
        assert_eq!(told, [data]);
    }
}

#[tokio::test]
async fn what_comes_while_nobody_looks_is_kept() {
    let server = Scripted::start(|_, query| good(query, 1)).await;
    let resolver = resolver_with(
        &[server.on(Transport::Udp)],
        Duration::from_secs(30),
        |_| {},
    );
    let mut askers = Askers::new();
    let (count, batch) = (1000, 50);
    for from in (0..count).step_by(batch) {
        for number in from..from + batch {
            assert!(askers.begin(&resolver, &format!("n{number}.example.")));
        }
        askers.send();
        while server.count(Transport::Udp) < from + batch {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    for _ in 0..count {
        assert!(askers.next().await.is_some());
    }
    assert_eq!(server.count(Transport::Udp), count);
}

#[tokio::test]
async fn two_threads_that_ask_the_same_at_once_cause_one_query() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = server_at(Transport::Udp, silent.local_addr().unwrap());
    let resolver = resolver_with(&[server], TIMEOUT, |_| {});
    let (together, count) = (Barrier::new(2), 2000);
    let ask = || {
        let mut askers = Askers::new();
        for number in 0..count {
            together.wait();
            assert!(askers.begin(&resolver, &format!("n{number}.example.")));
        }
        // Those that are not sent would be told so, and asked anew.
        together.wait();
        askers.begun.0.len()
    };
    let sent = std::thread::scope(|scope| {
        let other = scope.spawn(ask);
        ask() + other.join().unwrap()
    });
    assert_eq!(sent, count);
}

#[tokio::test]
async fn whoever_waits_is_told_when_the_thread_ends() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = server_at(Transport::Udp, silent.local_addr().unwrap());
    let resolver = resolver_with(&[server], TIMEOUT, |_| {});
    let mut askers = Askers::new();
    assert!(askers.begin(&resolver, "a.example."));
    askers.send();
    assert!(askers.begin(&resolver, "b.example."));
    let Askers {
        mut told,
        begun,
        lines,
        ..
    } = askers;
    assert!(told.try_recv().is_err());
    drop(lines);
    assert_eq!(told.try_recv(), Ok(None));
    assert!(told.try_recv().is_err());
    drop(begun);
    assert_eq!(told.try_recv(), Ok(None));
}
