//! What the targets in `fuzz` reach of this room.

use std::time::Instant;

use super::agreement;
use crate::config::Cache;
use crate::resolve::Question;

/// Whether the reply to a question (name in lower case) is read in place: then the long way reads the same.
///
/// # Panics
///
/// Where it does not.
pub fn is_read_in_place(question: &Question, reply: &[u8], bounds: Cache, now: Instant) -> bool {
    agreement::agree(question, reply, bounds, now) != agreement::Taken::LongWay
}
