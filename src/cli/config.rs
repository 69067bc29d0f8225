//! `sekisho config template|show`: the manual, and what is in force.

use clap::Subcommand;

use super::{ConfigFlag, Exit, output};
use crate::config::TEMPLATE;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print the manual of every key, with its default
    Template,
    /// Print what is in force, with every `auto` filled in
    Show(Show),
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    config: ConfigFlag,
    /// Print JSON instead of TOML
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Command) -> Exit {
    match command {
        Command::Template => {
            output::data(TEMPLATE);
            Exit::Good
        }
        Command::Show(show) => show.run(),
    }
}

impl Show {
    fn run(&self) -> Exit {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        let shown = config.shown();
        let text = if self.json {
            serde_json::to_string_pretty(&shown)
                .map(|text| text + "\n")
                .map_err(|error| error.to_string())
        } else {
            toml::to_string(&shown).map_err(|error| error.to_string())
        };
        match text {
            Ok(text) => {
                output::data(&text);
                Exit::Good
            }
            Err(error) => {
                output::error(&error);
                Exit::Failed
            }
        }
    }
}
