//! The program: it hands everything to [`sekisho::cli`] and leaves with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    sekisho::cli::main()
}
