//! rustls as the oracle: what it accepts as a ClientHello, we read in the same way.
//!
//! It refuses more than we do, as it reads the whole hello and we pass one on as soon as its name is known; where it
//! accepts, both say the same.

use std::io::Cursor;

use rustls::server::Acceptor;

use super::tests::{CAPTURES, message, records};
use super::*;

/// What rustls makes of the beginning of a connection.
#[derive(Debug, PartialEq, Eq)]
enum Opinion {
    Named(String),
    Nameless,
    Unfinished,
    Refused,
}

fn opinion(bytes: &[u8]) -> Opinion {
    let mut acceptor = Acceptor::default();
    let mut input = Cursor::new(bytes);
    loop {
        match acceptor.read_tls(&mut input) {
            Err(_) => return Opinion::Refused,
            Ok(0) => return Opinion::Unfinished,
            Ok(_) => {}
        }
        match acceptor.accept() {
            Err(_) => return Opinion::Refused,
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let name = accepted.client_hello().server_name().map(str::to_owned);
                return name.map_or(Opinion::Nameless, Opinion::Named);
            }
        }
    }
}

/// Whether rustls accepted; panics where we read the same bytes in another way.
fn agree(bytes: &[u8]) -> bool {
    let ours = sniff(bytes);
    match opinion(bytes) {
        Opinion::Named(name) => {
            let theirs = Sniffed::Found(Host::parse(&name).unwrap());
            // Names of other types may follow for rustls; there are none, and a second name would be one too many.
            let strict = Sniffed::Malformed("the server name list has wrong lengths");
            assert!(
                ours == theirs || ours == strict,
                "{ours:?}, {theirs:?}: {bytes:02x?}"
            );
            true
        }
        Opinion::Nameless => {
            // An address instead of a name, which rustls passes over (RFC 6066 section 3 forbids it).
            let address = Sniffed::Malformed("the server name is no host name");
            assert!(ours == Sniffed::NoName || ours == address, "{bytes:02x?}");
            true
        }
        Opinion::Unfinished => {
            // A part may hold the name already.
            let further = matches!(ours, Sniffed::NeedMore | Sniffed::Found(_));
            assert!(further || matches!(ours, Sniffed::Malformed(_)), "{ours:?}");
            false
        }
        Opinion::Refused => false,
    }
}

/// Numbers that are the same in every run (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % bound
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

#[test]
fn rustls_reads_the_same_name_in_every_capture_however_it_is_cut() {
    let nameless = include_bytes!("../../../../tests/captures/openssl-no-name.bin");
    assert_eq!(opinion(nameless), Opinion::Nameless);
    assert!(agree(nameless));
    for (name, capture) in CAPTURES {
        assert_eq!(opinion(capture), Opinion::Named(name.to_owned()));
        for size in [1, 2, 7, 100, 300, 1_400] {
            assert!(agree(&records(message(capture), size)), "{name} in {size}");
        }
        for length in 0..capture.len() {
            assert!(!agree(&capture[..length]), "{name} {length}");
        }
    }
}

#[test]
fn whatever_rustls_accepts_of_a_hello_with_one_flipped_bit_is_read_alike() {
    let mut accepted = 0;
    for (_, capture) in CAPTURES {
        let mut bytes = capture.to_vec();
        for index in 0..bytes.len() {
            let bit = 1 << (index % 8);
            bytes[index] ^= bit;
            accepted += usize::from(agree(&bytes));
            bytes[index] ^= bit;
        }
    }
    assert!(
        accepted > 2_000,
        "{accepted} hellos were good enough to compare"
    );
}

#[test]
fn whatever_rustls_accepts_of_a_mangled_hello_is_read_alike() {
    let mut numbers = Numbers(0x005e_ed0f_5ec1_5e01);
    let mut accepted = 0;
    for (_, capture) in CAPTURES {
        let whole = message(capture);
        for _ in 0..1_000 {
            let mut bytes = whole.to_vec();
            for _ in 0..=numbers.below(3) {
                let place = numbers.below(bytes.len());
                match numbers.below(5) {
                    0 => bytes[place] = numbers.byte(),
                    1 => bytes[place] = bytes[numbers.below(whole.len()).min(bytes.len() - 1)],
                    2 => bytes.insert(place, numbers.byte()),
                    3 => drop(bytes.remove(place)),
                    // A piece of it once more, elsewhere.
                    _ => {
                        let end = bytes.len().min(place + numbers.below(40));
                        let piece = bytes[place..end].to_vec();
                        let to = numbers.below(bytes.len());
                        bytes.splice(to..to, piece);
                    }
                }
            }
            // The length of the message is right in half of them, so that what is within is looked at.
            if numbers.below(2) == 0 {
                let length = u32::try_from(bytes.len() - 4).unwrap();
                bytes[1..4].copy_from_slice(&length.to_be_bytes()[1..]);
            }
            let size = [5, 200, 16_384][numbers.below(3)];
            accepted += usize::from(agree(&records(&bytes, size)));
        }
    }
    assert!(
        accepted > 500,
        "{accepted} hellos were good enough to compare"
    );
}
