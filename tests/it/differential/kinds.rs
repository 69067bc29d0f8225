//! One name of every kind after another.

use std::fmt::Write as _;

use super::wire::ANY;
use super::world::{Random, SIZES, TARGETS};

/// A zone in the making.
pub(super) struct Making<'a> {
    /// The generator of all zones.
    pub(super) random: &'a mut Random,
    /// Its name.
    pub(super) zone: &'a str,
    /// Its master file.
    pub(super) text: &'a mut String,
    /// Names of all zones, and types that are worth a question.
    pub(super) names: &'a mut Vec<(String, Vec<u16>)>,
}

/// Kinds of names that [`Making::make`] knows.
const KINDS: usize = 34;

impl Making<'_> {
    /// Adds the name of this number: every kind has its turn.
    #[expect(clippy::too_many_lines, reason = "a table of the kinds")]
    pub(super) fn make(&mut self, number: usize) {
        let ttl = *self.random.of(&[0, 30, 300, 300, 3600, 86_400, 604_800]);
        let here = format!("n{number}");
        let mut lines: Vec<String> = Vec::new();
        let mut asks: Vec<(String, Vec<u16>)> = Vec::new();
        let mut own = |types: &[u16]| asks.push((here.clone(), types.to_vec()));
        let v4 = format!("198.51.100.{}", number % 250);
        let v6 = format!("2001:db8::{number:x}");
        match number % KINDS {
            0 => {
                lines.extend([
                    format!("{here} {ttl} A {v4}"),
                    format!("{here} {ttl} AAAA {v6}"),
                ]);
                own(&[1, 28, 65]);
            }
            1 => {
                lines.push(format!("{here} {ttl} A {v4}"));
                own(&[1, 28, 65]);
            }
            2 => {
                lines.push(format!("{here} {ttl} AAAA {v6}"));
                own(&[1, 28, 65]);
            }
            3 => {
                lines.push(format!("a.b.{here} {ttl} TXT \"below\""));
                own(&[1, 28, 16]);
                asks.push((format!("b.{here}"), vec![1, 28]));
                asks.push((format!("c.b.{here}"), vec![1, 28]));
            }
            4..=6 => {
                // From here, through as many names, to a target here or in another zone.
                let length = self.random.within(0..7);
                let mut from = here.clone();
                for hop in 0..length {
                    lines.push(format!("{from} {ttl} CNAME {hop}.hop.{here}"));
                    from = format!("{hop}.hop.{here}");
                }
                lines.push(format!("{from} {ttl} CNAME {}", self.target()));
                own(&[1, 28, 65, 5, 15, 16]);
            }
            7 => {
                for preference in 0..self.random.within(1..5) {
                    lines.push(format!("{here} {ttl} MX {preference} {}", self.target()));
                }
                lines.push(format!("{here} {ttl} MX 100 ."));
                own(&[15, 1, 28]);
            }
            8 => {
                let owner = format!("_s._tcp.{here}");
                for port in 0..self.random.within(1..4) {
                    lines.push(format!("{owner} {ttl} SRV 1 2 {port} {}", self.target()));
                }
                asks.push((owner, vec![33, 1, 28]));
            }
            9 => {
                let strings = self.random.within(1..16);
                let length = self.random.within(1..250);
                let text = vec![format!("\"{}\"", "x;\\\"y\\007".repeat(length / 5)); strings];
                lines.push(format!("{here} {ttl} TXT {}", text.join(" ")));
                own(&[16, 1, 28]);
            }
            10 => {
                lines.extend([
                    format!("{here} {ttl} A {v4}"),
                    format!("{here} {ttl} AAAA {v6}"),
                    format!(
                        "{here} {ttl} HTTPS 1 . mandatory=alpn,ipv6hint alpn=h2,h3 no-default-alpn port=8443 \
                         ipv4hint={v4},198.51.100.251 ech=AEX+DQ== ipv6hint={v6},2001:db8::ffff key65400=\"a\\001b\""
                    ),
                ]);
                own(&[65, 1, 28]);
            }
            11 => {
                lines.push(format!("{here} {ttl} HTTPS 0 {}", self.target()));
                lines.push(format!("{here} {ttl} A {v4}"));
                own(&[65, 1, 28]);
            }
            12 => {
                let parameters = *self.random.of(&[
                    "alpn=h2 ipv6hint=2001:db8::1",
                    "alpn=h3",
                    "",
                    "alpn=h3 no-default-alpn",
                    "alpn=h2,http/1.1 no-default-alpn",
                    "port=444 key65401",
                    "mandatory=ipv6hint ipv6hint=2001:db8::1",
                    "alpn=h2,h3 ech=AEX+DQ== ipv4hint=198.51.100.9",
                ]);
                lines.push(format!("{here} {ttl} HTTPS 1 . {parameters}"));
                lines.push(format!("{here} {ttl} AAAA {v6}"));
                own(&[65, 1, 28]);
            }
            13 => {
                let owner = format!("_dns.{here}");
                lines.push(format!(
                    "{owner} {ttl} SVCB 1 {} alpn=h2,dot dohpath=/dns-query{{?dns}} ipv6hint={v6} ipv4hint={v4}",
                    self.target()
                ));
                lines.push(format!(
                    "{owner} {ttl} SVCB 2 . mandatory=key65402 key65402=x"
                ));
                if self.random.below(2) == 0 {
                    lines.push(format!("{here} {ttl} AAAA {v6}"));
                }
                own(&[1, 28]);
                asks.push((owner, vec![64, 65, 1, 28]));
            }
            14 => {
                lines.push(format!(
                    "{here} {ttl} HTTPS 1 {} key65000 key65001=\"\\000\\255\" mandatory=key65000",
                    self.target()
                ));
                lines.push(format!("{here} {ttl} HTTPS 7 . ipv6hint={v6}"));
                lines.push(format!("{here} {ttl} A {v4}"));
                own(&[65, 1, 28]);
            }
            15 => {
                lines.push(format!(
                    "{here} {ttl} CAA 0 issue \"ca.example; policy=ev\""
                ));
                lines.push(format!("{here} {ttl} CAA 128 tbs \"Unknown\""));
                own(&[257, 1]);
            }
            16 => {
                lines.push(format!(
                    "{here} {ttl} NAPTR 100 50 \"u\" \"E2U+sip\" \"!^.*$!sip:info@example!\" ."
                ));
                lines.push(format!(
                    "{here} {ttl} NAPTR 10 5 \"s\" \"SIP+D2T\" \"\" _s._tcp.{here}"
                ));
                own(&[35, 28]);
            }
            17 => {
                lines.push(format!("{here} {ttl} PTR {}", self.target()));
                own(&[12, 1]);
            }
            18 => {
                let many = self.random.within(20..110);
                lines.extend((0..many).map(|host| format!("{here} {ttl} A 198.51.101.{host}")));
                own(&[1, 28]);
            }
            19 => {
                let many = self.random.within(20..110);
                lines.extend(
                    (0..many).map(|host| format!("{here} {ttl} AAAA 2001:db8:1::{host:x}")),
                );
                own(&[28, 1]);
            }
            20 => {
                lines.extend([
                    format!("*.{here} {ttl} A {v4}"),
                    format!("*.{here} {ttl} AAAA {v6}"),
                    format!("*.{here} {ttl} MX 5 {}", self.target()),
                    format!("is.{here} {ttl} TXT \"there\""),
                ]);
                own(&[1, 28]);
                for below in ["x", "y.z", "*", "is", "a.is"] {
                    asks.push((format!("{below}.{here}"), vec![1, 28, 15, 16]));
                }
            }
            21 => {
                lines.push(format!("*.{here} {ttl} CNAME {}", self.target()));
                asks.push((format!("x.{here}"), vec![1, 28, 65, 5]));
            }
            22 => {
                let zone = *self.random.of(&["", ".two.zz.", ".nsec.zz."]);
                lines.push(format!("{here} {ttl} DNAME tree{zone}"));
                own(&[39, 1, 28]);
                for below in ["a", "b", "c", "missing", "a.b"] {
                    asks.push((format!("{below}.{here}"), vec![1, 28, 65]));
                }
            }
            23 => {
                let label = *self.random.of(&[
                    "\\000\\255",
                    "a\\046b",
                    "\\032sp\\032",
                    "\\034\\092",
                    "\\195\\169",
                    "\\064at",
                    "\\040\\041\\059",
                    "under_score",
                    "x\\007Y",
                ]);
                let owner = format!("{label}.{here}");
                lines.extend([
                    format!("{owner} {ttl} A {v4}"),
                    format!("{owner} {ttl} AAAA {v6}"),
                    format!("{owner} {ttl} MX 1 {owner}"),
                    format!("{here} {ttl} CNAME {owner}"),
                ]);
                own(&[1, 28]);
                asks.push((owner, vec![1, 28, 15]));
            }
            24 => {
                lines.push(format!("{here} {ttl} TYPE65280 \\# 5 00ff01c00c"));
                lines.push(format!("{here} {ttl} TYPE65281 \\# 0"));
                own(&[65_280, 65_281, 28]);
            }
            25 => {
                lines.extend([
                    format!("{here} {ttl} HINFO \"cpu\" \"os\""),
                    format!("{here} {ttl} LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m"),
                    format!("{here} {ttl} SSHFP 4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789"),
                    format!("{here} {ttl} RP Admin.zz. none"),
                    format!("{here} {ttl} AFSDB 1 both"),
                    format!("{here} {ttl} TLSA 3 1 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971"),
                    format!("{here} {ttl} URI 10 1 \"https://www.example/\""),
                    format!("{here} {ttl} EUI48 00-00-5e-00-53-2a"),
                    format!("{here} {ttl} APL 1:192.168.32.0/21 !1:192.168.38.0/28"),
                    format!("{here} {ttl} CERT 1 0 5 AQIDBA=="),
                    format!("{here} {ttl} OPENPGPKEY AQIDBA=="),
                    format!("{here} {ttl} KX 10 both"),
                    format!("{here} {ttl} SPF \"v=spf1 -all\""),
                ]);
                own(&[13, 29, 44, 17, 18, 52, 256, 108, 42, 37, 61, 36, 99]);
            }
            26 => {
                let inside = *self.random.of(&[
                    "10.1.2.3",
                    "192.168.7.8",
                    "127.0.0.1",
                    "169.254.3.4",
                    "172.16.0.1",
                ]);
                lines.push(format!("{here} {ttl} A {inside}"));
                if self.random.below(2) == 0 {
                    lines.push(format!("{here} {ttl} A {v4}"));
                }
                let inside = *self
                    .random
                    .of(&["fd00::1", "fe80::1", "::1", "2001:db8::1"]);
                lines.push(format!("{here} {ttl} AAAA {inside}"));
                own(&[1, 28]);
            }
            27 => {
                let odd = *self
                    .random
                    .of(&["::", "::ffff:198.51.100.1", "64:ff9b::c633:6401"]);
                lines.push(format!("{here} {ttl} AAAA {odd}"));
                if self.random.below(2) == 0 {
                    lines.push(format!("{here} {ttl} A 0.0.0.0"));
                }
                own(&[1, 28]);
            }
            28 => {
                lines.push(format!("MiXed.{here} {ttl} CNAME tArget.{here}"));
                lines.push(format!("TARGET.{here} {ttl} A {v4}"));
                lines.push(format!("target.{here} {ttl} AAAA {v6}"));
                asks.push((format!("mixed.{here}"), vec![1, 28, 65]));
            }
            29 => {
                let label = "l".repeat(60);
                let owner = format!("{label}.{label}.{label}.{here}");
                lines.push(format!("{owner} {ttl} TXT \"long\""));
                lines.push(format!("{owner} {ttl} A {v4}"));
                asks.push((owner, vec![16, 1, 28]));
            }
            30 => {
                lines.extend([
                    format!("{here} {ttl} HTTPS 1 . alpn=h2"),
                    format!("{here} {ttl} HTTPS 2 both alpn=h3 ipv6hint={v6}"),
                    format!("{here} {ttl} AAAA {v6}"),
                ]);
                own(&[65, 1, 28]);
            }
            31 => {
                // Served by nobody that could be asked.
                lines.push(format!("{here} {ttl} NS ns{number}.nowhere"));
                own(&[43]);
            }
            32 => {
                lines.push(format!("{here} {ttl} TXT \"\""));
                lines.push(format!("{here} {ttl} TXT \"a\" \"\" \"b\""));
                own(&[16, 1, 28, ANY]);
            }
            _ => {
                lines.push(format!("{here} {ttl} CNAME loop.{here}"));
                lines.push(format!(
                    "loop.{here} {ttl} CNAME {}",
                    if number.is_multiple_of(2) {
                        here.clone()
                    } else {
                        "gone".to_owned()
                    }
                ));
                own(&[5, 28]);
            }
        }
        for line in lines {
            writeln!(self.text, "{line}").unwrap();
        }
        let zone = self.zone;
        self.names.extend(
            asks.into_iter()
                .map(|(owner, types)| (format!("{owner}.{zone}"), types)),
        );
    }

    /// Somewhere that the common part of a zone has, or has not.
    fn target(&mut self) -> String {
        let target = *self.random.of(&TARGETS);
        match self.random.below(3) {
            0 => format!("{target}.{}.", self.random.of(SIZES).0),
            _ => target.to_owned(),
        }
    }
}
