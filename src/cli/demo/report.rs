//! PURE. What `sekisho demo` shows: for people a table, with an explanation before and lines to try after; for
//! programs the same as JSON.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use serde::Serialize;

use super::{Gate, Internet, Place, Row};
use crate::config::Mode;

/// The widest line, in characters.
const WIDTH: usize = 79;

/// The heads of the columns.
const HEADS: [&str; 5] = [
    "",
    "name",
    "the world says",
    "a client is told",
    "sessions leave by",
];

/// What one gate in front of the demo's internet did.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    ok: bool,
    internet: InternetPlaces,
    gate: GatePlaces,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, Serialize)]
struct InternetPlaces {
    has_ipv6: bool,
    ipv4: Ipv4Addr,
    dns: SocketAddr,
    http_port: u16,
    tls_port: u16,
    dead_http_port: u16,
    dead_tls_port: u16,
}

#[derive(Clone, Debug, Serialize)]
struct GatePlaces {
    steer_mode: Mode,
    address: Ipv4Addr,
    dns: SocketAddr,
    http: SocketAddr,
    tls: Option<SocketAddr>,
    plain: Option<SocketAddr>,
}

impl Report {
    /// The report about rows that [`steps`](super::steps()) has made.
    pub(super) fn new(gate: &Gate, internet: &Internet, rows: Vec<Row>) -> Self {
        let internet = InternetPlaces {
            has_ipv6: internet.has_ipv6,
            ipv4: internet.ipv4,
            dns: internet.dns,
            http_port: internet.http,
            tls_port: internet.tls,
            dead_http_port: internet.dead_http,
            dead_tls_port: internet.dead_tls,
        };
        Self::of(gate, internet, rows)
    }

    fn of(gate: &Gate, internet: InternetPlaces, rows: Vec<Row>) -> Self {
        Self {
            ok: !rows.is_empty() && rows.iter().all(Row::ok),
            internet,
            gate: GatePlaces {
                steer_mode: gate.mode,
                address: gate.address,
                dns: gate.dns,
                http: gate.http,
                tls: gate.tls,
                plain: gate.plain,
            },
            rows,
        }
    }

    /// Whether every row held.
    pub(super) fn ok(&self) -> bool {
        self.ok
    }

    /// For programs; ends with a line feed.
    pub(super) fn json(&self) -> String {
        // Nothing in it can fail to be written: no map with odd keys, no number that JSON lacks.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// For people: explanation, table, and what did not hold.
    pub(super) fn text(&self, colour: bool) -> String {
        let mut out = String::new();
        paragraph(
            &mut out,
            "A client without IPv6 asks the gate instead of its usual DNS server. The gate keeps every IPv6 address \
             from it (AAAA is withheld) and carries its sessions: by IPv6 first, by IPv4 where IPv6 is missing or \
             dead. The table shows, for each name of a small internet on this machine, what its DNS says, what the \
             client is told, and by which family the client's sessions reached the server, as the server saw it. All \
             names end in `.demo.example`.",
        );
        paragraph(&mut out, self.steering());
        if !self.internet.has_ipv6 {
            paragraph(
                &mut out,
                "This machine has no IPv6, not even ::1. So here every session leaves by IPv4, and the name that has \
                 IPv6 only cannot be reached; that is right for this machine.",
            );
        }
        self.table(&mut out, colour);
        paragraph(
            &mut out,
            "forward and connect: the client uses the gate as its proxy, for http and for https. http and tls: the \
             client, without a proxy, connects to the address that DNS told it. EDE is the reason inside a DNS answer \
             (RFC 8914), which dig shows too: 4 is Forged Answer, 17 is Filtered.",
        );
        for row in &self.rows {
            for failure in &row.failures {
                line(
                    &mut out,
                    &format!("{} {}: {failure}", mark(false, colour), row.name),
                );
            }
        }
        if self.ok {
            line(&mut out, "Everything held.");
        }
        out
    }

    fn steering(&self) -> &'static str {
        match self.gate.steer_mode {
            Mode::Off => {
                "Steering is `off`: only clients that use the gate as their proxy go through it."
            }
            Mode::Address => {
                "Steering is `address`: every name is answered with the gate's own address, so that clients come to \
                 it without any proxy setting."
            }
            Mode::Ipv6Only => {
                "Steering is `ipv6-only`: a name without IPv4 is answered with the gate's own address, so that \
                 clients reach it without any proxy setting; all other names keep their IPv4 address."
            }
        }
    }

