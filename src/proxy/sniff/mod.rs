//! PURE. Where a client wants to go, read from the first bytes it sent.
//!
//! Each parser takes a prefix of the stream and answers found, not this, or need more. None of them copies the bytes or
//! panics on any input, and none keeps state but that of QUIC, whose datagrams come one by one in any order; `transparent`
//! reads the bytes and decides how many there may be.

pub mod http;
pub mod quic;
pub mod tls;
