//! What is said otherwise than foreseen, or not at all, goes the long way.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;

use hickory_proto::rr::Name;
use tokio::net::UdpSocket;

use super::*;

#[tokio::test]
async fn an_error_goes_the_long_way_which_does_not_ask_again() {
    let server = Scripted::start(|_, query| code(query, ResponseCode::ServFail)).await;
    let resolver = resolver(&server);
    assert_eq!(Askers::new().ask(&resolver, "a.example.").await, None);
    let error = resolver.lookup(&question("a.example.")).await;
    let rcode = ResponseCode::ServFail;
    assert!(
        matches!(&error, Err(ResolveError::Failed { rcode: told, .. }) if *told == rcode),
        "{error:?}"
    );
    assert_eq!(server.count(Transport::Udp), 1);
    assert!(!Askers::new().begin(&resolver, "a.example."), "remembered");
}

#[tokio::test]
async fn an_answer_that_is_not_simple_is_read_the_long_way_and_not_asked_for_again() {
    let server = Scripted::start(|_, query| {
        let mut message = reply(query);
        let owner = query.queries[0].name.clone();
        // The same one twice.
        for _ in 0..2 {
            message.add_answer(Record::from_rdata(owner.clone(), 60, address(1)));
        }
        vec![Reply::Send(message)]
    })
    .await;
    let resolver = resolver(&server);
    assert_eq!(Askers::new().ask(&resolver, "a.example.").await, None);
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(1)]);
    assert_eq!(server.count(Transport::Udp), 1);
}

#[tokio::test]
async fn what_is_too_long_and_what_has_another_case_is_asked_for_over_tcp_at_once() {
    for other_case in [false, true] {
        let server = Scripted::start(move |transport, query| match transport {
            Transport::Udp => {
                let mut message = reply(query);
                message.metadata.truncation = !other_case;
                if other_case {
                    let told = &mut message.queries[0];
                    told.name = flipped(&told.name);
                }
                vec![Reply::Send(message)]
            }
            _ => good(query, 1),
        })
        .await;
        let resolver = resolver_with(&[server.on(Transport::Udp)], TIMEOUT, |dns| {
            dns.upstream.case_randomization = other_case;
        });
        assert_eq!(Askers::new().ask(&resolver, "a.example.").await, None);
        assert_eq!(looked_up(&resolver, "a.example.").await, [address(1)]);
        let counts = [Transport::Udp, Transport::Tcp].map(|over| server.count(over));
        assert_eq!(counts, [1, 1], "{other_case}");
    }
}

/// The name with every letter in the other case.
fn flipped(name: &Name) -> Name {
    let flip = |letter: u8| {
        if letter.is_ascii_alphabetic() {
            letter ^ 0x20
        } else {
            letter
        }
    };
    let labels = name
        .iter()
        .map(|label| label.iter().copied().map(flip).collect());
    let labels: Vec<Vec<u8>> = labels.collect();
    let mut flipped = Name::from_labels(labels).unwrap();
    flipped.set_fqdn(true);
    flipped
}

#[tokio::test]
async fn a_server_older_than_edns_is_asked_again_without_it() {
    let server = Scripted::start(|_, query| {
        if query.edns.is_none() {
            return good(query, 1);
        }
        let mut message = Message::response(query.metadata.id, query.metadata.op_code);
        message.metadata.response_code = ResponseCode::FormErr;
        vec![Reply::Send(message)]
    })
    .await;
    let resolver = resolver(&server);
    assert_eq!(Askers::new().ask(&resolver, "a.example.").await, None);
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(1)]);
    assert_eq!(server.count(Transport::Udp), 2);
}

#[tokio::test(start_paused = true)]
async fn after_silence_the_whole_takes_no_longer_than_the_time_of_a_server() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = server_at(Transport::Udp, silent.local_addr().unwrap());
    let timeout = Duration::from_secs(3);
    let resolver = resolver_with(&[server], timeout, |_| {});
    let begun = now();
    assert_eq!(Askers::new().ask(&resolver, "a.example.").await, None);
    let patience = now() - begun;
    assert!(
        patience >= timeout / 3 && patience < timeout / 2,
        "{patience:?}"
    );
    let error = resolver.lookup(&question("a.example.")).await;
    assert_eq!(error, Err(ResolveError::Timeout));
    let taken = now() - begun;
    assert!(
        taken >= timeout && taken <= timeout + timeout / 20,
        "{taken:?}"
    );
}

#[tokio::test]
async fn after_silence_the_next_server_is_asked_at_once() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let first = server_at(Transport::Udp, silent.local_addr().unwrap());
    let second = Scripted::start(|_, query| good(query, 2)).await;
    let servers = [first, second.on(Transport::Udp)];
    let resolver = resolver_with(&servers, Duration::from_secs(4), |dns| {
        dns.upstream.strategy = Strategy::Ordered;
    });
    let begun = now();
    assert_eq!(Askers::new().ask(&resolver, "a.example.").await, None);
    let patience = now() - begun;
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(2)]);
    let more = now() - begun - patience;
    assert!(more < patience * 3 / 4, "{patience:?} {more:?}");
}