    fn table(&self, out: &mut String, colour: bool) {
        let bodies: Vec<[Vec<String>; 5]> = self.rows.iter().map(cells).collect();
        let mut widths = HEADS.map(|head| head.chars().count());
        for body in &bodies {
            for (width, cell) in widths.iter_mut().zip(body) {
                let longest = cell.iter().map(|text| text.chars().count()).max();
                *width = (*width).max(longest.unwrap_or_default());
            }
        }
        table_line(out, HEADS.iter().copied(), &widths);
        for (body, row) in bodies.iter().zip(&self.rows) {
            let height = body.iter().map(Vec::len).max().unwrap_or_default();
            for index in 0..height {
                let texts = body
                    .iter()
                    .map(|cell| cell.get(index).map_or("", String::as_str));
                let mut text = String::new();
                table_line(&mut text, texts, &widths);
                if index == 0 {
                    text = text.replacen(plain_mark(row.ok()), &mark(row.ok(), colour), 1);
                }
                out.push_str(&text);
            }
        }
        out.push('\n');
    }

    /// Commands that show the same with `dig` and `curl`; those over TLS need the file of the demo's authority.
    pub(super) fn commands(&self, ca: Option<&Path>) -> Vec<String> {
        let (gate, internet) = (&self.gate, &self.internet);
        let dig = format!("dig @{} -p {}", gate.dns.ip(), gate.dns.port());
        let dual = Place::Dual.host();
        // Without IPv6 on this machine the name that has nothing else would only show an error.
        let best = if internet.has_ipv6 {
            Place::Six.host()
        } else {
            dual
        };
        let (http, tls) = (internet.http_port, internet.tls_port);
        let mut lines = vec![
            format!("{dig} {dual} A"),
            format!("{dig} {dual} AAAA"),
            format!("{dig} {} A", Place::Six.host()),
            format!("curl --proxy http://{} http://{best}:{http}/", gate.http),
        ];
        if let Some(plain) = gate.plain {
            lines.push(format!(
                "curl --noproxy '*' --connect-to {best}:{http}:{plain} http://{best}:{http}/"
            ));
        }
        let Some(ca) = ca.map(|path| quoted(&path.display().to_string())) else {
            return lines;
        };
        lines.push(format!(
            "curl --cacert {ca} --proxy http://{} https://{best}:{tls}/",
            gate.http
        ));
        if let Some(listener) = gate.tls {
            lines.push(format!(
                "curl --cacert {ca} --noproxy '*' --connect-to {best}:443:{listener} https://{best}/"
            ));
        }
        lines
    }
}

/// The texts of a row, one list of lines a column.
fn cells(row: &Row) -> [Vec<String>; 5] {
    let (world, told) = (&row.world, &row.told);
    let none = "no such name".to_owned();
    let dead = if row.place == Place::Dead6 {
        ", dead"
    } else {
        ""
    };
    let says = if world.exists {
        let mut lines = vec![
            format!("A     {}", list(&world.a)),
            format!("AAAA  {}{dead}", list(&world.aaaa)),
        ];
        lines.extend(world.ipv6_hint.then(|| "HTTPS ipv6hint".to_owned()));
        lines
    } else {
        vec![none.clone()]
    };
    let hears = if told.exists {
        let a = if told.steered {
            "the gate".to_owned()
        } else {
            list(&told.a)
        };
        let aaaa = if told.withheld && told.aaaa.is_empty() {
            "withheld".to_owned()
        } else {
            list(&told.aaaa)
        };
        let mut lines = vec![
            format!("A     {a}{}", errors(&told.a_errors)),
            format!("AAAA  {aaaa}{}", errors(&told.aaaa_errors)),
        ];
        lines.extend(world.ipv6_hint.then(|| {
            let left = if told.ipv6_hint {
                "ipv6hint"
            } else {
                "no ipv6hint"
            };
            format!("HTTPS {left}")
        }));
        lines
    } else {
        vec![none]
    };
    [
        vec![plain_mark(row.ok()).to_owned()],
        vec![short(row.name).to_owned()],
        says,
        hears,
        ways(row),
    ]
}

