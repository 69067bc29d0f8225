//! The certificate of DNS over TLS: from the files that the configuration names, else a self-signed one that is made
//! once and kept in the state folder (RFC 7858; Android's automatic mode does not look at it).
//!
//! Read or made before root is given up; a reload reads named files again, and keeps what it cannot read.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hickory_proto::rr::Name;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError as Flaw, RootCertStore, ServerConfig};

use crate::config::{Certificate, Config, Lan};

/// The protocol of DNS over TLS, where a client offers a list (RFC 7858 has the port for it; the registry of ALPN the
/// name).
const ALPN: &[u8] = b"dot";
/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(86_400);
/// How long a self-signed certificate is valid: nobody renews it but we ourselves.
const VALIDITY: Duration = Duration::from_secs(3650 * 86_400);
/// How long before its end it is made anew.
const RENEWAL: Duration = Duration::from_secs(30 * 86_400);
/// The files in the state folder.
const CHAIN: &str = "dns-tls.pem";
const KEY: &str = "dns-tls.key";

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
    #[error("{} and {} cannot be used: {source}; name a certificate and its own key", chain.display(), key.display())]
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
        None => own(&config.lan, state_folder(config).as_deref(), now())?,
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

/// Reads the files that a configuration names, and says what is wrong, and what is only worth a warning.
pub(super) fn check(config: &Config) -> (Option<CertificateError>, Option<String>) {
    let Some(files) = &config.dns.certificate else {
        return (None, None);
    };
    match given(files, now()) {
        Err(error) => (Some(error), None),
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

fn read(
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
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST).read_to_end(&mut bytes))
        .map_err(|source| CertificateError::Read {
            path: path.to_owned(),
            source,
        })?;
    Ok(bytes)
}

fn server(
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

/// The self-signed one of the state folder; made anew where it is missing, damaged, about to expire, or for another
/// address or name.
fn own(
    lan: &Lan,
    folder: Option<&Path>,
    now: SystemTime,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let Some(folder) = folder else {
        tracing::warn!(
            "there is no folder for the self-signed certificate of dns.tls; clients see a new one at each start"
        );
        let (chain, key) = make(lan, now)?;
        return made(&chain, &key);
    };
    let paths = (folder.join(CHAIN), folder.join(KEY));
    match read(&paths.0, &paths.1) {
        Ok((chain, key)) => {
            let usable = chain
                .first()
                .is_some_and(|first| !expired(first, now + RENEWAL) && covers(first, lan));
            if usable {
                match server(chain, key) {
                    Ok(server) => return Ok(server),
                    Err(error) => {
                        tracing::warn!(path = %paths.0.display(), %error, "the self-signed certificate cannot be used; making another");
                    }
                }
            } else {
                tracing::info!(path = %paths.0.display(), "the self-signed certificate is too old, or for another address; making another");
            }
        }
        Err(CertificateError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(%error, "the self-signed certificate cannot be used; making another");
        }
    }
    let (chain, key) = make(lan, now)?;
    if let Err(error) = keep(folder, &paths, &chain.pem(), &key.serialize_pem()) {
        tracing::warn!(folder = %folder.display(), %error, "could not keep the self-signed certificate of dns.tls; clients see a new one at each start");
    }
    made(&chain, &key)
}

fn made(chain: &rcgen::Certificate, key: &KeyPair) -> Result<Arc<ServerConfig>, CertificateError> {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(server(vec![chain.der().clone()], key)?)
}

/// Writes both files anew; the folder and the key are for our eyes only.
fn keep(folder: &Path, paths: &(PathBuf, PathBuf), chain: &str, key: &str) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    // A key that does not belong to its certificate is found out at the next start; one that others may read is not.
    write(&paths.1, key, 0o600)?;
    write(&paths.0, chain, 0o644)
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let new = path.with_extension("new");
    // What a crash left behind; and a link that somebody laid there is not followed.
    fs::remove_file(&new).ok();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

fn make(lan: &Lan, now: SystemTime) -> Result<(rcgen::Certificate, KeyPair), rcgen::Error> {
    let mut params = CertificateParams::new([name(lan)])?;
    params
        .subject_alt_names
        .push(SanType::IpAddress(IpAddr::V4(lan.address)));
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "sekisho");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = date_time_ymd(1970, 1, 1);
    // The clocks of clients may be behind ours.
    params.not_before = epoch + since.saturating_sub(DAY);
    params.not_after = epoch + since + VALIDITY;
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?, key))
}

