//! The resolver against scripted servers on loopback.

mod cached;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{CNAME, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::{Question, ResolveError, Resolver, Trust};
use crate::config::{Config, Dns, Server, Strategy, Transport};
use crate::net::{Family, Interfaces};
use crate::telemetry::{Metrics, UpstreamLabels};

/// What a scripted server does with a query.
#[derive(Clone)]
pub(super) enum Reply {
    /// Sends this.
    Send(Message),
    /// Over TCP: ends the connection.
    Close,
}

type Seen = Arc<Mutex<Vec<(Transport, Message)>>>;

/// A server on one port for UDP and TCP; ends when dropped.
pub(super) struct Scripted {
    pub(super) address: SocketAddr,
    seen: Seen,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Scripted {
    pub(super) async fn start<S>(script: S) -> Self
    where
        S: Fn(Transport, &Message) -> Vec<Reply> + Clone + Send + Sync + 'static,
    {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let address = tcp.local_addr().unwrap();
        let seen = Seen::default();
        let mut tasks = JoinSet::new();
        let (log, udp_script) = (Arc::clone(&seen), script.clone());
        tasks.spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, peer)) = udp.recv_from(&mut buffer).await {
                let query = Message::from_vec(&buffer[..length]).unwrap();
                log.lock().unwrap().push((Transport::Udp, query.clone()));
                for reply in udp_script(Transport::Udp, &query) {
                    if let Reply::Send(message) = reply {
                        udp.send_to(&message.to_vec().unwrap(), peer).await.unwrap();
                    }
                }
            }
        });
        let (log, connections) = (Arc::clone(&seen), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&connections);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = tcp.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                connections.spawn(converse(stream, script.clone(), Arc::clone(&log)));
            }
        });
        Self {
            address,
            seen,
            connections,
            _tasks: tasks,
        }
    }

    /// Queries over this transport, probes aside.
    pub(super) fn count(&self, transport: Transport) -> usize {
        let seen = self.seen.lock().unwrap();
        let counts = |(by, query): &&(_, _)| *by == transport && !is_probe(query);
        seen.iter().filter(counts).count()
    }

    /// Queries for this name.
    pub(super) fn asked(&self, text: &str) -> usize {
        let (seen, owner) = (self.seen.lock().unwrap(), name(text));
        let same = |(_, query): &&(_, Message)| query.queries[0].name == owner;
        seen.iter().filter(same).count()
    }

    /// Probes, over any transport.
    pub(super) fn probes(&self) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(_, query)| is_probe(query)).count()
    }

    pub(super) fn on(&self, transport: Transport) -> Server {
        server_at(transport, self.address)
    }
}

/// A server without a name.
pub(super) fn server_at(transport: Transport, address: SocketAddr) -> Server {
    Server {
        transport,
        address,
        name: None,
        path: None,
    }
}

fn is_probe(query: &Message) -> bool {
    query.queries[0].name.is_root() && query.queries[0].query_type == RecordType::NS
}

async fn converse<S>(mut stream: TcpStream, script: S, log: Seen)
where
    S: Fn(Transport, &Message) -> Vec<Reply>,
{
    while let Ok(length) = stream.read_u16().await {
        let mut query = vec![0; length.into()];
        stream.read_exact(&mut query).await.unwrap();
        let query = Message::from_vec(&query).unwrap();
        log.lock().unwrap().push((Transport::Tcp, query.clone()));
        for reply in script(Transport::Tcp, &query) {
            let Reply::Send(message) = reply else { return };
            let bytes = message.to_vec().unwrap();
            let mut frame = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
            frame.extend(bytes);
            if stream.write_all(&frame).await.is_err() {
                return;
            }
        }
    }
}

pub(super) fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

pub(super) fn address(last: u8) -> RData {
    RData::A(Ipv4Addr::new(192, 0, 2, last).into())
}

fn cname(owner: &str, target: &str) -> Record {
    Record::from_rdata(name(owner), 60, RData::CNAME(CNAME(name(target))))
}

