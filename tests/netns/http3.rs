//! HTTP/3 by a client and to origins of another make than the gate's own parts, by DNS alone.

use crate::gate::{Gate, config};
use crate::internet::{OWN_DUAL, OWN_DUAL_IPV6, OWN_SIX, OWN_SIX_IPV6};
use crate::namespace::must;
use crate::own_origin::{OwnOrigin, python};
use crate::requirements::{home_with, installed_packages};

#[test]
fn http_3_reaches_origins_over_ipv6_whole_both_ways() {
    let home = home_with(&[("python3", "python3")]).filter(|_| installed_packages("python"));
    let Some(home) = home else { return };
    let gate = Gate::start(&home, &config("address"));
    for (name, address) in [(OWN_DUAL, OWN_DUAL_IPV6), (OWN_SIX, OWN_SIX_IPV6)] {
        let folder = home.folder();
        let mut serve = python(home.internet.machine(), "http3.py");
        serve
            .args(["serve", address])
            .arg(folder.join(format!("{name}.pem")))
            .arg(folder.join("origin.key"));
        let mut origin = OwnOrigin::start(&home, &format!("http3-{name}"), &mut serve);
        for size in ["1", "3000000"] {
            let mut ask = python(&home.client, "http3.py");
            ask.args(["ask", name])
                .arg(&home.internet.authority)
                .arg(size);
            must(&mut ask);
        }
        origin.assert_by_ipv6(&home, "GET /3000000");
        origin.assert_by_ipv6(&home, "PUT /3000000");
    }
    assert!(gate.stop().success());
}
