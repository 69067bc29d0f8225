//! PURE. Where a client wants to go, read from the first bytes it sent.
//!
//! Each parser takes a prefix of the stream and answers found, not this, or need more. None of them keeps state, copies
//! the bytes or panics on any input; `transparent` reads the bytes and decides how many there may be.

pub mod http;
pub mod tls;
