//! A GiB down and a GiB up in each way, neither of which the gate may hold in memory.

use std::fs;
use std::process::Command;

use crate::gate::{Gate, config};
use crate::home::{GATE, Home};
use crate::internet::{OWN_DUAL, OWN_DUAL_IPV6, OWN_SIX, OWN_SIX_IPV6};
use crate::namespace::must;
use crate::own_origin::{http_origin, script};
use crate::requirements::{home_with, tell};
use crate::wait::now;

/// In MiB.
const SIZE: u32 = 1_024;

/// What the gate may have had in memory at most, in KiB: a fraction of one transfer.
const MEMORY: u64 = 100_000;

/// What the client printed.
fn shell(home: &Home, line: &str) -> String {
    let mut command = home.client.command("sh");
    command
        .args(["-euc", line])
        .env("STREAM", script("origin.py"));
    must(&mut command).trim().to_owned()
}

/// The most memory that the gate has had, in KiB.
fn peak(gate: &Gate) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gate.pid())).expect("a status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let size = line.and_then(|line| line.split_whitespace().nth(1));
    size.and_then(|size| size.parse().ok()).expect("a size")
}

#[test]
fn a_gib_arrives_whole_each_way_and_is_never_held_in_memory() {
    let Some(home) = home_with(&[("python3", "python3")]) else {
        return;
    };
    let mut sum = Command::new("python3");
    let sum = must(
        sum.arg(script("origin.py"))
            .args(["sum", &SIZE.to_string()]),
    );
    let sum = sum.trim();
    let mut dual = http_origin(&home, OWN_DUAL, OWN_DUAL_IPV6);
    let mut six = http_origin(&home, OWN_SIX, OWN_SIX_IPV6);
    let ca = format!("--cacert {}", home.internet.authority.display());
    for (way, mode, options, site) in [
        (
            "forward",
            "off",
            format!("--proxy http://{GATE}:3128"),
            format!("http://{OWN_SIX}"),
        ),
        (
            "socks5",
            "off",
            format!("--socks5-hostname {GATE}:1080"),
            format!("http://{OWN_DUAL}"),
        ),
        ("tls", "address", ca, format!("https://{OWN_SIX}")),
    ] {
        let gate = Gate::start(&home, &config(mode));
        let curl = format!("curl -q -sS --fail --max-time 300 {options}");
        let begun = now();
        let down = shell(
            &home,
            &format!("{curl} {site}/stream/{SIZE}?{way} | sha256sum"),
        );
        let downloaded = begun.elapsed();
        assert_eq!(down.split(' ').next(), Some(sum), "{way}: what came down");
        let begun = now();
        let up = shell(
            &home,
            &format!("python3 $STREAM stream {SIZE} | {curl} --upload-file - {site}/sum?{way}"),
        );
        let uploaded = begun.elapsed();
        assert_eq!(up, sum, "{way}: what went up");
        let memory = peak(&gate);
        tell(&format!(
            "1 GiB by {way}: down in {downloaded:.1?}, up in {uploaded:.1?}, {memory} KiB of memory at most"
        ));
        assert!(memory < MEMORY, "{way}: {memory} KiB");
        assert!(gate.stop().success());
    }
    for server in [&mut dual, &mut six] {
        server.assert_by_ipv6(&home, "GET /stream/");
        server.assert_by_ipv6(&home, "PUT /sum");
    }
}
