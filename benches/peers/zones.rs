//! The files that servers read names from: those of the upstream, and the local zone as a zone file and as unbound's
//! `local-data`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::data::{Data, ENDLESS, LOCAL, Random, Site, ZONES, local_address, local_name};

/// Where they are.
#[derive(Debug)]
pub(crate) struct Zones {
    /// The upstream's zones and the file of each.
    pub(crate) upstream: Vec<(String, PathBuf)>,
    /// The folder with the one local zone, as a zone file named after it.
    pub(crate) local_folder: PathBuf,
    /// That file.
    pub(crate) local_zone: PathBuf,
    /// Its records as lines of unbound's configuration.
    pub(crate) local_data: PathBuf,
    /// How many names it has.
    pub(crate) local_names: usize,
}

impl Zones {
    /// Writes them below `folder`.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn write(data: &Data, local_names: usize, folder: &Path) -> io::Result<Self> {
        let mut random = Random(42);
        let mut upstream = Vec::new();
        for zone in ZONES {
            let path = folder.join(format!("{zone}.zone"));
            let mut file = create(&path, zone)?;
            for site in data.sites.iter().filter(|site| site.zone() == zone) {
                write_site(&mut file, site, &mut random)?;
            }
            file.flush()?;
            upstream.push((zone.to_owned(), path));
        }
        let path = folder.join(format!("{ENDLESS}.zone"));
        let mut file = create(&path, ENDLESS)?;
        writeln!(file, "* A {}", random.ipv4())?;
        file.flush()?;
        upstream.push((ENDLESS.to_owned(), path));
        // Whatever else is asked for does not exist, rather than being refused.
        let path = folder.join("root.zone");
        let mut file = create(&path, "")?;
        for (zone, _) in &upstream {
            writeln!(file, "{zone}. NS ns.{zone}.\nns.{zone}. A 127.0.0.1")?;
        }
        file.flush()?;
        upstream.push((".".to_owned(), path));

        let local_folder = folder.join("local");
        std::fs::create_dir(&local_folder)?;
        let local_zone = local_folder.join(format!("{LOCAL}.zone"));
        let local_data = folder.join("local-data.conf");
        let mut zone = create(&local_zone, LOCAL)?;
        let mut lines = BufWriter::new(File::create(&local_data)?);
        writeln!(lines, "server:\n  local-zone: \"{LOCAL}.\" static")?;
        for number in 0..local_names {
            let (name, address) = (local_name(number), local_address(number));
            writeln!(zone, "{name}. A {address}")?;
            writeln!(lines, "  local-data: \"{name}. 3600 IN A {address}\"")?;
        }
        zone.flush()?;
        lines.flush()?;
        Ok(Self {
            upstream,
            local_folder,
            local_zone,
            local_data,
            local_names,
        })
    }
}

/// A zone file with what each zone has at its top.
fn create(path: &Path, zone: &str) -> io::Result<BufWriter<File>> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "$ORIGIN {zone}.\n$TTL 3600")?;
    let dot = if zone.is_empty() { "" } else { "." };
    writeln!(
        file,
        "@ SOA ns.{zone}{dot} admin.{zone}{dot} 1 7200 3600 1209600 900"
    )?;
    writeln!(file, "@ NS ns.{zone}{dot}\nns A 127.0.0.1")?;
    Ok(file)
}

fn write_site(file: &mut impl Write, site: &Site, random: &mut Random) -> io::Result<()> {
    let number = site.number;
    let mut owner = format!("www.site{number}");
    for link in 0..site.aliases {
        let target = format!("edge{link}.site{number}.cdn");
        writeln!(file, "{owner} CNAME {target}")?;
        owner = target;
    }
    for _ in 0..site.ipv4 {
        writeln!(file, "{owner} A {}", random.ipv4())?;
    }
    for _ in 0..site.ipv6 {
        writeln!(file, "{owner} AAAA {}", random.ipv6())?;
    }
    if site.https {
        let (ipv4, ipv6) = (random.ipv4(), random.ipv6());
        writeln!(
            file,
            "{owner} HTTPS 1 . alpn=h3,h2 ipv4hint={ipv4} ipv6hint={ipv6}"
        )?;
    }
    Ok(())
}