pub(super) fn reply(query: &Message) -> Message {
    let mut message = Message::response(query.metadata.id, query.metadata.op_code);
    message.queries = query.queries.clone();
    message
}

pub(super) fn good(query: &Message, last: u8) -> Vec<Reply> {
    let mut message = reply(query);
    let owner = query.queries[0].name.clone();
    message.add_answer(Record::from_rdata(owner, 60, address(last)));
    vec![Reply::Send(message)]
}

pub(super) fn code(query: &Message, rcode: ResponseCode) -> Vec<Reply> {
    let mut message = reply(query);
    message.metadata.response_code = rcode;
    vec![Reply::Send(message)]
}

pub(super) fn question(text: &str) -> Question {
    Question {
        name: name(text),
        record_type: RecordType::A,
        dnssec_ok: false,
        checking_disabled: false,
    }
}

/// Long, so that a busy machine fails no test; those that wait for it shorten it.
pub(super) const TIMEOUT: Duration = Duration::from_secs(20);

/// The defaults with these servers, asked in this order.
pub(super) fn settings(servers: &[Server], timeout: Duration) -> Dns {
    let interfaces = Interfaces::of(&[("eth0", "192.168.1.2/24")], Some("eth0"));
    let config = Config::parse("", None, &interfaces, "nameserver 192.0.2.53\n");
    let mut dns = config.unwrap().dns;
    dns.upstream.servers = servers.to_vec();
    dns.upstream.strategy = Strategy::Ordered;
    dns.upstream.timeout = timeout;
    dns
}

fn resolver(servers: &[Server], timeout: Duration) -> Arc<Resolver> {
    let metrics = Arc::new(Metrics::new());
    Arc::new(Resolver::new(
        &settings(servers, timeout),
        &Trust::nobody(),
        metrics,
    ))
}

pub(super) async fn looked_up(resolver: &Resolver, text: &str) -> Vec<RData> {
    let answer = resolver.lookup(&question(text)).await.unwrap();
    answer
        .answers
        .into_iter()
        .map(|record| record.data)
        .collect()
}

pub(super) fn outcomes(resolver: &Resolver, outcome: &'static str) -> u64 {
    let labels = UpstreamLabels { outcome };
    resolver
        .metrics
        .upstream_queries
        .get_or_create(&labels)
        .get()
}

#[tokio::test]
async fn an_error_of_the_first_server_leads_to_the_second() {
    for (rcode, outcome) in [
        (ResponseCode::ServFail, "servfail"),
        (ResponseCode::Refused, "refused"),
        (ResponseCode::NotImp, "error"),
    ] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let first = Scripted::start(move |_, query| code(query, rcode)).await;
            let second = Scripted::start(|_, query| good(query, 2)).await;
            let resolver = resolver(&[first.on(transport), second.on(transport)], TIMEOUT);
            assert_eq!(looked_up(&resolver, "a.example.").await, [address(2)]);
            assert_eq!(first.count(transport), 1);
            assert_eq!(outcomes(&resolver, outcome), 1);
            assert_eq!(outcomes(&resolver, "answered"), 1);
        }
    }
}

#[tokio::test]
async fn the_first_server_is_used_while_it_answers() {
    let first = Scripted::start(|_, query| good(query, 1)).await;
    let second = Scripted::start(|_, query| good(query, 2)).await;
    let resolver = resolver(
        &[first.on(Transport::Udp), second.on(Transport::Udp)],
        TIMEOUT,
    );
    for text in ["a.example.", "b.example.", "c.example."] {
        assert_eq!(looked_up(&resolver, text).await, [address(1)]);
    }
    assert_eq!(second.count(Transport::Udp), 0);
}

#[tokio::test]
async fn a_silent_first_server_does_not_cost_its_whole_time() {
    let silent = Scripted::start(|_, _| vec![]).await;
    let second = Scripted::start(|_, query| good(query, 2)).await;
    let resolver = resolver(
        &[silent.on(Transport::Udp), second.on(Transport::Udp)],
        Duration::from_secs(3600),
    );
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(2)]);
}