/// The gate's own name.
fn name(lan: &Lan) -> String {
    let name =
        Name::from_labels([&b"sekisho"[..]]).and_then(|name| name.append_domain(&lan.domain));
    let text = name.map_or_else(|_| String::new(), |name| name.to_ascii());
    match text.trim_end_matches('.') {
        "" => "sekisho".to_owned(),
        text => text.to_lowercase(),
    }
}

fn covers(certificate: &CertificateDer<'_>, lan: &Lan) -> bool {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else {
        return false;
    };
    let address = ServerName::from(IpAddr::V4(lan.address));
    let named = ServerName::try_from(name(lan));
    verify_server_name(&parsed, &address).is_ok()
        && named.is_ok_and(|named| verify_server_name(&parsed, &named).is_ok())
}

/// Whether a certificate is not valid any more at a time; who signed it does not matter.
fn expired(certificate: &CertificateDer<'_>, at: SystemTime) -> bool {
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

/// Where to keep it: `state`, else what the service manager offers, else beside the configuration.
fn state_folder(config: &Config) -> Option<PathBuf> {
    let offered = || {
        let folders = std::env::var_os("STATE_DIRECTORY")?;
        // The first of several (systemd.exec).
        let first = std::env::split_paths(&folders).next()?;
        first.is_absolute().then_some(first)
    };
    let beside = || Some(config.path.as_ref()?.parent()?.join("state"));
    config.state.clone().or_else(offered).or_else(beside)
}

fn now() -> SystemTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "certificates live by the time of day"
    )]
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::net::Acl;

    fn lan(last: u8) -> Lan {
        Lan {
            address: Ipv4Addr::new(192, 168, 1, last),
            networks: Acl::default(),
            domain: Name::from_ascii("Home.arpa.").unwrap(),
            allow_public: false,
        }
    }

    fn on_disk(folder: &Path) -> String {
        fs::read_to_string(folder.join(CHAIN)).unwrap()
    }

    #[test]
    fn a_self_signed_certificate_is_kept_until_it_is_old_or_for_another_address() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("var/state");
        own(&lan(2), Some(&folder), now()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join(KEY)), 0o600);
        let first = on_disk(&folder);
        own(&lan(2), Some(&folder), now()).unwrap();
        assert_eq!(on_disk(&folder), first);
        own(&lan(2), Some(&folder), now() + VALIDITY - 31 * DAY).unwrap();
        assert_eq!(on_disk(&folder), first);
        own(&lan(2), Some(&folder), now() + VALIDITY - 29 * DAY).unwrap();
        let second = on_disk(&folder);
        assert_ne!(second, first);
        own(&lan(3), Some(&folder), now()).unwrap();
        let third = on_disk(&folder);
        assert_ne!(third, second);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);

        // A key of another certificate, and no certificate at all.
        fs::write(folder.join(CHAIN), &second).unwrap();
        own(&lan(3), Some(&folder), now()).unwrap();
        fs::write(folder.join(CHAIN), "nothing").unwrap();
        own(&lan(3), Some(&folder), now()).unwrap();
        let (chain, _) = read(&folder.join(CHAIN), &folder.join(KEY)).unwrap();
        assert!(covers(&chain[0], &lan(3)) && !covers(&chain[0], &lan(2)));
    }

    #[test]
    fn where_nothing_can_be_kept_it_is_made_in_memory() {
        own(&lan(2), None, now()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        own(&lan(2), Some(&file.join("state")), now()).unwrap();
    }

    #[test]
    fn files_that_cannot_be_used_are_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for pair in ["a", "b"] {
            let (chain, key) = make(&lan(2), now() - VALIDITY + DAY).unwrap();
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
