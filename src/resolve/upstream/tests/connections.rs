//! TCP, TLS, HTTPS, QUIC and HTTP/3: many queries on one connection, connections that end, and certificates.

use std::fs;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Edns, Message};
use hickory_proto::rr::rdata::opt::EdnsOption;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::servers::{Authority, Seen, Step, Streams};
use super::{TIMEOUT, all_answered, answer, asked, client, question, upstream};
use crate::config::{Server, Transport};
use crate::resolve::tests::server_at;
use crate::resolve::upstream::{AskError, Client, Trust, TrustError};

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// A server over one of the encrypted transports, for its address and `dns.example`.
async fn encrypted<S>(authority: &Authority, transport: Transport, script: S) -> Streams
where
    S: Fn(&Seen) -> Step + Send + Sync + 'static,
{
    let tls = |protocol| authority.server(&["127.0.0.1", "dns.example"], protocol);
    match transport {
        Transport::Tls => Streams::serve(listener().await, Some(tls("dot")), script),
        Transport::Https => Streams::https(tls("h2"), script).await,
        Transport::Quic => Streams::quic(tls("doq"), script).await,
        Transport::H3 => Streams::h3(tls("h3"), script).await,
        Transport::Udp | Transport::Tcp => panic!("in the clear"),
    }
}

const ENCRYPTED: [Transport; 4] = [
    Transport::Tls,
    Transport::Https,
    Transport::Quic,
    Transport::H3,
];

fn trusting(authority: &Authority, server: &Server) -> Arc<Client> {
    let config = upstream(TIMEOUT);
    Arc::new(Client::new(server, &config, &authority.trust(&config)))
}

#[tokio::test]
async fn a_thousand_questions_at_once_share_one_encrypted_connection() {
    let authority = Authority::new();
    for transport in ENCRYPTED {
        let streams = encrypted(&authority, transport, |seen| {
            Step::Answer(answer(&seen.query, 1))
        })
        .await;
        let client = trusting(&authority, &server_at(transport, streams.address));
        // Of HTTP/3, a hundred requests at a time are taken, and the next hundred only after about a second.
        let count = if transport == Transport::H3 {
            200
        } else {
            1000
        };
        all_answered(&client, count).await;
        assert_eq!(
            streams.connections.load(Ordering::Relaxed),
            1,
            "{transport:?}"
        );
    }
}

#[tokio::test]
async fn no_question_is_lost_with_its_connection() {
    let authority = Authority::new();
    let script = |seen: &Seen| match (seen.connection, seen.nth) {
        (0, 50) => Step::Close,
        _ => Step::Answer(answer(&seen.query, 1)),
    };
    for transport in ENCRYPTED {
        let streams = encrypted(&authority, transport, script).await;
        let client = trusting(&authority, &server_at(transport, streams.address));
        all_answered(&client, 200).await;
        assert_eq!(
            streams.connections.load(Ordering::Relaxed),
            2,
            "{transport:?}"
        );
    }
    let streams = Streams::serve(listener().await, None, script);
    let client = Arc::new(client(Transport::Tcp, streams.address, TIMEOUT));
    all_answered(&client, 200).await;
}

#[tokio::test]
async fn a_server_that_takes_few_queries_on_a_connection_answers_all_the_same() {
    let streams = Streams::serve(listener().await, None, |seen| match seen.nth {
        0..20 => Step::Answer(answer(&seen.query, 1)),
        _ => Step::Finish,
    });
    let client = Arc::new(client(Transport::Tcp, streams.address, TIMEOUT));
    all_answered(&client, 200).await;
}

