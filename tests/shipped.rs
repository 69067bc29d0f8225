//! Everything that is shipped beside the program works with it: configurations, zones, and what the README shows.
#![allow(
    clippy::unwrap_used,
    reason = "these are tests: they fail by panics, in their helpers too"
)]

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use toml::{Table, Value};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder with this extension, in order.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder}/*.{extension}");
    files
}

/// Checks a configuration as if it lay in `config/`, with every `auto` that asks the machine filled in, so that the
/// outcome is the same on any machine.
fn check(what: &str, text: &str) {
    let mut table: Table = text
        .parse()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let lan = section(&mut table, "lan");
    fill(lan, "address", Value::from("127.0.0.1"));
    fill(lan, "networks", Value::from(vec!["127.0.0.0/8"]));
    let dns = section(&mut table, "dns");
    if let Some(Value::String(zones)) = dns.get_mut("zones") {
        *zones = root().join("config").join(&*zones).display().to_string();
    }
    fill(
        section(dns, "upstream"),
        "servers",
        Value::from(vec!["192.0.2.53"]),
    );
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("x.toml"), table.to_string()).unwrap();
    let output = program::run(folder.path(), &["check", "--config", "x.toml"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{what}\n{table}\n{said}");
}

fn section<'a>(table: &'a mut Table, name: &str) -> &'a mut Table {
    let entry = table
        .entry(name)
        .or_insert_with(|| Value::Table(Table::new()));
    entry
        .as_table_mut()
        .unwrap_or_else(|| panic!("{name} is a section"))
}

/// Sets a key that is missing or says `auto`.
fn fill(section: &mut Table, key: &str, value: Value) {
    let automatic = section
        .get(key)
        .is_none_or(|value| value.to_string().contains("\"auto\""));
    if automatic {
        section.insert(key.to_owned(), value);
    }
}

/// The blocks of a Markdown text that are marked with one of these languages: the line of each, and its text.
fn blocks(text: &str, languages: &[&str]) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, bool, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => {
                if let Some((start, true, block)) = open.take() {
                    blocks.push((start, block));
                }
            }
            (Some(language), None) => {
                let wanted = languages.contains(&language.trim());
                open = Some((number + 1, wanted, String::new()));
            }
            (None, Some((_, _, block))) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// The first word after `sekisho`, or after `cargo run .. --`, of every command line of a text.
fn subcommands(script: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in script.lines() {
        let line = line.split(" #").next().unwrap_or_default();
        for command in line.split(['|', ';', '&', '(']) {
            let words: Vec<&str> = command
                .split_whitespace()
                .skip_while(|word| matches!(*word, "$" | "#" | "sudo") || word.contains('='))
                .collect();
            let rest = match words.as_slice() {
                [program, rest @ ..] if program.rsplit('/').next() == Some("sekisho") => rest,
                ["cargo", "run", rest @ ..] => match rest.iter().position(|word| *word == "--") {
                    Some(at) => &rest[at + 1..],
                    None => continue,
                },
                _ => continue,
            };
            if let Some(word) = rest.first().filter(|word| !word.starts_with('-')) {
                found.push((*word).to_owned());
            }
        }
    }
    found
}

#[test]
fn every_shipped_configuration_is_accepted() {
    for path in files("config", "toml") {
        let text = fs::read_to_string(&path).unwrap();
        check(&path.display().to_string(), &text);
    }
}

#[test]
fn the_template_is_the_shipped_manual() {
    let output = program::run(&root(), &["config", "template"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shipped = fs::read_to_string(root().join("config/sekisho.toml")).unwrap();
    assert!(!shipped.is_empty());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), shipped);
}

#[test]
fn every_shipped_zone_is_loaded_alone_and_with_the_others() {
    let zones = files("zones", "zone");
    for path in &zones {
        let folder = TempDir::new().unwrap();
        fs::copy(path, folder.path().join(path.file_name().unwrap())).unwrap();
        check(&path.display().to_string(), &with_zones(folder.path()));
    }
    check("zones", &with_zones(&root().join("zones")));
}

fn with_zones(folder: &Path) -> String {
    let zones = Value::from(folder.display().to_string());
    format!("[dns]\nzones = {zones}\n")
}

#[test]
fn a_zone_that_is_wrong_would_be_noticed() {
    let folder = TempDir::new().unwrap();
    let zones = folder.path().join("zones");
    fs::create_dir(&zones).unwrap();
    fs::write(zones.join("bad.example.zone"), "@ IN SOA what\n").unwrap();
    let lan = "[lan]\naddress = \"127.0.0.1\"\nnetworks = [\"127.0.0.0/8\"]\n";
    let servers = "[dns.upstream]\nservers = [\"192.0.2.53\"]\n";
    let text = format!("{lan}{}{servers}", with_zones(&zones));
    fs::write(folder.path().join("x.toml"), text).unwrap();
    let output = program::run(folder.path(), &["check", "--config", "x.toml"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
}

#[test]
fn every_configuration_in_the_readme_is_accepted() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    for (line, block) in blocks(&text, &["toml"]) {
        check(&format!("README.md:{line}"), &block);
    }
}

#[test]
fn every_command_in_the_readme_exists() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let mut seen = 0;
    for (line, block) in blocks(&text, &["sh", "bash", "shell", "console"]) {
        for subcommand in subcommands(&block) {
            let output = program::run(&root(), &[&subcommand, "--help"]);
            let code = output.status.code();
            assert_eq!(code, Some(0), "README.md:{line}: sekisho {subcommand}");
            seen += 1;
        }
    }
    assert!(seen > 0, "the README shows how to start");
}

#[test]
fn blocks_and_commands_of_a_text_are_found() {
    let text = "a\n```toml\n[lan]\n```\n```\nsekisho no\n```\n  ```sh\n$ sudo sekisho run --config x\n\
                cargo run --release -- demo --keep | sekisho pac\nsekisho --version\n./target/sekisho check # sekisho no\n```\n";
    assert_eq!(blocks(text, &["toml"]), [(2, "[lan]\n".to_owned())]);
    let scripts = blocks(text, &["sh"]);
    assert_eq!(scripts.len(), 1);
    assert_eq!(subcommands(&scripts[0].1), ["run", "demo", "pac", "check"]);
}
