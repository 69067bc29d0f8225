//! The demo's own certificate authority, made anew at each run and trusted by nobody but the demo's clients.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertificateError {
    /// They could not be made.
    #[error("could not make a certificate")]
    Made(#[from] rcgen::Error),
    /// TLS does not take them.
    #[error("could not set up TLS")]
    Tls(#[from] rustls::Error),
}

/// Both ends of the demo's TLS.
#[derive(Clone, Debug)]
pub(super) struct Certificates {
    /// The authority's certificate as PEM.
    pub(super) ca_pem: String,
    /// For the origins.
    pub(super) server: Arc<ServerConfig>,
    /// For the clients: trusts only this authority.
    pub(super) client: Arc<ClientConfig>,
}

impl Certificates {
    /// An authority, and a certificate of it for these host names.
    pub(super) fn new(hosts: &[&str]) -> Result<Self, CertificateError> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "sekisho demo");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

        let names: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params
            .distinguished_name
            .push(DnType::CommonName, "sekisho demo origin");
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &authority)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));

        let provider = Arc::new(aws_lc_rs::default_provider());
        Ok(Self {
            ca_pem: authority.pem(),
            server: Arc::new(
                ServerConfig::builder_with_provider(Arc::clone(&provider))
                    .with_safe_default_protocol_versions()?
                    .with_no_client_auth()
                    .with_single_cert(vec![certificate.der().clone()], key)?,
            ),
            client: Arc::new(trusting(&authority, provider)?),
        })
    }
}

fn trusting(
    authority: &CertifiedIssuer<'_, KeyPair>,
    provider: Arc<CryptoProvider>,
) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone())?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// The authority's certificate in a file, for `curl --cacert`; removed when dropped.
#[derive(Debug)]
pub(super) struct CaFile(PathBuf);

impl CaFile {
    /// Writes a new file in `folder`.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn write(folder: &Path, pem: &str) -> io::Result<Self> {
        let path = folder.join(format!("sekisho-demo-{}.pem", std::process::id()));
        // An older process of the same number may have left one behind.
        fs::remove_file(&path).ok();
        // A new file only: whoever can write to a shared folder must not lead us elsewhere by a link.
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        let written = Self(path);
        file.write_all(pem.as_bytes())?;
        Ok(written)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for CaFile {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_the_authority_and_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::new(&["a.example"]).unwrap();
        let file = CaFile::write(folder.path(), &certificates.ca_pem).unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        assert!(text.starts_with("-----BEGIN CERTIFICATE-----"));
        let path = file.path().to_owned();
        drop(file);
        assert!(!path.exists());
    }
}
