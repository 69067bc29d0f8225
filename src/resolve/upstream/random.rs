//! Numbers that nobody can guess, from the kernel: IDs, and the disguise of names. The generator of the TLS library would
//! do as well, but its first number in a process takes as long as a slow server.

use rustix::rand::{GetRandomFlags, getrandom};

/// The kernel's generator.
#[derive(Clone, Copy, Debug)]
pub(in crate::resolve) struct Random;

/// The generator failed, which on Linux it does not.
#[derive(Clone, Copy, Debug)]
pub(in crate::resolve) struct NoRandomness;

impl Random {
    /// An ID for a query.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    pub(super) fn id(self) -> Result<u16, NoRandomness> {
        let mut octets = [0; 2];
        fill(&mut octets)?;
        Ok(u16::from_be_bytes(octets))
    }

    /// Fills this.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    pub(in crate::resolve) fn fill(self, octets: &mut [u8]) -> Result<(), NoRandomness> {
        // A signal may cut short what is longer than 256 octets.
        fill(octets).or_else(|_| octets.chunks_mut(256).try_for_each(fill))
    }

    /// So many octets; as many as a name has are never cut short.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    pub(super) fn octets(self, count: usize) -> Result<Vec<u8>, NoRandomness> {
        let mut octets = vec![0; count];
        fill(&mut octets)?;
        Ok(octets)
    }
}

fn fill(octets: &mut [u8]) -> Result<(), NoRandomness> {
    let wanted = octets.len();
    match getrandom(octets, GetRandomFlags::empty()) {
        Ok(filled) if filled == wanted => Ok(()),
        _ => Err(NoRandomness),
    }
}