#[tokio::test]
async fn an_answer_that_came_before_an_error_is_taken() {
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let peer = server_at(Transport::Udp, address);
    let resolver = resolver_with(&[peer], TIMEOUT, |_| {});
    let mut askers = Askers::new();
    let mut packet = [0; 512];
    assert!(askers.begin(&resolver, "a.example."));
    askers.send();
    let (length, client) = server.recv_from(&mut packet).unwrap();
    let query = Message::from_vec(&packet[..length]).unwrap();
    let Some(Reply::Send(answer)) = good(&query, 1).pop() else {
        unreachable!("one message");
    };
    server.send_to(&answer.to_vec().unwrap(), client).unwrap();
    drop(server);
    // The answer waits to be read, and this finds the port closed.
    assert!(askers.begin(&resolver, "b.example."));
    askers.send();
    let told = [askers.next().await, askers.next().await];
    assert_eq!(told, [Some(vec![192, 0, 2, 1]), None]);
}

#[tokio::test]
async fn where_nobody_listens_the_long_way_is_gone() {
    let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let first = server_at(Transport::Udp, gone.local_addr().unwrap());
    drop(gone);
    let second = Scripted::start(|_, query| good(query, 2)).await;
    let servers = [first, second.on(Transport::Udp)];
    let resolver = resolver_with(&servers, TIMEOUT, |_| {});
    assert_eq!(Askers::new().ask(&resolver, "a.example.").await, None);
    assert_eq!(looked_up(&resolver, "a.example.").await, [address(2)]);
}

