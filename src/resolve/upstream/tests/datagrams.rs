//! UDP: what is forged, lost, cut off or unreadable.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::net::{TcpListener, UdpSocket};

use super::servers::{Step, Streams};
use super::{TIMEOUT, answer, asked, client, question};
use crate::config::Transport;
use crate::resolve::tests::server_at;
use crate::resolve::upstream::{AskError, Client, Trust};

async fn receive(socket: &UdpSocket) -> (Message, Vec<u8>, std::net::SocketAddr) {
    let mut buffer = [0; 4096];
    let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
    let bytes = buffer[..length].to_vec();
    (Message::from_vec(&bytes).unwrap(), bytes, peer)
}

async fn bound() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

#[tokio::test]
async fn forged_answers_are_passed_over() {
    let socket = bound().await;
    let stranger = bound().await;
    let client = client(Transport::Udp, socket.local_addr().unwrap(), TIMEOUT);
    let serving = tokio::spawn(async move {
        let (query, bytes, peer) = receive(&socket).await;
        let good = answer(&query, 1);
        let forged = answer(&query, 66).to_vec().unwrap();
        stranger.send_to(&forged, peer).await.unwrap();
        let mut other_id = answer(&query, 66);
        other_id.metadata.id ^= 1;
        let mut other_name = answer(&query, 66);
        other_name.queries = vec![Query::query(
            Name::from_ascii("b.example.").unwrap(),
            RecordType::A,
        )];
        let mut other_type = answer(&query, 66);
        other_type.queries[0].set_query_type(RecordType::AAAA);
        let mut nobodys = answer(&query, 66);
        nobodys.queries.clear();
        for message in [other_id, other_name, other_type, nobodys] {
            let bytes = message.to_vec().unwrap();
            socket.send_to(&bytes, peer).await.unwrap();
        }
        // The query itself, and rubbish.
        for bytes in [&bytes[..], &bytes[..5], b""] {
            socket.send_to(bytes, peer).await.unwrap();
        }
        socket.send_to(&good.to_vec().unwrap(), peer).await.unwrap();
    });
    assert_eq!(asked(&client, "a.example.").await, Ok(1));
    serving.await.unwrap();
}

