//! The black-box tests of the whole pipeline, one module a part. They share one set of real servers.

mod cassandra_sink;
mod configuration;
mod dlq;
mod documentation;
mod end_to_end;
mod fetcher;
mod python_client;
mod relay;
mod stream_processor;
