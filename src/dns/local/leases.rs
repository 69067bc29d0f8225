//! PURE. The leases of a DHCP server, from the file where it keeps them. The server is told by the content.
//!
//! - dnsmasq: a line each, `EXPIRY MAC ADDRESS NAME CLIENT-ID`; also its DHCPv6 lines.
//! - Kea: a journal in CSV, with a header line; a later line replaces an earlier one of the same address.
//! - ISC dhcpd: a journal of blocks, likewise.
//!
//! A file is read while its server writes it: what is unfinished at its end is left for the next time. The host names
//! in it are what clients say of themselves, and are judged elsewhere.

mod dnsmasq;
mod isc;
mod kea;

use std::collections::BTreeMap;
use std::net::IpAddr;

/// One lease in force, or over by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) address: IpAddr,
    /// The host name as the client sent it.
    pub(super) host: String,
    /// When it ends, in seconds since 1970; `None`: never.
    pub(super) until: Option<u64>,
    /// Of two leases with one name, the one with the greater number is the newer.
    pub(super) since: u64,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// The last word of the file on each address.
    pub(super) leases: BTreeMap<IpAddr, Lease>,
    /// Lines or blocks that say nothing we understand.
    pub(super) strange: usize,
}

impl Read {
    /// Takes the latest word on an address; `None` takes it back.
    fn tell(&mut self, address: IpAddr, lease: Option<Lease>) {
        match lease {
            Some(lease) => drop(self.leases.insert(address, lease)),
            None => drop(self.leases.remove(&address)),
        }
    }
}

/// Reads a file; `None` where it is of no server that we know.
pub(super) fn read(bytes: &[u8]) -> Option<Read> {
    let text = String::from_utf8_lossy(bytes);
    let lines = || text.lines().map(str::trim);
    let mut said = lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let Some(first) = said.next() else {
        return Some(Read::default());
    };
    if first.starts_with("address,") {
        return Some(kea::read(first, &text));
    }
    let word = first.split_ascii_whitespace().next().unwrap_or_default();
    if word == "duid" || word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(dnsmasq::read(&text));
    }
    isc::knows(word).then(|| isc::read(&text))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::dns::local) const DNSMASQ: &str = "\
4102444800 52:54:00:12:34:56 192.168.1.50 laptop ff:12:34:56:00:01
0 52:54:00:12:34:57 192.168.1.51 printer *
1600000000 52:54:00:12:34:58 192.168.1.52 old *
4102444800 52:54:00:12:34:59 192.168.1.53 * 01:52:54:00:12:34:59
43200 52:54:00:12:34:5a 192.168.1.54 tv *
duid 00:01:00:01:2a:3b:4c:5d:52:54:00:12:34:01
4102444800 1193046 fd00::50 laptop 00:01:00:01
";

    pub(in crate::dns::local) const KEA: &str = "\
address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id
192.168.1.50,52:54:00:12:34:56,01:52:54:00:12:34:56,4000,4102444800,1,0,0,laptop.home.arpa.,0,,0
192.168.1.51,52:54:00:12:34:57,,4000,4102444800,1,0,0,first,0,,0
192.168.1.51,52:54:00:12:34:58,,4000,4102444801,1,0,0,second,0,,0
192.168.1.52,52:54:00:12:34:59,,4000,4102444800,1,0,0,declined,1,,0
192.168.1.53,52:54:00:12:34:5a,,4000,4102444800,1,0,0,gone,0,,0
192.168.1.53,52:54:00:12:34:5a,,0,4102440800,1,0,0,gone,0,,0
192.168.1.54,52:54:00:12:34:5b,,4000,1600000000,1,0,0,old,0,,0
192.168.1.55,52:54:00:12:34:5c,,4294967295,8397411900,1,0,0,ever,0,,0
";

    pub(in crate::dns::local) const ISC: &str = r#"# The format of this file is documented in the dhcpd.leases(5) manual page.
authoring-byte-order little-endian;
server-duid "\000\001\000\001,{;}";

