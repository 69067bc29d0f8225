//! PURE. What we say to a client. Called by those who serve SOCKS, through the module above.

use std::net::{IpAddr, SocketAddr};

/// The choice of a method.
pub fn method(method: u8) -> [u8; 2] {
    [5, method]
}

/// What came of a name and a password.
pub fn login_reply(right: bool) -> [u8; 2] {
    [1, u8::from(!right)]
}

/// The reply of version 5 (RFC 1928 section 6), with the address that was bound.
pub fn reply(code: u8, bound: SocketAddr) -> Vec<u8> {
    let mut reply = vec![5, code, 0];
    push(&mut reply, bound);
    reply
}

/// The reply of version 4.
pub fn reply_4(granted: bool) -> [u8; 8] {
    [0, if granted { 90 } else { 91 }, 0, 0, 0, 0, 0, 0]
}

/// The header of a datagram that came from there.
pub fn header(from: SocketAddr) -> Vec<u8> {
    let mut header = vec![0, 0, 0];
    push(&mut header, from);
    header
}

fn push(bytes: &mut Vec<u8>, address: SocketAddr) {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            bytes.push(1);
            bytes.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes.push(4);
            bytes.extend(ip.octets());
        }
    }
    bytes.extend(address.port().to_be_bytes());
}