#[tokio::test]
async fn a_server_that_was_silent_is_not_asked_while_another_answers() {
    let silent = Scripted::start(|_, _| vec![]).await;
    let second = Scripted::start(|_, query| good(query, 2)).await;
    let resolver = resolver(
        &[silent.on(Transport::Udp), second.on(Transport::Udp)],
        Duration::from_secs(1),
    );
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(2)]);
    while outcomes(&resolver, "timeout") == 0 {
        tokio::task::yield_now().await;
    }
    let before = silent.count(Transport::Udp);
    assert_eq!(looked_up(&resolver, "b.example.").await, [address(2)]);
    assert_eq!(silent.count(Transport::Udp), before);
}

#[tokio::test]
async fn a_server_without_a_port_open_is_passed_over() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = server_at(Transport::Tcp, closed.local_addr().unwrap());
    drop(closed);
    let second = Scripted::start(|_, query| good(query, 2)).await;
    let both = resolver(&[gone.clone(), second.on(Transport::Udp)], TIMEOUT);
    assert_eq!(looked_up(&both, "a.example.").await, [address(2)]);
    let alone = resolver(&[gone], TIMEOUT);
    let error = alone.lookup(&question("a.example.")).await;
    assert!(
        matches!(error, Err(ResolveError::Unreachable(_))),
        "{error:?}"
    );
}

#[tokio::test]
async fn when_all_fail_the_error_says_how() {
    let silent = Scripted::start(|_, _| vec![]).await;
    let alone = resolver(&[silent.on(Transport::Udp)], Duration::from_millis(50));
    let error = alone.lookup(&question("a.example.")).await;
    assert_eq!(error, Err(ResolveError::Timeout));

    let failing = Scripted::start(|_, query| {
        let mut message = reply(query);
        message.metadata.response_code = ResponseCode::ServFail;
        let mut edns = Edns::new();
        edns.options_mut().insert(EdnsOption::Unknown(
            15,
            vec![0, 6, b'b', b'o', b'g', b'u', b's'],
        ));
        message.set_edns(edns);
        vec![Reply::Send(message)]
    })
    .await;
    let alone = resolver(&[failing.on(Transport::Udp)], TIMEOUT);
    let Err(ResolveError::Failed {
        rcode,
        extended_errors,
    }) = alone.lookup(&question("a.example.")).await
    else {
        panic!("an error of the server is expected");
    };
    assert_eq!(rcode, ResponseCode::ServFail);
    assert_eq!(
        (extended_errors[0].code, &*extended_errors[0].text),
        (6, "bogus")
    );
}

#[tokio::test(start_paused = true)]
async fn many_silent_servers_take_no_longer_than_one() {
    let timeout = Duration::from_secs(2);
    for count in [1, 2, 3, 12] {
        let mut silent = Vec::new();
        for _ in 0..count {
            silent.push(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        }
        let servers: Vec<Server> = silent
            .iter()
            .map(|socket| server_at(Transport::Udp, socket.local_addr().unwrap()))
            .collect();
        let resolver = resolver(&servers, timeout);
        let begun = super::now();
        let error = resolver.lookup(&question("a.example.")).await;
        assert_eq!(error, Err(ResolveError::Timeout));
        let taken = super::now() - begun;
        assert!(taken <= timeout + timeout / 20, "{count} {taken:?}");
        for socket in silent {
            assert!(socket.try_recv(&mut [0; 512]).is_ok(), "all are asked");
        }
    }
}

#[tokio::test]
async fn aliases_that_loop_or_do_not_end_are_no_answer() {
    for length in [2, 16, 17] {
        for looped in [false, true] {
            let server = Scripted::start(move |_, query| {
                let mut message = reply(query);
                for index in 0..length {
                    let next = if looped {
                        (index + 1) % length
                    } else {
                        index + 1
                    };
                    message.add_answer(cname(
                        &format!("n{index}.example."),
                        &format!("n{next}.example."),
                    ));
                }
                let end = name(&format!("n{length}.example."));
                message.add_answer(Record::from_rdata(end, 60, address(1)));
                vec![Reply::Send(message)]
            })
            .await;
            let resolver = resolver(&[server.on(Transport::Udp)], TIMEOUT);
            let answer = resolver.lookup(&question("n0.example.")).await;
            let good = !looped && length <= 16;
            assert_eq!(answer.is_ok(), good, "{length} {looped}");
            assert_eq!(
                good,
                answer.is_ok_and(|answer| answer.answers.len() == length + 1)
            );
        }
    }
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let server = Scripted::start(|transport, query| match transport {
        Transport::Udp => {
            let mut message = reply(query);
            message.metadata.truncation = true;
            vec![Reply::Send(message)]
        }
        _ => good(query, 1),
    })
    .await;
    let resolver = resolver(&[server.on(Transport::Udp)], TIMEOUT);
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(1)]);
    assert_eq!(server.count(Transport::Tcp), 1);
}

