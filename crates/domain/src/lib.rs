//! What a user is, as pure functions: no I/O, no async, no clock.
//!
//! - [`profile`]: one result of the randomuser.me API, parsed strictly into the columns of the table `users`.
//! - [`transform()`]: a row of that table, as it stands in `users.raw`, into what stands in `users.processed`.
//! - [`pii`]: what of a person's data the transform shows.

pub mod pii;
mod processed;
pub mod profile;
mod raw;
mod reject;
mod text;
mod transform;

pub use processed::{Before, Month, ProcessedUser};
pub use raw::{RawBefore, RawUser};
pub use reject::{Reject, RejectKind};
pub use transform::{AGE_BANDS, MAX_AGE_YEARS, transform};
