//! What a server has used, from `/proc` and the clocks of its processes; and the clock that everything here reads.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// Counts from when it was started.
#[derive(Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "a benchmark reads the real clock, here and nowhere else"
    )]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// In ns.
    pub(crate) fn now(&self) -> u64 {
        ns(self.elapsed())
    }
}

/// As a number.
pub(crate) fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A process at one moment. The number alone may belong to another one later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    parent: i32,
    /// CPU of children that have ended, in ticks.
    ended: u64,
    /// CPU of its own, in ticks.
    own: u64,
    begun: u64,
}

impl Process {
    /// As `/proc` tells it now.
    pub(crate) fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before it may contain anything.
        let (_, after) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = after.split_whitespace().collect();
        let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            own: number(11)? + number(12)?,
            ended: number(13)? + number(14)?,
            begun: number(19)?,
        })
    }

    /// Whether it is still the same one.
    pub(crate) fn is_there(self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.begun == self.begun)
    }
}

/// A process and all below it.
pub(crate) fn tree(pid: i32) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(process) = pid.and_then(Process::read) {
            children.entry(process.parent).or_default().push(process);
        }
    }
    let mut found: Vec<Process> = Process::read(pid).into_iter().collect();
    let mut next = 0;
    while let Some(process) = found.get(next) {
        let below = children.remove(&process.pid).unwrap_or_default();
        found.extend(below);
        next += 1;
    }
    found
}

/// CPU of a process and all below it, user and system, those that have ended included. In µs.
pub(crate) fn cpu(pid: i32) -> f64 {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    let from_ticks = |count: u64| count as f64 * 1e6 / ticks as f64;
    let cpu = |process: Process| {
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(process.pid));
        // The kernel's own count of the same, without rounding to ticks.
        let own = clock.and_then(clock_gettime).map_or_else(
            |_| from_ticks(process.own),
            |time| Duration::from(time).as_secs_f64() * 1e6,
        );
        own + from_ticks(process.ended)
    };
    tree(pid).into_iter().map(cpu).sum()
}

/// Resident memory of a process and all below it. In MiB.
pub(crate) fn memory(pid: i32) -> f64 {
    let resident = |process: Process| {
        let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()
    };
    let kib: f64 = tree(pid).into_iter().filter_map(resident).sum();
    kib / 1024.0
}
