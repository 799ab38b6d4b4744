//! relay

pub mod config;
pub mod order;
pub mod pgoutput;
pub mod plan;
pub mod progress;
pub mod schema;
pub mod table;
pub mod value;
pub mod visibility;
