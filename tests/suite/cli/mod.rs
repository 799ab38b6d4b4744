//! The operator's command line, the configuration, and what the documents say of both.

mod configuration;
mod dlq;
mod documentation;
mod verify_waits;
