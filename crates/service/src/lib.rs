//! What every binary of the pipeline needs, once: configuration, telemetry, health and metrics over HTTP,
//! shutdown, and retries.
//!
//! A binary's `main` is one call of [`run`]: it loads and validates the configuration, sets up telemetry and
//! the runtime, runs the service until it stops or a signal comes, and reports one failure at the most.

pub mod admin;
pub mod cli;
pub mod config;
pub mod crash;
pub mod health;
mod healthcheck;
pub mod retry;
mod run;
pub mod secret;
pub mod shutdown;
pub mod telemetry;

pub use healthcheck::healthcheck;
pub use run::{Context, EXIT_CONFIG, EXIT_FAILURE, error_chain, run};

/// Any error, as tasks and services hand it up to be reported once.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
