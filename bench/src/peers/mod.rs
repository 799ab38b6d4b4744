//! What the pipeline is measured beside.

pub(crate) mod debezium;
pub(crate) mod java;
pub(crate) mod postgres;
pub(crate) mod spark;
