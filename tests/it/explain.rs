//! `sekisho explain`: what the running gate tells a client of a name, and why.

use std::process::Output;

use hickory_proto::rr::RecordType;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Gate, Reply, Setup, Upstream, run, soa};

fn upstream() -> Upstream {
    let upstream = Upstream::start();
    upstream
        .addresses("www.example", &["192.0.2.1", "2001:db8::1"])
        .addresses("six.example", &["2001:db8::6"])
        .addresses("evil.example", &["192.168.1.1"])
        .addresses("pool.ntp.org", &["192.0.2.7", "2001:db8::7"])
        .say("example", RecordType::SOA, Reply::of([soa("example", 900)]));
    upstream
}

/// A folder with a configuration that knows where the gate's admin listener was bound.
fn folder(gate: &Gate, setup: &Setup) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let admin = format!("[\"{}\"]", gate.addr("admin"));
    let text = setup.clone().set("web.admin", &admin).text();
    std::fs::write(folder.path().join("sekisho.toml"), text).expect("written");
    folder
}

fn explain(folder: &TempDir, arguments: &[&str]) -> Output {
    let config = ["--config", "sekisho.toml"];
    run(folder.path(), &[&["explain"], arguments, &config].concat())
}

fn stdout(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}{errors}");
    text
}

fn json(folder: &TempDir, arguments: &[&str]) -> Value {
    let output = explain(folder, &[arguments, &["--json"]].concat());
    serde_json::from_str(&stdout(&output)).expect("JSON")
}

#[test]
fn truth_rule_answer_and_session_of_a_name_are_told() {
    let upstream = upstream();
    let zone = "$TTL 1h\n@ SOA gate hostmaster 1 1h 15m 1w 1m\n@ NS gate\ngate A 127.0.0.1\n";
    let setup = Setup::new(&upstream)
        .zone("home.arpa.zone", zone)
        .rule("domains = [\"tv.example\"]\nsteer = \"never\"")
        .rule("domains = [\"www.example\"]\nclients = [\"127.0.0.9\"]\naaaa = \"pass\"\nsteer = \"always\"");
    let setup = setup.rule("domains = [\"six.example\"]\nfamilies = \"ipv4-first\"");
    let gate = Gate::start(&setup);
    let folder = folder(&gate, &setup);

    let ruled = json(&folder, &["six.example"]);
    assert_eq!(ruled["session"]["families"], "ipv4-first, as rule 3 says");
    let told = json(&folder, &["WWW.example"]);
    assert_eq!(
        told["session"]["families"],
        "ipv6-first, as egress.prefer says"
    );
    assert_eq!(told["name"], "www.example");
    assert_eq!(told["client"], "127.0.0.2", "{told}");
    assert_eq!(told["steering"]["by"], "steer.mode");
    assert_eq!(told["aaaa"]["verdict"], "withhold");
    assert_eq!(told["truth"][1]["records"][0]["data"], "2001:db8::1");
    assert_eq!(told["truth"][1]["records"][0]["ttl"], 300);
    assert_eq!(told["truth"][1]["cached"], false);
    let again = json(&folder, &["www.example"]);
    assert_eq!(again["truth"][1]["cached"], true);
    assert_eq!(told["answers"][0]["done"], "passed");
    assert_eq!(told["answers"][1]["done"], "withheld");
    assert_eq!(told["answers"][1]["extended-errors"][0]["code"], 17);
    assert_eq!(told["answers"][2]["type"], "HTTPS");
    assert_eq!(told["session"]["target"], "www.example:443");
    let tried: Vec<&str> = told["session"]["attempts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|attempt| attempt["address"].as_str().expect("text"))
        .collect();
    assert_eq!(tried, ["2001:db8::1", "192.0.2.1"]);

    let told = json(&folder, &["www.example", "aaaa", "--client", "127.0.0.9"]);
    assert_eq!(told["answers"].as_array().map(Vec::len), Some(1));
    assert_eq!(told["answers"][0]["records"][0]["data"], "2001:db8::1");
    let why = told["aaaa"]["why"].as_str().expect("text");
    assert!(
        why.starts_with("rule 2: domains = [\"www.example\"], clients = [\"127.0.0.9/32\"]"),
        "{why}"
    );

    let told = json(&folder, &["six.example", "A"]);
    assert_eq!(told["answers"][0]["done"], "steered");
    assert_eq!(told["answers"][0]["records"][0]["data"], "127.0.0.1");

    let told = json(&folder, &["evil.example", "A"]);
    assert_eq!(told["answers"][0]["done"], "rebind");
    let refused = &told["session"]["refused"][0];
    assert_eq!(refused["address"], "192.168.1.1");
    assert_eq!(refused["why"], "a special-purpose address (private)");

    let told = json(&folder, &["gate.home.arpa", "A"]);
    assert_eq!(told["known-by"], "local data: the zone home.arpa");
    assert_eq!(told["answers"][0]["done"], "local");
    assert_eq!(told["session"]["addresses-from"], "local data");
    assert_eq!(told["truth"], serde_json::json!([]));

    let text = stdout(&explain(&folder, &["pool.ntp.org"]));
    assert!(text.contains("https://www.ntppool.org/"), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "no colour in a pipe: {text}");
}

#[test]
fn a_reload_is_seen_at_once() {
    let upstream = upstream();
    let setup = Setup::new(&upstream);
    let gate = Gate::start(&setup);
    let folder = folder(&gate, &setup);
    assert_eq!(
        json(&folder, &["www.example", "A"])["answers"][0]["done"],
        "passed"
    );
    gate.reload(
        &setup
            .mode("address")
            .set("egress.deny", "[\"192.0.2.0/24\"]"),
        "reloaded",
    );
    let told = json(&folder, &["www.example", "A"]);
    assert_eq!(told["answers"][0]["done"], "steered");
    assert_eq!(
        told["session"]["refused"][0]["why"],
        "closed by egress.deny"
    );
}

#[test]
fn what_cannot_be_explained_says_why() {
    let upstream = upstream();
    let setup = Setup::new(&upstream);
    let mut gate = Gate::start(&setup);
    let folder = folder(&gate, &setup);
    for arguments in [&["a..b"][..], &["192.0.2.1"], &["www.example", "XYZZY"]] {
        let output = explain(&folder, arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("write "), "{told}");
    }
    let admin = gate.addr("admin");
    gate.kill();
    let output = explain(&folder, &["www.example"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains(&format!("no gate answers at {admin} (web.admin)")),
        "{told}"
    );
    assert!(told.contains("hint: start it with `sekisho run`"), "{told}");
}
