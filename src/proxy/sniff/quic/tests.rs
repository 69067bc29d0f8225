use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use rustls::quic::ClientConnection;

use super::*;

const NAME: &str = "video.example.test";
const MADE: &[u8] = b"made up!";

/// Two datagrams of each browser, each behind its length in two bytes, and the name that they ask for: see
/// `tests/captures/README.md`.
const BROWSERS: [(&str, &[u8]); 2] = [
    (
        NAME,
        include_bytes!("../../../../tests/captures/chromium-quic.bin"),
    ),
    (
        "firefox.example.test",
        include_bytes!("../../../../tests/captures/firefox-quic.bin"),
    ),
];

fn chromium() -> Vec<&'static [u8]> {
    datagrams_of(BROWSERS[0].1)
}

fn datagrams_of(capture: &'static [u8]) -> Vec<&'static [u8]> {
    let mut datagrams = Vec::new();
    let mut rest = capture;
    while let [high, low, behind @ ..] = rest {
        let (datagram, behind) = behind.split_at(u16::from_be_bytes([*high, *low]).into());
        datagrams.push(datagram);
        rest = behind;
    }
    datagrams
}

fn found(name: &str) -> Sniffed {
    Sniffed::Found(Host::parse(name).unwrap())
}

/// The ClientHello that rustls sends over QUIC: with a post-quantum key, longer than a datagram.
pub(super) fn hello(name: &str) -> Vec<u8> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(
        Arc::new(config),
        rustls::quic::Version::V1,
        name,
        b"parameters".to_vec(),
    )
    .unwrap();
    let mut hello = Vec::new();
    client.write_hs(&mut hello);
    assert!(hello.len() > 1200, "{}", hello.len());
    hello
}

fn crypto(offset: usize, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![6];
    frame.extend((0x8000_0000 | u32::try_from(offset).unwrap()).to_be_bytes());
    frame.extend((0x4000 | u16::try_from(data.len()).unwrap()).to_be_bytes());
    frame.extend(data);
    frame
}

fn datagram(version: Version, number: u32, frames: &[u8]) -> Vec<u8> {
    client_initial(MADE, version, MADE, b"client", number, frames, 1200).unwrap()
}

/// The hello in CRYPTO frames of `size` bytes, shuffled, `PING` and `PADDING` between, over datagrams of 1200 bytes.
fn flight(version: Version, hello: &[u8], size: usize) -> Vec<Vec<u8>> {
    let mut frames: Vec<_> = hello
        .chunks(size)
        .enumerate()
        .map(|(place, piece)| crypto(place * size, piece))
        .collect();
    // Every other one from the back, so that no piece stands beside its neighbour.
    let middle = frames.len().div_ceil(2);
    let late = frames.split_off(middle);
    let mut shuffled = Vec::new();
    for place in 0..middle {
        shuffled.extend(late.get(place).cloned());
        shuffled.push(frames[middle - 1 - place].clone());
    }
    let mut datagrams = Vec::new();
    let mut payload = Vec::new();
    for frame in shuffled {
        if payload.len() + frame.len() + 3 > 1130 {
            let number = u32::try_from(datagrams.len()).unwrap();
            datagrams.push(datagram(version, number, &payload));
            payload = Vec::new();
        }
        payload.extend(frame);
        payload.extend([0, 1, 0]);
    }
    let number = u32::try_from(datagrams.len()).unwrap();
    datagrams.push(datagram(version, number, &payload));
    datagrams
}

fn read_all<'a>(datagrams: impl IntoIterator<Item = &'a [u8]>) -> Sniffed {
    let mut initials = Initials::default();
    let mut last = Sniffed::NeedMore;
    for datagram in datagrams {
        last = initials.read(datagram);
        if last != Sniffed::NeedMore {
            break;
        }
    }
    last
}

#[test]
fn the_name_is_found_in_what_browsers_send_in_either_order() {
    for (name, capture) in BROWSERS {
        let datagrams = datagrams_of(capture);
        assert_eq!(datagrams.len(), 2, "a post-quantum hello");
        assert_eq!(read_all(datagrams.iter().copied()), found(name));
        assert_eq!(read_all(datagrams.iter().rev().copied()), found(name));
        // Lost and sent again, and twice.
        let [one, two] = datagrams[..] else { panic!() };
        assert_eq!(read_all([two, two, one]), found(name));
    }
}

