//! What it is all for: a large file comes faster through the gate than over the client's own IPv4.

use std::fs;
use std::io::{self, Write};
use std::time::Duration;

use crate::client::Fetched;
use crate::gate::{Gate, config};
use crate::home::Home;
use crate::internet::{DUAL, DUAL_IPV4, LARGE};
use crate::requirements::home;

/// How much faster at least; the links differ by far more.
const FACTOR: u32 = 2;

fn whole(home: &Home, fetched: Result<Fetched, String>) -> Duration {
    let fetched = fetched.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(fetched.status, 200);
    let sent = fs::read(home.folder().join("large")).expect("the file that was sent");
    assert_eq!(sent.len() as u64, LARGE.1);
    assert!(
        fs::read(&fetched.file).expect("the file that arrived") == sent,
        "the bytes that arrived differ"
    );
    fetched.time
}

#[test]
fn without_sekisho_ipv4_is_slow_and_the_gates_own_ipv6_is_not() {
    let Some(home) = home() else { return };
    let url = format!("https://{DUAL}{}", LARGE.0);
    let pin = |address: &str| format!("{DUAL}:443:{address}");
    let slow = home.fetch(&url, &["--resolve", &pin(DUAL_IPV4)]);
    let slow = whole(&home, slow);
    let fast = home.fetch_from_gate(&url, &["--resolve", &pin("[2001:db8:100::10]")]);
    let fast = whole(&home, fast);
    assert!(fast * FACTOR * 2 < slow, "IPv6 {fast:?}, IPv4 {slow:?}");
}

#[test]
fn thirty_megabytes_come_faster_through_the_gate_than_over_ipv4() {
    let Some(home) = home() else { return };
    let gate = Gate::start(&home, &config("ipv6-only"));
    let url = format!("https://{DUAL}{}", LARGE.0);
    // In this mode a dual-stack name is answered as it is: this is the client's own IPv4.
    let direct = whole(&home, home.fetch(&url, &[]));
    let proxied = whole(&home, home.fetch_by_proxy(&url, &[]));
    let plain = format!("http://{DUAL}{}", LARGE.0);
    let forwarded = whole(&home, home.fetch_by_proxy(&plain, &[]));
    drop(gate);
    let _gate = Gate::start(&home, &config("address"));
    let steered = whole(&home, home.fetch(&url, &[]));
    writeln!(
        io::stderr(),
        "30 MB: over IPv4 {direct:.2?}, through the gate {proxied:.2?} by CONNECT, {forwarded:.2?} by http, {steered:.2?} by DNS alone",
    )
    .unwrap();
    for time in [proxied, forwarded, steered] {
        assert!(
            time * FACTOR < direct,
            "{time:?} through the gate, {direct:?} over IPv4"
        );
    }
}
