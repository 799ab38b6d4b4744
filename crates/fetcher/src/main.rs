//! fetcher
fn main() {}
