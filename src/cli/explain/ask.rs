//! One HTTP request to the admin listener of the running gate (RFC 9112): no more of HTTP is needed here.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::net::ListenAddr;

/// How long to wait for the connection.
const CONNECT: Duration = Duration::from_secs(2);

/// How long to wait for the answer; the gate itself gives up before.
const ANSWER: Duration = Duration::from_secs(30);

/// The longest answer that is read, in bytes.
const LONGEST: u64 = 4 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("the running gate cannot be asked, because web.admin is []")]
    NoListener,
    #[error("no gate answers at {address} (web.admin)")]
    NotRunning {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("the gate at {address} broke off")]
    Broken {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("what answers at {0} (web.admin) is no gate")]
    Stranger(SocketAddr),
    #[error("the gate at {address} refused: {text}")]
    Refused { address: SocketAddr, text: String },
}

impl AskError {
    /// What to do about it.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::NoListener => {
                Some("hint: write web.admin = [\"127.0.0.1:9053\"] and restart the gate".to_owned())
            }
            Self::NotRunning { .. } => Some(
                "hint: start it with `sekisho run`, and name the file that it runs with by --config FILE or $SEKISHO_CONFIG"
                    .to_owned(),
            ),
            Self::Broken { .. } | Self::Stranger(_) | Self::Refused { .. } => None,
        }
    }
}

/// The body that the first admin listener which answers gives for a path.
pub(super) fn ask(listeners: &[ListenAddr], path: &str) -> Result<String, AskError> {
    let mut failure = AskError::NoListener;
    for listener in listeners {
        let address = reachable(listener.0);
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => return exchange(stream, address, path),
            Err(source) => failure = AskError::NotRunning { address, source },
        }
    }
    Err(failure)
}

/// Where a listener on every address is reached from here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn exchange(mut stream: TcpStream, address: SocketAddr, path: &str) -> Result<String, AskError> {
    let broken = |source| AskError::Broken { address, source };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    );
    let mut answer = Vec::new();
    stream
        .set_read_timeout(Some(ANSWER))
        .and_then(|()| stream.set_write_timeout(Some(ANSWER)))
        .and_then(|()| stream.write_all(request.as_bytes()))
        .and_then(|()| stream.take(LONGEST).read_to_end(&mut answer))
        .map_err(broken)?;
    let answer = String::from_utf8_lossy(&answer);
    let parted = answer.split_once("\r\n\r\n");
    let Some((head, body)) = parted.filter(|(head, _)| head.starts_with("HTTP/1.1 ")) else {
        return Err(AskError::Stranger(address));
    };
    match head.get(9..12) {
        Some("200") => Ok(body.to_owned()),
        // A gate without this command, or something else.
        Some("404") | None => Err(AskError::Stranger(address)),
        Some(_) => {
            let text = body.trim().chars().filter(|letter| !letter.is_control());
            Err(AskError::Refused {
                address,
                text: text.collect(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn serve(answer: &'static str) -> ListenAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = ListenAddr(listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /x HTTP/1.1\r\nHost: 127.0.0.1:"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn the_body_is_given_and_what_is_no_gate_is_told_apart() {
        let good = serve("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        assert_eq!(ask(&[good], "/x").unwrap(), "{}");
        for (answer, told) in [
            ("SSH-2.0-OpenSSH\r\n", "is no gate"),
            ("HTTP/1.1 404 Not Found\r\n\r\n", "is no gate"),
            (
                "HTTP/1.1 400 Bad Request\r\n\r\nno\x1b such\n",
                "refused: no such",
            ),
        ] {
            let error = ask(&[serve(answer)], "/x").unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
    }

    #[test]
    fn where_nobody_listens_it_is_said_where_it_looked() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let error = ask(&[ListenAddr(address)], "/x").unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        assert!(error.hint().unwrap().contains("sekisho run"));
        assert!(
            ask(&[], "/x")
                .unwrap_err()
                .hint()
                .unwrap()
                .contains("web.admin")
        );
    }
}
