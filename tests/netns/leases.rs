//! A real DHCP server lends addresses, and the gate knows the names of those who have them.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::gate::{Gate, config};
use crate::home::Home;
use crate::namespace::Daemon;
use crate::requirements::home;
use crate::wait::until;

/// The file is looked at every second.
const SECONDS: Duration = Duration::from_secs(5);

/// A DHCP client that calls itself `name`, and gives its address back when it is asked to stop.
fn borrow(home: &Home, name: &str) -> Daemon {
    let mut command = home.client.command("udhcpc");
    command
        .args(["-f", "-R", "-t", "10", "-T", "1", "-i", "lan", "-x"])
        .arg(format!("hostname:{name}"))
        .arg("-s")
        .arg(home.folder().join("dhcp-script"));
    Daemon::start(&format!("udhcpc-{name}"), home.folder(), &mut command)
}

#[test]
fn a_client_has_a_name_as_long_as_it_has_its_lease() {
    let Some(home) = home() else { return };
    let _gate = Gate::start(
        &home,
        &(config("ipv6-only") + "[dns]\nleases = [\"leases\"]\n"),
    );
    let address = home.lease.address;
    let name = |name: &str| home.dig(&format!("{name} A"));
    let reverse = || home.dig(&format!("-x {address}"));
    assert!(name("laptop.home.arpa").is("NXDOMAIN"));
    assert!(reverse().is("NXDOMAIN"), "{}", reverse().0);

    let mut udhcpc = borrow(&home, "laptop");
    udhcpc.until("a lease", |udhcpc| {
        udhcpc.said().contains("obtained").then_some(())
    });
    let lent = until("the name of the lease", SECONDS, || {
        let answer = name("laptop.home.arpa");
        answer.is("NOERROR").then_some(answer)
    });
    assert_eq!(lent.data(), [format!("A {address}")], "{}", lent.0);
    assert!(lent.flag("aa"), "{}", lent.0);
    assert_eq!(name("laptop").data(), [format!("A {address}")]);
    assert_eq!(reverse().data(), ["PTR laptop.home.arpa."]);
    let none = home.dig("laptop.home.arpa AAAA");
    assert!(none.is("NOERROR") && none.data().is_empty(), "{}", none.0);

    udhcpc.signal(Signal::SIGTERM);
    udhcpc.ended();
    until("the name goes with the lease", SECONDS, || {
        name("laptop.home.arpa").is("NXDOMAIN").then_some(())
    });
    assert!(reverse().is("NXDOMAIN"), "{}", reverse().0);
    assert!(name("laptop").is("NXDOMAIN"));
}
