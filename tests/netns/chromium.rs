//! A real browser on the client, without a screen and with a new profile each time.

use std::fs;

use crate::home::Home;
use crate::namespace::must;

impl Home {
    /// What the page is once Chromium has loaded it.
    pub(crate) fn browse(&self, url: &str, options: &[&str]) -> String {
        let home = tempfile::tempdir_in(self.folder()).expect("a folder");
        let profile = home.path().join("profile");
        fs::create_dir(&profile).expect("a profile");
        let mut command = self.client.command("timeout");
        command
            .args(["--signal=KILL", "90", "chromium"])
            .args([
                "--headless",
                // Its sandbox refuses to run as root.
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                // Whatever it would ask of its maker.
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-domain-reliability",
                "--disable-sync",
            ])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!(
                "--ignore-certificate-errors-spki-list={}",
                self.internet.key_digest
            ))
            .args(options)
            .args(["--dump-dom", url])
            .env("HOME", home.path());
        must(&mut command)
    }
}
