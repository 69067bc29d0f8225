//! Where log lines go: a thread of its own writes them to stderr, so that a reader that stands still, a full disk or a
//! closed pipe never holds up who has something to say. What does not fit the queue before it, or cannot be written, is
//! lost and counted. Used by `log`.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{LazyLock, OnceLock};
use std::thread::Builder;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written.
const QUEUE: usize = 1024;

/// How long the last lines may take to be written.
const LAST: Duration = Duration::from_secs(1);

static QUEUE_END: OnceLock<SyncSender<Told>> = OnceLock::new();
static LOST: LazyLock<Counter> = LazyLock::new(Counter::default);

enum Told {
    Line(Vec<u8>),
    /// To be answered when all before it is written.
    Last(SyncSender<()>),
}

/// Begins to write lines; once a process.
///
/// # Errors
///
/// What the system says where it gives no thread.
pub(super) fn start() -> io::Result<()> {
    let (queue, lines) = sync_channel(QUEUE);
    Builder::new()
        .name("log".to_owned())
        .spawn(move || write(&lines, &mut io::stderr()))?;
    QUEUE_END.set(queue).ok();
    Ok(())
}

/// Waits until the lines that were said are written, a second at most.
pub fn flush() {
    let (done, wait) = sync_channel(1);
    if let Some(queue) = QUEUE_END.get()
        && queue.try_send(Told::Last(done)).is_ok()
    {
        wait.recv_timeout(LAST).ok();
    }
}

/// Lines that were lost.
pub(super) fn lost() -> Counter {
    LOST.clone()
}

fn write(lines: &Receiver<Told>, to: &mut impl Write) {
    for told in lines {
        match told {
            Told::Line(line) => {
                if to.write_all(&line).is_err() {
                    LOST.inc();
                }
            }
            Told::Last(done) => {
                done.send(()).ok();
            }
        }
    }
}

/// Makes the writer of one line.
#[derive(Debug)]
pub(super) struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { may_wait: false }
    }

    fn make_writer_for(&'a self, of: &Metadata<'_>) -> Line {
        // They have a thread and a queue of their own, where those are counted that do not fit.
        Line {
            may_wait: of.target() == "sekisho::queries",
        }
    }
}

/// Takes a line, in one piece.
#[derive(Debug)]
pub(super) struct Line {
    may_wait: bool,
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let told = Told::Line(line.to_vec());
        let taken = QUEUE_END.get().is_some_and(|queue| match self.may_wait {
            true => queue.send(told).is_ok(),
            false => queue.try_send(told).is_ok(),
        });
        if !taken {
            LOST.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
