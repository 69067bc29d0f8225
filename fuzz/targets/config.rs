//! A configuration and a resolv.conf: what is accepted can be shown and read back, and means the same; what is not has a
//! problem on a line that is there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sekisho::config::Config;
use sekisho::net::Interfaces;

fuzz_target!(|data: &str| {
    // The resolv.conf stands behind a line of its own.
    let (text, resolv_conf) = data
        .split_once("\n---\n")
        .unwrap_or((data, "nameserver 192.0.2.53\n"));
    let interfaces = Interfaces::of(&[("eth0", "192.168.1.2/24")], Some("eth0"));
    let path = Some("/etc/sekisho/sekisho.toml".as_ref());
    let parse = |text: &str| Config::parse(text, path, &interfaces, resolv_conf);
    let mut config = match parse(text) {
        Ok(config) => config,
        Err(problems) => {
            assert!(!problems.0.is_empty());
            let lines = text.lines().count() + 1;
            for problem in &problems.0 {
                assert!(
                    problem.line.is_none_or(|line| (1..=lines).contains(&line)),
                    "{problem}"
                );
            }
            return;
        }
    };
    let shown = toml::to_string(&config.shown()).expect("a configuration is TOML");
    // The folder is named now.
    config.dns.zones_required = config.dns.zones.is_some();
    match parse(&shown) {
        Ok(again) => assert_eq!(again, config, "{shown}"),
        Err(problems) => panic!("{problems}\n{shown}"),
    }
});
