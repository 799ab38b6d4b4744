//! The randomuser.me API, version 1.4, simulated: for tests, and for machines that can't reach the real one.
//!
//! Same parameters, envelope, types and quirks as the real server, but words of its own, and every response says
//! so in `X-Simulated`. A seed gives the same users for ever; faults and damaged profiles come on request, with a
//! probability and a seed. [`Simulator`] runs it in a process, the binary `randomuser-sim` as one.
//!
//! From request to page: `api` (routes) → `query` → `seed` → `generate` → `render`. Faults: `faults`, `poison`,
//! `connection`; they and the statistics are reached through `control`.
//!
//! Not simulated: API versions before 1.4, formats beside JSON (400), `password`, `dl` and `callback` (ignored),
//! portraits.

mod api;
mod clock;
mod config;
mod connection;
mod control;
mod draw;
mod faults;
mod fields;
mod generate;
mod identity;
mod nationality;
mod pattern;
mod poison;
mod query;
mod rate_limit;
mod render;
mod seed;
mod server;
mod stats;
mod translit;
mod words;

pub use clock::Clock;
pub use config::{RateLimit, SimConfig};
pub use faults::{Fault, FaultPlan, FaultPlanError, NextFault};
pub use poison::Poison;
pub use server::{SimError, Simulator};
pub use stats::Stats;
pub use words::WordsError;
