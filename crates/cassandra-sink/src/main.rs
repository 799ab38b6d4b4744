//! cassandra-sink
fn main() {}
