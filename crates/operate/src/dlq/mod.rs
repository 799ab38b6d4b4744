//! Knows the dead letters that are open, sends them again, and puts them away.
//!
//! A dead letter is open until a resolution in its partition names it. Redriving sends the original record and the
//! resolution in one transaction, so that a dead letter is redriven once however often the command is broken off and
//! repeated. The transactional id is always the same: a second command fences the first, and only then reads what is
//! open.

mod dead_letter;
mod error;
mod list;
mod open;
mod resolve;
mod show;

pub use dead_letter::{DeadLetter, DeadLetterFilter, DeadLetterName, DeadLetterSource, RecordPosition};
pub use error::DlqError;
pub use list::{OpenDeadLetters, list};
pub use open::{open_sources, resolved};
pub use resolve::{Resolution, purge, redrive};
pub use show::{DeadLetterRecord, show};
