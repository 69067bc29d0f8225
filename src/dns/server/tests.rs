//! The sockets: questions over loopback, and every bound of a connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::super::handler::Limits;
use super::super::handler::View;
use super::super::local::Zones;
use super::super::testing::{self, World, config, edns_query, lines, query};
use super::*;
use crate::config::{Mode, Names};
use crate::net::Acl;
use crate::telemetry::{Metrics, RefusalLabels};

const LIMITS: Limits = Limits {
    max_queries: 500,
    max_queries_per_client: 400,
    rate_limit: 0,
    max_connections: 2,
    tcp_idle_timeout: Duration::from_secs(10),
};
const PATIENCE: Duration = Duration::from_secs(20);

mod encrypted;

struct Running {
    handler: Arc<Handler<World>>,
    metrics: Arc<Metrics>,
    udp: SocketAddr,
    tcp: SocketAddr,
    tls: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<Result<(), DnsError>>,
}

fn view(world: World, networks: &[&str], limits: Limits) -> View<World> {
    let config = config(Mode::Ipv6Only, Names::All);
    let mut view = testing::view(&config, Zones::default(), world);
    view.networks = Acl::new(networks.iter().map(|network| network.parse().unwrap()));
    view.limits = limits;
    view
}

fn start(world: World, networks: &[&str]) -> Running {
    start_with(world, networks, LIMITS)
}

fn start_with(world: World, networks: &[&str], limits: Limits) -> Running {
    let metrics = Arc::new(Metrics::new());
    let handler = Arc::new(Handler::new(
        view(world, networks, limits),
        Arc::clone(&metrics),
    ));
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let tls = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let tls_address = tls.local_addr().unwrap();
    let (udp_address, tcp_address) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let stop = CancellationToken::new();
    let served = tokio::spawn(serve(
        Arc::clone(&handler),
        Listeners {
            udp: vec![udp],
            tcp: vec![tcp],
            tls: vec![tls],
        },
        stop.clone(),
    ));
    Running {
        handler,
        metrics,
        udp: udp_address,
        tcp: tcp_address,
        tls: tls_address,
        stop,
        served,
    }
}

fn world() -> World {
    let many: Vec<String> = (0..100)
        .map(|n| format!("big.example. A 192.0.2.{}", n + 1))
        .collect();
    let mut all = vec![
        "example. SOA ns.example. admin.example. 7 3600 600 86400 900",
        "both.example. A 192.0.2.1",
        "both.example. AAAA 2001:db8::1",
        "slow.example. A 192.0.2.2",
    ];
    all.extend(many.iter().map(String::as_str));
    World::new(&all).silent("slow.example.", RecordType::A)
}

async fn ask(server: SocketAddr, message: &Message) -> Option<Message> {
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    socket.connect(server).await.unwrap();
    socket.send(&message.to_vec().unwrap()).await.unwrap();
    let mut packet = [0; 4096];
    let length = tokio::time::timeout(PATIENCE, socket.recv(&mut packet))
        .await
        .ok()?
        .unwrap();
    let limit = if message.edns.is_some() { 1232 } else { 512 };
    assert!(length <= limit, "{length}");
    Some(Message::from_vec(&packet[..length]).unwrap())
}

