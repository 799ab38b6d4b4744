//! Avro as the sink needs it: a record's scalar fields, read in one pass and borrowed from the message.
//!
//! [`Layout`] is made once per writer's schema; [`Layout::decode`] then walks a datum by it. There is no tree of
//! values and no schema resolution: what is mapped to a column is looked up by its cell's number.

mod decode;
mod layout;
mod types;

pub use decode::{Cell, DecodeError, Row};
pub use layout::{Field, Layout, LayoutError};
pub use types::FieldType;

#[cfg(test)]
mod tests;
