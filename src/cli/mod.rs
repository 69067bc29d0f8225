//! Level 5: the command line, one file per command, and the only place that prints.
//!
//! Exit codes: 0 good, 1 failed at run time, 64 usage, 78 configuration (sysexits).

mod check;
mod config;
mod demo;
mod explain;
mod output;
mod password;
mod run;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigError, locate};
use crate::telemetry::chain;

#[derive(Debug, Parser)]
#[command(
    name = "sekisho",
    version,
    about,
    after_help = "Exit codes: 0 good, 1 failed at run time, 64 wrong arguments, 78 wrong configuration"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gate: SIGTERM stops it, SIGHUP reloads its configuration, SIGUSR1 flushes its cache
    Run(ConfigFlag),
    /// Read everything that `run` would, listen on nothing, and print everything that is wrong
    Check(ConfigFlag),
    /// Show on this machine, without root, network or configuration, what the gate does
    Demo(demo::Arguments),
    /// Ask the running gate what it tells a client of a name, and why
    Explain(explain::Arguments),
    /// Print the line of a user for the file in proxy.users; the password is read from the terminal or stdin
    Password(password::Arguments),
    /// Print the manual of the configuration, or what is in force
    Config {
        #[command(subcommand)]
        command: config::Command,
    },
}

#[derive(Debug, clap::Args)]
struct ConfigFlag {
    /// The configuration file [default: $SEKISHO_CONFIG, else /etc/sekisho/sekisho.toml, else the built-in defaults]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Said where nobody named a configuration and the usual place has none.
const UNNAMED: &str =
    "/etc/sekisho/sekisho.toml is not there; name your file with --config FILE or $SEKISHO_CONFIG";

impl ConfigFlag {
    fn path(&self) -> Option<PathBuf> {
        locate(
            self.config.clone(),
            std::env::var_os("SEKISHO_CONFIG").map(PathBuf::from),
        )
    }

    /// The configuration, or the exit code after its problems were printed.
    fn load(&self) -> Result<Config, Exit> {
        let path = self.path();
        Config::load(path.as_deref()).map_err(|error| {
            for words in told(&error, path.as_deref()) {
                match words {
                    Words::Error(text) => output::error(&text),
                    Words::Detail(text) => output::detail(&text),
                }
            }
            Exit::Config
        })
    }
}

/// A line for stderr.
#[derive(Debug, PartialEq, Eq)]
enum Words {
    Error(String),
    Detail(String),
}

/// What to say where no configuration came of a file, or of none. Whoever has one and did not name it gets to know how.
fn told(error: &ConfigError, path: Option<&Path>) -> Vec<Words> {
    let mut words = match error {
        ConfigError::Problems(problems) => {
            let place = path.map_or_else(
                || "the built-in defaults do not fit this machine".to_owned(),
                |path| format!("the configuration `{}` has problems", path.display()),
            );
            let problems = problems.0.iter();
            let details = problems.map(|problem| Words::Detail(problem.to_string()));
            std::iter::once(Words::Error(place))
                .chain(details)
                .collect()
        }
        error => vec![Words::Error(chain(error))],
    };
    if path.is_none() {
        words.push(Words::Detail(format!("hint: {UNNAMED}")));
    }
    words
}

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Good,
    /// Something failed at run time.
    Failed,
    /// The arguments are wrong (EX_USAGE).
    Usage,
    /// The configuration is wrong (EX_CONFIG).
    Config,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Good => 0,
            Exit::Failed => 1,
            Exit::Usage => 64,
            Exit::Config => 78,
        })
    }
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing can be said where neither stdout nor stderr can be written.
            error.print().ok();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Good,
                _ => Exit::Usage,
            }
            .into();
        }
    };
    match arguments.command {
        Command::Run(flag) => run::run(&flag),
        Command::Check(flag) => check::run(&flag),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Password(arguments) => password::run(&arguments),
        Command::Config { command } => config::run(&command),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::{Problem, Problems};

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn who_has_named_no_file_gets_to_know_how() {
        let error = ConfigError::Problems(Problems(vec![Problem {
            line: None,
            key: "lan.address".to_owned(),
            what: "no interface".to_owned(),
            write: "write one".to_owned(),
        }]));
        let words = told(&error, None);
        let Some(Words::Detail(hint)) = words.last() else {
            panic!("{words:?}");
        };
        for way in ["hint: ", "--config FILE", "$SEKISHO_CONFIG"] {
            assert!(hint.contains(way), "{hint}");
        }
        let named = told(&error, Some(Path::new("x.toml")));
        assert_eq!(
            named,
            [
                Words::Error("the configuration `x.toml` has problems".to_owned()),
                Words::Detail("lan.address: no interface; write one".to_owned()),
            ]
        );
    }
}
