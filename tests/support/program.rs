//! The program's other commands, run to their end.

use std::path::Path;
use std::process::{Command, Output};

/// Runs the program in a folder and returns what it said. No configuration comes from the environment.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sekisho"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("SEKISHO_CONFIG")
        .output()
        .expect("the program starts")
}
