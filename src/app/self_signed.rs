//! A certificate for DNS over TLS that nobody has signed but we: made on the first start, and kept in the state folder.
//! Called by `certificate`, where the configuration names no files.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hickory_proto::rr::Name;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::ParsedCertificate;

use super::certificate::{CertificateError, expired, read, server};
use crate::config::{Config, Lan};

const DAY: Duration = Duration::from_secs(86_400);
/// How long a self-signed certificate is valid: nobody renews it but we ourselves.
const VALIDITY: Duration = Duration::from_secs(3650 * 86_400);
/// How long before its end it is made anew.
const RENEWAL: Duration = Duration::from_secs(30 * 86_400);
/// The files in the state folder.
const CHAIN: &str = "dns-tls.pem";
const KEY: &str = "dns-tls.key";

/// The self-signed one of the state folder; made anew where it is missing, damaged, about to expire, or for another
/// address or name.
pub(super) fn load(
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

/// A new one, for the gate's address and name.
pub(super) fn make(
    lan: &Lan,
    now: SystemTime,
) -> Result<(rcgen::Certificate, KeyPair), rcgen::Error> {
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

/// Where to keep it: `state`, else what the service manager offers, else beside the configuration.
pub(super) fn folder(config: &Config) -> Option<PathBuf> {
    let offered = || {
        let folders = std::env::var_os("STATE_DIRECTORY")?;
        // The first of several (systemd.exec).
        let first = std::env::split_paths(&folders).next()?;
        first.is_absolute().then_some(first)
    };
    let beside = || Some(config.path.as_ref()?.parent()?.join("state"));
    config.state.clone().or_else(offered).or_else(beside)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::certificate::now;

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
        load(&lan(2), Some(&folder), now()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join(KEY)), 0o600);
        let first = on_disk(&folder);
        load(&lan(2), Some(&folder), now()).unwrap();
        assert_eq!(on_disk(&folder), first);
        load(&lan(2), Some(&folder), now() + VALIDITY - 31 * DAY).unwrap();
        assert_eq!(on_disk(&folder), first);
        load(&lan(2), Some(&folder), now() + VALIDITY - 29 * DAY).unwrap();
        let second = on_disk(&folder);
        assert_ne!(second, first);
        load(&lan(3), Some(&folder), now()).unwrap();
        let third = on_disk(&folder);
        assert_ne!(third, second);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);

        // A key of another certificate, and no certificate at all.
        fs::write(folder.join(CHAIN), &second).unwrap();
        load(&lan(3), Some(&folder), now()).unwrap();
        fs::write(folder.join(CHAIN), "nothing").unwrap();
        load(&lan(3), Some(&folder), now()).unwrap();
        let (chain, _) = read(&folder.join(CHAIN), &folder.join(KEY)).unwrap();
        assert!(covers(&chain[0], &lan(3)) && !covers(&chain[0], &lan(2)));
    }

    #[test]
    fn where_nothing_can_be_kept_it_is_made_in_memory() {
        load(&lan(2), None, now()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        load(&lan(2), Some(&file.join("state")), now()).unwrap();
    }
}