fn framed(message: &Message) -> Vec<u8> {
    let packet = message.to_vec().unwrap();
    let mut frame = u16::try_from(packet.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(packet);
    frame
}

async fn read(stream: &mut TcpStream) -> Message {
    let length = stream.read_u16().await.unwrap();
    let mut packet = vec![0; usize::from(length)];
    stream.read_exact(&mut packet).await.unwrap();
    Message::from_vec(&packet).unwrap()
}

#[tokio::test]
async fn a_question_over_udp_is_answered_in_the_spelling_of_the_client() {
    let running = start(world(), &["127.0.0.0/8"]);
    let message = edns_query("bOTh.example.", RecordType::A, false);
    let answer = ask(running.udp, &message).await.unwrap();
    assert_eq!(answer.metadata.id, message.metadata.id);
    assert!(answer.queries[0].name.eq_case(&message.queries[0].name));
    assert_eq!(lines(&answer.answers)[0], "bOTh.example. A 192.0.2.1");
    let answer = ask(
        running.udp,
        &edns_query("both.example.", RecordType::AAAA, true),
    )
    .await
    .unwrap();
    assert!(answer.answers.is_empty());
    assert_eq!(lines(&answer.authorities).len(), 1);

    let answer = ask(running.udp, &query("big.example.", RecordType::A))
        .await
        .unwrap();
    assert!(answer.metadata.truncation && answer.answers.is_empty());
    assert_eq!(answer.queries.len(), 1);
    running.stop.cancel();
    running.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_answer_over_udp_is_whole_or_empty_and_never_over_the_clients_limit() {
    for addresses in 20..40 {
        let owner = "a-long-name-that-weighs-more-than-a-pointer.example.";
        let lines: Vec<String> = (0..addresses)
            .map(|n| format!("{owner} A 192.0.2.{}", n + 1))
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let running = start(World::new(&lines), &["127.0.0.0/8"]);
        let message = query(owner, RecordType::A);
        let answer = ask(running.udp, &message).await.unwrap();
        assert!(answer.to_vec().unwrap().len() <= 512);
        let expected = if answer.metadata.truncation {
            0
        } else {
            addresses
        };
        assert_eq!(answer.answers.len(), expected);
    }
}

#[tokio::test]
async fn a_udp_query_with_another_count_of_questions_than_one_is_malformed() {
    let running = start(world(), &["127.0.0.0/8"]);
    let mut none = query("both.example.", RecordType::A);
    none.queries.clear();
    let mut two = query("both.example.", RecordType::A);
    two.add_query(two.queries[0].clone());
    for message in [none, two] {
        let answer = ask(running.udp, &message).await.unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
        assert!(answer.queries.is_empty());
    }
}

/// A datagram that is no message: a record is announced and does not come.
fn malformed(response: bool) -> Vec<u8> {
    let mut packet = query("both.example.", RecordType::A).to_vec().unwrap();
    packet[2] |= if response { 0x80 } else { 0 };
    packet[7] = 1;
    packet
}

#[tokio::test]
async fn a_malformed_datagram_is_answered_to_clients_only_and_a_response_to_nobody() {
    for (networks, expected) in [
        (["127.0.0.0/8"], ResponseCode::FormErr),
        (["192.168.1.0/24"], ResponseCode::Refused),
    ] {
        let running = start(world(), &networks);
        let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        socket.connect(running.udp).await.unwrap();
        for packet in [malformed(true), vec![], vec![0; 11], malformed(false)] {
            socket.send(&packet).await.unwrap();
        }
        let mut packet = [0; 512];
        let length = socket.recv(&mut packet).await.unwrap();
        let answer = Message::from_vec(&packet[..length]).unwrap();
        assert_eq!(answer.metadata.response_code, expected);
        running.stop.cancel();
        running.served.await.unwrap().unwrap();
        let more = socket.try_recv(&mut packet);
        assert!(more.is_err(), "one answer for four datagrams");
    }
}

#[tokio::test]
async fn datagrams_over_the_bound_are_dropped_and_counted() {
    let running = start(world(), &["127.0.0.0/8"]);
    let limits = Limits {
        max_queries: 2,
        ..LIMITS
    };
    running
        .handler
        .replace(view(world(), &["127.0.0.0/8"], limits));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let packet = query("slow.example.", RecordType::A).to_vec().unwrap();
    for _ in 0..5 {
        socket.send_to(&packet, running.udp).unwrap();
    }
    while running.metrics.dns_overload.get() < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.metrics.dns_in_flight.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_open_over_udp_at_the_stop_is_answered() {
    let world = World::new(&["both.example. AAAA 2001:db8::1"])
        .without_soa()
        .silent("both.example.", RecordType::SOA);
    let running = start(world, &["127.0.0.0/8"]);
    let message = edns_query("both.example.", RecordType::AAAA, false);
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let packet = message.to_vec().unwrap();
    socket.send_to(&packet, running.udp).await.unwrap();
    while running.metrics.dns_in_flight.get() < 1 {
        tokio::task::yield_now().await;
    }
    running.stop.cancel();
    running.served.await.unwrap().unwrap();
    let mut packet = [0; 512];
    let length = socket.try_recv(&mut packet).unwrap();
    let answer = Message::from_vec(&packet[..length]).unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert_eq!(answer.authorities.len(), 1);
}

#[tokio::test]
async fn strangers_are_refused_over_udp_and_closed_unread_over_tcp() {
    let running = start(world(), &["192.168.1.0/24"]);
    let answer = ask(running.udp, &query("both.example.", RecordType::A))
        .await
        .unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    let mut stream = TcpStream::connect(running.tcp).await.unwrap();
    assert!(stream.read_u8().await.is_err());
    let stranger = RefusalLabels { reason: "stranger" };
    let refused = running.metrics.sessions_refused.get_or_create(&stranger);
    assert_eq!(refused.get(), 1);
    drop(refused);

    running
        .handler
        .replace(view(world(), &["127.0.0.0/8"], LIMITS));
    let mut stream = TcpStream::connect(running.tcp).await.unwrap();
    let frame = framed(&query("both.example.", RecordType::A));
    stream.write_all(&frame).await.unwrap();
    assert_eq!(read(&mut stream).await.answers.len(), 1);
}

#[tokio::test]
async fn questions_of_one_connection_are_answered_as_they_are_ready_and_in_any_pieces() {
    let running = start(world(), &["127.0.0.0/8"]);
    let mut stream = TcpStream::connect(running.tcp).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut bytes = framed(&query("slow.example.", RecordType::A));
    for id in 1..=3 {
        let mut message = query("both.example.", RecordType::A);
        message.metadata.id = id;
        bytes.extend(framed(&message));
    }
    for piece in bytes.chunks(7) {
        stream.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(read(&mut stream).await.metadata.id);
    }
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
    assert_eq!(running.metrics.dns_connections.get(), 1);
}

#[tokio::test]
async fn a_connection_with_as_many_open_questions_as_it_may_have_is_not_read_further() {
    let running = start(world(), &["127.0.0.0/8"]);
    let mut stream = TcpStream::connect(running.tcp).await.unwrap();
    let mut bytes = Vec::new();
    for _ in 0..200 {
        bytes.extend(framed(&query("slow.example.", RecordType::A)));
    }
    bytes.extend(framed(&query("both.example.", RecordType::A)));
    stream.write_all(&bytes).await.unwrap();
    while running.metrics.dns_in_flight.get() < 64 {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.metrics.dns_in_flight.get(), 64);
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed_and_makes_room_for_the_next() {
    let running = start(world(), &["127.0.0.0/8"]);
    let mut first = TcpStream::connect(running.tcp).await.unwrap();
    let mut second = TcpStream::connect(running.tcp).await.unwrap();
    // One octet is not a question: it does not keep the connection.
    first.write_all(&[0]).await.unwrap();
    while running.metrics.dns_connections.get() < 2 {
        tokio::task::yield_now().await;
    }
    let mut third = TcpStream::connect(running.tcp).await.unwrap();
    let frame = framed(&query("both.example.", RecordType::A));
    third.write_all(&frame).await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.metrics.dns_connections.get(), 2, "the third waits");
    assert!(first.read_u8().await.is_err());
    assert!(second.read_u8().await.is_err());
    assert_eq!(read(&mut third).await.answers.len(), 1);
}

#[tokio::test]
async fn a_client_with_its_share_of_connections_gets_no_more() {
    let limits = Limits {
        max_connections: 20,
        ..LIMITS
    };
    let running = start_with(world(), &["127.0.0.0/8"], limits);
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(TcpStream::connect(running.tcp).await.unwrap());
    }
    while running.metrics.dns_connections.get() < 10 {
        tokio::task::yield_now().await;
    }
    let mut refused = TcpStream::connect(running.tcp).await.unwrap();
    assert!(refused.read_u8().await.is_err(), "closed at once");
    assert_eq!(running.metrics.dns_connections_refused.get(), 1);

    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket
        .bind((Ipv4Addr::new(127, 0, 0, 2), 0).into())
        .unwrap();
    let mut other = socket.connect(running.tcp).await.unwrap();
    let frame = framed(&query("both.example.", RecordType::A));
    other.write_all(&frame).await.unwrap();
    assert_eq!(read(&mut other).await.answers.len(), 1);
}

#[tokio::test]
async fn more_connections_are_taken_as_soon_as_a_new_view_allows_them() {
    let running = start(world(), &["127.0.0.0/8"]);
    let _first = TcpStream::connect(running.tcp).await.unwrap();
    let _second = TcpStream::connect(running.tcp).await.unwrap();
    while running.metrics.dns_connections.get() < 2 {
        tokio::task::yield_now().await;
    }
    let mut third = TcpStream::connect(running.tcp).await.unwrap();
    let frame = framed(&query("both.example.", RecordType::A));
    third.write_all(&frame).await.unwrap();
    let limits = Limits {
        max_connections: 3,
        ..LIMITS
    };
    running
        .handler
        .replace(view(world(), &["127.0.0.0/8"], limits));
    assert_eq!(read(&mut third).await.answers.len(), 1);
}

#[tokio::test]
async fn a_frame_shorter_than_a_header_ends_the_connection() {
    let running = start(world(), &["127.0.0.0/8"]);
    let mut stream = TcpStream::connect(running.tcp).await.unwrap();
    stream.write_all(&[0, 5, 1, 2, 3, 4, 5]).await.unwrap();
    assert!(stream.read_u8().await.is_err());
}

#[tokio::test]
async fn a_client_that_stops_sending_still_gets_its_answers_and_so_does_one_at_the_stop() {
    let running = start(world(), &["127.0.0.0/8"]);
    let mut stream = TcpStream::connect(running.tcp).await.unwrap();
    let frame = framed(&query("big.example.", RecordType::A));
    stream.write_all(&frame).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read(&mut stream).await.answers.len(), 100);
    assert!(stream.read_u8().await.is_err());

    let idle = TcpStream::connect(running.tcp).await.unwrap();
    running.stop.cancel();
    running.served.await.unwrap().unwrap();
    drop(idle);
}

#[tokio::test]
async fn who_drops_the_server_closes_its_connections() {
    let running = start(world(), &["127.0.0.0/8"]);
    let mut stream = TcpStream::connect(running.tcp).await.unwrap();
    let frame = framed(&query("both.example.", RecordType::A));
    stream.write_all(&frame).await.unwrap();
    read(&mut stream).await;
    running.served.abort();
    let closed = tokio::time::timeout(LIMITS.tcp_idle_timeout / 2, stream.read_u8()).await;
    assert!(closed.expect("closed at once, not when idle").is_err());
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_no_more_answers_than_it_may_have_queries() {
    let text = "x".repeat(250);
    let long: Vec<String> = (0..200)
        .map(|n| format!("long.example. TXT {n}{text}"))
        .collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let running = start(World::new(&long), &["127.0.0.0/8"]);
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(running.tcp).await.unwrap();
    let frame = framed(&query("long.example.", RecordType::TXT));
    for _ in 0..400 {
        stream.write_all(&frame).await.unwrap();
    }
    // More than any kernel takes for a client that is silent; the rest waits, here or there.
    for _ in 0..20_000 {
        assert!(running.metrics.dns_in_flight.get() <= 64);
        tokio::task::yield_now().await;
    }
    for _ in 0..400 {
        assert!(running.metrics.dns_in_flight.get() <= 64);
        assert_eq!(read(&mut stream).await.answers.len(), 200);
    }
    while running.metrics.dns_in_flight.get() > 0 {
        tokio::task::yield_now().await;
    }
}
