//! PURE. The proxy auto-config file: which hosts go through the gate.
//!
//! Decided by the host alone, because browsers cut the path of https addresses, and without `dnsResolve`, which waits
//! for the resolver and asks for A only. The script keeps to ECMAScript 3: some devices have engines of that age.
//! Called by `site`.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use hickory_proto::rr::Name;
use ipnet::{IpNet, Ipv4Net};

use crate::net::Acl;

/// The IPv4 networks that never lie behind the gate: what the egress guard refuses, too.
const NEVER_OUTSIDE: [([u8; 4], [u8; 4]); 11] = [
    ([0, 0, 0, 0], [0, 255, 255, 255]),
    ([10, 0, 0, 0], [10, 255, 255, 255]),
    ([100, 64, 0, 0], [100, 127, 255, 255]),
    ([127, 0, 0, 0], [127, 255, 255, 255]),
    ([169, 254, 0, 0], [169, 254, 255, 255]),
    ([172, 16, 0, 0], [172, 31, 255, 255]),
    ([192, 0, 0, 0], [192, 0, 0, 255]),
    ([192, 168, 0, 0], [192, 168, 255, 255]),
    ([198, 18, 0, 0], [198, 19, 255, 255]),
    ([224, 0, 0, 0], [239, 255, 255, 255]),
    ([240, 0, 0, 0], [255, 255, 255, 255]),
];

/// Everything that does not depend on the configuration.
const FUNCTIONS: &str = r#"
function isNear4(a, b, c, d) {
  var number = ((a * 256 + b) * 256 + c) * 256 + d, i;
  for (i = 0; i < nearNetworks.length; i += 2) {
    if (number >= nearNetworks[i] && number <= nearNetworks[i + 1]) { return true; }
  }
  return false;
}

function isNear6(host) {
  var mapped = /^(?:::|0:0:0:0:0:)ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(host), high, low;
  if (mapped) {
    high = parseInt(mapped[1], 16);
    low = parseInt(mapped[2], 16);
    return isNear4(Math.floor(high / 256), high % 256, Math.floor(low / 256), low % 256);
  }
  mapped = /^(?:::|0:0:0:0:0:)ffff:(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(host);
  if (mapped) { return isNear4(+mapped[1], +mapped[2], +mapped[3], +mapped[4]); }
  return /^(?:f[cd][0-9a-f][0-9a-f]:|fe[89a-f][0-9a-f]:|ff[0-9a-f][0-9a-f]:|[0:]+:1?$)/.test(host);
}

function isDirectName(host) {
  var dot;
  if (host.indexOf(".") < 0) { return true; }
  while (directSuffixes["." + host] !== 1) {
    dot = host.indexOf(".");
    if (dot < 0) { return directSuffixes["."] === 1; }
    host = host.substring(dot + 1);
  }
  return true;
}

function FindProxyForURL(url, host) {
  var parts, near;
  host = String(host).toLowerCase();
  if (host.charAt(0) === "[") { host = host.substring(1, host.length - 1); }
  if (host.charAt(host.length - 1) === ".") { host = host.substring(0, host.length - 1); }
  parts = /^(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(host);
  if (parts) {
    near = isNear4(+parts[1], +parts[2], +parts[3], +parts[4]);
  } else if (host.indexOf(":") >= 0) {
    near = isNear6(host);
  } else {
    near = isDirectName(host);
  }
  return near ? "DIRECT" : gate;
}
"#;

/// What a PAC file is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pac<'a> {
    /// The forward proxy as clients reach it; `None` sends everything directly.
    pub(super) gate: Option<SocketAddr>,
    /// The local domain; the root stands for none.
    pub(super) domain: &'a Name,
    /// The networks of the LAN; only the IPv4 ones matter.
    pub(super) networks: &'a Acl,
    /// More suffixes that go directly.
    pub(super) direct: &'a [Name],
}

impl Pac<'_> {
    /// The script, ASCII only.
    pub(super) fn render(&self) -> String {
        let Some(gate) = self.gate else {
            return "function FindProxyForURL(url, host) { return \"DIRECT\"; }\n".to_owned();
        };
        let mut out = String::from("// Which hosts go through the gate. Made by sekisho.\n");
        line(&mut out, "gate", &quote(&format!("PROXY {gate}; DIRECT")));
        line(&mut out, "directSuffixes", &self.suffixes());
        line(&mut out, "nearNetworks", &self.near());
        out.push_str(FUNCTIONS);
        out
    }

    /// The suffixes as an object's keys, each after a dot: no member that every object has (`constructor`,
    /// `__proto__`) begins with one.
    fn suffixes(&self) -> String {
        let local = (!self.domain.is_root()).then_some(self.domain);
        let mut keys: Vec<String> = local
            .into_iter()
            .chain(self.direct)
            .map(|name| format!(".{}", name.to_lowercase().to_ascii().trim_end_matches('.')))
            .collect();
        keys.sort();
        keys.dedup();
        let members: Vec<String> = keys
            .iter()
            .map(|key| format!("{}: 1", quote(key)))
            .collect();
        format!("{{{}}}", members.join(", "))
    }

    /// First and last addresses as numbers, because bit operations of the language are signed.
    fn near(&self) -> String {
        let mut ranges: Vec<(u32, u32)> = NEVER_OUTSIDE
            .iter()
            .map(|(first, last)| (u32::from_be_bytes(*first), u32::from_be_bytes(*last)))
            .collect();
        for network in self.networks.networks() {
            let IpNet::V4(network) = network else {
                continue;
            };
            let (first, last) = bounds(*network);
            // Most LANs are private, which is in the list already.
            if !ranges
                .iter()
                .any(|range| range.0 <= first && last <= range.1)
            {
                ranges.push((first, last));
            }
        }
        let numbers: Vec<String> = ranges
            .iter()
            .map(|(first, last)| format!("{first}, {last}"))
            .collect();
        format!("[{}]", numbers.join(", "))
    }
}

