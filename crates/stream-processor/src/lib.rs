//! stream-processor
