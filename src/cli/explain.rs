//! `sekisho explain`: asks the running gate what it tells a client of a name, and why.

mod ask;
mod report;

use std::net::IpAddr;

use hickory_proto::rr::{Name, RecordType};

use super::{ConfigFlag, Exit, output};
use crate::app::Explanation;
use crate::net::Host;
use crate::telemetry::{chain, colour};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
JSON has these keys:
  name, client, client-from, known-by
  truth, answers   lists of {type, rcode, authentic, cached (truth only), done, records,
                   authority, extended-errors, why}; a record is {name, ttl, type, data},
                   an extended error {code, text}
  steering, aaaa   null or {verdict, by, why}
  session          {target, addresses-from, attempts: [{address, family}],
                   refused: [{address, why}], failures}
`done` is passed, withheld, steered, rebind, local, special, failed or refused.

Examples: sekisho explain www.example.com
          sekisho explain www.example.com AAAA --client 192.168.1.50 --json")]
pub(super) struct Arguments {
    /// The name
    name: String,
    /// The type of records [default: A, AAAA and HTTPS]
    #[arg(value_name = "TYPE")]
    record_type: Option<String>,
    /// The client to whom it would be told [default: an address of lan.networks]
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    #[command(flatten)]
    config: ConfigFlag,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let path = match path(arguments) {
        Ok(path) => path,
        Err(wrong) => {
            output::error(&wrong);
            return Exit::Usage;
        }
    };
    let config = match arguments.config.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let text = match ask::ask(&config.web.admin, &path) {
        Ok(text) => text,
        Err(error) => {
            output::error(&chain(&error));
            if let Some(hint) = error.hint() {
                output::detail(&hint);
            }
            return Exit::Failed;
        }
    };
    match serde_json::from_str::<Explanation>(&text) {
        Ok(explanation) if arguments.json => match serde_json::to_string_pretty(&explanation) {
            Ok(text) => output::data(&(text + "\n")),
            Err(error) => {
                output::error(&error.to_string());
                return Exit::Failed;
            }
        },
        Ok(explanation) => {
            output::data(&report::text(&explanation, colour(&std::io::stdout())));
        }
        Err(error) => {
            output::error(&format!(
                "the gate said what this program does not understand: {error}"
            ));
            output::detail("hint: they may be of different versions; restart the gate");
            return Exit::Failed;
        }
    }
    Exit::Good
}

/// What to ask of the admin listener, or what is wrong with the arguments.
fn path(arguments: &Arguments) -> Result<String, String> {
    let text = &arguments.name;
    let name: Name = match Host::parse(text) {
        Ok(Host::Name(name)) => name,
        Ok(Host::Addr(_)) => {
            return Err(format!(
                "`{text}` is an address; write a name such as www.example.com"
            ));
        }
        Err(error) => {
            let text = text.escape_debug();
            return Err(format!(
                "`{text}` is no name: {error}; write one such as www.example.com"
            ));
        }
    };
    let mut path = format!("/explain?name={}", name.to_ascii().trim_end_matches('.'));
    if let Some(text) = &arguments.record_type {
        let record_type: RecordType = text.to_ascii_uppercase().parse().map_err(|_| {
            let text = text.escape_debug();
            format!("`{text}` is no type of records; write one such as AAAA")
        })?;
        path.push_str(&format!("&type={record_type}"));
    }
    if let Some(client) = arguments.client {
        path.push_str(&format!("&client={client}"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(name: &str, record_type: Option<&str>) -> Arguments {
        Arguments {
            name: name.to_owned(),
            record_type: record_type.map(str::to_owned),
            client: "192.168.1.50".parse().ok(),
            config: ConfigFlag { config: None },
            json: false,
        }
    }

    #[test]
    fn good_arguments_are_asked_and_bad_ones_say_what_to_write() {
        assert_eq!(
            path(&arguments("WWW.example.", Some("aaaa"))).as_deref(),
            Ok("/explain?name=www.example&type=AAAA&client=192.168.1.50")
        );
        for (name, record_type) in [
            ("a..b", None),
            ("192.0.2.1", None),
            ("a b", None),
            ("", None),
            ("a.example", Some("XYZZY")),
        ] {
            let wrong = path(&arguments(name, record_type)).unwrap_err();
            assert!(wrong.contains("write "), "{wrong}");
        }
    }
}