#[tokio::test]
async fn a_server_whose_tcp_does_not_work_is_left_for_that_question_only() {
    let first = Scripted::start(|transport, query| {
        let mut message = reply(query);
        message.metadata.truncation = true;
        match transport {
            Transport::Udp if query.queries[0].name == name("big.example.") => {
                vec![Reply::Send(message)]
            }
            Transport::Udp => good(query, 1),
            _ => vec![Reply::Close],
        }
    })
    .await;
    let second = Scripted::start(|_, query| good(query, 2)).await;
    let resolver = resolver(
        &[first.on(Transport::Udp), second.on(Transport::Udp)],
        TIMEOUT,
    );
    assert_eq!(looked_up(&resolver, "big.example.").await, [address(2)]);
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(1)]);
}

#[tokio::test]
async fn answers_with_another_id_or_to_another_question_are_ignored() {
    let script = |_, query: &Message| {
        let mut other_id = reply(query);
        other_id.metadata.id = query.metadata.id.wrapping_add(1);
        other_id.add_answer(Record::from_rdata(
            query.queries[0].name.clone(),
            60,
            address(66),
        ));
        let mut other_question = reply(query);
        other_question.queries = vec![Query::query(name("other.example."), RecordType::A)];
        let mut replies = vec![Reply::Send(other_id), Reply::Send(other_question)];
        replies.extend(good(query, 1));
        replies
    };
    let server = Scripted::start(script).await;
    let udp = resolver(&[server.on(Transport::Udp)], TIMEOUT);
    assert_eq!(looked_up(&udp, "a.example.").await, [address(1)]);

    let second = Scripted::start(|_, query| good(query, 2)).await;
    let tcp = resolver(
        &[server.on(Transport::Tcp), second.on(Transport::Udp)],
        TIMEOUT,
    );
    assert_eq!(looked_up(&tcp, "a.example.").await, [address(2)]);
}

#[tokio::test]
async fn nxdomain_is_kept_with_its_soa_and_cached() {
    let server = Scripted::start(|_, query| {
        let mut message = reply(query);
        message.metadata.response_code = ResponseCode::NXDomain;
        let soa = SOA::new(name("ns.example."), name("root.example."), 1, 2, 3, 4, 300);
        message.add_authority(Record::from_rdata(name("example."), 900, RData::SOA(soa)));
        vec![Reply::Send(message)]
    })
    .await;
    let resolver = resolver(&[server.on(Transport::Udp)], TIMEOUT);
    for _ in 0..2 {
        let answer = resolver.lookup(&question("a.example.")).await.unwrap();
        assert_eq!(answer.rcode, ResponseCode::NXDomain);
        assert_eq!(answer.authorities.len(), 1);
        assert_eq!(answer.authorities[0].ttl, 300);
    }
    assert_eq!(server.count(Transport::Udp), 1);
    assert_eq!(resolver.metrics.cache_hits.get(), 1);
    assert_eq!(resolver.metrics.cache_entries.get(), 1);
}

