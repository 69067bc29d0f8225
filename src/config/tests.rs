//! The whole way from a text to a [`Config`], and the promises of the manual.

use std::path::Path;

use super::*;
use crate::net::Interfaces;

const RESOLV_CONF: &str = "nameserver 192.0.2.53\n";

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse(
        text,
        Some(Path::new("/etc/sekisho/sekisho.toml")),
        &home(),
        RESOLV_CONF,
    )
}

/// A machine with one LAN interface.
fn home() -> Interfaces {
    Interfaces::of(
        &[
            ("lo", "127.0.0.1/8"),
            ("eth0", "192.168.1.2/24"),
            ("eth0", "2001:db8:1::2/64"),
            ("eth1", "203.0.113.5/24"),
        ],
        Some("eth0"),
    )
}

fn problems(text: &str) -> Vec<String> {
    parse(text)
        .unwrap_err()
        .0
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn the_defaults_serve_the_private_lan_and_nobody_else() {
    let config = parse("").unwrap();
    assert_eq!(config.lan.address.to_string(), "192.168.1.2");
    assert!(
        config
            .lan
            .networks
            .contains("192.168.1.77".parse().unwrap())
    );
    assert!(config.lan.networks.contains("127.0.0.1".parse().unwrap()));
    assert!(!config.lan.networks.contains("192.168.2.1".parse().unwrap()));
    assert!(
        !config
            .lan
            .networks
            .contains("2001:db8:1::9".parse().unwrap())
    );
    assert_eq!(config.dns.listen[0].to_string(), "192.168.1.2:53");
    assert_eq!(
        config.dns.upstream.servers[0].address.to_string(),
        "192.0.2.53:53"
    );
    assert_eq!(
        config.dns.zones.as_deref(),
        Some(Path::new("/etc/sekisho/zones"))
    );
    assert_eq!(config.web.admin[0].to_string(), "127.0.0.1:9053");
    assert_eq!(config.user.as_deref(), Some("nobody"));
    assert_eq!(
        (config.steer.mode, config.steer.names),
        (Mode::Ipv6Only, Names::All)
    );
}

#[test]
fn the_doors_of_each_family_are_checked_each_by_its_own() {
    let config = parse(
        "[egress.ipv4]\nsource = \"192.0.2.1\"\nmark = 0x10\n[egress.ipv6]\ninterface = \"wan6\"\n",
    )
    .unwrap();
    assert_eq!(
        config.egress.ipv4.source,
        Some("192.0.2.1".parse().unwrap())
    );
    assert_eq!(config.egress.ipv4.mark, 16);
    assert_eq!(config.egress.ipv6.interface.as_deref(), Some("wan6"));
    assert_eq!(config.egress.ipv6.source, None);
    assert_eq!(
        problems(
            "[egress.ipv4]\nsource = \"2001:db8::1\"\n[egress.ipv6]\ninterface = \"a/b\"\nmark = -1\nmarks = 1\n"
        ),
        [
            "line 2: egress.ipv4.source: `2001:db8::1` is not an IPv4 address that sessions can come from; write an \
             address of this machine, such as \"192.0.2.1\", or \"auto\"",
            "line 4: egress.ipv6.interface: `a/b` is not the name of an interface; write one that `ip link` shows, such \
             as \"eth0\", or \"auto\"",
            "line 5: egress.ipv6.mark: `-1` does not fit; write a number from 0 to 4294967294",
            "line 6: egress.ipv6.marks: there is no such key in [egress.ipv6]; write `mark`, or take it out",
        ]
    );
}

#[test]
fn the_manual_says_the_defaults() {
    let uncommented: String = TEMPLATE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|first: char| first.is_ascii_lowercase()) => {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let mut manual = parse(&uncommented).unwrap_or_else(|problems| panic!("{problems}"));
    manual.dns.zones_required = false;
    assert_eq!(manual, parse("").unwrap());
    assert_eq!(parse(TEMPLATE).unwrap(), parse("").unwrap());
    let shown = toml::to_string(&parse("").unwrap().shown()).unwrap();
    for key in shown
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, _)| key)
    {
        assert!(
            TEMPLATE.contains(&format!("\n#{key} = ")),
            "the manual lacks {key}"
        );
    }
}

#[test]
fn what_is_shown_can_be_read_back() {
    let text = "user = \"\"\n[steer]\nmode = \"address\"\nnames = \"ipv6\"\nalways = [\"a.example\"]\n\
        [[rule]]\ndomains = [\"b.example\"]\nclients = [\"192.168.1.0/24\"]\naaaa = \"pass\"\n\
        [[rule]]\nsteer = \"never\"\nvia = \"direct\"\n\
        [[rule]]\nsend-proxy = \"v1\"\nvia = \"http://a%40b:c@proxy.example:3128\"\n[dns.upstream]\n\
        servers = [\"tcp://[2001:db8::1]:53\", \"https://192.0.2.1/q#dns.example\"]\nca = [\"ca.pem\"]\n\
        [[dns.upstream.zone]]\ndomain = \"corp.example\"\nservers = [\"10.0.0.53\"]\n\
        [egress]\nvia = \"socks5://[2001:db8::1]:1080\"\n[dns.cache]\nmin-ttl = \"1500ms\"\n\
        [proxy]\nforwarded = \"on\"\nx-forwarded-for = \"truncate\"\n";
    let mut config = parse(text).unwrap();
    let shown = toml::to_string(&config.shown()).unwrap();
    config.dns.zones_required = true;
    assert_eq!(
        parse(&shown).unwrap_or_else(|problems| panic!("{problems}\n{shown}")),
        config
    );
}

