//! Replays of DNS conversations: each file in `scenarios/` is a test of its own, and needs no Rust (see the README
//! there). `cargo test --test scenarios withhold` runs those whose name holds `withhold`.
//!
//! Each is played up to three times, so that what it expects holds for all that answers: as it stands, with every question
//! asked again, and with questions that are answered the long way only.

#[path = "support/octets.rs"]
mod octets;
mod scenarios_runner;

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};

use scenarios_runner::Way;

fn main() {
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let right = files(&folder).into_iter().flat_map(|path| {
        let ways = scenarios_runner::ways(&path).into_iter();
        ways.map(move |way| trial(path.clone(), way))
    });
    let wrong = files(&folder.join("must-fail"))
        .into_iter()
        .map(|path| Trial::test(format!("must-fail/{}", name(&path)), move || fails(&path)));
    let trials = right.chain(wrong).collect();
    libtest_mimic::run(&arguments, trials).exit();
}

/// A file played in one way.
fn trial(path: PathBuf, way: Way) -> Trial {
    let ending = match way {
        Way::Once => "",
        Way::Again => " (asked again)",
        Way::Long => " (the long way)",
    };
    let name = name(&path) + ending;
    Trial::test(name, move || Ok(scenarios_runner::run(&path, way)?))
}

/// The replays in a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the folder of the replays")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no replay in {}", folder.display());
    files
}

fn name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// Whether a replay that is wrong is found to be so, for the reason that its first line names.
fn fails(path: &Path) -> Result<(), Failed> {
    let text = fs::read_to_string(path)?;
    let reason = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("# says: "))
        .ok_or("its first line is not `# says: REASON`")?;
    let ways = scenarios_runner::ways(path).into_iter();
    let mut said = ways.filter_map(|way| scenarios_runner::run(path, way).err());
    match said.next() {
        None => Err("it passed".into()),
        Some(said) if said.contains(reason) => Ok(()),
        Some(said) => Err(format!("expected `{reason}`, said:\n{said}").into()),
    }
}
