//! Browsers by their proxy settings (PAC, SOCKS), and browsers that know nothing of the gate but its DNS.

use std::fs;

use crate::gate::{Gate, config};
use crate::home::{GATE, Home};
use crate::internet::{DUAL, FOUR, SIX};
use crate::requirements::{home, home_with};

fn assert_shown(home: &Home, mark: &str, options: &[&str]) {
    for origin in [DUAL, SIX, FOUR] {
        for scheme in ["https", "http"] {
            let path = format!("/{mark}-{scheme}");
            let page = home.browse(&format!("{scheme}://{origin}{path}"), options);
            let source = match origin {
                FOUR => "192.0.2.2".to_owned(),
                _ => home.gate_ipv6.to_string(),
            };
            let wanted = |by| format!("<p>{origin} was reached by {by} from {source}</p>");
            // Chromium makes http into https by itself where the server speaks that.
            let shown = page.contains(&wanted(scheme)) || page.contains(&wanted("https"));
            assert!(shown, "not {}, but:\n{page}", wanted(scheme));
            assert_eq!(home.internet.source_of(origin, &path), source);
        }
    }
}

#[test]
fn chromium_reaches_every_origin_by_the_proxy_settings_that_dhcp_names() {
    let Some(home) = home() else { return };
    // Nothing is steered in this mode: whatever arrives came by the proxy.
    let _gate = Gate::start(&home, &config("off"));
    let pac = format!("--proxy-pac-url={}", home.lease.wpad);
    assert_shown(&home, "pac", &[&pac]);
}

#[test]
fn chromium_reaches_every_origin_by_socks() {
    let Some(home) = home() else { return };
    let _gate = Gate::start(&home, &config("off"));
    let socks = format!("--proxy-server=socks5://{GATE}:1080");
    assert_shown(&home, "socks", &[&socks]);
}

#[test]
fn chromium_reaches_every_origin_by_dns_alone() {
    let Some(home) = home() else { return };
    let _gate = Gate::start(&home, &config("address"));
    assert_shown(&home, "dns", &["--no-proxy-server"]);
}

/// A page whose script fetches a file, sums it up by Adler-32, and says so to the origin, all before it counts as loaded.
const PAGE: &str = "<!DOCTYPE html><title>A page</title><h1>Fetching</h1><script>
const ask = path => {
  const request = new XMLHttpRequest();
  request.open('GET', path, false);
  request.overrideMimeType('text/plain; charset=x-user-defined');
  request.send();
  return request.responseText;
};
const text = ask('/files/FILE');
let a = 1, b = 0;
for (let place = 0; place < text.length; place++) {
  a = (a + (text.charCodeAt(place) & 255)) % 65521;
  b = (b + a) % 65521;
}
document.querySelector('h1').textContent = 'Fetched ' + text.length + ' bytes, as the origin said: ' + ask('/sum-' + b + '-' + a);
</script>
";

#[test]
fn firefox_fetches_the_right_bytes_by_pac_by_socks_and_by_dns_alone() {
    let tools = [
        ("certutil", "libnss3-tools"),
        ("firefox-esr", "firefox-esr"),
    ];
    let Some(home) = home_with(&tools) else {
        return;
    };
    let bytes = &fs::read(home.folder().join("large")).unwrap()[..1_000_000];
    let (mut a, mut b) = (1, 0);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    let pac = format!(
        "user_pref(\"network.proxy.type\", 2);\nuser_pref(\"network.proxy.autoconfig_url\", \"{}\");\n",
        home.lease.wpad
    );
    let socks = format!(
        "user_pref(\"network.proxy.type\", 1);\nuser_pref(\"network.proxy.socks\", \"{GATE}\");\n\
         user_pref(\"network.proxy.socks_port\", 1080);\nuser_pref(\"network.proxy.socks_remote_dns\", true);\n"
    );
    let none = "user_pref(\"network.proxy.type\", 0);\n".to_owned();
    for (way, mode, preferences) in [
        ("pac", "off", pac),
        ("socks", "off", socks),
        ("dns", "address", none),
    ] {
        let gate = Gate::start(&home, &config(mode));
        for (scheme, origin) in [("http", DUAL), ("https", SIX)] {
            let file = format!("{way}-{scheme}.bin");
            fs::write(home.internet.files().join(&file), bytes).unwrap();
            let name = format!("{way}-{scheme}.html");
            fs::write(
                home.internet.files().join(&name),
                PAGE.replace("FILE", &file),
            )
            .unwrap();
            let url = format!("{scheme}://{origin}/files/{name}");
            let picture = home.picture_in_firefox(&url, &preferences);
            assert!(
                fs::metadata(picture).unwrap().len() > 1_000,
                "an empty picture"
            );
            for path in [
                format!("/{name} "),
                format!("/{file} "),
                format!("/sum-{b}-{a} "),
            ] {
                assert_eq!(
                    home.internet.source_of(origin, &path),
                    home.gate_ipv6.to_string(),
                    "{way} {path}"
                );
            }
        }
        assert!(gate.stop().success());
    }
}
