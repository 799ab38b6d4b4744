//! randomuser-sim
