//! The rooms of the house and who may import whom: the table of the architecture, held.
#![allow(
    clippy::unwrap_used,
    reason = "these are tests: they fail by panics, in their helpers too"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and the rooms that it may import. `app` may import all that do not import it.
const TABLE: &[(&str, &[&str])] = &[
    ("net", &[]),
    ("telemetry", &["net"]),
    ("config", &["net"]),
    ("steer", &["config", "net"]),
    ("resolve", &["config", "net", "telemetry"]),
    ("relay", &["net", "telemetry"]),
    ("dial", &["config", "net", "resolve", "telemetry"]),
    ("dns", &["config", "net", "resolve", "steer", "telemetry"]),
    (
        "proxy",
        &["config", "dial", "net", "relay", "steer", "telemetry"],
    ),
    ("audit", &["config", "net"]),
    ("web", &["audit", "config", "net", "steer", "telemetry"]),
    (
        "app",
        &[
            "audit",
            "config",
            "dial",
            "dns",
            "net",
            "proxy",
            "relay",
            "resolve",
            "steer",
            "telemetry",
            "web",
        ],
    ),
    ("cli", &["app", "audit", "config", "net", "telemetry"]),
];

fn table() -> BTreeMap<&'static str, &'static [&'static str]> {
    TABLE.iter().copied().collect()
}

/// The text without comments, so that prose may name every room; strings stay, they hold no paths of ours.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| match line.find("//") {
        Some(start) if !line[..start].ends_with(':') => &line[..start],
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The rooms that a text names by `crate::ROOM` or within `crate::{..}`, each with the line of its first mention.
fn imports(text: &str) -> BTreeMap<String, usize> {
    let code = code(text);
    let mut found = BTreeMap::new();
    for (start, _) in code.match_indices("crate::") {
        let before = code[..start].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let line = code[..start].matches('\n').count() + 1;
        let rest = &code[start + "crate::".len()..];
        for room in heads(rest) {
            found.entry(room).or_insert(line);
        }
    }
    found
}

/// The first identifiers of a path: one, or those of a group at brace depth 1.
fn heads(rest: &str) -> Vec<String> {
    let identifier = |text: &str| -> String {
        let word = text.trim_start();
        word.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![identifier(rest)];
    };
    let mut heads = vec![identifier(group)];
    let mut depth = 1;
    for (index, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => heads.push(identifier(&group[index + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

/// What is wrong with a file of this room.
fn violations(room: &str, file: &str, text: &str) -> Vec<String> {
    let table = table();
    let Some(allowed) = table.get(room) else {
        return vec![format!("{file}: the room `{room}` is not in the table")];
    };
    imports(text)
        .into_iter()
        // Names that are no room are items of lib.rs, of which there are none; the compiler knows those.
        .filter(|(other, _)| other != room && table.contains_key(other.as_str()))
        .filter(|(other, _)| !allowed.contains(&other.as_str()))
        .map(|(other, line)| format!("{file}:{line}: `{room}` must not import `{other}`"))
        .collect()
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The room that a file of src/ belongs to; `None` for lib.rs and main.rs.
fn room_of(path: &Path) -> Option<String> {
    let relative = path.strip_prefix(source()).unwrap();
    let first = relative.iter().next().unwrap().to_str().unwrap();
    let room = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(first, "lib.rs" | "main.rs")).then(|| room.to_owned())
}

#[test]
fn every_room_imports_only_what_the_table_allows() {
    let mut wrong = Vec::new();
    for path in rust_files(&source()) {
        if let Some(room) = room_of(&path) {
            let text = fs::read_to_string(&path).unwrap();
            wrong.extend(violations(&room, &path.display().to_string(), &text));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_module_of_the_library_is_in_the_table() {
    let text = code(&fs::read_to_string(source().join("lib.rs")).unwrap());
    let modules: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| {
            let line = line.trim().strip_suffix(';')?;
            let (before, module) = line.rsplit_once("mod ")?;
            (before.is_empty() || before.starts_with("pub")).then_some(module.trim())
        })
        .collect();
    assert!(!modules.is_empty(), "lib.rs names its modules");
    let table = table();
    let strangers: Vec<_> = modules
        .iter()
        .filter(|m| !table.contains_key(**m))
        .collect();
    assert!(strangers.is_empty(), "not in the table: {strangers:?}");
}

#[test]
fn the_program_itself_uses_only_the_library_from_outside() {
    let text = fs::read_to_string(source().join("main.rs")).unwrap();
    assert!(
        imports(&text).is_empty(),
        "main.rs has no modules of its own"
    );
    assert!(text.lines().count() <= 40, "main.rs is thin");
}

#[test]
fn the_table_names_only_its_own_rooms_and_has_no_cycle() {
    assert_eq!(order(TABLE).unwrap().len(), TABLE.len());
}

/// The rooms, lowest first; the rooms of a cycle otherwise.
fn order<'a>(table: &[(&'a str, &[&'a str])]) -> Result<Vec<&'a str>, Vec<&'a str>> {
    let mut placed: Vec<&str> = Vec::new();
    while placed.len() < table.len() {
        let before = placed.len();
        for (room, below) in table {
            if !placed.contains(room) && below.iter().all(|other| placed.contains(other)) {
                placed.push(room);
            }
        }
        if placed.len() == before {
            let rooms = table.iter().map(|(room, _)| *room);
            return Err(rooms.filter(|room| !placed.contains(room)).collect());
        }
    }
    Ok(placed)
}

#[test]
fn a_cycle_would_be_found() {
    let circle: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a", "c"]), ("c", &["b"])];
    assert_eq!(order(circle), Err(vec!["b", "c"]));
    assert_eq!(order(&[("a", &["ghost"])]), Err(vec!["a"]));
}

#[test]
fn a_violation_would_be_found_however_it_is_written() {
    let wrong = |text: &str| violations("proxy", "x.rs", text);
    for text in [
        "use crate::dns::Pipeline;",
        "use crate::{net::Acl, dns::{Pipeline, Shape}};",
        "use crate::{\n    net,\n    dns,\n};",
        "fn f() { crate::dns::go(); }",
        "pub(in crate::dns) fn f() {}",
    ] {
        assert_eq!(wrong(text).len(), 1, "{text}");
    }
    assert_eq!(
        wrong("use crate::net::Acl;\nuse crate::resolve::Resolver;"),
        ["x.rs:2: `proxy` must not import `resolve`"]
    );
    assert_eq!(violations("attic", "x.rs", "").len(), 1);
}

#[test]
fn what_is_allowed_or_only_prose_is_no_violation() {
    for text in [
        "use crate::net::{Acl, Target};",
        "use crate::proxy::session::Session;",
        "//! Called by [`crate::app`].",
        "let x = 1; // crate::dns does this",
        "use mycrate::dns::Pipeline;",
        "use crate::{config::Proxy, dial::{Dialer, dns_error}};",
    ] {
        assert!(violations("proxy", "x.rs", text).is_empty(), "{text}");
    }
}