#[tokio::test]
async fn fifty_askers_of_one_question_are_one_query_upstream() {
    let server = Scripted::start(|_, query| good(query, 1)).await;
    let resolver = resolver(&[server.on(Transport::Udp)], TIMEOUT);
    let mut askers = JoinSet::new();
    for index in 0..50 {
        let resolver = Arc::clone(&resolver);
        let text = if index % 2 == 0 {
            "a.example."
        } else {
            "A.Example."
        };
        askers.spawn(async move { looked_up(&resolver, text).await });
    }
    while let Some(answer) = askers.join_next().await {
        assert_eq!(answer.unwrap(), [address(1)]);
    }
    assert_eq!(server.count(Transport::Udp), 1);
}

#[tokio::test]
async fn a_failure_is_shared_by_those_who_wait() {
    let server = Scripted::start(|_, query| code(query, ResponseCode::ServFail)).await;
    let resolver = resolver(&[server.on(Transport::Udp)], TIMEOUT);
    let mut askers = JoinSet::new();
    for _ in 0..10 {
        let resolver = Arc::clone(&resolver);
        askers.spawn(async move { resolver.lookup(&question("a.example.")).await.is_err() });
    }
    assert!(askers.join_all().await.into_iter().all(|failed| failed));
    assert_eq!(server.count(Transport::Udp), 1);
}

#[tokio::test]
async fn many_questions_at_once_share_one_tcp_connection() {
    let server = Scripted::start(|_, query| good(query, 1)).await;
    let resolver = resolver(&[server.on(Transport::Tcp)], TIMEOUT);
    let mut askers = JoinSet::new();
    for index in 0..1000 {
        let resolver = Arc::clone(&resolver);
        askers.spawn(async move { looked_up(&resolver, &format!("n{index}.example.")).await });
    }
    for answer in askers.join_all().await {
        assert_eq!(answer, [address(1)]);
    }
    assert_eq!(server.count(Transport::Tcp), 1000);
    assert_eq!(server.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_tcp_connection_closed_between_queries_is_opened_again() {
    let server = Scripted::start(|_, query| {
        let mut replies = good(query, 1);
        replies.push(Reply::Close);
        replies
    })
    .await;
    let resolver = resolver(&[server.on(Transport::Tcp)], TIMEOUT);
    for index in 0..20 {
        let text = format!("n{index}.example.");
        assert_eq!(looked_up(&resolver, &text).await, [address(1)], "{text}");
    }
}

#[tokio::test]
async fn a_silent_tcp_connection_is_given_up_for_a_new_one() {
    let server = Scripted::start(|_, query| {
        if query.queries[0].name == name("lost.example.") || is_probe(query) {
            vec![]
        } else {
            good(query, 1)
        }
    })
    .await;
    let resolver = resolver(&[server.on(Transport::Tcp)], Duration::from_secs(1));
    let error = resolver.lookup(&question("lost.example.")).await;
    assert_eq!(error, Err(ResolveError::Timeout));
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(1)]);
    assert_eq!(server.connections.load(Ordering::Relaxed), 2);
    assert_eq!(looked_up(&resolver, "b.example.").await, [address(1)]);
    assert_eq!(server.connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn the_query_carries_do_cd_rd_and_our_payload_size() {
    let server = Scripted::start(|_, query| good(query, 1)).await;
    let mut settings = settings(&[server.on(Transport::Udp)], TIMEOUT);
    settings.upstream.case_randomization = false;
    let metrics = Arc::new(Metrics::new());
    let resolver = Resolver::new(&settings, &Trust::nobody(), metrics);
    for (dnssec_ok, checking_disabled) in [(false, true), (true, false)] {
        let asked = Question {
            dnssec_ok,
            checking_disabled,
            ..question("MiXed.example.")
        };
        resolver.lookup(&asked).await.unwrap();
        let (_, query) = server.seen.lock().unwrap().last().cloned().unwrap();
        let edns = query.edns.as_ref().unwrap();
        assert!(query.metadata.recursion_desired);
        assert_eq!(query.metadata.checking_disabled, checking_disabled);
        assert_eq!(edns.flags().dnssec_ok, dnssec_ok);
        assert_eq!(edns.max_payload(), 1232);
        assert!(query.queries[0].name.eq_case(&name("mixed.example.")));
    }
}

#[tokio::test]
async fn a_server_without_edns_is_asked_without() {
    let server = Scripted::start(|_, query| match query.edns {
        Some(_) => code(query, ResponseCode::FormErr),
        None => good(query, 1),
    })
    .await;
    let resolver = resolver(&[server.on(Transport::Udp)], TIMEOUT);
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(1)]);
    let with_do = Question {
        dnssec_ok: true,
        ..question("a.example.")
    };
    let answer = resolver.lookup(&with_do).await.unwrap();
    assert_eq!(answer.answers.len(), 1, "without signatures");
}

