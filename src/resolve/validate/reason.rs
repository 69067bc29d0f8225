//! PURE. Why an answer does not hold, as far as it can be known (RFC 8914).

use super::super::ResolveError;

/// INFO-CODEs of Extended DNS Errors about validation (RFC 8914 section 4).
pub(super) mod ede {
    /// DNSSEC Indeterminate: given up at a bound of ours.
    pub(in crate::resolve::validate) const INDETERMINATE: u16 = 5;
    /// DNSSEC Bogus.
    pub(in crate::resolve::validate) const BOGUS: u16 = 6;
    /// Signature Expired.
    pub(in crate::resolve::validate) const EXPIRED: u16 = 7;
    /// Signature Not Yet Valid.
    pub(in crate::resolve::validate) const NOT_YET_VALID: u16 = 8;
    /// DNSKEY Missing.
    pub(in crate::resolve::validate) const KEY_MISSING: u16 = 9;
    /// RRSIGs Missing.
    pub(in crate::resolve::validate) const SIGNATURES_MISSING: u16 = 10;
    /// NSEC Missing.
    pub(in crate::resolve::validate) const NSEC_MISSING: u16 = 12;
}

/// What does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bogus {
    /// INFO-CODE.
    pub(super) code: u16,
    /// What was wrong with what; short, because clients are told.
    pub(super) text: String,
}

impl Bogus {
    pub(super) fn new(code: u16, text: String) -> Self {
        Self { code, text }
    }

    /// Takes the other, if that tells more: any reason why a signature does not hold is nearer to the cause than that
    /// there is none, a signature that is wrong less near than one whose time is over.
    pub(super) fn improve(&mut self, other: Self) {
        let rank = |code| match code {
            ede::SIGNATURES_MISSING => 0,
            ede::KEY_MISSING => 1,
            ede::BOGUS => 2,
            _ => 3,
        };
        if rank(other.code) > rank(self.code) {
            *self = other;
        }
    }
}

impl From<Bogus> for ResolveError {
    fn from(Bogus { code, text }: Bogus) -> Self {
        Self::Bogus { code, text }
    }
}
