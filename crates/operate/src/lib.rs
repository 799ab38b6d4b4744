//! Knows the pipeline from outside: its configuration, the stack on this machine, how far every stage is, which
//! dead letters are open, and whether a run is the same everywhere.
//!
//! Nothing here prints. Functions return reports, which the command line shows as tables or as JSON. Where a function
//! takes long, it tells its caller by a callback.
//!
//! - [`config`] reads the configuration of the whole pipeline, [`local`] the folder of a stack on this machine.
//! - [`status`] asks every service and server how it is.
//! - [`verify`] compares the profiles of a run in every stage.
//! - [`dlq`] lists, shows, redrives and purges dead letters.
//! - [`offsets`], [`stamp`] and [`wait`] are what these are made of.

pub mod config;
pub mod dlq;
pub mod local;
pub mod offsets;
pub mod stamp;
pub mod status;
pub mod verify;
pub mod wait;