#[tokio::test]
async fn addresses_follow_cnames_within_and_beyond_an_answer() {
    let server = Scripted::start(|_, query| {
        let mut message = reply(query);
        let asked = query.queries[0].name.to_ascii().to_lowercase();
        match asked.as_str() {
            "www.example." => {
                message.add_answer(cname("www.example.", "cdn.example."));
                message.add_answer(Record::from_rdata(name("cdn.example."), 60, address(1)));
                message.add_answer(Record::from_rdata(name("bank.example."), 60, address(66)));
            }
            "far.example." => {
                message.add_answer(cname("far.example.", "www.example."));
            }
            "loop.example." => {
                message.add_answer(cname("loop.example.", "pool.example."));
            }
            "pool.example." => {
                message.add_answer(cname("pool.example.", "loop.example."));
            }
            other => {
                let next = format!("n{other}");
                if next.len() < 100 {
                    message.add_answer(cname(other, &next));
                }
            }
        }
        vec![Reply::Send(message)]
    })
    .await;
    let resolver = resolver(&[server.on(Transport::Udp)], TIMEOUT);
    let expected = [IpAddr::from([192, 0, 2, 1])];
    for text in ["www.example.", "far.example.", "WWW.example"] {
        let got = resolver.addresses(&name(text), Family::V4).await;
        assert_eq!(got.unwrap(), expected, "{text}");
    }
    let known = |text| resolver.known_addresses(&name(text), Family::V4);
    assert_eq!(known("WWW.example").as_deref(), Some(&expected[..]));
    assert_eq!(
        known("far.example."),
        None,
        "its chain leads out of the answer"
    );
    assert_eq!(known("never-asked.example."), None);
    let got = resolver.addresses(&name("loop.example."), Family::V4).await;
    assert_eq!(got, Ok(vec![]));
    let before = server.count(Transport::Udp);
    let got = resolver.addresses(&name("n.example."), Family::V4).await;
    assert_eq!(got, Ok(vec![]));
    assert_eq!(server.count(Transport::Udp), before + super::MAX_HOPS + 1);
}

#[tokio::test]
async fn a_referral_is_no_answer() {
    let lame = Scripted::start(|_, query| {
        let mut message = reply(query);
        let server = RData::NS(hickory_proto::rr::rdata::NS(name("ns.example.")));
        message.add_authority(Record::from_rdata(name("example."), 60, server));
        vec![Reply::Send(message)]
    })
    .await;
    let second = Scripted::start(|_, query| good(query, 2)).await;
    let resolver = resolver(
        &[lame.on(Transport::Udp), second.on(Transport::Udp)],
        TIMEOUT,
    );
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(2)]);
}

#[tokio::test]
async fn other_servers_after_a_reload_and_the_cache_stays() {
    let first = Scripted::start(|_, query| good(query, 1)).await;
    let second = Scripted::start(|_, query| good(query, 2)).await;
    let resolver = resolver(&[first.on(Transport::Udp)], TIMEOUT);
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(1)]);
    let mut other = settings(&[second.on(Transport::Udp)], TIMEOUT);
    other.cache.entries = 10;
    resolver.reconfigure(&other, &Trust::nobody());
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(1)]);
    assert_eq!(looked_up(&resolver, "b.example.").await, [address(2)]);
}

#[tokio::test]
async fn without_any_server_the_error_says_so() {
    let error = resolver(&[], TIMEOUT).lookup(&question("a.example.")).await;
    assert_eq!(
        error,
        Err(ResolveError::Unreachable(
            "no server is configured".to_owned()
        ))
    );
}
