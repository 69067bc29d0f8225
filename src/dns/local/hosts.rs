//! PURE. The lines of a hosts(5) file: an address, then its names.

use std::net::{IpAddr, Ipv6Addr};

use super::data::Wrong;

/// One line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// The address.
    pub(super) address: IpAddr,
    /// What becomes of it.
    pub(super) told: Told,
    /// The names as they are written; at least one.
    pub(super) names: Vec<&'a str>,
}

/// What clients are told of the address of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The address, and the name of the address.
    Both,
    /// The address; it has no name of its own (`0.0.0.0`, as block lists write it).
    Forward,
    /// That the names exist and have no address here: 127.0.0.1 and ::1 would lead every client to itself, and whoever
    /// writes so in a block list wants the name not to be found.
    Existence,
    /// Nothing. Such lines stand in the hosts file of every system: 127.0.1.1 with its own name, which means another
    /// machine to everyone else, and multicast, broadcast and link-local addresses.
    Nothing,
}

/// The lines of a file with their numbers from 1; comments and empty lines are left out.
pub(super) fn entries(bytes: &[u8]) -> impl Iterator<Item = (usize, Result<Entry<'_>, Wrong>)> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    bytes
        .split(|&byte| byte == b'\n')
        .zip(1..)
        .filter_map(|(line, number)| Some((number, entry(line)?)))
}

fn entry(line: &[u8]) -> Option<Result<Entry<'_>, Wrong>> {
    let code = line.split(|&byte| byte == b'#').next()?.trim_ascii();
    if code.is_empty() {
        return None;
    }
    let Ok(code) = std::str::from_utf8(code) else {
        return Some(Err((
            "text that is not UTF-8".into(),
            "save the file as UTF-8".into(),
        )));
    };
    let mut words = code.split_ascii_whitespace();
    let first = words.next()?;
    let (text, scope) = match first.split_once('%') {
        Some((text, scope)) => (text, Some(scope)),
        None => (first, None),
    };
    let Ok(address) = text.parse::<IpAddr>() else {
        return Some(Err((
            format!("`{}` is no address", shown(first)),
            "write the address first, then its names, as in `192.168.1.10 nas`".into(),
        )));
    };
    let address = address.to_canonical();
    let names: Vec<&str> = words.collect();
    if names.is_empty() {
        return Some(Err((
            format!("`{address}` has no name"),
            format!("write its names after it, as in `{address} nas`"),
        )));
    }
    // What is behind the % is the name of an interface of this machine.
    let told = match scope {
        Some(_) => Told::Nothing,
        None => told(address),
    };
    Some(Ok(Entry {
        address,
        told,
        names,
    }))
}

fn told(address: IpAddr) -> Told {
    match address {
        _ if address.is_unspecified() => Told::Forward,
        IpAddr::V4(v4) if v4.octets() == [127, 0, 0, 1] => Told::Existence,
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Told::Existence,
        IpAddr::V4(v4) if v4.is_loopback() || v4.is_multicast() || v4.is_broadcast() => {
            Told::Nothing
        }
        // `fe00::0 ip6-localnet` is a relic of the first Debian installers.
        IpAddr::V6(v6) if v6.is_multicast() || v6.segments()[0] & 0xfe00 == 0xfe00 => Told::Nothing,
        IpAddr::V4(_) | IpAddr::V6(_) => Told::Both,
    }
}

/// So much of a word as a message can show.
pub(super) fn shown(word: &str) -> String {
    word.chars().take(64).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        entries(text.as_bytes())
            .map(|(line, entry)| match entry {
                Ok(entry) => format!(
                    "{line} {} {:?} {}",
                    entry.address,
                    entry.told,
                    entry.names.join(" ")
                ),
                Err((what, _)) => format!("{line} {what}"),
            })
            .collect()
    }

    #[test]
    fn lines_are_read_with_tabs_comments_and_either_line_end() {
        let text = "\u{feff}# mine\r\n\r\n192.168.1.10\tnas nas.home.arpa # the box\r\n  fd00::10 nas\n#\n::ffff:192.168.1.11 tv";
        assert_eq!(
            read(text),
            [
                "3 192.168.1.10 Both nas nas.home.arpa",
                "4 fd00::10 Both nas",
                "6 192.168.1.11 Both tv",
            ]
        );
    }

    #[test]
    fn what_stands_in_the_hosts_file_of_every_system_is_no_fault() {
        let text = "127.0.0.1 localhost\n127.0.1.1 gate.example gate\n::1 ip6-localhost ip6-loopback\n\
            fe00::0 ip6-localnet\nff02::1 ip6-allnodes\nfe80::1%lo0 localhost\n255.255.255.255 broadcasthost\n\
            0.0.0.0 ad.example\n:: ad.example\n";
        assert_eq!(
            read(text),
            [
                "1 127.0.0.1 Existence localhost",
                "2 127.0.1.1 Nothing gate.example gate",
                "3 ::1 Existence ip6-localhost ip6-loopback",
                "4 fe00:: Nothing ip6-localnet",
                "5 ff02::1 Nothing ip6-allnodes",
                "6 fe80::1 Nothing localhost",
                "7 255.255.255.255 Nothing broadcasthost",
                "8 0.0.0.0 Forward ad.example",
                "9 :: Forward ad.example",
            ]
        );
    }

    #[test]
    fn bad_lines_are_told_with_what_to_write() {
        assert_eq!(
            read("nas 192.168.1.10\n192.168.1.10\n192.168.1.300 x\n192.168.1.12 ok\n"),
            [
                "1 `nas` is no address",
                "2 `192.168.1.10` has no name",
                "3 `192.168.1.300` is no address",
                "4 192.168.1.12 Both ok",
            ]
        );
        let latin1 = entries(b"192.168.1.10 caf\xe9\n").next().unwrap();
        assert!(latin1.1.is_err());
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        let text = "127.0.0.1 localhost\n192.168.1.10\tnas nas.home.arpa # x\r\nfe80::1%lo0 a\n";
        for end in 0..=text.len() {
            assert!(entries(&text.as_bytes()[..end]).count() <= 3);
        }
        for bit in 0..text.len() * 8 {
            let mut bytes = text.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::hint::black_box(entries(&bytes).count());
        }
    }
}
