//! Numbers that nobody can guess, from the generator of the TLS library: IDs, and the disguise of names.

use rustls::crypto::{SecureRandom, aws_lc_rs};

/// The generator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Random(&'static dyn SecureRandom);

/// The generator failed, which on Linux it does not.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoRandomness;

impl Random {
    /// The generator of this process.
    pub(super) fn new() -> Self {
        Self(aws_lc_rs::default_provider().secure_random)
    }

    /// An ID for a query.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    pub(super) fn id(self) -> Result<u16, NoRandomness> {
        let mut octets = [0; 2];
        self.0.fill(&mut octets).map_err(|_| NoRandomness)?;
        Ok(u16::from_be_bytes(octets))
    }

    /// So many octets.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    pub(super) fn octets(self, count: usize) -> Result<Vec<u8>, NoRandomness> {
        let mut octets = vec![0; count];
        self.0.fill(&mut octets).map_err(|_| NoRandomness)?;
        Ok(octets)
    }
}