#[tokio::test]
async fn each_query_has_its_own_port_id_and_mix_of_cases() {
    let socket = bound().await;
    let client = client(Transport::Udp, socket.local_addr().unwrap(), TIMEOUT);
    let name = "abcdefghijklmnopqrstuvwxyz.example.";
    let serving = tokio::spawn(async move {
        let mut seen = Vec::new();
        for _ in 0..20 {
            let (query, _, peer) = receive(&socket).await;
            let bytes = answer(&query, 1).to_vec().unwrap();
            socket.send_to(&bytes, peer).await.unwrap();
            seen.push((
                peer.port(),
                query.metadata.id,
                query.queries[0].name.to_ascii(),
            ));
        }
        seen
    });
    for _ in 0..20 {
        let answer = client.ask(&question(name), None).await.unwrap();
        assert!(!answer.authentic);
    }
    let seen = serving.await.unwrap();
    let distinct = |count: usize| count > 15;
    let count = |mut texts: Vec<String>| {
        texts.sort();
        texts.dedup();
        texts.len()
    };
    assert!(distinct(count(
        seen.iter().map(|one| one.0.to_string()).collect()
    )));
    assert!(distinct(count(
        seen.iter().map(|one| one.1.to_string()).collect()
    )));
    assert!(distinct(count(
        seen.iter().map(|one| one.2.clone()).collect()
    )));
    assert!(seen.iter().all(|one| one.2.to_lowercase() == name));
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_noticed_at_once() {
    let socket = bound().await;
    let address = socket.local_addr().unwrap();
    drop(socket);
    let client = client(Transport::Udp, address, Duration::from_secs(3600));
    let error = client.ask(&question("a.example."), None).await;
    assert_eq!(
        error,
        Err(AskError::Network(format!(
            "udp://{address}: connection refused"
        )))
    );
}

#[tokio::test]
async fn a_repeated_query_may_be_answered_on_either_socket() {
    for answered in [0, 1] {
        let socket = bound().await;
        let address = socket.local_addr().unwrap();
        let client = client(Transport::Udp, address, Duration::from_millis(900));
        let serving = tokio::spawn(async move {
            let first = receive(&socket).await;
            let second = receive(&socket).await;
            assert_ne!(first.2, second.2);
            let (query, _, peer) = [first, second].into_iter().nth(answered).unwrap();
            let bytes = answer(&query, 1).to_vec().unwrap();
            socket.send_to(&bytes, peer).await.unwrap();
            socket
        });
        assert_eq!(asked(&client, "a.example.").await, Ok(1));
        drop(serving.await.unwrap());
    }
}

#[tokio::test]
async fn an_error_without_the_question_is_an_error() {
    let socket = bound().await;
    let client = client(Transport::Udp, socket.local_addr().unwrap(), TIMEOUT);
    let serving = tokio::spawn(async move {
        let (query, _, peer) = receive(&socket).await;
        assert!(query.edns.is_some());
        let mut old = Message::response(query.metadata.id, query.metadata.op_code);
        old.metadata.response_code = ResponseCode::FormErr;
        socket.send_to(&old.to_vec().unwrap(), peer).await.unwrap();
        let (query, _, peer) = receive(&socket).await;
        assert!(query.edns.is_none());
        let bytes = answer(&query, 1).to_vec().unwrap();
        socket.send_to(&bytes, peer).await.unwrap();
    });
    assert_eq!(asked(&client, "a.example.").await, Ok(1));
    serving.await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_read_is_told_when_nothing_better_comes() {
    for good_follows in [true, false] {
        let socket = bound().await;
        let address = socket.local_addr().unwrap();
        let timeout = if good_follows {
            TIMEOUT
        } else {
            Duration::from_millis(100)
        };
        let client = client(Transport::Udp, address, timeout);
        let serving = tokio::spawn(async move {
            let (query, _, peer) = receive(&socket).await;
            let good = answer(&query, 1).to_vec().unwrap();
            let mut garbled = good.clone();
            garbled[7] = 200;
            socket.send_to(&garbled, peer).await.unwrap();
            if good_follows {
                socket.send_to(&good, peer).await.unwrap();
            }
            socket
        });
        let outcome = asked(&client, "a.example.").await;
        if good_follows {
            assert_eq!(outcome, Ok(1));
        } else {
            assert!(
                matches!(outcome, Err(AskError::Malformed(_))),
                "{outcome:?}"
            );
        }
        drop(serving.await.unwrap());
    }
}

/// A server that writes names its own way is as much to be believed as a forger over UDP: TCP decides.
#[tokio::test]
async fn a_server_that_does_not_keep_the_case_is_asked_over_tcp() {
    let (listener, socket) = loop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
            break (listener, socket);
        }
    };
    let address = listener.local_addr().unwrap();
    let _streams = Streams::serve(listener, None, |seen| Step::Answer(answer(&seen.query, 1)));
    let datagrams = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&datagrams);
    let _serving = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            let (mut query, _, peer) = receive(&socket).await;
            count.fetch_add(1, Ordering::Relaxed);
            let name = query.queries[0].name.to_lowercase();
            query.queries[0].set_name(name);
            let bytes = answer(&query, 66).to_vec().unwrap();
            socket.send_to(&bytes, peer).await.unwrap();
        }
    }));
    let varied = client(Transport::Udp, address, TIMEOUT);
    for _ in 0..3 {
        assert_eq!(
            asked(&varied, "abcdefghijklmnopqrstuv.example.").await,
            Ok(1)
        );
    }
    assert_eq!(datagrams.load(Ordering::Relaxed), 1);

    let mut config = super::upstream(TIMEOUT);
    config.case_randomization = false;
    let server = server_at(Transport::Udp, address);
    let plain = Client::new(&server, &config, &Trust::nobody());
    assert_eq!(
        asked(&plain, "abcdefghijklmnopqrstuv.example.").await,
        Ok(66)
    );
}

#[tokio::test]
async fn a_datagram_longer_than_any_that_we_take_is_asked_for_over_tcp() {
    let (listener, socket) = loop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
            break (listener, socket);
        }
    };
    let address = listener.local_addr().unwrap();
    let _streams = Streams::serve(listener, None, |seen| Step::Answer(answer(&seen.query, 1)));
    let client = client(Transport::Udp, address, TIMEOUT);
    let sizes = Arc::new(Mutex::new(0));
    let size = Arc::clone(&sizes);
    let serving = tokio::spawn(async move {
        let (query, _, peer) = receive(&socket).await;
        let mut long = answer(&query, 66);
        for _ in 0..1000 {
            long.answers.push(long.answers[0].clone());
        }
        let bytes = long.to_vec().unwrap();
        *size.lock().unwrap() = bytes.len();
        socket.send_to(&bytes, peer).await.unwrap();
        socket
    });
    assert_eq!(asked(&client, "a.example.").await, Ok(1));
    drop(serving.await.unwrap());
    assert!(*sizes.lock().unwrap() > 4096);
}