lease 192.168.1.50 {
  starts 4 2026/11/19 10:00:00;
  ends 5 2100/01/01 00:00:00;
  cltt 4 2026/11/19 10:00:00;
  binding state active;
  next binding state free;
  hardware ethernet 52:54:00:12:34:56;
  set vendor-class-identifier = "MSFT 5.0";
  on commit { set x = "}"; }
  client-hostname "laptop";
}
lease 192.168.1.51 {
  starts epoch 1795000000; # Thu Nov 19 2026
  ends never;
  binding state active;
  client-hostname "printer";
}
lease 192.168.1.52 {
  starts 2 2020/09/13 12:26:40;
  ends 0 2020/09/13 12:26:40;
  binding state active;
  client-hostname "old";
}
lease 192.168.1.53 {
  starts 4 2026/11/19 10:00:00;
  ends 5 2100/01/01 00:00:00;
  binding state active;
  client-hostname "gone";
}
lease 192.168.1.53 {
  starts 4 2026/11/19 10:00:00;
  ends 4 2026/11/19 11:00:00;
  binding state free;
  client-hostname "gone";
}
failover peer "x" state {
  my state normal at 4 2026/11/19 10:00:00;
}
"#;

    fn said(text: &str) -> Vec<String> {
        let read = read(text.as_bytes()).expect("a lease file");
        let until = |lease: &Lease| {
            lease
                .until
                .map_or_else(|| "ever".to_owned(), |until| until.to_string())
        };
        read.leases
            .values()
            .map(|lease| format!("{} {} {}", lease.address, lease.host, until(lease)))
            .collect()
    }

    #[test]
    fn a_dnsmasq_file_is_read() {
        assert_eq!(
            said(DNSMASQ),
            [
                "192.168.1.50 laptop 4102444800",
                "192.168.1.51 printer ever",
                "192.168.1.52 old 1600000000",
                // dnsmasq on devices without a clock writes how long the lease was, not when it ends.
                "192.168.1.54 tv ever",
                "fd00::50 laptop 4102444800",
            ]
        );
    }

    #[test]
    fn the_last_line_of_kea_counts_for_each_address() {
        assert_eq!(
            said(KEA),
            [
                "192.168.1.50 laptop.home.arpa. 4102444800",
                "192.168.1.51 second 4102444801",
                "192.168.1.54 old 1600000000",
                "192.168.1.55 ever ever",
            ]
        );
    }

    #[test]
    fn a_kea_file_for_ipv6_is_read_by_its_header_and_prefixes_are_no_addresses() {
        let text = "address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,fqdn_fwd,\
            fqdn_rev,hostname,hwaddr,state\nfd00::5,00:01,4000,4102444800,1,3000,0,1,128,0,0,pad,,0\n\
            fd00:1::,00:01,4000,4102444800,1,3000,2,1,56,0,0,router,,0\n";
        assert_eq!(said(text), ["fd00::5 pad 4102444800"]);
    }

    #[test]
    fn the_last_block_of_dhcpd_counts_for_each_address() {
        assert_eq!(
            said(ISC),
            [
                "192.168.1.50 laptop 4102444800",
                "192.168.1.51 printer ever",
                "192.168.1.52 old 1600000000",
            ]
        );
    }

    #[test]
    fn what_is_unfinished_at_the_end_is_left_for_the_next_time() {
        assert_eq!(said(DNSMASQ.split_at(60).0), [""; 0]);
        assert_eq!(
            said(&format!(
                "{DNSMASQ}4102444800 52:54:00:12:34:5b 192.168.1.60 pho"
            ))
            .len(),
            5
        );
        assert_eq!(
            said(&format!(
                "{KEA}192.168.1.60,52:54:00:12:34:5d,,4000,4102444800,1,0,0,pho"
            ))
            .len(),
            4
        );
        assert_eq!(
            said(&format!(
                "{ISC}lease 192.168.1.60 {{\n binding state active;\n client-hostname \"pho"
            ))
            .len(),
            3
        );
    }

    #[test]
    fn other_files_are_of_no_server_and_an_empty_one_has_no_leases() {
        for text in ["{\"leases\": []}", "192.168.1.1 nas", "hello\n", "<html>"] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
        assert_eq!(read(b"# nothing yet\n\n"), Some(Read::default()));
        assert_eq!(read(b""), Some(Read::default()));
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        for text in [DNSMASQ, KEA, ISC] {
            for end in 0..=text.len() {
                std::hint::black_box(read(&text.as_bytes()[..end]));
            }
            for bit in 0..text.len() * 8 {
                let mut bytes = text.as_bytes().to_vec();
                bytes[bit / 8] ^= 1 << (bit % 8);
                std::hint::black_box(read(&bytes));
            }
        }
        for text in [
            "lease ",
            "lease 1.2.3.4 {{{{",
            "address,\n,,,,",
            "1 2 3 4",
            "lease 1.2.3.4 {ends 4 9999999999999/99/99 99:99:99;}",
        ] {
            std::hint::black_box(read(text.as_bytes()));
        }
    }
}
