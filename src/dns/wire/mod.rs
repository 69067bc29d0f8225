//! PURE. The fast path on packets: what most clients ask is read in place, and answered with the bytes of an answer that
//! was made before (RFC 1035 section 4.1).
//!
//! [`Plain`] is such a query, [`Finished`] such an answer. What is not plain, or does not fit, is for `pipeline` and
//! `shape`; nothing is decided here that they decide. Called by `fast`, and by `store`, which keeps the answers.

mod answer;
mod query;

pub(super) use answer::{Age, Finished, Parts};
pub(super) use query::{Key, Plain};

/// The header of a message (RFC 1035 section 4.1.1), in bytes.
const HEADER: usize = 12;
/// Type and class after the name of a question, in bytes.
const TYPE_AND_CLASS: usize = 4;
/// An OPT record without options: root, type, payload, version and flags, length (RFC 6891 section 6.1.2), in bytes.
const OPT: usize = 11;
/// The type of an OPT record.
const TYPE_OPT: [u8; 2] = [0, 41];
/// The class IN.
const CLASS_IN: [u8; 2] = [0, 1];

/// RD in the third octet of the header.
const RD: u8 = 0b0000_0001;
/// AD in the fourth octet of the header.
const AD: u8 = 0b0010_0000;
/// CD in the fourth octet of the header.
const CD: u8 = 0b0001_0000;

/// The length of the name that begins a piece of a message, its root included; `None` where it does not end there, is
/// longer than a name may be, or is compressed.
fn name_length(bytes: &[u8]) -> Option<usize> {
    const LONGEST_LABEL: u8 = 63;
    const LONGEST_NAME: usize = 255;
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            0 => return (at < LONGEST_NAME).then_some(at + 1),
            label @ 1..=LONGEST_LABEL => at += 1 + usize::from(label),
            _ => return None,
        }
    }
}
