//! Level 0: addresses, networks and sockets, and nothing about DNS answers or proxying.
//!
//! Every other room may use this one; it uses none.

mod acl;
mod addr;
mod admission;
mod batch;
mod beginning;
mod interfaces;
mod options;
mod prefixed;
mod proxy_protocol;
mod rate;
mod read;
mod tcp;

pub use acl::{Acl, embedded_v4, special_purpose};
pub use addr::{ClientAddr, Family, Host, HostError, ListenAddr, Target};
pub use admission::{Admission, Full, Seat};
pub use batch::{Batches, LONGEST_DATAGRAM, ReturnPath, Wait, receive, send, send_connected};
pub use beginning::{Beginning, BeginningError, take_beginning};
pub use interfaces::{Interfaces, InterfacesError};
pub use options::{
    PairError, bind_pair, bind_tcp, bind_udp, connect_udp, keep_alive, prepare_stream,
    unacknowledged,
};
pub use prefixed::Prefixed;
pub use proxy_protocol::{Announced, LONGEST_PROXY_HEADER, ProxyVersion, proxy_header};
pub use rate::{Buckets, device};
pub use read::read_once;
pub use tcp::{accept_loop, broken};
