//! The black-box tests of the whole pipeline, one module a part. They share one set of real servers.

// clippy.toml frees the test functions only, not what they share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod backpressure;
mod cassandra_sink;
mod chaos;
mod configuration;
mod continuity;
mod crash_points;
mod deletes_and_order;
mod dlq;
mod documentation;
mod end_to_end;
mod fetcher;
mod lost_answers;
mod poison;
mod python_client;
mod relay;
mod relay_connections;
mod relay_large;
mod relay_meanwhile;
mod relay_slot;
mod schema_evolution;
mod sink_rows;
mod spark;
mod stages;
mod stream_processor;
mod values;
mod verify_waits;
