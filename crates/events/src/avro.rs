//! Avro's binary encoding as the hot paths need it: values written straight into a record's buffer, and a record's
//! scalar fields read in one pass and borrowed from the message.
//!
//! [`Layout`] is made once per writer's schema; [`Layout::decode`] then walks a datum by it. There is no tree of
//! values and no schema resolution: who reads a record knows the number of each cell that it wants.

mod decode;
mod encode;
mod layout;
mod types;

pub use decode::{Cell, DecodeError, Row};
pub use encode::{put_bytes, put_double, put_long, put_nullable, put_str};
pub use layout::{Field, Layout, LayoutError};
pub use types::FieldType;

#[cfg(test)]
mod tests;
