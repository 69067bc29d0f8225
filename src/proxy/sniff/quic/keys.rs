//! PURE. The keys of Initial packets, which follow from the first connection ID that the client made up (RFC 9001 section
//! 5.2, RFC 9369 section 3.3), and packets closed and opened with them.

use rustls::Side;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{DirectionalKeys, Keys};

use super::packet::{Version, push_id};

/// The longest packet number, in bytes.
const LONGEST_NUMBER: usize = 4;

/// The keys of both directions as the server has them; the client's ID is that of its first Initial packet.
pub(super) fn keys(client_made: &[u8], version: Version) -> Option<Keys> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13()?.quic_suite()?;
    Some(suite.keys(client_made, Side::Server, version.of_keys()))
}

/// Opens an Initial packet, whose protected packet number stands at `place`. `largest` is the largest packet number so
/// far (RFC 9000 section 17.1). Gives the packet number and the frames; `None` where it was not closed with these keys.
pub(super) fn open<'a>(
    keys: &DirectionalKeys,
    packet: &'a mut [u8],
    place: usize,
    largest: Option<u64>,
) -> Option<(u64, &'a [u8])> {
    let (first, rest) = packet.split_first_mut()?;
    let (_, protected) = rest.split_at_mut_checked(place.checked_sub(1)?)?;
    let (number, sample) = protected.split_at_mut_checked(LONGEST_NUMBER)?;
    let sample = sample.get(..keys.header.sample_len())?;
    keys.header.decrypt_in_place(sample, first, number).ok()?;
    let length = usize::from(*first & 3) + 1;
    let truncated = number
        .iter()
        .take(length)
        .fold(0, |value, byte| value << 8 | u64::from(*byte));
    let number = whole_number(truncated, length, largest);
    let (header, payload) = packet.split_at_mut_checked(place + length)?;
    let frames = keys.packet.decrypt_in_place(number, header, payload).ok()?;
    Some((number, frames))
}

/// RFC 9000 appendix A.3.
fn whole_number(truncated: u64, length: usize, largest: Option<u64>) -> u64 {
    let expected = largest.map_or(0, |largest| largest + 1);
    let window = 1_u64 << (8 * length);
    let candidate = (expected & !(window - 1)) | truncated;
    if candidate + window / 2 <= expected {
        candidate + window
    } else if candidate > expected + window / 2 && candidate >= window {
        candidate - window
    } else {
        candidate
    }
}

/// An Initial packet without token, closed with these keys. `number` is its packet number, of which four bytes are sent.
/// `None` where an ID is too long, or the frames are more than a packet can hold.
pub(super) fn seal(
    keys: &DirectionalKeys,
    version: Version,
    destination: &[u8],
    source: &[u8],
    number: u32,
    frames: &[u8],
) -> Option<Vec<u8>> {
    const LONG_INITIAL: u8 = 0xc0;
    let bits = if version == Version::V2 { 1 << 4 } else { 0 };
    let mut packet = vec![LONG_INITIAL | bits | 3];
    packet.extend(version.number().to_be_bytes());
    push_id(&mut packet, destination)?;
    push_id(&mut packet, source)?;
    packet.push(0);
    let length = LONGEST_NUMBER + frames.len() + keys.packet.tag_len();
    let length = u16::try_from(length)
        .ok()
        .filter(|length| *length < 0x4000)?;
    packet.extend((0x4000 | length).to_be_bytes());
    let place = packet.len();
    packet.extend(number.to_be_bytes());
    let header = packet.clone();
    packet.extend(frames);
    let payload = packet.get_mut(header.len()..)?;
    let tag = keys
        .packet
        .encrypt_in_place(number.into(), &header, payload)
        .ok()?;
    packet.extend(tag.as_ref());
    let (first, rest) = packet.split_first_mut()?;
    let (_, protected) = rest.split_at_mut_checked(place - 1)?;
    let (number, sample) = protected.split_at_mut_checked(LONGEST_NUMBER)?;
    let sample = sample.get(..keys.header.sample_len())?;
    keys.header.encrypt_in_place(sample, first, number).ok()?;
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_numbers_are_completed_as_in_the_rfc() {
        // RFC 9000 appendix A.3, and the edges.
        assert_eq!(whole_number(0x9b32, 2, Some(0xa82f_30ea)), 0xa82f_9b32);
        assert_eq!(whole_number(1, 1, None), 1);
        assert_eq!(whole_number(0, 1, Some(255)), 256);
        assert_eq!(whole_number(255, 1, Some(256)), 255);
        assert_eq!(
            whole_number(u64::from(u32::MAX), 4, None),
            u64::from(u32::MAX)
        );
    }

    #[test]
    fn what_is_closed_can_be_opened_by_the_same_keys_only() {
        for version in [Version::V1, Version::V2] {
            let ours = keys(b"client id", version).unwrap();
            let packet = seal(&ours.local, version, b"d", b"source", 7, &[1; 40]).unwrap();
            let place = packet.len() - 40 - 16 - 4;
            let mut copy = packet.clone();
            assert_eq!(
                open(&ours.local, &mut copy, place, None),
                Some((7, &[1; 40][..]))
            );
            let others = keys(b"client iD", version).unwrap();
            assert_eq!(open(&others.local, &mut packet.clone(), place, None), None);
            assert_eq!(open(&ours.remote, &mut packet.clone(), place, None), None);
            for length in 0..packet.len() {
                let mut cut = packet[..length].to_vec();
                assert_eq!(open(&ours.local, &mut cut, place, None), None);
            }
        }
    }
}
