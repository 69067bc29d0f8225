//! What programs on the client get from their C library, glibc or musl, without a word of DNS.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::gate::{Gate, config};
use crate::home::{GATE, Home};
use crate::internet::{DEAD, DUAL, FOUR, SIX};
use crate::namespace::must;
use crate::requirements::home;

/// Longer than any answer takes, shorter than any resolver waits before it asks again.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Asks as nearly every program does, and prints one address a line.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <netdb.h>
#include <arpa/inet.h>
int main(int count, char **words) {
    struct addrinfo wish = { .ai_socktype = SOCK_STREAM }, *list, *one;
    char text[64];
    int error = count == 2 ? getaddrinfo(words[1], "443", &wish, &list) : EAI_NONAME;
    if (error) { puts(gai_strerror(error)); return 2; }
    for (one = list; one; one = one->ai_next)
        if (!getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof text, 0, 0, NI_NUMERICHOST)) puts(text);
    return 0;
}
"#;

/// The program, with musl in it.
fn program(home: &Home) -> PathBuf {
    let source = home.folder().join("resolve.c");
    fs::write(&source, PROGRAM).expect("a source");
    let program = home.folder().join("resolve");
    let mut compiler = Command::new("musl-gcc");
    must(
        compiler
            .args(["-static", "-O1", "-o"])
            .arg(&program)
            .arg(&source),
    );
    program
}

/// Whether the name was found, what was printed, and how long it took.
fn timed(home: &Home, program: &str, arguments: &[&str]) -> (bool, String, Duration) {
    let mut command = home.client.command(program);
    let start = crate::wait::now();
    let output = command
        .args(arguments)
        .output()
        .expect("a program that runs");
    let time = start.elapsed();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), text, time)
}

#[test]
fn programs_with_glibc_and_with_musl_find_every_name_at_once() {
    let Some(home) = home() else { return };
    fs::write(
        home.folder().join("hosts"),
        "192.168.77.9 printer printer.home.arpa\n",
    )
    .unwrap();
    fs::write(
        home.folder().join("lent"),
        "4102444800 02:00:00:00:00:01 192.168.77.120 laptop *\n",
    )
    .unwrap();
    let local = "[dns]\nhosts = [\"hosts\"]\nleases = [\"lent\"]\n";
    let _gate = Gate::start(&home, &(config("ipv6-only") + local));
    let musl = program(&home);
    let musl = musl.to_str().expect("UTF-8");
    for (name, address) in [
        (DUAL, "203.0.113.10"),
        ("www.origin.net", "203.0.113.10"),
        (FOUR, "203.0.113.30"),
        (DEAD, "203.0.113.40"),
        (SIX, GATE),
        ("printer.home.arpa", "192.168.77.9"),
        ("printer", "192.168.77.9"),
        ("laptop.home.arpa", "192.168.77.120"),
        ("laptop", "192.168.77.120"),
    ] {
        let (found, text, time) = timed(&home, musl, &[name]);
        assert!(
            found && time < AT_ONCE,
            "musl: {name}: {text} after {time:?}"
        );
        assert_eq!(text.trim(), address, "musl: {name}");
        let (found, text, time) = timed(&home, "getent", &["ahosts", name]);
        assert!(
            found && time < AT_ONCE,
            "glibc: {name}: {text} after {time:?}"
        );
        for line in text.lines() {
            assert_eq!(
                line.split_whitespace().next(),
                Some(address),
                "glibc: {name}: {text}"
            );
        }
    }
    for name in ["nowhere.origin.net", "nowhere", "nowhere.home.arpa"] {
        for (program, arguments) in [(musl, vec![name]), ("getent", vec!["ahosts", name])] {
            let (found, text, time) = timed(&home, program, &arguments);
            assert!(
                !found && time < AT_ONCE,
                "{program}: {name}: {text} after {time:?}"
            );
        }
    }
    let (found, text, _) = timed(&home, "getent", &["hosts", "192.168.77.120"]);
    assert!(found && text.contains("laptop.home.arpa"), "{text}");
}
