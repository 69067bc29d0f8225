//! The query log (`log.queries`): one line for each query of a client, among the other lines and in their format, but
//! whatever their level.
//!
//! A thread of its own writes them, so that a slow reader of the log never holds up an answer: what does not fit the
//! queue before it is dropped, and counted by the caller. Off, it costs one look at a flag. `dns` tells, `app` switches.

use std::io;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use super::events;

/// Lines that wait to be written.
const QUEUE: usize = 4096;

static WANTED: AtomicBool = AtomicBool::new(false);
static QUEUE_END: OnceLock<SyncSender<QueryLine>> = OnceLock::new();

/// What is told of one query. Every text is escaped already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryLine {
    /// Who asked.
    pub client: IpAddr,
    /// `udp`, `tcp` or `tls`.
    pub transport: &'static str,
    /// The name asked for, `-` where none could be read.
    pub name: String,
    /// Its type.
    pub record_type: String,
    /// The response code.
    pub rcode: String,
    /// What was done: `passed`, `withheld`, `steered`, `local`, `special`, `rebind`, `failed` or
    /// `refused`.
    pub done: &'static str,
    /// The first addresses of the answer, or how many records it has.
    pub answer: String,
    /// The codes of its Extended DNS Errors.
    pub extended_errors: String,
    /// Whether the cache held what upstreams say to this question.
    pub cached: bool,
    /// From the query to the answer.
    pub elapsed: Duration,
}

/// Whether queries are to be told.
pub fn queries_wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}

/// Tells queries from now on, or no more.
///
/// # Errors
///
/// What the system says where it gives no thread to write them.
pub fn set_queries(wanted: bool) -> io::Result<()> {
    if wanted && QUEUE_END.get().is_none() {
        let (sender, receiver) = sync_channel(QUEUE);
        if QUEUE_END.set(sender).is_ok() {
            Builder::new()
                .name("queries".to_owned())
                .spawn(move || write(&receiver))?;
        }
    }
    WANTED.store(wanted, Ordering::Relaxed);
    Ok(())
}

/// Puts a line in the queue; `false` where it was full and the line is dropped.
pub fn tell_query(line: QueryLine) -> bool {
    QUEUE_END.get().is_none_or(|queue| offer(queue, line))
}

fn offer(queue: &SyncSender<QueryLine>, line: QueryLine) -> bool {
    queue.try_send(line).is_ok()
}

fn write(lines: &Receiver<QueryLine>) {
    while let Ok(line) = lines.recv() {
        let QueryLine {
            client,
            transport,
            name,
            record_type,
            rcode,
            done,
            answer,
            extended_errors,
            cached,
            elapsed,
        } = line;
        let milliseconds = (elapsed.as_secs_f64() * 1e6).round() / 1e3;
        tracing::info!(
            target: "sekisho::queries",
            %client,
            transport,
            %name,
            "type" = %record_type,
            %rcode,
            done,
            %answer,
            ede = %extended_errors,
            cached,
            ms = milliseconds,
            "{}",
            events::QUERY
        );
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn what_does_not_fit_the_queue_is_dropped_at_once_and_said() {
        let (queue, lines) = sync_channel(1);
        let line = QueryLine {
            client: Ipv4Addr::LOCALHOST.into(),
            transport: "udp",
            name: "a.example".to_owned(),
            record_type: "A".to_owned(),
            rcode: "NOERROR".to_owned(),
            done: "passed",
            answer: String::new(),
            extended_errors: String::new(),
            cached: false,
            elapsed: Duration::ZERO,
        };
        assert!(offer(&queue, line.clone()));
        assert!(!offer(&queue, line.clone()));
        assert_eq!(lines.recv(), Ok(line.clone()));
        assert!(offer(&queue, line));
    }

    #[test]
    fn nothing_is_told_unless_it_is_wanted() {
        assert!(!queries_wanted());
    }
}
