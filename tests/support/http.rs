//! An HTTP/1.1 client that sends the bytes it is given.

use std::io::{ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// The head, as it was.
    pub(crate) head: String,
    /// The body, without its framing.
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a header; the first of its name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The origin's report in the body.
    pub(crate) fn report(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("not a report: {} {}", self.head, self.text()))
    }

    /// The family by which the origin was reached.
    pub(crate) fn family(&self) -> String {
        let report = self.report();
        report["family"].as_str().unwrap_or_default().to_owned()
    }
}

/// A connection that gives up reading after [`PATIENCE`].
pub(crate) fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// Sends these bytes on a new connection and reads one response; `None` when the connection ends without one.
pub(crate) fn request(to: SocketAddr, bytes: &[u8]) -> Option<Response> {
    let mut stream = connect(to);
    stream.write_all(bytes).ok()?;
    read_response(&mut stream)
}

/// Asks the forward proxy for a tunnel: the stream, and what the proxy said.
pub(crate) fn tunnel(proxy: SocketAddr, target: &str) -> (TcpStream, Response) {
    let mut stream = connect(proxy);
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let head = read_head(&mut stream).expect("an answer to CONNECT");
    let response = finish(&mut stream, head, true);
    (stream, response)
}

/// Reads one response; `None` when the stream ends before one begins.
pub(crate) fn read_response(stream: &mut impl Read) -> Option<Response> {
    let head = read_head(stream)?;
    Some(finish(stream, head, false))
}

fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(0) => {
                assert!(
                    head.is_empty(),
                    "half a head: {}",
                    String::from_utf8_lossy(&head)
                );
                return None;
            }
            Ok(_) => head.push(byte[0]),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset) => return None,
            Err(error) => panic!("no response: {error}"),
        }
    }
    Some(String::from_utf8(head).expect("a head in ASCII"))
}

fn finish(stream: &mut impl Read, head: String, connect: bool) -> Response {
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    let mut response = Response {
        status: status.unwrap_or_else(|| panic!("no status: {head}")),
        head,
        body: Vec::new(),
    };
    if matches!(response.status, 101 | 204 | 304) || (connect && response.status == 200) {
        return response;
    }
    let chunked = response
        .header("transfer-encoding")
        .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let length: Option<usize> = response
        .header("content-length")
        .and_then(|length| length.parse().ok());
    response.body = match length {
        _ if chunked => read_chunks(stream),
        Some(length) => {
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("the whole body");
            body
        }
        None => {
            let mut body = Vec::new();
            stream.read_to_end(&mut body).expect("the whole body");
            body
        }
    };
    response
}

fn read_chunks(stream: &mut impl Read) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            stream.read_exact(&mut byte).expect("a chunk");
            line.push(byte[0]);
        }
        let line = String::from_utf8_lossy(&line);
        let size = line.trim().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk).expect("a chunk");
        if size == 0 {
            return body;
        }
        chunk.truncate(size);
        body.extend(chunk);
    }
}
