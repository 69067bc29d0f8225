//! PURE. An error with its causes as one line, for log lines and the command line.

use std::error::Error;

/// An error and what caused it, in one line. A cause that the text before already says is not said again.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("could not read `a`")]
    struct Outer(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("could not start: {0}")]
    struct Told(#[source] Outer);

    #[test]
    fn each_cause_is_said_once() {
        let cause = || std::io::Error::other("no such thing");
        assert_eq!(chain(&Outer(cause())), "could not read `a`: no such thing");
        assert_eq!(
            chain(&Told(Outer(cause()))),
            "could not start: could not read `a`: no such thing"
        );
    }
}