/// A name without the domain that all of them share.
fn short(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// The sessions by the family that they left by, two to a line.
fn ways(row: &Row) -> Vec<String> {
    let mut lines = Vec::new();
    for (family, head) in [
        (Some("ipv6"), "IPv6"),
        (Some("ipv4"), "IPv4"),
        (None, "none"),
    ] {
        let inbounds: Vec<&str> = row
            .sessions
            .iter()
            .filter(|session| session.family.as_deref() == family)
            .map(|session| session.inbound)
            .collect();
        let pairs = inbounds.chunks(2);
        lines.extend(pairs.map(|pair| format!("{head}: {}", pair.join(", "))));
    }
    lines
}

fn list<T: ToString>(addresses: &[T]) -> String {
    if addresses.is_empty() {
        return "none".to_owned();
    }
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(" ")
}

fn errors(codes: &[u16]) -> String {
    codes.iter().map(|code| format!(" (EDE {code})")).collect()
}

fn table_line<'a>(out: &mut String, texts: impl Iterator<Item = &'a str>, widths: &[usize]) {
    let mut text = String::new();
    for (cell, width) in texts.zip(widths) {
        // Writing into a String cannot fail.
        write!(text, "{cell:width$}  ").ok();
    }
    line(out, text.trim_end());
}

fn plain_mark(ok: bool) -> &'static str {
    if ok { "ok" } else { "✗" }
}

