//! `check` and the exit codes: every problem at once, each with its line, its key and what to write.

use std::fs;

use tempfile::TempDir;

use crate::support::{Setup, Upstream, run};

#[test]
fn a_good_file_is_good() {
    let upstream = Upstream::start();
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("zones")).unwrap();
    fs::write(folder.path().join("x.toml"), Setup::new(&upstream).text()).unwrap();
    let output = run(folder.path(), &["check", "--config", "x.toml"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn every_problem_is_told_at_once() {
    let folder = TempDir::new().unwrap();
    let text = "[lan]\naddress = \"127.0.0.1\"\nnetworks = [\"127.0.0.0/8\"]\n\
                [steer]\nmode = \"sideways\"\nttl = \"soon\"\n[proxy]\nhttp = [\"lan:99999\"]\n";
    fs::write(folder.path().join("x.toml"), text).unwrap();
    for command in ["check", "run"] {
        let output = run(folder.path(), &[command, "--config", "x.toml"]);
        assert_eq!(output.status.code(), Some(78), "{command}: {output:?}");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        for problem in [
            "line 5: steer.mode",
            "line 6: steer.ttl",
            "line 8: proxy.http",
        ] {
            assert!(said.contains(problem), "{command}: {problem}: {said}");
        }
    }
}

#[test]
fn root_certificates_that_do_not_load_are_told() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("empty.pem"), "").unwrap();
    let text = "user = \"\"\n[lan]\naddress = \"127.0.0.1\"\nnetworks = [\"127.0.0.0/8\"]\n\
                [dns.upstream]\nservers = [\"tls://127.0.0.1\"]\nca = [\"missing.pem\", \"empty.pem\"]\n";
    fs::write(folder.path().join("x.toml"), text).unwrap();
    for command in ["check", "run"] {
        let output = run(folder.path(), &[command, "--config", "x.toml"]);
        assert_eq!(output.status.code(), Some(78), "{command}: {output:?}");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        for problem in ["missing.pem", "empty.pem` holds no certificate"] {
            assert!(said.contains(problem), "{command}: {problem}: {said}");
        }
    }
}

#[test]
fn a_trust_anchor_by_which_nothing_is_validated_is_worth_a_warning() {
    let upstream = Upstream::start();
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("zones")).unwrap();
    let setup = Setup::new(&upstream).set("dns.trust-anchor", r#""root.key""#);
    fs::write(folder.path().join("x.toml"), setup.text()).unwrap();
    let output = run(folder.path(), &["check", "--config", "x.toml"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("dns.trust-anchor: nothing is validated by it"),
        "{said}"
    );
}

#[test]
fn wrong_usage_and_a_missing_file_have_their_own_codes() {
    let folder = TempDir::new().unwrap();
    for (arguments, code) in [
        (&["--nonsense"][..], 64),
        (&["nonsense"], 64),
        (&["check", "--config", "missing.toml"], 78),
        (&["--help"], 0),
        (&["--version"], 0),
    ] {
        let output = run(folder.path(), arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {output:?}"
        );
    }
}
