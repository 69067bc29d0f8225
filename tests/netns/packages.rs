//! What fetches packages and sources: git, apt, pip and npm, by the proxy of their settings and by DNS alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::gate::{Gate, config};
use crate::home::{GATE, Home};
use crate::internet::{DUAL, OWN_DUAL, OWN_DUAL_IPV6, OWN_SIX, OWN_SIX_IPV6, SIX};
use crate::namespace::must;
use crate::own_origin::http_origin;
use crate::requirements::{home_if, home_with};

/// How a client gets to the gate, and the mode that leaves it no other way.
const WAYS: [(&str, &str); 2] = [("proxy", "off"), ("dns", "address")];

/// Each family and each scheme once; curl and wget try all of them.
const SITES: [(&str, &str); 2] = [("http", DUAL), ("https", SIX)];

fn proxy() -> String {
    format!("http://{GATE}:3128")
}

/// Runs a shell script in a folder.
fn make(folder: &Path, script: &str) {
    must(
        Command::new("sh")
            .current_dir(folder)
            .args(["-euc", script]),
    );
}

fn empty_folder(home: &Home, name: &str) -> PathBuf {
    let folder = home.folder().join(name);
    fs::create_dir(&folder).expect("a folder");
    folder
}

fn assert_same(one: &Path, other: &Path) {
    let read = |path: &Path| fs::read(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    assert!(read(one) == read(other), "{one:?} and {other:?} differ");
}

/// Every request for a path came from the gate's IPv6 address, and there was one.
fn assert_by_ipv6(home: &Home, origin: &str, path: &str) {
    home.internet.source_of(origin, path);
    for (source, request) in home.internet.requests(origin, path) {
        assert_eq!(source, home.gate_ipv6.to_string(), "{origin}: {request}");
    }
}

/// git without anybody's settings, on the client; by the proxy where `way` says so.
fn git(home: &Home, way: &str) -> Command {
    let mut command = home.client.command("git");
    command
        .env("HOME", home.folder())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_SSL_CAINFO", &home.internet.authority);
    if way == "proxy" {
        command
            .env("http_proxy", proxy())
            .env("https_proxy", proxy());
    }
    command
}

/// A repository with a commit and a large file.
const REPOSITORY: &str = "
export HOME=$PWD GIT_CONFIG_NOSYSTEM=1
git -c init.defaultBranch=main init -q work
cd work
git config user.name nobody
git config user.email nobody@origin.net
head -c 1500000 /dev/urandom >large
git add large
git commit -qm one
cd ..
git clone -q --bare work served.git
git -C served.git update-server-info
git -C served.git config http.receivepack true
cp -r served.git files/served.git
";

#[test]
fn git_clones_from_a_folder_of_files() {
    let Some(home) = home_with(&[("git", "git")]) else {
        return;
    };
    make(home.folder(), REPOSITORY);
    for (way, mode) in WAYS {
        let gate = Gate::start(&home, &config(mode));
        for (scheme, origin) in SITES {
            let copy = home.folder().join(format!("{way}-{scheme}-{origin}"));
            let url = format!("{scheme}://{origin}/files/served.git");
            must(git(&home, way).args(["clone", "-q", &url]).arg(&copy));
            assert_same(&copy.join("large"), &home.folder().join("work/large"));
            assert_by_ipv6(&home, origin, "/files/served.git/info/refs");
            assert_by_ipv6(&home, origin, "/files/served.git/objects/");
        }
        assert!(gate.stop().success());
    }
}

#[test]
fn git_clones_from_and_pushes_to_a_server_that_speaks_its_protocol() {
    let Some(home) = home_with(&[("git", "git"), ("python3", "python3")]) else {
        return;
    };
    make(home.folder(), REPOSITORY);
    let mut dual = http_origin(&home, OWN_DUAL, OWN_DUAL_IPV6);
    let mut six = http_origin(&home, OWN_SIX, OWN_SIX_IPV6);
    for (way, mode) in WAYS {
        let gate = Gate::start(&home, &config(mode));
        for (scheme, origin) in [("http", OWN_DUAL), ("https", OWN_SIX)] {
            let name = format!("{way}-{scheme}-{origin}");
            let copy = home.folder().join(&name);
            let url = format!("{scheme}://{origin}/git/served.git");
            must(git(&home, way).args(["clone", "-q", &url]).arg(&copy));
            assert_same(&copy.join("large"), &home.folder().join("work/large"));
            // Random bytes beyond `http.postBuffer` (1 MiB), which git sends in chunks.
            let commit = format!(
                "head -c 2000000 /dev/urandom >{name}; git add {name}; \
                 git -c user.name=nobody -c user.email=nobody@origin.net commit -qm {name}"
            );
            make(&copy, &commit);
            must(
                git(&home, way)
                    .arg("-C")
                    .arg(&copy)
                    .args(["push", "-q", "origin", "main"]),
            );
            let pushed = home.folder().join("pushed");
            let show = format!("git -C served.git show main:{name} >pushed");
            make(home.folder(), &show);
            assert_same(&pushed, &copy.join(&name));
        }
        assert!(gate.stop().success());
    }
    for server in [&mut dual, &mut six] {
        server.assert_by_ipv6(&home, "/git/served.git/info/refs?service=git-upload-pack");
        server.assert_by_ipv6(&home, "/git/served.git/git-upload-pack");
        server.assert_by_ipv6(&home, "/git/served.git/git-receive-pack chunked");
    }
}

/// An archive of one package, in `files/apt`.
const ARCHIVE: &str = "
mkdir -p package/DEBIAN package/usr/share/sekisho-test files/apt
head -c 2000000 /dev/urandom >package/usr/share/sekisho-test/data
cat >package/DEBIAN/control <<END
Package: sekisho-test
Version: 1.0
Architecture: all
Maintainer: nobody <nobody@origin.net>
Description: random bytes
END
dpkg-deb -Znone --root-owner-group --build package files/apt/sekisho-test_1.0_all.deb
cd files/apt
{
    cat ../../package/DEBIAN/control
    echo Filename: ./sekisho-test_1.0_all.deb
    echo Size: $(stat -c %s sekisho-test_1.0_all.deb)
    echo SHA256: $(sha256sum <sekisho-test_1.0_all.deb | cut -d' ' -f1)
} >Packages
{
    echo Suite: test
    echo SHA256:
    echo \" $(sha256sum <Packages | cut -d' ' -f1) $(stat -c %s Packages) Packages\"
} >Release
";

#[test]
fn apt_updates_and_downloads_by_http_socks_and_dns_alone() {
    let Some(home) = home_with(&[("apt-get", "apt"), ("dpkg-deb", "dpkg")]) else {
        return;
    };
    make(home.folder(), ARCHIVE);
    let archive = home.internet.files().join("apt/sekisho-test_1.0_all.deb");
    let socks = format!("socks5h://{GATE}:1080");
    for (way, mode, proxy) in [
        ("http", "off", proxy()),
        ("socks", "off", socks),
        ("dns", "address", "DIRECT".to_owned()),
    ] {
        let gate = Gate::start(&home, &config(mode));
        for origin in [DUAL, SIX] {
            for scheme in ["http", "https"] {
                let folder = empty_folder(&home, &format!("apt-{way}-{scheme}-{origin}"));
                make(
                    &folder,
                    "mkdir -p state/lists/partial cache/archives/partial; : >status",
                );
                let here = folder.display();
                let settings = format!(
                    "Dir::State \"{here}/state\";\nDir::State::status \"{here}/status\";\n\
                     Dir::Cache \"{here}/cache\";\nDir::Etc::Parts \"/dev/null\";\nDir::Etc::Main \"/dev/null\";\n\
                     Dir::Etc::SourceList \"{here}/sources.list\";\nDir::Etc::SourceParts \"/dev/null\";\n\
                     APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n\
                     Acquire::http::Proxy \"{proxy}\";\nAcquire::https::Proxy \"{proxy}\";\n\
                     Acquire::https::CaInfo \"{}\";\n",
                    home.internet.authority.display()
                );
                fs::write(folder.join("apt.conf"), settings).expect("apt.conf");
                let source = format!("deb [trusted=yes] {scheme}://{origin}/files/apt ./\n");
                fs::write(folder.join("sources.list"), source).expect("sources.list");
                for line in ["update -q --error-on=any", "download -q sekisho-test"] {
                    let mut apt = home.client.command("apt-get");
                    apt.env("APT_CONFIG", folder.join("apt.conf"));
                    must(apt.current_dir(&folder).args(line.split(' ')));
                }
                assert_same(&folder.join("sekisho-test_1.0_all.deb"), &archive);
            }
            assert_by_ipv6(&home, origin, "/Packages ");
            assert_by_ipv6(&home, origin, "/sekisho-test_1.0_all.deb ");
        }
        assert!(gate.stop().success());
    }
}

/// An index of one package, in `files/pip`.
const WHEEL: &str = "
mkdir -p files/pip/sekisho-test
head -c 2000000 /dev/urandom >data
python3 - <<END
import zipfile
info = 'sekisho_test-1.0.dist-info/'
with zipfile.ZipFile('files/pip/sekisho-test/sekisho_test-1.0-py3-none-any.whl', 'w') as wheel:
    wheel.write('data', 'sekisho_test/data')
    wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: sekisho-test\\nVersion: 1.0\\n')
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr(info + 'RECORD', '')
END
cd files/pip/sekisho-test
sum=$(sha256sum <sekisho_test-1.0-py3-none-any.whl | cut -d' ' -f1)
echo \"<a href=sekisho_test-1.0-py3-none-any.whl#sha256=$sum>a wheel</a>\" >index.html
";

#[test]
fn pip_installs_by_its_proxy_option_and_by_dns_alone() {
    let Some(home) = home_with(&[("python3", "python3"), ("pip3", "python3-pip")]) else {
        return;
    };
    make(home.folder(), WHEEL);
    for (way, mode) in WAYS {
        let gate = Gate::start(&home, &config(mode));
        for (scheme, origin) in SITES {
            let folder = home.folder().join(format!("pip-{way}-{scheme}-{origin}"));
            let mut pip = home.client.command("python3");
            pip.args([
                "-m",
                "pip",
                "--isolated",
                "--disable-pip-version-check",
                "--no-cache-dir",
            ])
            .arg("--cert")
            .arg(&home.internet.authority)
            .arg("--retries=0");
            if scheme == "http" {
                pip.args(["--trusted-host", origin]);
            }
            if way == "proxy" {
                pip.args(["--proxy", &proxy()]);
            }
            // Whatever this machine has set for its own installations.
            pip.env("PIP_CONFIG_FILE", "/dev/null")
                .env("HOME", home.folder())
                .env_remove("PIP_FIND_LINKS")
                .env("REQUESTS_CA_BUNDLE", &home.internet.authority)
                .args([
                    "install",
                    "--quiet",
                    "--no-deps",
                    "--no-compile",
                    "--index-url",
                ])
                .arg(format!("{scheme}://{origin}/files/pip/"))
                .arg("--target")
                .arg(&folder)
                .arg("sekisho-test");
            must(&mut pip);
            let installed = folder.join("sekisho_test/data");
            assert_same(&installed, &home.folder().join("data"));
            assert_by_ipv6(&home, origin, "/files/pip/sekisho-test/ ");
            assert_by_ipv6(&home, origin, "py3-none-any.whl");
        }
        assert!(gate.stop().success());
    }
}

/// A registry of one package, in `files/npm`.
const REGISTRY: &str = "
mkdir -p package files/npm/-
head -c 2000000 /dev/urandom >package/data
echo '{\"name\": \"sekisho-test\", \"version\": \"1.0.0\"}' >package/package.json
tar czf files/npm/-/sekisho-test-1.0.0.tgz package
sum=$(openssl dgst -sha512 -binary files/npm/-/sekisho-test-1.0.0.tgz | openssl base64 -A)
cat >files/npm/sekisho-test <<END
{ \"name\": \"sekisho-test\", \"dist-tags\": { \"latest\": \"1.0.0\" },
  \"versions\": { \"1.0.0\": { \"name\": \"sekisho-test\", \"version\": \"1.0.0\", \"dist\": {
    \"tarball\": \"SITE/files/npm/-/sekisho-test-1.0.0.tgz\", \"integrity\": \"sha512-$sum\" } } } }
END
";

#[test]
fn npm_installs_by_its_proxy_setting_and_by_dns_alone() {
    let Some(home) = home_if(&["npm", "node"]) else {
        return;
    };
    make(home.folder(), REGISTRY);
    let document = home.internet.files().join("npm/sekisho-test");
    let text = fs::read_to_string(&document).expect("a document");
    for (way, mode) in WAYS {
        let gate = Gate::start(&home, &config(mode));
        for (scheme, origin) in SITES {
            let site = format!("{scheme}://{origin}");
            fs::write(&document, text.replace("SITE", &site)).expect("a document");
            let folder = empty_folder(&home, &format!("npm-{way}-{scheme}-{origin}"));
            let mut npm = home.client.command("npm");
            npm.current_dir(&folder)
                .env("HOME", &folder)
                .env("npm_config_userconfig", folder.join("npmrc"))
                .env("npm_config_globalconfig", folder.join("global"))
                .env("npm_config_cafile", &home.internet.authority)
                .env("npm_config_update_notifier", "false")
                .args([
                    "install",
                    "--no-audit",
                    "--no-fund",
                    "--fetch-retries=0",
                    "--registry",
                ])
                .arg(format!("{site}/files/npm/"));
            if way == "proxy" {
                let settings = format!("proxy={0}\nhttps-proxy={0}\n", proxy());
                fs::write(folder.join("npmrc"), settings).expect("npmrc");
            }
            must(npm.arg("sekisho-test"));
            let installed = folder.join("node_modules/sekisho-test/data");
            assert_same(&installed, &home.folder().join("package/data"));
            assert_by_ipv6(&home, origin, "/files/npm/sekisho-test ");
            assert_by_ipv6(&home, origin, "/files/npm/-/sekisho-test-1.0.0.tgz");
        }
        assert!(gate.stop().success());
    }
}
