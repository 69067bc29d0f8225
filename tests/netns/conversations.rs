//! Connections on which both sides talk at once: WebSocket and gRPC, by CONNECT, by h1 Upgrade and by DNS alone.

use crate::gate::{Gate, config};
use crate::home::{GATE, Home};
use crate::internet::{OWN_DUAL, OWN_DUAL_IPV6, OWN_SIX, OWN_SIX_IPV6};
use crate::namespace::must;
use crate::own_origin::{OwnOrigin, python};
use crate::requirements::{home_with, installed_packages};

const SITES: [(&str, &str); 2] = [(OWN_DUAL, OWN_DUAL_IPV6), (OWN_SIX, OWN_SIX_IPV6)];

fn scripted_home() -> Option<Home> {
    home_with(&[("python3", "python3")]).filter(|_| installed_packages("python"))
}

fn serve(home: &Home, protocol: &str) -> Vec<OwnOrigin> {
    let serve = |(name, address): (&str, &str)| {
        let mut command = python(home.internet.machine(), "echo.py");
        command
            .args([protocol, "serve", address])
            .arg(home.folder().join(format!("{name}.pem")))
            .arg(home.folder().join("origin.key"));
        OwnOrigin::start(home, &format!("{protocol}-{name}"), &mut command)
    };
    SITES.map(serve).into()
}

#[test]
fn websockets_talk_by_connect_by_upgrade_and_by_dns_alone() {
    let Some(home) = scripted_home() else { return };
    let mut origins = serve(&home, "websocket");
    let proxy = format!("http://{GATE}:3128");
    for (mode, client, schemes, proxy) in [
        // This one asks for a tunnel for `ws` too.
        ("off", "websocket", ["ws", "wss"], proxy.as_str()),
        // This one asks for an upgrade, in absolute-form.
        ("off", "aiohttp", ["ws", "wss"], proxy.as_str()),
        ("address", "websocket", ["ws", "wss"], "-"),
    ] {
        let gate = Gate::start(&home, &config(mode));
        for ((name, _), origin) in SITES.iter().zip(&mut origins) {
            for scheme in schemes {
                let path = format!("/{mode}-{client}-{scheme}");
                let mut ask = python(&home.client, "echo.py");
                ask.args([client, "ask", &format!("{scheme}://{name}{path}"), proxy])
                    .arg(&home.internet.authority);
                must(&mut ask);
                origin.assert_by_ipv6(&home, &path);
            }
        }
        assert!(gate.stop().success());
    }
}

#[test]
fn grpc_calls_and_streams_by_connect_and_by_dns_alone() {
    let Some(home) = scripted_home() else { return };
    let mut origins = serve(&home, "grpc");
    for mode in ["off", "address"] {
        let gate = Gate::start(&home, &config(mode));
        for (name, _) in SITES {
            let mut ask = python(&home.client, "echo.py");
            ask.args(["grpc", "ask", &format!("{name}:443"), "-"])
                .arg(&home.internet.authority);
            if mode == "off" {
                ask.env("grpc_proxy", format!("http://{GATE}:3128"));
            }
            must(&mut ask);
        }
        assert!(gate.stop().success());
    }
    for origin in &mut origins {
        // Six calls of each mode.
        assert_eq!(origin.said(" one").len(), 12);
        origin.assert_by_ipv6(&home, " one");
        origin.assert_by_ipv6(&home, " many");
    }
}
