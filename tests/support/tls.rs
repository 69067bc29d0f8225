//! TLS for the origins and the clients: one certificate a test run, for every name under `example`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

use super::{Response, read_response};

/// A TLS connection of a client.
pub(crate) type TlsClient = StreamOwned<ClientConnection, TcpStream>;

static CONFIGS: OnceLock<(Arc<ClientConfig>, Arc<ServerConfig>)> = OnceLock::new();

fn configs() -> &'static (Arc<ClientConfig>, Arc<ServerConfig>) {
    CONFIGS.get_or_init(|| {
        let names = ["origin.example", "*.origin.example"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let certificate: CertificateDer<'static> = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("a root");
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivateKeyDer::from(key))
            .expect("a server");
        (Arc::new(client), Arc::new(server))
    })
}

/// What the origins serve with.
pub(crate) fn server_config() -> Arc<ServerConfig> {
    Arc::clone(&configs().1)
}

/// What clients trust the origins by.
pub(crate) fn client_config() -> Arc<ClientConfig> {
    Arc::clone(&configs().0)
}

fn connection(host: &str) -> ClientConnection {
    let host = ServerName::try_from(host.to_owned()).expect("a name");
    ClientConnection::new(Arc::clone(&configs().0), host).expect("a client")
}

/// A client that will speak TLS over this stream with the certificate of `host` checked.
pub(crate) fn tls_client(stream: TcpStream, host: &str) -> TlsClient {
    StreamOwned::new(connection(host), stream)
}

/// The first flight of a client: one record with its ClientHello. An address as host sends no SNI.
pub(crate) fn client_hello(host: &str) -> (ClientConnection, Vec<u8>) {
    let mut client = connection(host);
    let mut hello = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut hello).expect("memory");
    }
    (client, hello)
}

/// GET over TLS on this stream; `None` when no handshake came about.
pub(crate) fn tls_get(stream: TcpStream, host: &str, path: &str) -> Option<Response> {
    let mut tls = tls_client(stream, host);
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    tls.write_all(head.as_bytes()).ok()?;
    let response = read_response(&mut tls);
    let mut rest = Vec::new();
    tls.read_to_end(&mut rest).ok();
    response
}

/// A client of DNS over TLS that trusts the certificate in this PEM file, asked for by its address, and offers `dot`.
pub(crate) fn dot_client(stream: TcpStream, certificate: &Path) -> TlsClient {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(certificate).expect("a PEM file") {
        roots
            .add(certificate.expect("a certificate"))
            .expect("a root");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"dot".to_vec()];
    let address = stream.peer_addr().expect("connected").ip();
    let client = ClientConnection::new(Arc::new(config), ServerName::from(address));
    StreamOwned::new(client.expect("a client"), stream)
}

/// A self-signed certificate for 127.0.0.1 and its key, as PEM.
pub(crate) fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("made");
    (made.cert.pem(), made.signing_key.serialize_pem())
}