#[test]
fn shuffled_pieces_of_any_size_are_put_together_in_both_versions() {
    let hello = hello(NAME);
    for version in [Version::V1, Version::V2] {
        for size in [20, 60, 170, 1100] {
            let datagrams = flight(version, &hello, size);
            assert!(datagrams.len() > 1);
            let in_order = read_all(datagrams.iter().map(Vec::as_slice));
            let reversed = read_all(datagrams.iter().rev().map(Vec::as_slice));
            assert_eq!((in_order, reversed), (found(NAME), found(NAME)), "{size}");
        }
    }
}

#[test]
fn no_datagram_but_the_last_says_anything_when_all_are_needed() {
    let datagrams = flight(Version::V1, &hello(NAME), 100);
    let mut initials = Initials::default();
    for datagram in &datagrams[..datagrams.len() - 1] {
        assert_eq!(initials.read(datagram), Sniffed::NeedMore);
        assert_eq!(initials.read(datagram), Sniffed::NeedMore, "once more");
    }
    assert_eq!(initials.read(&datagrams[datagrams.len() - 1]), found(NAME));
}

#[test]
fn every_prefix_of_a_datagram_is_passed_over_and_the_whole_one_read() {
    for datagram in chromium() {
        for length in 0..datagram.len() {
            let mut initials = Initials::default();
            assert_eq!(
                initials.read(&datagram[..length]),
                Sniffed::NotQuic,
                "{length}"
            );
        }
    }
    let datagrams = chromium();
    let mut initials = Initials::default();
    initials.read(datagrams[0]);
    for length in 0..datagrams[1].len() {
        assert_eq!(initials.read(&datagrams[1][..length]), Sniffed::NeedMore);
    }
    assert_eq!(initials.read(datagrams[1]), found(NAME));
}

#[test]
fn no_flipped_bit_is_taken_for_the_client_s_word() {
    let datagrams = chromium();
    let mut bytes = datagrams[0].to_vec();
    for index in 0..bytes.len() {
        let bit = 1 << (index % 8);
        bytes[index] ^= bit;
        let mut initials = Initials::default();
        let said = initials.read(&bytes);
        assert_eq!(said, Sniffed::NotQuic, "{index}");
        // Nor does it keep the good one from being read.
        initials.read(datagrams[0]);
        assert_eq!(initials.read(datagrams[1]), found(NAME), "{index}");
        bytes[index] ^= bit;
    }
}

#[test]
fn other_frames_and_other_packets_stand_beside_the_hello() {
    let hello = hello(NAME);
    let (one, two) = hello.split_at(40);
    // PING, ACK of two ranges, ACK with ECN, CONNECTION_CLOSE with a reason, PADDING.
    let mut frames = vec![1, 2, 9, 0, 1, 3, 1, 0, 3, 1, 0, 0, 0, 4, 5, 6];
    frames.extend([0x1c, 0, 6, 3, b'b', b'y', b'e', 0, 0]);
    frames.extend(crypto(0, one));
    let mut first = client_initial(MADE, Version::V1, MADE, b"client", 0, &frames, 0).unwrap();
    // 0-RTT and Handshake packets, of which only the length is read, then the rest of the hello in one more Initial.
    for first_byte in [0xd0, 0xe0] {
        first.extend([first_byte, 0, 0, 0, 1, 8]);
        first.extend(MADE);
        first.extend([6]);
        first.extend(b"client");
        first.extend([0x40, 30]);
        first.extend([0x55; 30]);
    }
    assert_eq!(Initials::default().read(&first), Sniffed::NeedMore);
    first.extend(datagram(Version::V1, 1, &crypto(40, two)));
    // And zeros behind it all, as some clients fill a datagram.
    first.extend([0; 100]);
    assert_eq!(Initials::default().read(&first), found(NAME));
}

#[test]
fn the_first_id_stays_the_key_when_the_client_uses_another() {
    let hello = hello(NAME);
    let (one, two) = hello.split_at(40);
    let mut initials = Initials::default();
    let first = initials.read(&datagram(Version::V1, 0, &crypto(0, one)));
    assert_eq!(first, Sniffed::NeedMore);
    let later = client_initial(
        MADE,
        Version::V1,
        b"of the server",
        b"client",
        1,
        &crypto(40, two),
        1200,
    );
    assert_eq!(initials.read(&later.unwrap()), found(NAME));
    let mut initials = Initials::default();
    initials.read(&datagram(Version::V1, 0, &crypto(0, one)));
    let stranger = client_initial(
        b"another connection",
        Version::V1,
        b"another connection",
        b"client",
        1,
        &crypto(40, two),
        1200,
    );
    assert_eq!(initials.read(&stranger.unwrap()), Sniffed::NeedMore);
}