fn bounds(network: Ipv4Net) -> (u32, u32) {
    (network.network().to_bits(), network.broadcast().to_bits())
}

fn line(out: &mut String, name: &str, value: &str) {
    // Writing into a String cannot fail.
    writeln!(out, "var {name} = {value};").ok();
}

/// A string literal; whatever is not plainly harmless is written as its number.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for unit in text.encode_utf16() {
        match u8::try_from(unit).map(char::from) {
            Ok(plain) if plain.is_ascii_alphanumeric() || " .:;[]-_*".contains(plain) => {
                out.push(plain);
            }
            _ => {
                write!(out, "\\u{unit:04x}").ok();
            }
        }
    }
    out.push('"');
    out
}

/// The address that clients put before the port where the forward proxy listens.
pub(super) fn reachable(listen: SocketAddr, lan: IpAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        SocketAddr::new(lan, listen.port())
    } else {
        listen
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::net::special_purpose;

    const GATE: &str = "PROXY 192.168.1.1:3128; DIRECT";

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn script(direct: &[Name]) -> String {
        Pac {
            gate: Some("192.168.1.1:3128".parse().unwrap()),
            domain: &name("Home.arpa."),
            networks: &Acl::new([
                "203.0.113.0/24".parse().unwrap(),
                "127.0.0.0/8".parse().unwrap(),
                "2001:db8::/32".parse().unwrap(),
            ]),
            direct,
        }
        .render()
    }

    /// What a real engine answers for each host; `None` where the machine has none.
    fn run(script: &str, hosts: &[&str]) -> Option<Vec<String>> {
        let hosts = serde_json::to_string(hosts).unwrap();
        let program = format!(
            "{script}\nconsole.log(JSON.stringify({hosts}.map(function (h) {{ return FindProxyForURL('http://' + h + '/', h); }})));"
        );
        match Command::new("node").arg("-e").arg(program).output() {
            Ok(output) => {
                let errors = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{errors}");
                Some(serde_json::from_slice(&output.stdout).unwrap())
            }
            Err(_) => {
                println!("skipped: no `node` on this machine");
                None
            }
        }
    }

    fn expect(script: &str, hosts: &[&str], answer: &str) {
        let Some(answers) = run(script, hosts) else {
            return;
        };
        for (host, got) in hosts.iter().zip(answers) {
            assert_eq!(got, answer, "{host}");
        }
    }

    #[test]
    fn a_range_is_listed_once() {
        let text = script(&[]);
        let line = text
            .lines()
            .find(|line| line.starts_with("var nearNetworks"));
        let numbers: Vec<u32> = line
            .unwrap()
            .split(|letter: char| !letter.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect();
        let mut pairs: Vec<_> = numbers.chunks(2).collect();
        let all = pairs.len();
        pairs.sort_unstable();
        pairs.dedup();
        assert_eq!(pairs.len(), all, "{line:?}");
    }

    #[test]
    fn near_hosts_go_directly() {
        let direct = [
            name("direct.example."),
            name("constructor."),
            name("__proto__."),
        ];
        expect(
            &script(&direct),
            &[
                "printer",
                "localhost",
                "home.arpa",
                "nas.home.arpa",
                "NAS.HOME.ARPA.",
                "a.b.home.arpa",
                "10.0.0.1",
                "127.0.0.1",
                "100.64.0.1",
                "169.254.169.254",
                "172.16.0.1",
                "172.31.255.255",
                "192.168.1.1",
                "203.0.113.9",
                "[::1]",
                "::1",
                "::",
                "0:0:0:0:0:0:0:1",
                "fe80::1",
                "[fe80::1]",
                "fd00::1",
                "fc00::1",
                "febf::1",
                "ff02::1",
                "::ffff:192.168.1.1",
                "[::ffff:c0a8:101]",
                "direct.example",
                "www.direct.example",
                "x.constructor",
                "x.__proto__",
            ],
            "DIRECT",
        );
    }

    #[test]
    fn everything_else_goes_through_the_gate() {
        let direct = [name("direct.example.")];
        expect(
            &script(&direct),
            &[
                "www.example.com",
                "example.com.",
                "indirect.example",
                "direct.example.com",
                "myhome.arpa",
                "x.constructor",
                "x.__proto__",
                "a.toString",
                "8.8.8.8",
                "172.32.0.1",
                "172.15.0.1",
                "100.128.0.1",
                "203.0.114.1",
                "192.169.0.1",
                "11.0.0.0",
                "2606:4700::1",
                "[2001:db8::1]",
                "::ffff:8.8.8.8",
                "[::ffff:808:808]",
                "10.example.com",
                "fd00.example",
                "1::",
            ],
            GATE,
        );
    }

    #[test]
    fn what_the_egress_guard_refuses_is_not_sent_to_the_gate() {
        let hosts: Vec<String> = (0..=255_u32)
            .flat_map(|first| {
                [0, 64, 127, 128, 168, 254].map(|second| format!("{first}.{second}.0.9"))
            })
            .chain((16..32).map(|second| format!("172.{second}.3.4")))
            .chain(["198.18.0.1", "198.19.255.255", "198.20.0.0"].map(str::to_owned))
            .collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let Some(answers) = run(&script(&[]), &hosts) else {
            return;
        };
        for (host, answer) in hosts.iter().zip(answers) {
            let near = special_purpose(host.parse().unwrap()).is_some();
            assert_eq!(answer == "DIRECT", near, "{host}");
        }
    }

    #[test]
    fn the_root_suffix_sends_everything_directly_but_a_root_domain_nothing() {
        expect(
            &script(&[Name::root()]),
            &["www.example.com", "a.b"],
            "DIRECT",
        );
        let rootless = Pac {
            gate: Some("192.168.1.1:3128".parse().unwrap()),
            domain: &Name::root(),
            networks: &Acl::default(),
            direct: &[],
        };
        expect(&rootless.render(), &["www.example.com", "a.b"], GATE);
    }

    #[test]
    fn without_a_forward_proxy_everything_goes_directly() {
        let pac = Pac {
            gate: None,
            domain: &name("home.arpa."),
            networks: &Acl::default(),
            direct: &[],
        };
        expect(&pac.render(), &["www.example.com", "printer"], "DIRECT");
        assert!(!pac.render().contains("PROXY"));
    }

    #[test]
    fn names_cannot_break_out_of_the_script() {
        let evil =
            Name::from_labels([&b"\"];alert(1)//\\"[..], b"\n</script>", b"example"]).unwrap();
        let script = script(&[evil]);
        assert!(script.is_ascii());
        assert!(
            !script.contains("alert(1)") && !script.contains("</script>"),
            "{script}"
        );
        expect(&script, &["www.example.com"], GATE);
    }

    #[test]
    fn a_string_literal_holds_only_harmless_characters() {
        assert_eq!(quote("PROXY a:1; b"), "\"PROXY a:1; b\"");
        assert_eq!(
            quote("\"\\</\n\u{2028}\u{1f600}"),
            "\"\\u0022\\u005c\\u003c\\u002f\\u000a\\u2028\\ud83d\\ude00\""
        );
    }

    #[test]
    fn the_script_is_old_and_asks_no_resolver() {
        let script = script(&[]);
        for new in [
            "=>",
            "let ",
            "const ",
            "`",
            "dnsResolve",
            "isInNet",
            "isResolvable",
            ",]",
            ", }",
        ] {
            assert!(!script.contains(new), "{new}");
        }
        assert!(script.contains("var gate = \"PROXY 192.168.1.1:3128; DIRECT\";"));
        assert!(script.contains("\".home.arpa\": 1"));
    }

    #[test]
    fn a_thousand_suffixes_are_one_table() {
        let direct: Vec<Name> = (0..1000).map(|n| name(&format!("n{n}.example."))).collect();
        let script = script(&direct);
        assert_eq!(
            script.matches("if (").count(),
            FUNCTIONS.matches("if (").count()
        );
        expect(&script, &["www.n0.example", "n999.example"], "DIRECT");
    }

    #[test]
    fn a_proxy_on_every_address_is_reached_at_the_lan_address() {
        let lan: IpAddr = "192.168.1.1".parse().unwrap();
        let everywhere = reachable("0.0.0.0:3128".parse().unwrap(), lan);
        assert_eq!(everywhere.to_string(), "192.168.1.1:3128");
        let own = reachable("127.0.0.1:3128".parse().unwrap(), lan);
        assert_eq!(own.to_string(), "127.0.0.1:3128");
    }
}
