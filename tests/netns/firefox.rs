//! Firefox on the client, without a screen and with a new profile each time.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::home::Home;
use crate::namespace::must;

/// What it would ask of its maker, and what would stand in the way of a page.
const QUIET: &str = "
user_pref(\"app.normandy.enabled\", false);
user_pref(\"app.update.enabled\", false);
user_pref(\"browser.aboutwelcome.enabled\", false);
user_pref(\"browser.safebrowsing.malware.enabled\", false);
user_pref(\"browser.safebrowsing.phishing.enabled\", false);
user_pref(\"browser.shell.checkDefaultBrowser\", false);
user_pref(\"datareporting.policy.dataSubmissionEnabled\", false);
user_pref(\"extensions.update.enabled\", false);
user_pref(\"network.captive-portal-service.enabled\", false);
user_pref(\"network.connectivity-service.enabled\", false);
user_pref(\"services.settings.server\", \"\");
user_pref(\"toolkit.telemetry.enabled\", false);
";

impl Home {
    /// Shows a page in Firefox with some preferences; the picture that it made of it.
    pub(crate) fn picture_in_firefox(&self, url: &str, preferences: &str) -> PathBuf {
        let home = tempfile::tempdir_in(self.folder()).expect("a folder");
        let profile = home.path().join("profile");
        fs::create_dir(&profile).expect("a profile");
        fs::write(profile.join("user.js"), format!("{QUIET}{preferences}")).expect("user.js");
        let database = format!("sql:{}", profile.display());
        for arguments in [
            &["-N", "--empty-password"][..],
            &["-A", "-n", "authority", "-t", "C,,", "-i"],
        ] {
            let mut certutil = Command::new("certutil");
            certutil.args(["-d", &database]).args(arguments);
            if arguments.contains(&"-A") {
                certutil.arg(&self.internet.authority);
            }
            must(&mut certutil);
        }
        let picture = self.folder().join("picture.png");
        fs::remove_file(&picture).ok();
        let mut command = self.client.command("timeout");
        command
            .args([
                "--signal=KILL",
                "90",
                "firefox-esr",
                "--headless",
                "--no-remote",
            ])
            .arg("--profile")
            .arg(&profile)
            .arg(format!("--screenshot={}", picture.display()))
            .arg(url)
            .env("HOME", home.path());
        must(&mut command);
        picture
    }
}
