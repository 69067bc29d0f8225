//! The first datagrams of a QUIC client: whatever they are, and in whatever order they come, nothing panics and nothing is
//! found that rustls does not find. The input is the payload of Initial packets, closed here with the right keys, or else
//! raw datagrams.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sekisho::proxy::sniff::quic::packet::{Version, negotiate};
use sekisho::proxy::sniff::quic::{Initials, Sniffed, client_initial};
use sekisho::proxy::sniff::tls;

/// Parts behind their lengths in two bytes; the last may be cut short.
fn parts(mut data: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let [high, low, rest @ ..] = data {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (part, behind) = rest.split_at(length);
        parts.push(part);
        data = behind;
    }
    parts
}

fn read(datagrams: &[Vec<u8>]) -> Sniffed {
    let mut initials = Initials::default();
    let mut last = Sniffed::NeedMore;
    for datagram in datagrams {
        last = initials.read(datagram);
        if last != Sniffed::NeedMore {
            break;
        }
    }
    if let Some(refusal) = initials.refusal() {
        assert!(refusal.len() < 1200);
    }
    last
}

fuzz_target!(|data: &[u8]| {
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let parts = parts(data);
    if first & 1 == 0 {
        let raw: Vec<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
        for datagram in &raw {
            if let Some(answer) = negotiate(datagram) {
                assert!(answer.len() < datagram.len());
            }
        }
        read(&raw);
        return;
    }
    let version = if first & 2 == 0 {
        Version::V1
    } else {
        Version::V2
    };
    let id = b"made up!";
    let closed: Vec<Vec<u8>> = parts
        .iter()
        .take(16)
        .zip(0..)
        .filter_map(|(frames, number)| client_initial(id, version, id, b"c", number, frames, 100))
        .collect();
    let found = read(&closed);
    // One CRYPTO frame with all of it is what the parser of TLS says of the same bytes.
    if let [6, 0, high, low, hello @ ..] = parts.first().copied().unwrap_or_default()
        && high & 0xc0 == 0x40
        && usize::from(u16::from_be_bytes([high & 0x3f, *low])) == hello.len()
        && let Sniffed::Found(ours) = &found
        && let tls::Sniffed::Found(theirs) = tls::sniff_message(hello)
    {
        assert_eq!(*ours, theirs);
    }
});
