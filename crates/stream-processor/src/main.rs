//! stream-processor
fn main() {}
