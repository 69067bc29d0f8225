//! The first bytes of a TLS connection: whatever part of them arrives first, and however they are cut into records, the
//! outcome is the same; and rustls finds the same name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rustls::server::Acceptor;
use sekisho::proxy::sniff::tls::{Sniffed, sniff};

/// The payload of the records, and whether they are all whole handshake records.
fn payload(mut data: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    while let [22, 3, _, high, low, rest @ ..] = data {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        payload.extend_from_slice(&rest[..length]);
        data = &rest[length..];
    }
    payload
}

fuzz_target!(|data: &[u8]| {
    let whole = sniff(data);
    for end in 0..data.len().min(512) {
        let part = sniff(&data[..end]);
        if part != Sniffed::NeedMore {
            assert_eq!(part, whole, "after {end} bytes");
            break;
        }
    }
    if matches!(whole, Sniffed::Found(_) | Sniffed::NoName) {
        let cut: Vec<u8> = payload(data)
            .chunks(7)
            .flat_map(|piece| {
                let length = u8::try_from(piece.len()).expect("a short piece");
                [&[22, 3, 1, 0, length], piece].concat()
            })
            .collect();
        assert_eq!(sniff(&cut), whole, "in small records");
    }
    let mut acceptor = Acceptor::default();
    if acceptor.read_tls(&mut &data[..]).is_err() {
        return;
    }
    if let Ok(Some(accepted)) = acceptor.accept()
        && let Some(theirs) = accepted.client_hello().server_name()
    {
        let ours = match &whole {
            Sniffed::Found(ours) => ours,
            // We are stricter: rustls passes over what follows the first name, and over the version of a record.
            Sniffed::Malformed(_) | Sniffed::NotTls => return,
            other => panic!("rustls finds {theirs}, we {other:?}"),
        };
        let ours = ours.to_string();
        let ours = ours.trim_end_matches('.');
        assert!(
            ours.eq_ignore_ascii_case(theirs.trim_end_matches('.')),
            "{ours} {theirs}"
        );
    }
});