#[test]
fn what_is_coalesced_for_another_connection_is_passed_over() {
    let packet = |destination, number, frames: &[u8]| {
        client_initial(
            MADE,
            Version::V1,
            destination,
            b"client",
            number,
            frames,
            100,
        )
        .unwrap()
    };
    let whole = crypto(0, &hello(NAME));
    let read = |second: &[u8]| {
        let datagram = [&packet(MADE, 0, &[1]), second].concat();
        Initials::default().read(&datagram)
    };
    assert_eq!(read(&packet(MADE, 1, &whole)), found(NAME));
    assert_eq!(read(&packet(b"another one", 1, &whole)), Sniffed::NeedMore);
}

#[test]
fn a_hello_without_a_name_says_so() {
    let hello = hello("192.0.2.1");
    let datagrams = flight(Version::V1, &hello, 300);
    assert_eq!(
        read_all(datagrams.iter().map(Vec::as_slice)),
        Sniffed::NoName
    );
}

#[test]
fn what_is_not_quic_is_known_by_its_first_datagram() {
    let hello = hello(NAME);
    let mut other_version = datagram(Version::V1, 0, &crypto(0, &hello[..500]));
    other_version[4] = 2;
    let mut short_header = other_version.clone();
    short_header[0] = 0x40;
    for bytes in [
        &b""[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0; 1200],
        &[0xff; 1200],
        &[0xc0, 0, 0, 0, 1],
        &other_version,
        &short_header,
    ] {
        assert_eq!(Initials::default().read(bytes), Sniffed::NotQuic);
    }
}

#[test]
fn what_breaks_the_rules_is_malformed() {
    let too_far = crypto(LONGEST_HELLO - 1, b"xx");
    let stream_frame = [0x08, 0, 1, 2];
    let cut = [6, 0, 0x44, 0x00, 1, 2];
    let ranges_without_end = [2, 9, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let no_hello = crypto(0, &[2, 0, 0, 40]);
    let many: Vec<u8> = (0..200).flat_map(|n| crypto(2 * n + 1, b"x")).collect();
    let long = [&[1_u8][..], &[1, 0, 0]].concat();
    for frames in [
        &too_far[..],
        &stream_frame,
        &cut,
        &ranges_without_end,
        &no_hello,
        &many,
        &crypto(0, &[1, 0xff, 0xff, 0xff]),
        &crypto(0, &[&long[..], &[3, 3], &[0; 32], &[33]].concat()),
    ] {
        let datagram = client_initial(MADE, Version::V1, MADE, b"c", 0, frames, 0).unwrap();
        let said = Initials::default().read(&datagram);
        assert!(matches!(said, Sniffed::Malformed(_)), "{said:?}");
    }
}

#[test]
fn a_refusal_can_be_opened_by_the_client_and_is_shorter_than_what_it_answers() {
    for version in [Version::V1, Version::V2] {
        let mut initials = Initials::default();
        assert_eq!(initials.refusal(), None);
        initials.read(&datagram(version, 0, &crypto(0, &hello(NAME)[..900])));
        let mut refusal = initials.refusal().unwrap();
        assert!(refusal.len() < 3 * 1200);
        let header = Long::read(&refusal).unwrap();
        assert_eq!((header.destination, header.source), (&b"client"[..], MADE));
        assert_eq!(header.kind(header.known().unwrap()), Type::Initial);
        let place = refusal.len() - 16 - 11 - 4;
        let keys = keys::keys(MADE, version).unwrap();
        let (number, frames) = keys::open(&keys.local, &mut refusal, place, None).unwrap();
        assert_eq!((number, frames), (0, &b"\x1c\x02\x00\x07sekisho"[..]));
    }
}

#[test]
fn rustls_finds_the_same_name_in_the_same_hello() {
    use rustls::server::{ClientHello, ResolvesServerCert};
    use rustls::sign::CertifiedKey;
    use std::sync::Mutex;

    #[derive(Debug, Default)]
    struct Asked(Mutex<Option<String>>);

    impl ResolvesServerCert for Asked {
        fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            *self.0.lock().unwrap() = hello.server_name().map(str::to_owned);
            None
        }
    }

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    for (name, capture) in BROWSERS {
        let mut initials = Initials::default();
        for datagram in datagrams_of(capture) {
            initials.read(datagram);
        }
        let asked = Arc::new(Asked::default());
        let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&asked) as _);
        let mut server = rustls::quic::ServerConnection::new(
            Arc::new(config),
            rustls::quic::Version::V1,
            Vec::new(),
        )
        .unwrap();
        server.read_hs(initials.stream.prefix()).unwrap_err();
        assert_eq!(asked.0.lock().unwrap().as_deref(), Some(name));
    }
}
