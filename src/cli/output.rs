//! What commands print: data on stdout, everything else on stderr.

use std::io::{self, Write};

/// Prints data. A reader who has gone away, as `head` does, is no error.
pub(super) fn data(text: &str) {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .ok();
}

/// Prints what went wrong.
pub(super) fn error(text: &str) {
    line("error: ", text);
}

/// Prints what should be put right, and does not stop anything.
pub(super) fn warning(text: &str) {
    line("warning: ", text);
}

/// Prints what is worth knowing.
pub(super) fn note(text: &str) {
    line("", text);
}

/// Prints one of several things that belong to an [`error`].
pub(super) fn detail(text: &str) {
    line("  ", text);
}

fn line(start: &str, text: &str) {
    writeln!(io::stderr().lock(), "{start}{text}").ok();
}
