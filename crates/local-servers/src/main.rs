//! local-servers
fn main() {}
