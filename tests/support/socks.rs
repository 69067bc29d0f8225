//! A SOCKS5 client (RFC 1928) that says what it is told to.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};

use super::connect;

/// A connection without authentication, greeted.
pub(crate) fn socks_greet(proxy: SocketAddr) -> TcpStream {
    let mut stream = connect(proxy);
    stream.write_all(&[5, 1, 0]).expect("sent");
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).expect("a method");
    assert_eq!(chosen, [5, 0]);
    stream
}

/// A request: an address where the host is one, else a name.
pub(crate) fn socks_request(command: u8, host: &str, port: u16) -> Vec<u8> {
    [&[5, command, 0][..], &place(host, port)].concat()
}

/// The answer to a request: the code, and the address that was bound.
pub(crate) fn socks_answer(stream: &mut TcpStream) -> (u8, SocketAddr) {
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!((answer[0], answer[3]), (5, 1), "{answer:?}");
    let ip: [u8; 4] = answer[4..8].try_into().expect("four");
    let port = u16::from_be_bytes([answer[8], answer[9]]);
    (answer[1], SocketAddr::new(IpAddr::from(ip), port))
}

/// A tunnel to a host, or the code of the refusal.
pub(crate) fn socks_tunnel(proxy: SocketAddr, host: &str, port: u16) -> Result<TcpStream, u8> {
    let mut stream = socks_greet(proxy);
    stream
        .write_all(&socks_request(1, host, port))
        .expect("sent");
    match socks_answer(&mut stream).0 {
        0 => Ok(stream),
        code => Err(code),
    }
}

/// An association: its connection, and where its datagrams go.
pub(crate) fn socks_associate(proxy: SocketAddr) -> (TcpStream, SocketAddr) {
    let mut stream = socks_greet(proxy);
    stream
        .write_all(&socks_request(3, "0.0.0.0", 0))
        .expect("sent");
    let (code, relay) = socks_answer(&mut stream);
    assert_eq!(code, 0);
    (stream, relay)
}

/// A datagram to a host.
pub(crate) fn socks_datagram(host: &str, port: u16, payload: &[u8]) -> Vec<u8> {
    [&[0, 0, 0][..], &place(host, port), payload].concat()
}

fn place(host: &str, port: u16) -> Vec<u8> {
    let mut place = match host.parse() {
        Ok(IpAddr::V4(ip)) => [&[1][..], &ip.octets()].concat(),
        Ok(IpAddr::V6(ip)) => [&[4][..], &ip.octets()].concat(),
        Err(_) => {
            let length = u8::try_from(host.len()).expect("a short name");
            [&[3, length][..], host.as_bytes()].concat()
        }
    };
    place.extend(port.to_be_bytes());
    place
}
