//! What `cargo test` runs: the parts that no server is needed for, so that a figure does not come from a fault of ours.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use crate::Fallible;
use crate::data::{Data, LOCAL};
use crate::flight::{Flight, Histogram};
use crate::load::{self, Pace, Until};
use crate::message::{self, RecordType, Reply, has_ipv6_hint};
use crate::zones::Zones;
use crate::{floor, peer, stream, table, tally};

type Check = (&'static str, fn() -> Fallible<bool>);

const CHECKS: [Check; 6] = [
    ("names are the same at every run", names),
    ("every name is in a zone file once", zone_files),
    ("messages", messages),
    ("latencies and open questions", latencies),
    ("medians and numbers", numbers),
    ("the floor answers all that is asked", exchange),
];

/// Does all checks, and tells of those that fail.
pub(crate) fn run() -> ExitCode {
    let mut failed = 0;
    for (name, check) in CHECKS {
        let outcome = check();
        if !matches!(outcome, Ok(true)) {
            failed += 1;
            println!("{name}: {outcome:?}");
        }
    }
    println!("{} passed, {failed} failed", CHECKS.len() - failed);
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn names() -> Fallible<bool> {
    let (data, again) = (Data::new(5000), Data::new(5000));
    let (mix, same) = (data.mix(2000), again.mix(2000));
    let share = |count: usize| count as f64 / 5000.0;
    let count = |wanted: fn(&&crate::data::Site) -> bool| data.sites.iter().filter(wanted).count();
    let aliases = share(count(|site| site.aliases > 0));
    let https = share(count(|site| site.https));
    let names: std::collections::BTreeSet<String> =
        data.sites.iter().map(ToString::to_string).collect();
    Ok((0..2000).all(|number| mix.get(number) == same.get(number))
        && names.len() == 5000
        && data.hot_a().len() == 1000
        && (0.18..0.22).contains(&aliases)
        && (0.27..0.33).contains(&https)
        && data.samples().is_some())
}

fn zone_files() -> Fallible<bool> {
    let folder = tempfile::tempdir()?;
    let zones = Zones::write(&Data::new(500), 100, folder.path())?;
    let mut owners = 0;
    for (_, file) in &zones.upstream {
        let text = std::fs::read_to_string(file)?;
        let mut lines: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split(' ').next())
            .filter(|owner| owner.starts_with("www.site"))
            .collect();
        lines.dedup();
        owners += lines.len();
    }
    let local = std::fs::read_to_string(&zones.local_zone)?;
    Ok(owners == 500 && local.lines().filter(|line| line.contains(LOCAL)).count() > 100)
}

fn messages() -> Fallible<bool> {
    let mut message = Vec::new();
    message::write_question(&mut message, "www.example", RecordType::HTTPS);
    let question_end = message.len();
    // Answered by one record of type HTTPS: priority 1, the same name, ALPN h2, an IPv6 hint; and OPT with EDE 17.
    message[2..4].copy_from_slice(&[0x81, 0x80]);
    message[7] = 1;
    message[11] = 1;
    let data = [
        &[0, 1, 0, 0, 1, 0, 3, 2, b'h', b'2', 0, 6, 0, 16][..],
        &[1; 16],
    ]
    .concat();
    message.extend([
        0xc0,
        12,
        0,
        65,
        0,
        1,
        0,
        0,
        0,
        60,
        0,
        u8::try_from(data.len())?,
    ]);
    message.extend(&data);
    message.extend([0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 6, 0, 15, 0, 2, 0, 17]);
    let reply = Reply::read(&message).ok_or("not read")?;
    let hint = reply
        .of(RecordType::HTTPS)
        .any(|record| has_ipv6_hint(&record.data));
    // Every beginning is read or is none, and none is read beyond its end.
    let beginnings = (0..message.len()).all(|end| Reply::read(&message[..end]).is_none());
    Ok(hint
        && beginnings
        && reply.extended_error() == Some(17)
        && reply.question == message[12..question_end - 4]
        && message::is_answer(&message))
}

fn latencies() -> Fallible<bool> {
    let mut histogram = Histogram::default();
    for us in 1..=10_000 {
        histogram.add(us * 1000);
    }
    let close = |found: f64, wanted: f64| (found / wanted - 1.0).abs() < 0.02;
    let mut flight = Flight::new(2);
    let first = flight.ask(10).ok_or("no room")?;
    let second = flight.ask(20).ok_or("no room")?;
    let full = flight.ask(30).is_none();
    let took = flight.close(first, 15);
    let twice = flight.close(first, 16);
    let again = flight.ask(40).ok_or("no room")?;
    let late = flight.close(first, 50);
    Ok(close(histogram.quantile(0.5), 5000.0)
        && close(histogram.quantile(0.99), 9900.0)
        && full
        && again != first
        && (took, twice, late) == (Some(5), None, None)
        && flight.expire(30) == 1
        && flight.close(second, 60).is_none()
        && flight.open() == 1)
}

fn numbers() -> Fallible<bool> {
    Ok(table::median(&[3.0, 1.0, 2.0]).total_cmp(&2.0).is_eq()
        && table::median(&[4.0, 1.0, 2.0, 3.0]).total_cmp(&2.5).is_eq()
        && table::grouped(1_234_567.0) == "1,234,567"
        && table::grouped(12.0) == "12"
        && tally::memory(i32::try_from(std::process::id())?) > 0.0)
}

fn exchange() -> Fallible<bool> {
    let address: SocketAddr = peer::free_address()?;
    std::thread::spawn(move || floor::serve(address).is_ok());
    let patience = Duration::from_millis(200);
    let ask = || message::ask(address, "www.example", RecordType::A, true, patience);
    let answered = (0..20).any(|_| {
        ask().is_ok_and(|reply| reply.ipv4().len() == 1) || {
            std::thread::sleep(Duration::from_millis(10));
            false
        }
    });
    let questions = Data::new(2000).hot_a();
    let once = load::run(address, &questions, Pace::InFlight(64), Until::Once)?;
    let paced = load::run(address, &questions, Pace::Rate(2000.0), Until::Seconds(0.1))?;
    let streamed = stream::run(address, &questions, 0.1)?;
    Ok(answered
        && once.latency.total() == 1000
        && (1..=210).contains(&paced.latency.total())
        && streamed.latency.total() > 0
        && once.lost + paced.lost + streamed.lost == 0)
}
