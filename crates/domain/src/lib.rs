//! What a user is, as pure functions: no I/O, no async, no clock.
//!
//! - [`profile`]: one result of the randomuser.me API, parsed strictly into the columns of the table `users`.

pub mod profile;
