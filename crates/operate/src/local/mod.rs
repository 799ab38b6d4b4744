//! Reads and writes the folder of a stack on this machine: how it was started, its secrets, and its configuration.
//!
//! `pipeline up` writes a [`Manifest`] into the [`Root`], so that the other commands need no options.

mod configuration;
mod error;
mod root;
pub mod secrets;
mod source;

pub use configuration::absolute;
pub use error::RootError;
pub use root::{Manifest, Root};
pub use secrets::Secrets;
pub use source::Source;
