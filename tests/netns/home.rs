//! The home as a whole: its machines, its links, and the processes that make them what they are.

use std::fs;
use std::net::Ipv6Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tempfile::TempDir;

use crate::internet::Internet;
use crate::namespace::{self, Daemon, Namespace};
use crate::wait::{SOON, until};
use crate::{client, gateway, internet};

/// The home gateway's address on the LAN.
pub(crate) const GATEWAY: &str = "192.168.77.1";
/// The gate's address on the LAN.
pub(crate) const GATE: &str = "192.168.77.2";
/// The home gateway's IPv6 address on the LAN: a neighbour of the gate.
pub(crate) const GATEWAY_IPV6: &str = "2001:db8:77::1";

/// A home with its internet; removed when dropped, also while a test panics.
#[derive(Debug)]
pub(crate) struct Home {
    /// Name server and origins.
    pub(crate) internet: Internet,
    /// NAT, router advertisements, DHCP.
    pub(crate) gateway: Namespace,
    /// Where sekisho runs.
    pub(crate) gate: Namespace,
    /// The device without IPv6.
    pub(crate) client: Namespace,
    /// Somebody on the IPv6 internet.
    pub(crate) stranger: Namespace,
    /// The gate's own IPv6 address.
    pub(crate) gate_ipv6: Ipv6Addr,
    /// What the client was told by DHCP.
    pub(crate) lease: client::Lease,
    daemons: Vec<Daemon>,
    folder: TempDir,
    // Last, so that the next home is begun when this one is gone: two at once would spoil each other's times.
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Home {
    /// Builds it, which takes a second or two, and waits until every part of it works.
    ///
    /// # Panics
    ///
    /// When a part does not come up.
    pub(crate) fn build() -> Self {
        // A test that failed has still tidied up.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Namespace::sweep();
        let folder = namespace::folder();
        // sekisho reads its file again after it has become another user.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("0755");

        let internet = Namespace::new("internet", "");
        let gateway = Namespace::new("gateway", "");
        let gate = Namespace::new("gate", internet::RESOLVER);
        let client = Namespace::new("client", "");
        let stranger = Namespace::new("stranger", "");

        internet::link_stranger(&internet, &stranger);
        gateway::link(&gateway, &internet);
        gateway::lan(&gateway, &gate, &client);
        let internet = Internet::start(internet, folder.path());
        let daemons = gateway::start(&gateway, folder.path());

        gate.ip(&format!("addr add {GATE}/24 dev lan"));
        gate.sysctl("ipv6/conf/lan/accept_ra", "2");
        gate.sysctl("ipv6/conf/lan/router_solicitation_delay", "0");
        gate.ip("link set lan up");
        gate.ip(&format!("route add default via {GATEWAY}"));
        let gate_ipv6 = until("the gate has an IPv6 address and route", SOON, || {
            let routes = gate.ip("-6 route show default");
            global_ipv6(&gate.ip("-6 -json addr show dev lan")).filter(|_| !routes.is_empty())
        });
        let lease = client::ask_for_address(&client, folder.path());
        Self {
            internet,
            gateway,
            gate,
            client,
            stranger,
            gate_ipv6,
            lease,
            daemons,
            folder,
            _turn: turn,
        }
    }

    /// A folder for the files of this home.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the home gateway's own processes said.
    pub(crate) fn gateway_said(&self) -> String {
        self.daemons.iter().map(Daemon::said).collect()
    }
}

/// Both ends of a new cable.
pub(crate) fn cable(one: (&Namespace, &str), other: (&Namespace, &str)) {
    one.0.ip(&format!(
        "link add {} type veth peer name {} netns {}",
        one.1,
        other.1,
        other.0.name()
    ));
}

/// The address that router advertisements gave, once it may be used.
fn global_ipv6(json: &str) -> Option<Ipv6Addr> {
    let interfaces: Value = serde_json::from_str(json).ok()?;
    interfaces[0]["addr_info"]
        .as_array()?
        .iter()
        .find(|address| address["scope"] == "global" && address["tentative"] != true)?["local"]
        .as_str()?
        .parse()
        .ok()
}
