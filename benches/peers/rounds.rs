//! Does the works: starts the servers one after another, asks them, and takes down what they used.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::data::{Data, Questions, Samples, local_name};
use crate::flight::Outcome;
use crate::load::{self, Pace, Until};
use crate::message::{self, RecordType};
use crate::peer::{self, Cpus, Server};
use crate::peers::{CACHE, Kind, Part, Peer, Place};
use crate::table::Results;
use crate::works::{Stage, Work};
use crate::zones::Zones;
use crate::{Fallible, configurations, judge, stop, stream, tally};

/// Questions on their way at once.
const IN_FLIGHT: usize = 128;
/// Questions a second of the load that does not wait for answers.
const RATE: f64 = 5000.0;
/// Questions of the mix.
const MIX: usize = 200_000;
/// How many names are hot, one after another.
const GROWTH: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// How long a server is left alone, so that what it does after an answer is counted, too, and its children are reaped.
const REST: Duration = Duration::from_millis(150);

/// Everything that is asked.
#[derive(Debug)]
struct Asked {
    hot_a: Questions,
    hot_aaaa: Questions,
    hot_https: Questions,
    local: Questions,
    mix: Questions,
    all: Questions,
    records: usize,
    growth: Vec<(usize, Questions)>,
}

/// The bench, with an upstream that runs.
#[derive(Debug)]
pub(crate) struct Rounds<'a> {
    folder: &'a Path,
    zones: Zones,
    samples: Samples,
    asked: Asked,
    upstream: Server,
    cpus: Cpus,
    seconds: f64,
    works: Vec<Work>,
    started: usize,
}

impl<'a> Rounds<'a> {
    /// Makes the data and starts the upstream.
    ///
    /// # Errors
    ///
    /// What the system and the upstream say.
    pub(crate) fn prepare(
        folder: &'a Path,
        names: usize,
        seconds: f64,
        works: Vec<Work>,
    ) -> Fallible<Self> {
        let cpus = Cpus::choose()?;
        peer::bind(cpus.other)?;
        let data = Data::new(names);
        let samples = data.samples().ok_or("too few names")?;
        let files = folder.join("zones");
        fs::create_dir(&files)?;
        let zones = Zones::write(&data, names, &files)?;
        let growth = GROWTH.iter().filter(|_| works.contains(&Work::Growth));
        let asked = Asked {
            hot_a: data.hot_a(),
            hot_aaaa: data.hot_aaaa(),
            hot_https: data.hot_https(),
            local: data.hot_local(names),
            mix: data.mix(MIX),
            all: data.all(),
            records: data.records(),
            growth: growth.map(|count| (*count, data.endless(*count))).collect(),
        };
        let program = peer::find("nsd").ok_or("nsd, the upstream, is not installed")?;
        let place = folder.join("upstream");
        fs::create_dir(&place)?;
        let address = peer::free_address()?;
        let file = place.join("configuration");
        fs::write(&file, configurations::nsd(&place, address, &zones.upstream))?;
        let mut command = std::process::Command::new(program);
        command.args(["-d", "-c"]).arg(file);
        let name = &samples.plain;
        let upstream = Server::start(command, &place, address, name, cpus, cpus.other)?;
        Ok(Self {
            folder,
            zones,
            samples,
            asked,
            upstream,
            cpus,
            seconds,
            works,
            started: 0,
        })
    }

    /// Which CPUs are used.
    pub(crate) fn cpus(&self) -> Cpus {
        self.cpus
    }

    fn start(&mut self, peer: &Peer, part: Part, cache: usize) -> Fallible<Server> {
        self.started += 1;
        let name = peer.kind.name();
        let folder = self.folder.join(format!("{name}.{}", self.started));
        fs::create_dir(&folder)?;
        let place = Place {
            folder: &folder,
            listen: peer::free_address()?,
            upstream: self.upstream.address,
            cache,
            zones: &self.zones,
            part,
        };
        let command = peer.command(&place)?;
        let name = match part {
            Part::Forward | Part::Steer => self.samples.plain.clone(),
            Part::Local | Part::Zone => local_name(self.zones.local_names - 1),
        };
        let cpus = self.cpus;
        Server::start(command, &folder, place.listen, &name, cpus, cpus.server)
    }

    /// What this one answers: whether it may take part, and a text for each column.
    ///
    /// # Errors
    ///
    /// Why it does not run.
    pub(crate) fn judge(&mut self, peer: &Peer) -> Fallible<(bool, Vec<String>)> {
        let server = self.start(peer, Part::Forward, CACHE)?;
        thread::sleep(REST);
        let upstream = self.upstream.address;
        Ok(judge::judge(server.address, upstream, &self.samples))
    }

