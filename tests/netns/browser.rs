//! A browser by its proxy settings (PAC), and a browser that knows nothing of the gate but its DNS.

use crate::gate::{Gate, config};
use crate::home::Home;
use crate::internet::{DUAL, FOUR, SIX};
use crate::requirements::home;

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
fn chromium_reaches_every_origin_by_dns_alone() {
    let Some(home) = home() else { return };
    let _gate = Gate::start(&home, &config("address"));
    assert_shown(&home, "dns", &["--no-proxy-server"]);
}