#[tokio::test(start_paused = true)]
async fn so_many_sockets_wait_for_answers_and_no_more() {
    let mut askers = Askers::new();
    let mut silent = Vec::new();
    for number in 0..=64 {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = server_at(Transport::Udp, socket.local_addr().unwrap());
        silent.push(socket);
        let resolver = resolver_with(&[server], TIMEOUT, |_| {});
        assert!(askers.begin(&resolver, "a.example."));
        askers.send();
        // Whoever finds no room for a socket is told so at once.
        let told = askers.told.try_recv();
        assert_eq!(told.is_ok(), number == 64, "{number}: {told:?}");
    }
    assert!(!askers.lines.is_idle() && askers.lines.are_in_time());
    for _ in 0..64 {
        assert_eq!(askers.next().await, None);
    }
    // They are listened for as long as the long way may take.
    assert!(!askers.lines.is_idle() && !askers.lines.are_in_time());
    let begun = now();
    while !askers.lines.is_idle() {
        askers.lines.attend(None, Duration::ZERO).unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(now() - begun < TIMEOUT, "{:?}", now() - begun);
    let server = Scripted::start(|_, query| good(query, 1)).await;
    let told = askers.ask(&resolver(&server), "a.example.").await;
    assert_eq!(told, Some(vec![192, 0, 2, 1]));
}

/// A server that says what is made of a query and its answer, and from where it was asked.
async fn watching(
    says: impl Fn(&Message, Message) -> Vec<Message> + Send + 'static,
) -> (SocketAddr, Arc<Mutex<Vec<SocketAddr>>>) {
    let ports = Arc::new(Mutex::new(Vec::new()));
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let seen = Arc::clone(&ports);
    tokio::spawn(async move {
        let mut packet = [0; 512];
        while let Ok((length, client)) = server.recv_from(&mut packet).await {
            seen.lock().unwrap().push(client);
            let query = Message::from_vec(&packet[..length]).unwrap();
            let Some(Reply::Send(answer)) = good(&query, 1).pop() else {
                unreachable!("one message");
            };
            for message in says(&query, answer) {
                let packet = message.to_vec().unwrap();
                server.send_to(&packet, client).await.unwrap();
            }
        }
    });
    (address, ports)
}

#[tokio::test(start_paused = true)]
async fn a_socket_is_in_use_for_a_second_and_closed_with_its_last_answer() {
    let (address, ports) = watching(|_, answer| vec![answer]).await;
    let server = server_at(Transport::Udp, address);
    let resolver = resolver_with(&[server], TIMEOUT, |_| {});
    let mut askers = Askers::new();
    for text in ["a.example.", "b.example."] {
        assert!(askers.ask(&resolver, text).await.is_some());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(askers.ask(&resolver, "c.example.").await.is_some());
    let seen = ports.lock().unwrap().clone();
    assert!(seen[0] == seen[1] && seen[1] != seen[2], "{seen:?}");
    // The first one is closed: nobody holds its port.
    UdpSocket::bind(("0.0.0.0", seen[0].port())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_query_with_more_time_holds_up_no_other() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let first = server_at(Transport::Udp, silent.local_addr().unwrap());
    let timeout = Duration::from_secs(30);
    let alone = resolver_with(std::slice::from_ref(&first), timeout, |_| {});
    let second = server_at(Transport::Udp, "127.0.0.1:9".parse().unwrap());
    let one_of_two = resolver_with(&[first, second], timeout, |dns| {
        dns.upstream.strategy = Strategy::Ordered;
    });
    let begun = now();
    let mut askers = Askers::new();
    assert_eq!(askers.ask(&one_of_two, "a.example.").await, None);
    let patience = now() - begun;
    assert!(askers.begin(&alone, "b.example."));
    askers.send();
    let begun = now();
    assert_eq!(askers.ask(&one_of_two, "c.example.").await, None);
    assert!(now() - begun < patience * 2, "{:?}", now() - begun);
    assert!(askers.lines.are_in_time(), "the other one has more time");
}

#[tokio::test]
async fn after_many_strays_another_port_is_asked_from() {
    let (address, ports) = watching(|query, answer| {
        let as_wrong = |wrong| {
            let mut answer = answer.clone();
            answer.metadata.id = query.metadata.id ^ wrong;
            answer
        };
        (0..=8).rev().map(as_wrong).collect()
    })
    .await;
    let server = server_at(Transport::Udp, address);
    let resolver = resolver_with(&[server], TIMEOUT, |_| {});
    let mut askers = Askers::new();
    for number in 0..16 {
        let told = askers.ask(&resolver, &format!("n{number}.example.")).await;
        assert_eq!(told, Some(vec![192, 0, 2, 1]));
    }
    // Eight for each, of which 64 may come on one.
    let ports: HashSet<SocketAddr> = ports.lock().unwrap().iter().copied().collect();
    assert_eq!(ports.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_expired_answer_is_asked_for_anew_and_told_in_time_where_nothing_comes() {
    let is_silent = Arc::new(AtomicBool::new(false));
    let silence = Arc::clone(&is_silent);
    let server = Scripted::start(move |_, query| match silence.load(Ordering::Relaxed) {
        true => Vec::new(),
        false => good(query, 1),
    })
    .await;
    let servers = [server.on(Transport::Udp)];
    let resolver = resolver_with(&servers, Duration::from_secs(9), |dns| {
        dns.cache.stale = Duration::from_secs(86_400);
    });
    let mut askers = Askers::new();
    let good = Some(vec![192, 0, 2, 1]);
    for round in 1..=2 {
        assert_eq!(askers.ask(&resolver, "a.example.").await, good);
        assert_eq!(server.count(Transport::Udp), round);
        tokio::time::sleep(Duration::from_secs(1000)).await;
        assert!(!resolver.holds(&question("a.example.")));
    }
    is_silent.store(true, Ordering::Relaxed);
    let begun = now();
    assert_eq!(askers.ask(&resolver, "a.example.").await, None);
    let stale = resolver.lookup(&question("a.example.")).await.unwrap();
    assert_eq!(stale.extended_errors[0].code, 3);
    let taken = now() - begun;
    let patience = Duration::from_millis(1800);
    assert!(taken >= patience && taken < patience * 11 / 10, "{taken:?}");
    assert!(
        !askers.begin(&resolver, "a.example."),
        "who asks soon after does not wait"
    );
    assert_eq!(resolver.metrics.cache_misses.get(), 3);
}

#[tokio::test]
async fn who_goes_the_long_way_in_the_end_is_counted_once() {
    let server = Scripted::start(|_, query| code(query, ResponseCode::ServFail)).await;
    let resolver = resolver(&server);
    assert_eq!(Askers::new().ask(&resolver, "a.example.").await, None);
    resolver.lookup(&question("a.example.")).await.unwrap_err();
    assert_eq!(resolver.metrics.cache_misses.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_went_on_with_long_ago_takes_no_time_from_who_asks_now() {
    let is_silent = Arc::new(AtomicBool::new(false));
    let silence = Arc::clone(&is_silent);
    let server = Scripted::start(move |_, query| match silence.load(Ordering::Relaxed) {
        true => Vec::new(),
        false => good(query, 1),
    })
    .await;
    let resolver = resolver_with(&[server.on(Transport::Udp)], TIMEOUT, |dns| {
        dns.cache.stale = Duration::from_secs(86_400);
    });
    let mut askers = Askers::new();
    assert!(askers.ask(&resolver, "a.example.").await.is_some());
    tokio::time::sleep(Duration::from_secs(1000)).await;
    is_silent.store(true, Ordering::Relaxed);
    assert_eq!(askers.ask(&resolver, "a.example.").await, None);
    tokio::time::sleep(Duration::from_secs(1000)).await;
    is_silent.store(false, Ordering::Relaxed);
    let answer = resolver.lookup(&question("a.example.")).await.unwrap();
    assert_eq!(answer.extended_errors, []);
}
