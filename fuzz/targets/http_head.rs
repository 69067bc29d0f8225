//! The head of an HTTP request: whatever part of it arrives first, the outcome is the same, though not which of several
//! faults is told; and httparse, by which an
//! origin might read it, finds the same Host.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sekisho::proxy::sniff::http::{Sniffed, sniff};

fuzz_target!(|data: &[u8]| {
    let whole = sniff(data, 80);
    for end in 0..data.len().min(512) {
        let part = sniff(&data[..end], 80);
        if part != Sniffed::NeedMore {
            let found = matches!(part, Sniffed::Found(_)) || matches!(whole, Sniffed::Found(_));
            assert!(
                !found || part == whole,
                "{part:?} after {end} bytes, {whole:?}"
            );
            break;
        }
    }
    let Sniffed::Found(target) = whole else {
        return;
    };
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut headers);
    if !matches!(request.parse(data), Ok(httparse::Status::Complete(_))) {
        return;
    }
    let hosts = request
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("host"));
    let hosts: Vec<&[u8]> = hosts.map(|header| header.value).collect();
    let path = request.path.unwrap_or_default();
    assert!(
        hosts.len() <= 1,
        "two readers could choose another Host each"
    );
    if path.starts_with('/') || path == "*" {
        let theirs = hosts.first().map(|host| String::from_utf8_lossy(host));
        let theirs = theirs.map(|host| sekisho::net::Target::parse(host.trim(), Some(80)));
        assert_eq!(target.map(Ok), theirs);
    }
});
