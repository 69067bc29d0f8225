//! A file of domains: a name is in it if, and only if, it ends in one of its lines.
#![no_main]

use hickory_proto::rr::Name;
use libfuzzer_sys::fuzz_target;
use sekisho::net::Host;
use sekisho::steer::{Lists, Steering, When, Why};
use sekisho_fuzz::{Steered, config, file};

fuzz_target!(|bytes: &[u8]| {
    let path = file(bytes);
    let mut config = config(Steered::All);
    config.steer.never_files = vec![path.to_owned()];
    let lists = match Lists::load(&config) {
        Ok(lists) => lists,
        Err(problems) => {
            assert!(!problems.is_empty() && problems.len() <= 11);
            return;
        }
    };
    let text = std::str::from_utf8(bytes).expect("only text is taken");
    let steering = Steering::new(&config, lists);
    let client = [192, 168, 1, 50].into();
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    let names: Vec<Name> = lines
        .filter(|line| !line.is_empty())
        .map(|line| match Host::parse(line) {
            Ok(Host::Name(mut name)) => {
                name.set_fqdn(true);
                name
            }
            _ if line == "." => Name::root(),
            other => panic!("{line} was taken: {other:?}"),
        })
        .take(64)
        .collect();
    let whole = text.lines().count() <= 64;
    for name in &names {
        let below = name.prepend_label("x").unwrap_or_else(|_| name.clone());
        let above = name.base_name();
        for probe in [name, &below, &above] {
            let listed = names.iter().any(|suffix| suffix.zone_of(probe));
            let told = matches!(steering.why(client, probe), Why::NeverFile(..));
            if whole || listed {
                assert_eq!(told, listed, "{probe}");
            }
            if listed {
                assert_eq!(steering.when(client, probe), When::Never);
            }
        }
    }
});
