//! `sekisho check`: everything that `run` reads, read; nothing bound.

use super::{ConfigFlag, Exit, output};
use crate::app;

pub(super) fn run(flag: &ConfigFlag) -> Exit {
    let config = match flag.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let problems = app::check(&config);
    if problems.is_empty() {
        let path = config.path.as_ref().map_or_else(
            || "the built-in defaults".to_owned(),
            |path| format!("`{}`", path.display()),
        );
        output::data(&format!("{path}: good\n"));
        return Exit::Good;
    }
    for problem in &problems {
        output::error(problem);
    }
    Exit::Config
}
