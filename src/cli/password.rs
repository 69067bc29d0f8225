//! `sekisho password NAME`: the line of a user for the file in `proxy.users`. Nothing is written anywhere.

use std::io::{self, BufRead, IsTerminal, Read};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use super::{Exit, output};
use crate::app::{HashError, Users};

/// The longest line that is read, in bytes: a password with its line end, and one more to see that it is too long.
const LONGEST: u64 = 258;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The name of the user
    name: String,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let password = match read() {
        Ok(Some(password)) => password,
        Ok(None) => {
            output::error("the two passwords differ");
            return Exit::Failed;
        }
        Err(error) => {
            output::error(&format!("could not read the password: {error}"));
            return Exit::Failed;
        }
    };
    match Users::new_line(&arguments.name, &password) {
        Ok(line) => {
            output::data(&format!("{line}\n"));
            Exit::Good
        }
        Err(error) => {
            output::error(&error.to_string());
            match error {
                HashError::Name(_) => Exit::Usage,
                HashError::Password | HashError::System => Exit::Failed,
            }
        }
    }
}

/// The password: a line of stdin, or twice the same from a terminal, which does not show it.
fn read() -> io::Result<Option<String>> {
    if !io::stdin().is_terminal() {
        return line().map(Some);
    }
    let _hidden = Hidden::begin()?;
    output::note("Password (it is not shown):");
    let first = line()?;
    output::note("Once more:");
    Ok((line()? == first).then_some(first))
}

fn line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().lock().take(LONGEST).read_line(&mut line)?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}

/// A terminal that does not show what is typed, until dropped.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs no setting back.
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.0).ok();
    }
}
