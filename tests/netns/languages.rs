//! The HTTP clients of programming languages: Python, Node and Java, by proxy and by DNS alone.

use std::fs::{self, File};
use std::io;
use std::process::Command;

use crate::gate::{Gate, config};
use crate::home::{GATE, Home};
use crate::internet::{DUAL, SIX};
use crate::namespace::must;
use crate::own_origin::{packages, python, script};
use crate::requirements::{home_if, home_with, installed_packages};

const SIZE: u64 = 1_000_000;

fn proxy() -> String {
    format!("http://{GATE}:3128")
}

/// Where a client fetches from and puts to, at each origin by each scheme.
struct Errands {
    way: String,
    sent: Vec<u8>,
    list: Vec<(&'static str, &'static str)>,
}

impl Errands {
    fn new(home: &Home, way: &str) -> Self {
        let mut sent = Vec::new();
        let random = File::open("/dev/urandom").expect("random bytes");
        io::Read::read_to_end(&mut io::Read::take(random, SIZE), &mut sent).expect("random bytes");
        fs::write(home.internet.files().join(way), &sent).expect("a file");
        Self {
            way: way.to_owned(),
            sent,
            list: vec![
                ("http", DUAL),
                ("http", SIX),
                ("https", DUAL),
                ("https", SIX),
            ],
        }
    }

    /// Pairs of URLs.
    fn urls(&self) -> Vec<[String; 2]> {
        let way = &self.way;
        let pair = |(scheme, origin): &(&str, &str)| {
            [
                format!("{scheme}://{origin}/files/{way}?{scheme}"),
                format!("{scheme}://{origin}/taken/{way}-{scheme}-{origin}"),
            ]
        };
        self.list.iter().map(pair).collect()
    }

    /// What was put is what was fetched, and both came to the origin by IPv6.
    fn assert_done(&self, home: &Home) {
        let way = &self.way;
        for (scheme, origin) in &self.list {
            let name = format!("{way}-{scheme}-{origin}");
            let put = fs::read(home.internet.taken(&name)).expect("what was put");
            assert!(put == self.sent, "{name}: other bytes");
            for path in [format!("/files/{way}?{scheme} "), format!("/taken/{name} ")] {
                let source = home.internet.source_of(origin, &path);
                assert_eq!(source, home.gate_ipv6.to_string(), "{origin}{path}");
            }
        }
    }
}

#[test]
fn python_s_clients_fetch_and_put_by_environment_by_argument_and_by_dns_alone() {
    let Some(home) = home_with(&[("python3", "python3")]).filter(|_| installed_packages("python"))
    else {
        return;
    };
    let run = |way: &str, library: &str, argument: &str, environment: &str| {
        let errands = Errands::new(&home, &format!("{way}-{library}"));
        for [from, to] in errands.urls() {
            let mut command = python(&home.client, "fetch.py");
            command
                .args([library, &from, &to, argument])
                .arg(&home.internet.authority)
                .env("REQUESTS_CA_BUNDLE", &home.internet.authority);
            if !environment.is_empty() {
                command
                    .env("http_proxy", environment)
                    .env("https_proxy", environment);
            }
            must(&mut command);
        }
        errands.assert_done(&home);
    };
    let gate = Gate::start(&home, &config("off"));
    for library in ["requests", "aiohttp", "urllib"] {
        run("environment", library, "-", &proxy());
    }
    run("argument", "aiohttp", &proxy(), "");
    run("socks", "requests", &format!("socks5h://{GATE}:1080"), "");
    assert!(gate.stop().success());
    let gate = Gate::start(&home, &config("address"));
    for library in ["requests", "aiohttp"] {
        run("dns", library, "-", "");
    }
    assert!(gate.stop().success());
}

#[test]
fn node_s_fetch_goes_by_the_environment_and_by_dns_alone() {
    let Some(home) = home_if(&["node"]).filter(|_| installed_packages("node")) else {
        return;
    };
    let undici = packages("node").join("node_modules/undici");
    for (way, mode, library) in [
        ("node-proxy", "off", undici.as_path()),
        ("node-dns", "address", "-".as_ref()),
    ] {
        let gate = Gate::start(&home, &config(mode));
        let errands = Errands::new(&home, way);
        for [from, to] in errands.urls() {
            let mut node = home.client.command("node");
            node.arg(script("fetch.mjs"))
                .args([from, to])
                .arg(library)
                .env("NODE_EXTRA_CA_CERTS", &home.internet.authority);
            if mode == "off" {
                node.env("http_proxy", proxy()).env("https_proxy", proxy());
            }
            must(&mut node);
        }
        errands.assert_done(&home);
        assert!(gate.stop().success());
    }
}

#[test]
fn java_s_client_goes_by_its_proxy_selector_and_by_dns_alone() {
    let Some(home) = home_if(&["java", "javac"]) else {
        return;
    };
    for (way, mode, host) in [("java-proxy", "off", GATE), ("java-dns", "address", "-")] {
        let gate = Gate::start(&home, &config(mode));
        // It takes the connection that it has for another name of the same address.
        let errands = Errands::new(&home, way);
        let mut java: Command = home.client.command("java");
        java.arg(script("Fetch.java"))
            .arg(&home.internet.authority)
            .args([host, "3128"])
            .args(errands.urls().concat());
        must(&mut java);
        errands.assert_done(&home);
        assert!(gate.stop().success());
    }
}
