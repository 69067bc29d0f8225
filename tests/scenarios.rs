//! Replays of DNS conversations: each file in `scenarios/` is a test of its own, and needs no Rust (see the README
//! there). `cargo test --test scenarios withhold` runs those whose name holds `withhold`.

mod scenarios_runner;

use std::fs;
use std::path::Path;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("the folder of the replays")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no replay in {}", folder.display());
    let trials = files
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let name = name.into_owned();
            Trial::test(name, move || {
                scenarios_runner::run(&path).map_err(Into::into)
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
