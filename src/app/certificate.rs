//! The certificate of DNS over TLS: from the files that the configuration names, else a self-signed one that is made
//! once and kept in the state folder (RFC 7858; Android's automatic mode does not look at it).
//!
//! Read or made before root is given up; a reload reads named files again, and keeps what it cannot read.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError as Flaw, InconsistentKeys, RootCertStore, ServerConfig};

use super::self_signed;
use crate::config::{Certificate, Config, Lan, read_file};

/// The protocol of DNS over TLS, where a client offers a list (RFC 7858 has the port for it; the registry of ALPN the
/// name).
const ALPN: &[u8] = b"dot";
/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;
/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file could not be read.
    #[error("could not read `{}`: {source}; name a PEM file that can be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file has not what it should have.
    #[error("there is no {what} in `{}`; name a PEM file with one", path.display())]
    Without {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// They do not belong together, or TLS does not take them.
    #[error("{} and {} cannot be used: {}; name a certificate and its own key", chain.display(), key.display(), unfit(source))]
    Pair {
        /// The file of the certificate.
        chain: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// A self-signed one could not be made.
    #[error("could not make a self-signed certificate")]
    Made(#[from] rcgen::Error),
    /// TLS does not take it.
    #[error("could not set up TLS")]
    Tls(#[from] rustls::Error),
}

impl CertificateError {
    /// The key of the configuration that names the file at fault.
    pub(super) fn key(&self, files: &Certificate) -> &'static str {
        match self {
            Self::Read { path, .. } | Self::Without { path, .. } if *path == files.key => {
                "dns.tls-key"
            }
            Self::Read { .. }
            | Self::Without { .. }
            | Self::Pair { .. }
            | Self::Made(_)
            | Self::Tls(_) => "dns.tls-certificate",
        }
    }
}

/// Why TLS does not take a certificate and a key.
fn unfit(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "the key is not that of the certificate".to_owned()
        }
        other => other.to_string(),
    }
}

/// A certificate, and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) server: Arc<ServerConfig>,
    /// The files it was read from; `None` where it is self-signed.
    files: Option<Certificate>,
}

/// What to serve with from the start: `None` where nobody asks over TLS.
pub(super) fn load(config: &Config) -> Result<Option<Held>, CertificateError> {
    if config.dns.tls.is_empty() {
        return Ok(None);
    }
    let server = match &config.dns.certificate {
        Some(files) => {
            let (server, expired) = given(files, now())?;
            warn_of_expiry(files, expired);
            server
        }
        None => {
            let folder = self_signed::folder(config);
            self_signed::load(&config.lan, folder.as_deref(), now())?
        }
    };
    Ok(Some(Held {
        server,
        files: config.dns.certificate.clone(),
    }))
}

/// What to serve with after a reload. The user that sekisho has become may not be allowed to read the key again; then
/// what is in memory stays, and so does a self-signed one.
pub(super) fn reload(
    config: &Config,
    old: Option<&Held>,
) -> Result<Option<Held>, CertificateError> {
    let Some(old) = old else {
        return Ok(None);
    };
    if config.dns.certificate == old.files {
        if old.files.is_none() {
            return Ok(Some(old.clone()));
        }
        return match load(config) {
            Err(CertificateError::Read { path, source })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                tracing::warn!(path = %path.display(), "`user` cannot read this; the old certificate stays until a restart");
                Ok(Some(old.clone()))
            }
            loaded => loaded,
        };
    }
    load(config)
}

/// Reads the files that a configuration names, and says what is wrong under which key, and what is only worth a warning.
pub(super) fn check(config: &Config) -> (Option<String>, Option<String>) {
    let Some(files) = &config.dns.certificate else {
        return (None, None);
    };
    match given(files, now()) {
        Err(error) => (Some(format!("{}: {error}", error.key(files))), None),
        Ok((_, expired)) => (
            None,
            expired.then(|| format!("`{}` has expired", files.chain.display())),
        ),
    }
}

fn warn_of_expiry(files: &Certificate, expired: bool) {
    if expired {
        tracing::warn!(path = %files.chain.display(), "the certificate of dns.tls has expired");
    }
}

/// The port that is announced for DNS over TLS: of the listener that clients reach at the gate's own address.
pub(super) fn announced(lan: &Lan, listeners: &[SocketAddr]) -> Option<u16> {
    listeners
        .iter()
        .find(|bound| bound.ip() == IpAddr::V4(lan.address) || bound.ip().is_unspecified())
        .map(SocketAddr::port)
}

