//! Origins: servers on 127.0.0.1 and ::1, on one port number, that report how they were reached.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::{ServerConnection, StreamOwned};
use serde_json::json;

use super::port::Pair;
use super::tls::server_config;
use super::{PATIENCE, Reach};

/// What an origin does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// HTTP/1.1: a report in JSON; `/big/N` gives N bytes; `Upgrade` gives 101 and then an echo.
    Http,
    /// The same over TLS.
    Tls,
    /// Sends every byte back; after the client's end, `bye` and its own end.
    Echo,
}

/// An origin; ends when dropped.
#[derive(Debug)]
pub(crate) struct Origin {
    port: u16,
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    _ports: Pair,
}

#[derive(Debug, Default)]
struct Shared {
    connections: AtomicUsize,
    heads: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

impl Origin {
    /// An origin that serves on both families.
    pub(crate) fn start(service: Service) -> Self {
        Self::reached(service, Reach::Serves, Reach::Serves)
    }

    /// An origin with a fault in one family or both.
    pub(crate) fn reached(service: Service, ipv4: Reach, ipv6: Reach) -> Self {
        let mut ports = Pair::bind(ipv4, ipv6);
        let shared = Arc::new(Shared::default());
        let mut addresses = Vec::new();
        for listener in std::mem::take(&mut ports.listeners) {
            addresses.push(listener.local_addr().expect("bound"));
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&listener, service, &shared));
        }
        Self {
            port: ports.port,
            shared,
            addresses,
            _ports: ports,
        }
    }

    /// The port, the same on both families.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Connections accepted until now.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The heads of the requests until now, as they came.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().expect("whole").clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for address in &self.addresses {
            TcpStream::connect(address).ok();
        }
    }
}

fn accept(listener: &TcpListener, service: Service, shared: &Arc<Shared>) {
    for stream in listener.incoming().flatten() {
        if shared.stopped.load(Ordering::SeqCst) {
            break;
        }
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            stream.set_nodelay(true).ok();
            stream.set_read_timeout(Some(3 * PATIENCE)).ok();
            let family = match stream.peer_addr() {
                Ok(peer) if peer.is_ipv6() => "ipv6",
                _ => "ipv4",
            };
            match service {
                Service::Echo => echo(stream),
                Service::Http => http(stream, family, &shared),
                Service::Tls => {
                    let tls = ServerConnection::new(server_config()).expect("a server");
                    http(StreamOwned::new(tls, stream), family, &shared);
                }
            }
        });
    }
}

fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 65_536];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                if stream.write_all(&buffer[..length]).is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
    stream.write_all(b"bye").ok();
    stream.shutdown(Shutdown::Write).ok();
}

/// Serves requests until the client is done or an upgrade is.
fn http(mut stream: impl Read + Write, family: &str, shared: &Shared) {
    while let Some(head) = read_head(&mut stream) {
        shared.heads.lock().expect("whole").push(head.clone());
        let mut line = head.split_whitespace();
        let (method, target) = (
            line.next().unwrap_or_default(),
            line.next().unwrap_or_default(),
        );
        let header = |name: &str| {
            head.lines()
                .skip(1)
                .filter_map(|line| line.split_once(':'))
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim().to_owned())
        };
        if let Some(protocol) = header("upgrade") {
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n"
            );
            if stream.write_all(answer.as_bytes()).is_ok() {
                echo_back(&mut stream);
            }
            return;
        }
        let (length, coding) = (header("content-length"), header("transfer-encoding"));
        let Some(body) = read_body(&mut stream, length, coding) else {
            return;
        };
        let answer = match target
            .rsplit_once("/big/")
            .and_then(|(_, size)| size.parse().ok())
        {
            Some(size) => vec![b'x'; size],
            None => json!({
                "family": family,
                "host": header("host"),
                "method": method,
                "path": target,
                "head": head,
                "body": body,
            })
            .to_string()
            .into_bytes(),
        };
        let close = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let mut response = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: {}\r\nX-Origin: here\r\n\r\n",
            answer.len(),
            if close { "close" } else { "keep-alive" },
        )
        .into_bytes();
        if method != "HEAD" {
            response.extend(answer);
        }
        if stream
            .write_all(&response)
            .and_then(|()| stream.flush())
            .is_err()
            || close
        {
            return;
        }
    }
}

fn echo_back(stream: &mut (impl Read + Write)) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream
            .write_all(&buffer[..length])
            .and_then(|()| stream.flush())
            .is_err()
        {
            return;
        }
    }
}

fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// The length of the body; `None` when it does not end well.
fn read_body(
    stream: &mut impl Read,
    length: Option<String>,
    coding: Option<String>,
) -> Option<usize> {
    if coding.is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        let mut body = Vec::new();
        let mut byte = [0];
        while !body.ends_with(b"0\r\n\r\n") {
            stream.read_exact(&mut byte).ok()?;
            body.push(byte[0]);
        }
        return Some(body.len());
    }
    let length = match length {
        Some(length) => length.parse().ok()?,
        None => 0,
    };
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(length)
}
