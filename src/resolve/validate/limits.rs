//! PURE. How much work one answer may cause: a zone made to keep validators busy (CVE-2023-50387, CVE-2023-50868)
//! gets SERVFAIL, not our time.

use super::reason::{Bogus, ede};

/// Signatures of one set that are looked at.
pub(super) const MAX_SIGNATURES: usize = 8;
/// Keys of one tag and algorithm that are tried for one signature.
pub(super) const MAX_SAME_TAG: usize = 3;
/// Keys of one zone that are taken.
pub(super) const MAX_KEYS: usize = 32;
/// DS records of one zone that are looked at.
pub(super) const MAX_DS: usize = 16;
/// Zones that claim to have signed one set, of which the keys are looked for.
pub(super) const MAX_SIGNERS: usize = 2;
/// NSEC or NSEC3 records of one answer that are looked at.
pub(super) const MAX_PROOFS: usize = 16;
/// Iterations of NSEC3 above which a zone counts as not signed (RFC 9276 section 3.2).
pub(super) const MAX_ITERATIONS: u16 = 100;
/// Cryptographic checks for one answer, those of the chain of trust included: some milliseconds.
const CHECKS: u32 = 128;
/// Names hashed for one answer.
const HASHES: u32 = 96;
/// Questions to upstream for one answer. A reverse name of IPv6 is 34 labels deep.
const QUESTIONS: u32 = 80;

/// What is left for an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    checks: u32,
    hashes: u32,
    questions: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            checks: CHECKS,
            hashes: HASHES,
            questions: QUESTIONS,
        }
    }
}

impl Budget {
    /// For one signature check or digest of a key.
    pub(super) fn check(&mut self) -> Result<(), Bogus> {
        spend(&mut self.checks, "too many signatures to check")
    }

    /// For hashing one name.
    pub(super) fn hash(&mut self) -> Result<(), Bogus> {
        spend(&mut self.hashes, "too many names to hash")
    }

    /// For one question to upstream.
    pub(super) fn question(&mut self) -> Result<(), Bogus> {
        spend(&mut self.questions, "too many zones on the way")
    }
}

fn spend(left: &mut u32, text: &str) -> Result<(), Bogus> {
    match left.checked_sub(1) {
        Some(less) => {
            *left = less;
            Ok(())
        }
        None => Err(Bogus::new(ede::INDETERMINATE, text.to_owned())),
    }
}
