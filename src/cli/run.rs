//! `sekisho run`: the gate.

use super::{ConfigFlag, Exit, output};
use crate::app::{App, AppError};
use crate::config::Format;
use crate::telemetry::{self, chain};

pub(super) fn run(flag: &ConfigFlag) -> Exit {
    let config = match flag.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if let Err(error) = telemetry::init(config.log.level, config.log.format == Format::Json) {
        output::error(&chain(&error));
        return Exit::Failed;
    }
    let ended = App::build(config).and_then(App::run);
    telemetry::flush_log();
    match ended {
        Ok(()) => Exit::Good,
        Err(error) => {
            output::error(&chain(&error));
            match error {
                AppError::Files(_) => Exit::Config,
                _ => Exit::Failed,
            }
        }
    }
}