    /// Does what is chosen of one stage with one server.
    ///
    /// # Errors
    ///
    /// Why it does not run, or what the system says.
    pub(crate) fn visit(
        &mut self,
        stage: Stage,
        peer: &Peer,
        round: usize,
        results: &mut Results,
    ) -> Fallible<()> {
        let works = self.works.iter().copied();
        // One that is fitted to its cache differs in memory only.
        let fits = |work: &Work| *work == Work::Memory || peer.kind != Kind::DnsmasqFitted;
        let works: Vec<Work> = works
            .filter(|work| work.stage() == stage && fits(work))
            .collect();
        if works.is_empty() {
            return Ok(());
        }
        let cache = match (stage, peer.kind) {
            (Stage::Growth, _) => 3_000_000,
            (_, Kind::DnsmasqFitted) => self.asked.records + 1000,
            _ => CACHE,
        };
        let mut server = self.start(peer, stage.part(), cache)?;
        // What a server does after its start is not what is measured.
        thread::sleep(2 * REST);
        let name = peer.kind.name();
        if stage == Stage::Steer && !self.is_steered(&server)? {
            return Err("does not answer with its own address".into());
        }
        match stage {
            Stage::Hot | Stage::Steer | Stage::Local => {
                for work in works {
                    let figures = self.hot(&server, work)?;
                    results.add(work, name, round, figures);
                }
            }
            Stage::Cold => {
                let figures = self.once(&server, &self.asked.mix)?;
                results.add(Work::Zipf, name, round, figures);
            }
            Stage::Fill => {
                let before = tally::memory(server.pid());
                let figures = self.once(&server, &self.asked.all)?;
                let after = tally::memory(server.pid());
                for work in works {
                    let figures = match work {
                        Work::Memory => vec![after, before],
                        _ => figures.clone(),
                    };
                    results.add(work, name, round, figures);
                }
            }
            Stage::Start => {
                let ms = server.started.as_secs_f64() * 1000.0;
                let pid = server.pid();
                let figures = vec![ms, tally::cpu(pid) / 1000.0, tally::memory(pid)];
                results.add(Work::Start, name, round, figures);
            }
            Stage::Growth => {
                for (count, questions) in &self.asked.growth {
                    let until = Until::Seconds(self.seconds);
                    self.warm(&server, questions)?;
                    let mut figures = self.load(&server, questions, until)?;
                    figures.push(tally::memory(server.pid()));
                    results.add(Work::Growth, &names_hot(*count), round, figures);
                }
            }
        }
        stop::check()?;
        if !server.runs() {
            return Err("ended while it was asked".into());
        }
        Ok(())
    }

    fn is_steered(&self, server: &Server) -> Fallible<bool> {
        let (name, patience) = (&self.samples.plain, Duration::from_secs(1));
        let reply = message::ask(server.address, name, RecordType::A, false, patience)?;
        Ok(reply
            .ipv4()
            .iter()
            .all(|found| *found == server.address.ip()))
    }

    fn hot(&self, server: &Server, work: Work) -> Fallible<Vec<f64>> {
        let until = Until::Seconds(self.seconds);
        let questions = match work {
            Work::HotAaaa => &self.asked.hot_aaaa,
            Work::HotHttps => &self.asked.hot_https,
            Work::Local => &self.asked.local,
            _ => &self.asked.hot_a,
        };
        self.warm(server, questions)?;
        match work {
            Work::Tcp => measure(server, || {
                stream::run(server.address, questions, self.seconds)
            }),
            Work::Steady => measure(server, || {
                load::run(server.address, questions, Pace::Rate(RATE), until)
            }),
            _ => self.load(server, questions, until),
        }
    }

    /// Asks everything twice: what is held afterwards is held in every form in which a server may hold it.
    fn warm(&self, server: &Server, questions: &Questions) -> Fallible<()> {
        for _ in 0..2 {
            let pace = Pace::InFlight(IN_FLIGHT / 2);
            load::run(server.address, questions, pace, Until::Once)?;
        }
        Ok(())
    }

    fn once(&self, server: &Server, questions: &Questions) -> Fallible<Vec<f64>> {
        self.load(server, questions, Until::Once)
    }

    fn load(&self, server: &Server, questions: &Questions, until: Until) -> Fallible<Vec<f64>> {
        let pace = Pace::InFlight(IN_FLIGHT);
        measure(server, || load::run(server.address, questions, pace, until))
    }
}

/// The row of so many hot names.
pub(crate) fn names_hot(count: usize) -> String {
    format!("{} names", crate::table::grouped(count as f64))
}

/// What a load has cost, and what it has brought.
fn measure(server: &Server, run: impl FnOnce() -> Fallible<Outcome>) -> Fallible<Vec<f64>> {
    let before = tally::cpu(server.pid());
    let outcome = run()?;
    thread::sleep(REST);
    let used = tally::cpu(server.pid()) - before;
    let answered = outcome.latency.total();
    if answered == 0 {
        return Err("answered nothing".into());
    }
    Ok(vec![
        used / answered as f64,
        outcome.rate(),
        outcome.latency.quantile(0.5),
        outcome.latency.quantile(0.99),
        outcome.latency.quantile(0.999),
        (outcome.lost + outcome.failed) as f64,
        used / 1e6 / outcome.seconds.max(1e-9),
    ])
}
