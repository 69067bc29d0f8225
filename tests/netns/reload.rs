//! Signals: a new configuration, a bad one, and the end; and what is left of root once it runs.

use crate::gate::{Gate, config};
use crate::home::GATE;
use crate::internet::{DUAL, SIX};
use crate::requirements::home;

#[test]
fn a_hangup_brings_the_new_mode_and_a_bad_file_leaves_the_old() {
    let Some(home) = home() else { return };
    let mut gate = Gate::start(&home, &config("ipv6-only"));
    let dual = || home.dig(&format!("{DUAL} A")).data();
    assert_eq!(dual(), ["A 203.0.113.10"]);

    gate.reload(&config("address"), "reloaded");
    assert_eq!(dual(), [format!("A {GATE}")]);
    let fetched = home
        .fetch(&format!("https://{DUAL}/reloaded"), &[])
        .unwrap();
    assert_eq!(fetched.peer, GATE);
    assert_eq!(
        home.internet.source_of(DUAL, "/reloaded"),
        home.gate_ipv6.to_string()
    );

    gate.reload("[steer]\nmode = \"sideways\"\n", "reload failed");
    assert!(gate.said().contains("sideways"), "it says why");
    assert_eq!(dual(), [format!("A {GATE}")]);

    gate.reload(&config("ipv6-only"), "reloaded");
    assert_eq!(dual(), ["A 203.0.113.10"]);
    assert_eq!(home.dig(&format!("{SIX} A")).data(), [format!("A {GATE}")]);
    assert!(gate.stop().success());
}

#[test]
fn it_binds_its_ports_as_root_and_runs_as_nobody() {
    let Some(home) = home() else { return };
    let gate = Gate::start(&home, &config("ipv6-only"));
    let status = std::fs::read_to_string(format!("/proc/{}/status", gate.pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for identity in ["Uid:", "Gid:", "Groups:"] {
        assert!(
            !field(identity).contains(&"0".to_owned()),
            "{identity} {:?}",
            field(identity)
        );
    }
    assert_eq!(field("NoNewPrivs:"), ["1"]);
    for capabilities in ["CapPrm:", "CapEff:"] {
        assert_eq!(field(capabilities), ["0000000000000000"], "{capabilities}");
    }
    assert!(gate.stop().success());
}
