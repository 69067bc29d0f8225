//! Whom encrypted servers are verified by: the system's root certificates, and those of `dns.upstream.ca`. Loaded by
//! `app` at start and at each reload; `link` and `exchange` make connections with it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::debug;

use super::io_text;
use crate::config::{Server, Upstream, read_file};

/// The largest file of root certificates, in bytes: thirty times all that a system trusts.
const LARGEST: u64 = 8 << 20;

/// Why the root certificates do not load.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file of `dns.upstream.ca` that cannot be read.
    #[error("dns.upstream.ca: could not read `{}`: {}", .path.display(), io_text(.error))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file that is not what it should be.
    #[error("dns.upstream.ca: `{}` {what}; write a PEM file of root certificates", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The system has none, and no file was named.
    #[error(
        "dns.upstream: the system has no root certificates to verify encrypted servers by; install them (ca-certificates) or name a file in dns.upstream.ca"
    )]
    None,
}

/// The root certificates.
#[derive(Clone)]
pub struct Trust {
    roots: Arc<RootCertStore>,
}

impl Trust {
    /// Nobody: fits where no server is encrypted.
    pub fn nobody() -> Self {
        Self {
            roots: Arc::new(RootCertStore::empty()),
        }
    }

    /// Reads the files of `ca`, and the system's where a server is encrypted.
    ///
    /// # Errors
    ///
    /// [`TrustError`], all at once.
    pub fn load(upstream: &Upstream) -> Result<Self, Vec<TrustError>> {
        let mut roots = RootCertStore::empty();
        let mut problems = Vec::new();
        for path in &upstream.ca {
            if let Err(problem) = add_file(&mut roots, path) {
                problems.push(problem);
            }
        }
        let mut servers = upstream
            .servers
            .iter()
            .chain(upstream.zones.iter().flat_map(|zone| &zone.servers));
        if servers.any(|server| server.transport.is_encrypted()) {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                debug!(%error, "a root certificate of the system was passed over");
            }
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() && problems.is_empty() {
                problems.push(TrustError::None);
            }
        }
        if problems.is_empty() {
            let roots = Arc::new(roots);
            Ok(Self { roots })
        } else {
            Err(problems)
        }
    }

    /// A client of TLS that offers these protocols.
    ///
    /// # Errors
    ///
    /// When the TLS library has no version of TLS.
    pub(super) fn client(&self, protocols: &[&[u8]]) -> Result<ClientConfig, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.roots.roots == other.roots.roots
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("roots", &self.roots.len())
            .finish()
    }
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TrustError> {
    let path_buf = || path.to_owned();
    let content = |what: String| TrustError::Content {
        path: path_buf(),
        what,
    };
    let pem = |error: PemError| match error {
        PemError::Io(error) => TrustError::Read {
            path: path_buf(),
            error,
        },
        error => content(format!("is not a PEM file: {error}")),
    };
    let mut count = 0;
    let bytes = read_file(path, LARGEST).map_err(|error| pem(PemError::Io(error)))?;
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        roots
            .add(certificate.map_err(pem)?)
            .map_err(|_| content("holds something that is not a root certificate".to_owned()))?;
        count += 1;
    }
    match count {
        0 => Err(content("holds no certificate".to_owned())),
        _ => Ok(()),
    }
}

/// TLS on a new connection to the server, whose certificate must be for the name that is configured, else for the
/// address.
pub(super) async fn connect(
    config: &Arc<ClientConfig>,
    server: &Server,
) -> io::Result<TlsStream<TcpStream>> {
    let name = match &server.name {
        Some(name) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
        None => ServerName::IpAddress(server.address.ip().into()),
    };
    let stream = super::link::connect(server.address).await?;
    TlsConnector::from(Arc::clone(config))
        .connect(name, stream)
        .await
}

/// What is wrong with TLS, if an error of the connection is about it.
pub(super) fn explain(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(certificate) = error else {
        return Some(format!("TLS failed: {error}"));
    };
    Some(match certificate {
        CertificateError::UnknownIssuer => {
            "its certificate is signed by nobody that we trust (`ca` adds roots)".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, .. } => {
            format!("its certificate is not valid for `{}`", expected.to_str())
        }
        CertificateError::NotValidForName => "its certificate is for another name".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; is our clock right?".to_owned()
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "its certificate is that of an authority; give the server one that the authority has signed"
                .to_owned()
        }
        other => format!("its certificate is not valid: {other}"),
    })
}
