//! randomuser-sim
fn main() {}