#[tokio::test]
async fn a_server_that_only_ever_closes_is_given_up() {
    let streams = Streams::serve(listener().await, None, |_| Step::Close);
    let client = client(Transport::Tcp, streams.address, TIMEOUT);
    let error = asked(&client, "a.example.").await;
    let Err(AskError::Network(text)) = error else {
        panic!("{error:?}");
    };
    assert!(text.contains(&streams.address.to_string()), "{text}");
    assert_eq!(streams.connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn answers_come_in_any_order() {
    let held = Mutex::new(Vec::<Message>::new());
    // Answers each query with the one before it, and the last of them with nothing.
    let streams = Streams::serve(listener().await, None, move |seen| {
        let mut held = held.lock().unwrap();
        held.push(seen.query.clone());
        match held.len() {
            1 => Step::Silent,
            length => Step::Answer(answer(&held[length - 2], 1)),
        }
    });
    let client = Arc::new(client(Transport::Tcp, streams.address, TIMEOUT));
    let mut askers = JoinSet::new();
    for index in 0..50 {
        let client = Arc::clone(&client);
        askers.spawn(async move { asked(&client, &format!("n{index}.example.")).await });
    }
    for _ in 0..49 {
        assert_eq!(askers.join_next().await.unwrap().unwrap(), Ok(1));
    }
}

#[tokio::test]
async fn encrypted_queries_are_padded_and_their_ad_is_believed() {
    let authority = Authority::new();
    let script = |seen: &Seen| {
        assert_eq!(seen.length % 128, 0);
        assert!(seen.query.metadata.authentic_data);
        let mut message = answer(&seen.query, 1);
        message.metadata.authentic_data = true;
        Step::Answer(message)
    };
    for transport in ENCRYPTED {
        let streams = encrypted(&authority, transport, script).await;
        let client = trusting(&authority, &server_at(transport, streams.address));
        let answer = client.ask(&question("a.example."), None).await.unwrap();
        assert!(answer.authentic, "{transport:?}");
    }
    let streams = Streams::serve(listener().await, None, |seen| {
        let mut message = answer(&seen.query, 1);
        message.metadata.authentic_data = true;
        Step::Answer(message)
    });
    let client = client(Transport::Tcp, streams.address, TIMEOUT);
    let answer = client.ask(&question("a.example."), None).await.unwrap();
    assert!(!answer.authentic);
}

#[tokio::test]
async fn a_certificate_is_for_the_name_or_for_the_address() {
    let authority = Authority::new();
    for transport in ENCRYPTED {
        let streams = encrypted(&authority, transport, |seen| {
            Step::Answer(answer(&seen.query, 1))
        })
        .await;
        let mut server = server_at(transport, streams.address);
        for (name, good) in [
            (None, true),
            (Some("dns.example"), true),
            (Some("bank.example"), false),
        ] {
            server.name = name.map(str::to_owned);
            let outcome = asked(&trusting(&authority, &server), "a.example.").await;
            match outcome {
                Ok(1) if good => {}
                Err(AskError::Network(text)) if !good => {
                    let text = text.to_lowercase();
                    assert!(text.contains("certificate"), "{text}");
                    assert!(text.contains("bank.example"), "{text}");
                }
                outcome => panic!("{transport:?} {name:?}: {outcome:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let authority = Authority::new();
    let other = Authority::new();
    for transport in ENCRYPTED {
        let streams = encrypted(&authority, transport, |seen| {
            Step::Answer(answer(&seen.query, 1))
        })
        .await;
        let outcome = asked(
            &trusting(&other, &server_at(transport, streams.address)),
            "a.example.",
        )
        .await;
        let Err(AskError::Network(text)) = outcome else {
            panic!("{transport:?}: {outcome:?}");
        };
        assert!(text.contains("certificate"), "{text}");
        assert!(text.contains(&streams.address.to_string()), "{text}");
    }
}

#[tokio::test]
async fn a_connection_is_closed_before_the_server_would() {
    let streams = Streams::serve(listener().await, None, |seen| {
        let mut message = answer(&seen.query, 1);
        let mut edns = Edns::new();
        // Two tenths of a second.
        edns.options_mut()
            .insert(EdnsOption::Unknown(11, vec![0, 2]));
        message.set_edns(edns);
        Step::Answer(message)
    });
    let client = client(Transport::Tcp, streams.address, TIMEOUT);
    assert_eq!(asked(&client, "a.example.").await, Ok(1));
    while streams.closed.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(asked(&client, "b.example.").await, Ok(1));
    assert_eq!(streams.connections.load(Ordering::Relaxed), 2);
}

#[test]
fn a_ca_file_that_is_none_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let mut config = upstream(Duration::from_secs(2));
    config.servers.clear();
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "# nothing\n").unwrap();
    let broken = folder.path().join("broken.pem");
    fs::write(
        &broken,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    config.ca = vec![folder.path().join("missing.pem"), empty, broken];
    let problems = Trust::load(&config).unwrap_err();
    assert_eq!(problems.len(), 3);
    assert!(matches!(problems[0], TrustError::Read { .. }));
    assert!(problems[1].to_string().contains("holds no certificate"));
    assert!(problems[2].to_string().contains("broken.pem"));
    config.ca.clear();
    assert!(Trust::load(&config).unwrap() == Trust::nobody());
    assert!(authority.trust(&config) != Trust::nobody());
}
