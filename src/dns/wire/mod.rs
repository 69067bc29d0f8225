//! PURE. The fast path on packets: what most clients ask is read in place, and answered with the bytes of an answer that
//! was made before (RFC 1035 section 4.1).
//!
//! [`Plain`] is such a query, [`tell`] says such an answer, [`withheld()`] makes one of what upstream said. What is not plain, or does not fit, is for `pipeline` and
//! `shape`; nothing is decided here that they decide. Called by `fast` and
//! `unattended`.

mod answer;
mod hints;
mod query;
mod withheld;

pub(super) use answer::tell;
pub(super) use hints::without_ipv6_hints;
pub(super) use query::Plain;
pub(super) use withheld::withheld;

/// An OPT record without options: root, type, payload, version and flags, length (RFC 6891 section 6.1.2), in bytes.
const OPT: usize = 11;
/// The class IN.
const CLASS_IN: [u8; 2] = [0, 1];

/// RD in the third octet of the header.
const RD: u8 = 0b0000_0001;
/// AD in the fourth octet of the header.
const AD: u8 = 0b0010_0000;
/// CD in the fourth octet of the header.
const CD: u8 = 0b0001_0000;
