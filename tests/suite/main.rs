//! The black-box tests of the whole pipeline, one module a part. They share one set of real servers.

// clippy.toml frees the test functions only, not what they share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cli;
mod deletes_and_order;
mod end_to_end;
mod faults;
mod fetcher;
mod processor;
mod python_client;
mod relay;
mod sink;
mod stages;
mod values;
