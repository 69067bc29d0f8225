//! Connections inside TLS: who is let in, and when they end.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::super::handler::Tls;
use super::*;

fn both_sides() -> (Arc<ServerConfig>, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(["gate.example".to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::from(key))
        .unwrap();
    (Arc::new(server), TlsConnector::from(Arc::new(client)))
}

/// A server for these networks, and how to reach it.
fn start_tls(networks: &[&str]) -> (Running, TlsConnector) {
    let running = start(world(), networks);
    let (config, connector) = both_sides();
    let mut view = view(world(), networks, LIMITS);
    view.tls = Some(Tls {
        config,
        announced: None,
    });
    running.handler.replace(view);
    (running, connector)
}

async fn connect(running: &Running, connector: &TlsConnector) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(running.tls).await.unwrap();
    let gate = ServerName::try_from("gate.example").unwrap();
    connector.connect(gate, stream).await.unwrap()
}

#[tokio::test]
async fn questions_are_answered_inside_tls_and_its_end_is_said() {
    let (running, connector) = start_tls(&["127.0.0.0/8"]);
    let mut stream = connect(&running, &connector).await;
    let frame = framed(&query("big.example.", RecordType::A));
    stream.write_all(&frame).await.unwrap();
    let length = stream.read_u16().await.unwrap();
    let mut packet = vec![0; usize::from(length)];
    stream.read_exact(&mut packet).await.unwrap();
    assert_eq!(Message::from_vec(&packet).unwrap().answers.len(), 100);
    running.stop.cancel();
    // Without close_notify this would be an error.
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    running.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn strangers_are_closed_before_the_handshake() {
    let (running, _) = start_tls(&["192.168.1.0/24"]);
    let mut stream = TcpStream::connect(running.tls).await.unwrap();
    assert!(stream.read_u8().await.is_err());
    let stranger = RefusalLabels { reason: "stranger" };
    let refused = running.metrics.sessions_refused.get_or_create(&stranger);
    assert_eq!(refused.get(), 1);
    assert_eq!(running.metrics.dns_tls_failures.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_fails_or_never_comes_is_counted_and_gives_its_place_back() {
    let (running, _) = start_tls(&["127.0.0.0/8"]);
    let mut wrong = TcpStream::connect(running.tls).await.unwrap();
    wrong.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    wrong.read_to_end(&mut said).await.ok();
    let mut silent = TcpStream::connect(running.tls).await.unwrap();
    assert!(silent.read_u8().await.is_err());
    while running.metrics.dns_connections.get() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.metrics.dns_tls_failures.get(), 2);
}

#[tokio::test]
async fn a_handshake_does_not_hold_up_the_stop_and_places_are_shared_with_tcp() {
    let (running, _) = start_tls(&["127.0.0.0/8"]);
    let _tls = TcpStream::connect(running.tls).await.unwrap();
    let _tcp = TcpStream::connect(running.tcp).await.unwrap();
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
    running.stop.cancel();
    running.served.await.unwrap().unwrap();
}
