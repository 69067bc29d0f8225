//! ssh through the gate, by the ProxyCommand that everybody uses: `nc -X connect` and `nc -X 5`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::gate::{Gate, config};
use crate::home::GATE;
use crate::internet::{OWN_DUAL, OWN_DUAL_IPV6, OWN_SIX, OWN_SIX_IPV6};
use crate::namespace::{Daemon, must};
use crate::requirements::home_with;
use crate::wait::{SOON, until};

#[test]
fn ssh_logs_in_and_copies_by_connect_and_by_socks() {
    let tools = [
        ("nc", "netcat-openbsd"),
        ("ssh", "openssh-client"),
        ("sshd", "openssh-server"),
    ];
    let Some(home) = home_with(&tools) else {
        return;
    };
    let folder = home.folder();
    let here = folder.display();
    for key in ["host-key", "user-key"] {
        let mut keygen = Command::new("ssh-keygen");
        must(
            keygen
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(folder.join(key)),
        );
    }
    let settings = format!(
        "ListenAddress [{OWN_DUAL_IPV6}]:22\nListenAddress [{OWN_SIX_IPV6}]:22\nHostKey {here}/host-key\n\
         AuthorizedKeysFile {here}/user-key.pub\nPermitRootLogin yes\nStrictModes no\nUsePAM no\n\
         PasswordAuthentication no\nPidFile none\n"
    );
    fs::write(folder.join("sshd_config"), settings).expect("sshd_config");
    // Where it goes to before it knows who comes; a package's boot script would make it.
    fs::create_dir_all("/run/sshd").expect("/run/sshd");
    fs::set_permissions("/run/sshd", Permissions::from_mode(0o755)).expect("0755");
    let machine = home.internet.machine();
    // It wants to be called by its whole path.
    let mut sshd = machine.command("sh");
    sshd.args(["-c", "exec $(command -v sshd) -D -e -f \"$0\""])
        .arg(folder.join("sshd_config"));
    let sshd = Daemon::start("sshd", folder, &mut sshd);
    until("sshd listens", SOON, || {
        (machine.run("ss -Hltn").matches(":22 ").count() == 2).then_some(())
    });

    let gate = Gate::start(&home, &config("off"));
    must(
        Command::new("sh")
            .current_dir(folder)
            .args(["-c", "head -c 10000000 /dev/urandom >sent"]),
    );
    let sent = fs::read(folder.join("sent")).expect("bytes");
    for (protocol, port) in [("connect", 3128), ("5", 1080)] {
        for origin in [OWN_DUAL, OWN_SIX] {
            let ssh = |command: &str| {
                let mut ssh = home.client.command("ssh");
                ssh.args([
                    "-F",
                    "none",
                    "-o",
                    "StrictHostKeyChecking=no",
                    "-o",
                    "BatchMode=yes",
                ])
                .args([
                    "-o",
                    "UserKnownHostsFile=/dev/null",
                    "-o",
                    "LogLevel=ERROR",
                    "-i",
                ])
                .arg(folder.join("user-key"))
                .arg("-o")
                .arg(format!(
                    "ProxyCommand=nc -X {protocol} -x {GATE}:{port} %h %p"
                ))
                .args([&format!("root@{origin}"), command]);
                ssh
            };
            let seen = must(&mut ssh("echo $SSH_CONNECTION"));
            let wanted = format!("{} ", home.gate_ipv6);
            assert!(seen.starts_with(&wanted), "{protocol} {origin}: {seen}");
            // Up and down at once.
            let input = fs::File::open(folder.join("sent")).expect("bytes");
            let output = ssh("cat").stdin(Stdio::from(input)).output().expect("ssh");
            assert!(output.status.success(), "{protocol} {origin}");
            assert!(output.stdout == sent, "{protocol} {origin}: other bytes");
        }
    }
    assert!(sshd.said().contains("Accepted publickey for root"));
    assert!(gate.stop().success());
}