#[test]
fn every_problem_is_reported_at_once_with_its_line() {
    let found = problems(
        "usr = \"x\"\n[lan]\naddress = \"nowhere\"\nnetwork = [\"192.168.1.0/24\"]\n[dns]\nmax-queries = 0\n\
         listen = [\"53\", \"127.0.0.1:53\"]\n[dns.upstream]\nservers = [\"tls://dns.quad9.net\", 5]\ntimeout = \"2\"\n\
         [egress]\nattempt-delay = \"5s\"\n[proxi]\n",
    );
    let expected = [
        "line 1: usr: there is no such key at the top level; write `user`, or take it out",
        "line 3: lan.address: `nowhere` is not an IPv4 address; write \"auto\" or an address such as \"192.168.1.2\"",
        "line 4: lan.network: there is no such key in [lan]; write `networks`, or take it out",
        "line 6: dns.max-queries: `0` does not fit; write a number from 1 to 1000000",
        "line 7: dns.listen: `53` is not an address to listen on; write \"lan:PORT\" or \"ADDRESS:PORT\", such as \"lan:53\" or \"127.0.0.1:5353\"",
        "line 9: dns.upstream.servers: `5` does not fit; write a text in quotes",
        "line 9: dns.upstream.servers: `tls://dns.quad9.net` is not a DNS server by its address; write the address, and the certificate's name after #, such as \"tls://9.9.9.9#dns.quad9.net\" or \"https://1.1.1.1/dns-query#cloudflare-dns.com\"",
        "line 10: dns.upstream.timeout: `2` is not a duration; write a whole number and a unit (ms, s, m, h, d), such as \"250ms\" or \"2s\"",
        "line 12: egress.attempt-delay: `5s` is not from 10 ms to 2 s, as RFC 8305 asks; write a duration such as \"250ms\"",
        "line 13: proxi: there is no such key at the top level; write `proxy`, or take it out",
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_is_not_toml_is_reported_with_its_line() {
    let found = problems("[lan]\naddress = \n[dns]\nlisten = [\"lan:53\"\n");
    assert!(
        found
            .iter()
            .any(|problem| problem.starts_with("line 2: address: ")),
        "{found:?}"
    );
    assert!(!problems("\u{0}").is_empty());
    assert!(!problems("lan = 5").is_empty());
    assert!(!problems("[[lan]]").is_empty());
    assert!(!problems("[rule]\naaaa = \"pass\"").is_empty());
}

#[test]
fn strangers_are_not_listened_for_unless_wanted() {
    for text in [
        "address = \"203.0.113.5\"\nnetworks = [\"192.168.1.0/24\"]",
        "[dns]\nlisten = [\"0.0.0.0:53\"]",
        "[proxy]\nhttp = [\"[::]:3128\"]",
        "[web]\nadmin = [\"[2001:db8:1::2]:9053\"]",
    ] {
        let found = problems(&format!("[lan]\n{text}"));
        assert!(
            found
                .iter()
                .all(|problem| problem.contains("lan.allow-public = true")),
            "{found:?}"
        );
        parse(&format!("[lan]\nallow-public = true\n{text}")).unwrap();
    }
}

#[test]
fn a_public_lan_address_is_reported_once_and_not_for_every_listener() {
    let found = problems("[lan]\naddress = \"203.0.113.9\"\nnetworks = [\"10.0.0.0/8\"]\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("line 2: lan.address: "), "{found:?}");
}

#[test]
fn listeners_of_two_kinds_share_an_address_only_where_the_host_can_decide() {
    parse("[proxy]\nplain = [\"lan:80\"]\n[web]\nlisten = [\"lan:80\"]").unwrap();
    parse("[proxy]\nhttp = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\ntls = [\"127.0.0.1:0\"]").unwrap();
    assert_eq!(
        problems("[proxy]\nhttp = [\"lan:443\"]"),
        ["proxy.tls: `192.168.1.2:443` stands in proxy.http, too; give each its own port"]
    );
    parse("[proxy]\nhttp = [\"lan:443\"]\n[steer]\nmode = \"off\"").unwrap();
    assert!(!problems("[web]\nadmin = [\"lan:80\"]").is_empty());
    assert!(!problems("[dns]\nlisten = [\"lan:53\", \"192.168.1.2:53\"]").is_empty());
}

#[test]
fn the_gate_does_not_ask_itself() {
    let own = Config::parse("", None, &home(), "nameserver 192.168.1.2\n").unwrap_err();
    assert!(
        own.to_string()
            .contains("found no server but the gate itself"),
        "{own}"
    );
    assert!(!problems("[dns.upstream]\nservers = [\"192.168.1.2\"]").is_empty());
    assert!(!problems("[dns.upstream]\nservers = []").is_empty());
}

#[test]
fn auto_says_what_it_did_not_find() {
    let bare = Interfaces::of(&[("lo", "127.0.0.1/8")], None);
    let found = Config::parse("", None, &bare, RESOLV_CONF).unwrap_err();
    assert_eq!(
        found.to_string(),
        "lan.address: `auto` found no interface with the IPv4 default route; write the gate's address on the LAN, such as \"192.168.1.2\""
    );
    let found =
        Config::parse("[lan]\naddress = \"192.168.7.2\"", None, &bare, RESOLV_CONF).unwrap_err();
    assert!(
        found
            .to_string()
            .contains("no interface of this machine has the address 192.168.7.2"),
        "{found}"
    );
}

#[test]
fn steering_that_contradicts_itself_is_refused() {
    for text in [
        "[steer]\nmode = \"ipv6-only\"\nnames = \"all\"",
        "[steer]\nmode = \"off\"\nalways = [\"a.example\"]",
        "[steer]\nnever = [\"a.example\"]\nalways = [\"a.example\"]",
        "[steer]\nmode = \"pool\"",
        "[[rule]]\ndomains = [\"a.example\"]",
        "[[rule]]\ndomains = []\naaaa = \"pass\"",
        "[[rule]]\nclients = []\naaaa = \"pass\"",
        "[[rule]]\naaaa = \"drop\"",
    ] {
        assert_eq!(problems(text).len(), 1, "{text}: {:?}", problems(text));
    }
}

#[test]
fn what_is_not_toml_is_reported_alone() {
    assert_eq!(
        problems("[lan]\naddress = \"192.168.1.2\"\naddress = \"192.168.1.3\"\nnetwork = []\n"),
        ["line 3: address: duplicate key; keep one of the two"]
    );
}

#[test]
fn without_a_file_there_is_no_folder_of_zones() {
    let config = Config::parse("", None, &home(), RESOLV_CONF).unwrap();
    assert_eq!(config.dns.zones, None);
}

#[test]
fn the_clients_networks_are_not_the_internet() {
    for network in [
        "0.0.0.0/0",
        "128.0.0.0/1",
        "203.0.113.0/24",
        "2001:db8:1::/64",
    ] {
        let text = format!("networks = [\"{network}\"]");
        assert_eq!(problems(&format!("[lan]\n{text}")).len(), 1, "{network}");
        parse(&format!("[lan]\nallow-public = true\n{text}")).unwrap();
    }
    parse("[lan]\nnetworks = [\"10.0.0.0/8\", \"192.168.7.9\", \"100.64.0.0/10\", \"fd00::/8\"]")
        .unwrap();
}

#[test]
fn clients_are_not_pointed_to_where_nobody_listens() {
    for text in ["tls = []", "tls = []\nplain = []"] {
        assert_eq!(problems(&format!("[proxy]\n{text}")).len(), 1, "{text}");
    }
    let address = "[steer]\nmode = \"address\"\n[proxy]\nplain = []";
    assert_eq!(
        problems(address),
        [
            "line 1: steer: clients are pointed to the gate, where proxy.plain is empty; \
             write proxy.plain = [\"lan:PORT\"], or steer.mode = \"off\""
        ]
    );
    parse("[proxy]\nplain = []").unwrap();
    parse("[steer]\nmode = \"off\"\n[proxy]\ntls = []\nplain = []").unwrap();
}

#[test]
fn a_file_that_is_no_text_or_never_ends_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sekisho.toml");
    std::fs::write(&path, [b'#', 0xff]).unwrap();
    let Err(ConfigError::Read { source, .. }) = Config::load(Some(&path)) else {
        panic!("bytes were read as a configuration");
    };
    assert_eq!(source.to_string(), "it is not text (UTF-8)");
    let endless = Config::load(Some(Path::new("/dev/zero"))).unwrap_err();
    assert!(matches!(endless, ConfigError::Read { .. }), "{endless}");
}

#[test]
fn a_damaged_manual_never_panics() {
    for end in (0..TEMPLATE.len()).step_by(13) {
        if let Some(start) = TEMPLATE.get(..end) {
            parse(start).ok();
        }
    }
    let uncommented = TEMPLATE.replace("\n#", "\n");
    for position in (0..uncommented.len()).step_by(29) {
        let mut bytes = uncommented.clone().into_bytes();
        bytes[position] ^= 0x05;
        if let Ok(text) = String::from_utf8(bytes) {
            parse(&text).ok();
        }
    }
}
