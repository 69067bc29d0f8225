//! Messages of HTTP/1 on a connection: however the bytes come, as much of them passes the screen; and what passes is read
//! by httparse, which hyper reads by, as the same head with the same body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sekisho::proxy::screen::{Length, Screen, request, response};

const MOST: usize = 1 << 16;

fuzz_target!(|data: &[u8]| {
    let Some((&kind, data)) = data.split_first() else {
        return;
    };
    let screen = || match kind % 3 {
        0 => Screen::requests(MOST),
        to_head => {
            let mut screen = Screen::responses(MOST);
            screen.ask(to_head == 2);
            screen
        }
    };
    let whole = screen().look(data);
    let mut pieces = screen();
    let (mut start, mut fault) = (0, None);
    for end in 1..=data.len().min(2048) {
        let seen = pieces.look(&data[start..end]);
        start += seen.good;
        fault = seen.fault;
        if fault.is_some() {
            break;
        }
    }
    if data.len() <= 2048 {
        assert_eq!((start, fault), (whole.good, whole.fault), "byte by byte");
    }
    if whole.good == 0 {
        return;
    }
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let (end, framing, is_request) = if kind % 3 == 0 {
        let mut parsed = httparse::Request::new(&mut headers);
        let Ok(httparse::Status::Complete(end)) = parsed.parse(data) else {
            panic!("httparse reads no request");
        };
        let blank = if data.starts_with(b"\r\n") { 2 } else { 0 };
        (end, request(&data[blank..end]), true)
    } else {
        let mut parsed = httparse::Response::new(&mut headers);
        let Ok(httparse::Status::Complete(end)) = parsed.parse(data) else {
            panic!("httparse reads no answer");
        };
        (end, response(&data[..end], kind % 3 == 2), false)
    };
    let framing = framing.expect("what passed is read as a whole, too");
    assert_eq!(screen().look(&data[..end]).good, end, "the same end");
    assert_eq!(screen().look(&data[..end - 1]).good, 0, "and no other one");
    let values = |name: &str| -> Vec<&[u8]> {
        let named = headers
            .iter()
            .take_while(|header| !header.name.is_empty())
            .filter(|header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value).collect()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    assert!(
        lengths.len() + codings.len() <= 1,
        "two ways to tell the length"
    );
    if is_request {
        assert!(values("host").len() <= 1);
        match framing.length {
            Length::Chunked => assert!(codings[0].eq_ignore_ascii_case(b"chunked")),
            Length::Bytes(0) if lengths.is_empty() => assert!(codings.is_empty()),
            Length::Bytes(length) => {
                let text = std::str::from_utf8(lengths[0]).expect("digits");
                assert_eq!(text.trim().parse(), Ok(length));
            }
            Length::Close => panic!("a request does not end so"),
        }
    }
});
