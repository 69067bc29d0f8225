//! PURE. Log lines that a client could cause without end: a few in each while, and how many were left out.

use std::time::{Duration, Instant};

/// How many lines there are in a while.
const LINES: u64 = 10;

/// How long a while is.
const WHILE: Duration = Duration::from_secs(60);

/// Counts the lines of one kind.
#[derive(Debug)]
pub struct Sparing {
    lines: u64,
    begun: Option<Instant>,
    told: u64,
    left_out: u64,
}

impl Sparing {
    /// For a kind of which nothing was said yet.
    pub const fn new() -> Self {
        Self::of(LINES)
    }

    /// As [`Sparing::new`], with so many lines in a while.
    pub const fn of(lines: u64) -> Self {
        Self {
            lines,
            begun: None,
            told: 0,
            left_out: 0,
        }
    }

    /// Whether a line may be said: `Some` with how many were left out since the last one.
    pub fn say(&mut self, now: Instant) -> Option<u64> {
        let is_over = |begun| now.saturating_duration_since(begun) >= WHILE;
        if self.begun.is_none_or(is_over) {
            self.begun = Some(now);
            self.told = 0;
        }
        if self.told >= self.lines {
            self.left_out += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl Default for Sparing {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "the tests reckon from some moment"
)]
mod tests {
    use super::*;

    #[test]
    fn a_few_lines_are_said_in_each_while_and_the_next_tells_of_the_others() {
        let begun = Instant::now();
        let mut sparing = Sparing::new();
        for _ in 0..LINES {
            assert_eq!(sparing.say(begun), Some(0));
        }
        for second in 0..59 {
            assert_eq!(sparing.say(begun + Duration::from_secs(second)), None);
        }
        assert_eq!(sparing.say(begun + WHILE), Some(59));
        assert_eq!(sparing.say(begun + WHILE), Some(0));
    }
}
