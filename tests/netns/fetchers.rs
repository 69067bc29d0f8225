//! curl, wget and h2load on the client: every way that they know to the gate, the bytes whole, the origin's side IPv6.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::gate::{Gate, config};
use crate::home::{GATE, Home};
use crate::internet::{DUAL, SIX};
use crate::namespace::must;
use crate::requirements::{home, home_with};

/// More than a buffer of anything on the way.
const SIZE: u64 = 3_000_000;

/// A new file of random bytes that the origins show as `/files/NAME`.
fn random_file(home: &Home, name: &str, size: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let random = fs::File::open("/dev/urandom").expect("random bytes");
    io::Read::read_to_end(&mut io::Read::take(random, size), &mut bytes).expect("random bytes");
    fs::write(home.internet.files().join(name), &bytes).expect("a file");
    bytes
}

/// All requests for the path came from the gate's own IPv6 address, and there were some.
fn assert_by_ipv6(home: &Home, origin: &str, path: &str) {
    let source = home.internet.source_of(origin, path);
    assert_eq!(source, home.gate_ipv6.to_string(), "{origin}{path}");
    for (source, request) in home.internet.requests(origin, path) {
        assert_eq!(source, home.gate_ipv6.to_string(), "{origin}: {request}");
    }
}

/// curl fetches a file from both origins by both schemes, and uploads another.
fn assert_curl(home: &Home, way: &str, options: &[&str], origins: &[&str]) {
    let sent = random_file(home, way, SIZE);
    let file = home.internet.files().join(way);
    for origin in origins {
        for scheme in ["http", "https"] {
            let path = format!("/files/{way}?{scheme}");
            let url = format!("{scheme}://{origin}{path}");
            let fetched = home
                .fetch(&url, options)
                .unwrap_or_else(|error| panic!("{way}: {error}"));
            assert_eq!(fetched.status, 200, "{way}: {url}");
            assert_eq!(fetched.peer, GATE, "{way}: where curl itself went");
            let same = fs::read(&fetched.file).expect("what arrived") == sent;
            assert!(same, "{way}: {url}: other bytes");
            assert_by_ipv6(home, origin, &path);

            let name = format!("{way}-{scheme}-{origin}");
            let url = format!("{scheme}://{origin}/taken/{name}");
            let upload = file.display().to_string();
            let options = [options, &["--upload-file", &upload]].concat();
            let put = home
                .fetch(&url, &options)
                .unwrap_or_else(|error| panic!("{way}: {error}"));
            assert_eq!(put.status, 201, "{way}: {url}");
            let same = fs::read(home.internet.taken(&name)).expect("what was put") == sent;
            assert!(same, "{way}: {url}: other bytes");
            assert_by_ipv6(home, origin, &format!("/taken/{name}"));
        }
    }
}

#[test]
fn curl_fetches_and_uploads_by_every_proxy_protocol_that_it_speaks() {
    let Some(home) = home() else { return };
    // Nothing is steered in this mode: whatever arrives came by a proxy.
    let gate = Gate::start(&home, &config("off"));
    let http = format!("http://{GATE}:3128");
    let socks = format!("{GATE}:1080");
    let both = [DUAL, SIX];
    assert_curl(&home, "http-proxy", &["--proxy", &http], &both);
    let tunnel = ["--proxy", &http, "--proxytunnel"];
    assert_curl(&home, "connect", &tunnel, &both);
    let old = ["--proxy1.0", &http, "--proxytunnel"];
    assert_curl(&home, "connect-http-1.0", &old, &both);
    assert_curl(
        &home,
        "socks5-hostname",
        &["--socks5-hostname", &socks],
        &both,
    );
    assert_curl(&home, "socks4a", &["--socks4a", &socks], &both);
    assert!(gate.stop().success());
}

#[test]
fn curl_fetches_and_uploads_by_dns_alone() {
    let Some(home) = home() else { return };
    let gate = Gate::start(&home, &config("address"));
    for version in ["--http1.0", "--http1.1", "--http2"] {
        assert_curl(&home, &version[2..], &[version], &[DUAL, SIX]);
    }
    assert!(gate.stop().success());
}

#[test]
fn curl_asks_in_cleartext_http_2_for_what_an_http_1_origin_has() {
    let Some(home) = home() else { return };
    let gate = Gate::start(&home, &config("off"));
    let sent = random_file(&home, "h2", SIZE);
    for origin in [DUAL, SIX] {
        // curl has `--proxy-http2` for proxies with TLS only; a proxy without is asked as if it were the origin.
        let redirect = format!("{origin}:80:{GATE}:3128");
        let options = ["--http2-prior-knowledge", "--connect-to", &redirect];
        let path = format!("/files/h2?{origin}");
        let fetched = home
            .fetch(&format!("http://{origin}{path}"), &options)
            .unwrap();
        assert_eq!((fetched.status, fetched.peer.as_str()), (200, GATE));
        assert!(fs::read(&fetched.file).expect("what arrived") == sent);
        assert_by_ipv6(&home, origin, &path);
    }
    assert!(gate.stop().success());
}

#[test]
fn h2load_has_a_hundred_streams_open_at_once_and_loses_none() {
    let Some(home) = home_with(&[("h2load", "nghttp2-client")]) else {
        return;
    };
    let gate = Gate::start(&home, &config("off"));
    let size = 200_000;
    random_file(&home, "streams", size);
    for origin in [DUAL, SIX] {
        let path = format!("/files/streams?{origin}");
        let mut command = home.client.command("h2load");
        command
            .args([
                "--requests=300",
                "--clients=2",
                "--max-concurrent-streams=100",
            ])
            .args(["--no-tls-proto=h2c", &format!("--connect-to={GATE}:3128")])
            .arg(format!("http://{origin}{path}"));
        let said = must(&mut command);
        let good =
            "300 total, 300 started, 300 done, 300 succeeded, 0 failed, 0 errored, 0 timeout";
        assert!(said.contains(good), "{said}");
        let carried = format!("({}) data", 300 * size);
        assert!(said.contains(&carried), "not {carried}: {said}");
        assert_by_ipv6(&home, origin, &path);
        assert_eq!(home.internet.requests(origin, &path).len(), 300);
    }
    assert!(gate.stop().success());
}

#[test]
fn wget_fetches_by_its_environment_and_by_dns_alone() {
    let Some(home) = home_with(&[("wget", "wget")]) else {
        return;
    };
    let sent = random_file(&home, "wget", SIZE);
    for (way, mode) in [("environment", "off"), ("dns", "address")] {
        let gate = Gate::start(&home, &config(mode));
        for origin in [DUAL, SIX] {
            for scheme in ["http", "https"] {
                let path = format!("/files/wget?{way}-{scheme}");
                let file: PathBuf = home.folder().join(format!("{way}-{scheme}-{origin}"));
                let mut command = home.client.command("wget");
                if way == "environment" {
                    let proxy = format!("http://{GATE}:3128/");
                    command.env("http_proxy", &proxy).env("https_proxy", &proxy);
                }
                command
                    .args([
                        "--no-config",
                        "--no-hsts",
                        "--no-verbose",
                        "--tries=1",
                        "--timeout=60",
                    ])
                    .arg(format!(
                        "--ca-certificate={}",
                        home.internet.authority.display()
                    ))
                    .arg("--output-document")
                    .arg(&file)
                    .arg(format!("{scheme}://{origin}{path}"));
                must(&mut command);
                assert!(
                    fs::read(&file).expect("a file") == sent,
                    "{way} {scheme} {origin}"
                );
                assert_by_ipv6(&home, origin, &path);
            }
        }
        assert!(gate.stop().success());
    }
}