/// From files, and whether it has expired.
fn given(
    files: &Certificate,
    now: SystemTime,
) -> Result<(Arc<ServerConfig>, bool), CertificateError> {
    let (chain, key) = read(&files.chain, &files.key)?;
    let expired = chain.first().is_some_and(|first| expired(first, now));
    let server = server(chain, key).map_err(|source| CertificateError::Pair {
        chain: files.chain.clone(),
        key: files.key.clone(),
        source,
    })?;
    Ok((server, expired))
}

/// A chain and its key, from PEM files.
pub(super) fn read(
    chain: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), CertificateError> {
    let without = |path: &Path, what| CertificateError::Without {
        path: path.to_owned(),
        what,
    };
    let certificates: Result<Vec<_>, pem::Error> =
        CertificateDer::pem_slice_iter(&file(chain)?).collect();
    let certificates = certificates
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| without(chain, "certificate"))?;
    let private =
        PrivateKeyDer::from_pem_slice(&file(key)?).map_err(|_| without(key, "private key"))?;
    Ok((certificates, private))
}

fn file(path: &Path) -> Result<Vec<u8>, CertificateError> {
    read_file(path, LARGEST).map_err(|source| CertificateError::Read {
        path: path.to_owned(),
        source,
    })
}

/// The server's side of TLS with this certificate.
pub(super) fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    server.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(server))
}

/// Whether a certificate is not valid any more at a time; who signed it does not matter.
pub(super) fn expired(certificate: &CertificateDer<'_>, at: SystemTime) -> bool {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else {
        return false;
    };
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    let at = UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap_or_default());
    // The time is looked at before the signature.
    let verdict = verify_server_cert_signed_by_trust_anchor(
        &parsed,
        &RootCertStore::empty(),
        &[],
        at,
        algorithms.all,
    );
    matches!(
        verdict,
        Err(rustls::Error::InvalidCertificate(
            Flaw::Expired | Flaw::ExpiredContext { .. }
        ))
    )
}

/// The time of day.
pub(super) fn now() -> SystemTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "certificates live by the time of day"
    )]
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use hickory_proto::rr::Name;

    use super::*;
    use crate::net::Acl;

    const DAY: Duration = Duration::from_secs(86_400);
    const VALIDITY: Duration = Duration::from_secs(3650 * 86_400);

    fn lan(last: u8) -> Lan {
        Lan {
            address: Ipv4Addr::new(192, 168, 1, last),
            networks: Acl::default(),
            domain: Name::from_ascii("Home.arpa.").unwrap(),
            allow_public: false,
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for pair in ["a", "b"] {
            let (chain, key) = self_signed::make(&lan(2), now() - VALIDITY + DAY).unwrap();
            fs::write(path(&format!("{pair}.pem")), chain.pem()).unwrap();
            fs::write(path(&format!("{pair}.key")), key.serialize_pem()).unwrap();
        }
        fs::write(path("empty"), "").unwrap();
        let given = |chain, key, now| {
            let files = Certificate {
                chain: path(chain),
                key: path(key),
            };
            given(&files, now).map(|(_, expired)| expired)
        };
        assert!(!given("a.pem", "a.key", now()).unwrap());
        assert!(given("a.pem", "a.key", now() + 2 * DAY).unwrap());
        for (chain, key, expected) in [
            ("a.pem", "b.key", "cannot be used"),
            ("no.pem", "a.key", "could not read"),
            ("a.pem", "no.key", "could not read"),
            ("empty", "a.key", "there is no certificate in"),
            ("a.pem", "empty", "there is no private key in"),
            ("a.key", "a.key", "there is no certificate in"),
        ] {
            let error = given(chain, key, now()).unwrap_err().to_string();
            assert!(error.contains(expected), "{chain} {key}: {error}");
        }
    }

    #[test]
    fn the_port_at_the_gates_address_is_announced() {
        let announced = |bound: &[&str]| {
            let bound: Vec<SocketAddr> = bound.iter().map(|text| text.parse().unwrap()).collect();
            announced(&lan(2), &bound)
        };
        assert_eq!(announced(&["10.0.0.1:8853", "192.168.1.2:853"]), Some(853));
        assert_eq!(announced(&["0.0.0.0:853"]), Some(853));
        assert_eq!(announced(&["127.0.0.1:853"]), None);
    }
}