fn mark(ok: bool, colour: bool) -> String {
    let (plain, number) = (plain_mark(ok), if ok { 32 } else { 31 });
    if colour {
        format!("\u{1b}[{number}m{plain}\u{1b}[0m")
    } else {
        plain.to_owned()
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// A text broken at spaces, and an empty line.
fn paragraph(out: &mut String, text: &str) {
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push_str("\n\n");
}

/// A word for a shell.
fn quoted(text: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(harmless) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::{Session, Told, World};
    use super::*;

    const GATE: Gate = Gate {
        dns: at(5300),
        http: at(3128),
        tls: Some(at(8443)),
        plain: Some(at(8080)),
        address: Ipv4Addr::LOCALHOST,
        mode: Mode::Ipv6Only,
    };

    const fn at(port: u16) -> SocketAddr {
        SocketAddr::V4(std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
    }

    fn session(inbound: &'static str, family: Option<&'static str>) -> Session {
        Session {
            inbound,
            family: family.map(str::to_owned),
            status: None,
            error: None,
            expected: family,
        }
    }

    fn rows() -> Vec<Row> {
        let v4: Ipv4Addr = "127.0.0.2".parse().unwrap();
        let v6 = std::net::Ipv6Addr::LOCALHOST;
        let withheld = Told {
            exists: true,
            withheld: true,
            aaaa_errors: vec![17],
            ..Told::default()
        };
        let row = |place: Place, world, told, sessions| Row {
            place,
            name: place.host(),
            world,
            told,
            sessions,
            failures: Vec::new(),
        };
        vec![
            row(
                Place::Dual,
                World {
                    exists: true,
                    a: vec![v4],
                    aaaa: vec![v6],
                    ipv6_hint: true,
                },
                Told {
                    a: vec![v4],
                    ..withheld.clone()
                },
                vec![
                    session("forward", Some("ipv6")),
                    session("connect", Some("ipv6")),
                ],
            ),
            row(
                Place::Six,
                World {
                    exists: true,
                    aaaa: vec![v6],
                    ..World::default()
                },
                Told {
                    a: vec![GATE.address],
                    steered: true,
                    a_errors: vec![4],
                    ..withheld
                },
                ["forward", "connect", "http", "tls"]
                    .map(|inbound| session(inbound, Some("ipv6")))
                    .to_vec(),
            ),
            row(
                Place::Gone,
                World::default(),
                Told::default(),
                vec![session("forward", None), session("connect", None)],
            ),
        ]
    }

    fn report(rows: Vec<Row>, has_ipv6: bool) -> Report {
        let internet = InternetPlaces {
            has_ipv6,
            ipv4: Ipv4Addr::new(127, 0, 0, 2),
            dns: at(5353),
            http_port: 80,
            tls_port: 443,
            dead_http_port: 81,
            dead_tls_port: 444,
        };
        Report::of(&GATE, internet, rows)
    }

    #[test]
    fn the_table_is_aligned_and_says_what_happened() {
        let text = report(rows(), true).text(false);
        let wanted = [
            "    name  the world says   a client is told         sessions leave by",
            "ok  dual  A     127.0.0.2  A     127.0.0.2          IPv6: forward, connect",
            "          AAAA  ::1        AAAA  withheld (EDE 17)",
            "          HTTPS ipv6hint   HTTPS no ipv6hint",
            "ok  six   A     none       A     the gate (EDE 4)   IPv6: forward, connect",
            "          AAAA  ::1        AAAA  withheld (EDE 17)  IPv6: http, tls",
            "ok  gone  no such name     no such name             none: forward, connect",
            "",
        ]
        .join("\n");
        assert!(text.contains(&wanted), "{text}");
        assert!(text.ends_with("\n\nEverything held.\n"), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_a_terminal_and_colour_is_only_on_wish() {
        let mut broken = rows();
        let mut dead = broken[1].clone();
        (dead.place, dead.name) = (Place::Dead6, Place::Dead6.host());
        dead.world.a = vec!["127.0.0.2".parse().unwrap()];
        broken.push(dead);
        broken[0].failures.push("A must be the real one".to_owned());
        for has_ipv6 in [true, false] {
            let report = report(broken.clone(), has_ipv6);
            assert!(!report.ok());
            let text = report.text(false);
            assert!(
                text.lines().all(|line| line.chars().count() <= WIDTH),
                "{text}"
            );
            assert!(
                !text.contains('\u{1b}')
                    && report.text(true).contains("\u{1b}[31m✗\u{1b}[0m   dual")
            );
            assert!(text.contains("✗ dual.demo.example: A must be the real one"));
            assert_eq!(text.contains("no IPv6, not even ::1"), !has_ipv6);
        }
    }

    #[test]
    fn json_holds_the_same() {
        let value: serde_json::Value = serde_json::from_str(&report(rows(), true).json()).unwrap();
        assert_eq!(value["ok"], true);
        assert_eq!(value["gate"]["steer_mode"], "ipv6-only");
        assert_eq!(value["rows"][1]["name"], "six.demo.example");
        assert_eq!(value["rows"][1]["told"]["steered"], true);
        assert_eq!(value["rows"][1]["sessions"][3]["family"], "ipv6");
    }

    #[test]
    fn a_report_without_rows_is_no_success() {
        assert!(!report(Vec::new(), true).ok());
    }

    #[test]
    fn the_commands_name_the_ports_and_the_file() {
        let lines = report(rows(), true).commands(Some(Path::new("/tmp/a b.pem")));
        assert_eq!(lines[1], "dig @127.0.0.1 -p 5300 dual.demo.example AAAA");
        assert_eq!(
            lines.last().unwrap(),
            "curl --cacert '/tmp/a b.pem' --noproxy '*' --connect-to six.demo.example:443:127.0.0.1:8443 https://six.demo.example/"
        );
        assert!(
            report(rows(), true)
                .commands(None)
                .iter()
                .all(|line| !line.contains("https"))
        );
        assert!(report(rows(), false).commands(None)[3].contains("http://dual.demo.example:80/"));
    }
}
