//! What the home is made with, and what happens where it is missing.

use std::env;
use std::io::{self, Write};
use std::process::{Command, Stdio};

use crate::home::Home;
use crate::own_origin::packages;

/// A program, and the Debian package that brings it.
const TOOLS: &[(&str, &str)] = &[
    ("chromium", "chromium"),
    ("curl", "curl"),
    ("dig", "bind9-dnsutils"),
    ("dnsmasq", "dnsmasq-base"),
    ("drill", "ldnsutils"),
    ("ip", "iproute2"),
    ("kdig", "knot-dnsutils"),
    ("ldns-signzone", "ldnsutils"),
    ("musl-gcc", "musl-tools"),
    ("nft", "nftables"),
    ("nginx", "nginx-light"),
    ("nsd", "nsd"),
    ("openssl", "openssl"),
    ("ping", "iputils-ping"),
    ("radvd", "radvd"),
    ("ss", "iproute2"),
    ("tc", "iproute2"),
    ("udhcpc", "udhcpc"),
    ("unbound", "unbound"),
];

/// A new home, or `None`, said on stderr, where this machine cannot have one.
///
/// # Panics
///
/// When `SEKISHO_NETNS=require` and something is missing, or when the home does not come up.
pub(crate) fn home() -> Option<Home> {
    let wish = env::var("SEKISHO_NETNS").unwrap_or_default();
    let missing = match wish.as_str() {
        "skip" => vec!["SEKISHO_NETNS other than `skip`".to_owned()],
        _ => missing(),
    };
    if missing.is_empty() {
        return Some(Home::build());
    }
    let missing = missing.join(", ");
    assert!(!required(), "the namespace tests need {missing}");
    skip(&missing);
    None
}

/// As [`home`], for a test that needs more: each command with the package that brings it.
///
/// # Panics
///
/// As [`home`], also where `SEKISHO_NETNS=require` and one of these is missing.
pub(crate) fn home_with(tools: &[(&str, &str)]) -> Option<Home> {
    let missing: Vec<_> = tools
        .iter()
        .filter(|(tool, _)| !installed(tool))
        .map(|(tool, package)| format!("{tool} (package {package})"))
        .collect();
    if missing.is_empty() {
        return home();
    }
    let missing = missing.join(", ");
    assert!(!required(), "the namespace tests need {missing}");
    skip(&missing);
    None
}

/// As [`home`], for clients too heavy to install for one test: where one is missing, the test is skipped everywhere.
pub(crate) fn home_if(tools: &[&str]) -> Option<Home> {
    if let Some(missing) = tools.iter().find(|tool| !installed(tool)) {
        skip(missing);
        return None;
    }
    home()
}

/// Whether `.ci/run` has installed the packages that scripts of a language need; said on stderr where it has not.
///
/// # Panics
///
/// When `SEKISHO_PYTHON=require` and Python's are missing. Node is not installed for one test.
pub(crate) fn installed_packages(language: &str) -> bool {
    let there = packages(language).is_dir();
    if !there {
        let missing = format!("the {language} packages that `.ci/run` installs");
        let required = env::var("SEKISHO_PYTHON").is_ok_and(|wish| wish == "require");
        assert!(
            language != "python" || !required,
            "the namespace tests need {missing}"
        );
        skip(&missing);
    }
    there
}

fn required() -> bool {
    env::var("SEKISHO_NETNS").is_ok_and(|wish| wish == "require")
}

fn skip(missing: &str) {
    let test = std::thread::current().name().unwrap_or("netns").to_owned();
    tell(&format!("skipped: {test} needs {missing}"));
}

/// Not `eprintln!`: the test harness swallows what that says in a test that passes.
pub(crate) fn tell(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}

fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        missing.push("root".to_owned());
    }
    for (tool, package) in TOOLS {
        if !installed(tool) {
            missing.push(format!("{tool} (package {package})"));
        }
    }
    if missing.is_empty() && !namespaces_allowed() {
        missing.push("the right to make network namespaces".to_owned());
    }
    missing
}

fn installed(tool: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(tool).is_file()))
}

/// Root in a container often has no right to make namespaces.
fn namespaces_allowed() -> bool {
    Command::new("unshare")
        .args(["--net", "--mount", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
