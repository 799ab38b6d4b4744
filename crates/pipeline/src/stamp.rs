//! The little of a record's value that says which run and which change it belongs to.

use std::sync::Arc;

use events::cache::{CacheError, SchemaCache};
use events::{Registry, wire};
use serde::Deserialize;
use serde_avro_fast::Schema;
use tokio::runtime::Handle;

/// What is read of a value; the decoder skips the rest.
#[derive(Debug, Deserialize)]
pub(crate) struct Stamp<'a> {
    pub(crate) run_id: &'a str,
    #[serde(rename = "__op")]
    pub(crate) op: &'a str,
    #[serde(rename = "__lsn")]
    pub(crate) lsn: i64,
}

/// The registry did not give a schema, which says nothing about the record.
pub(crate) type SchemaFailure = CacheError<serde_avro_fast::schema::SchemaError>;

/// Reads stamps, on a thread that may block.
pub(crate) struct Stamps {
    schemas: SchemaCache<Schema>,
    runtime: Handle,
}

impl Stamps {
    /// `runtime` is that of the registry's client.
    pub(crate) fn new(registry: Registry, runtime: Handle) -> Self {
        Self { schemas: SchemaCache::new(registry), runtime }
    }

    /// `None` if the value is not in the wire format, its schema does not exist, or it does not fit its schema.
    ///
    /// # Errors
    /// The registry is away.
    pub(crate) fn read<'v>(&mut self, value: &'v [u8]) -> Result<Option<Stamp<'v>>, Box<SchemaFailure>> {
        self.read_as(value)
    }

    /// The same for other fields than a stamp's.
    ///
    /// # Errors
    /// The registry is away.
    pub(crate) fn read_as<'v, T: Deserialize<'v>>(
        &mut self,
        value: &'v [u8],
    ) -> Result<Option<T>, Box<SchemaFailure>> {
        let Ok((id, datum)) = wire::split(value) else { return Ok(None) };
        let Some(schema) = self.schema(id)? else { return Ok(None) };
        Ok(serde_avro_fast::from_datum_slice(datum, &schema).ok())
    }

    fn schema(&mut self, id: u32) -> Result<Option<Arc<Schema>>, Box<SchemaFailure>> {
        if let Some(known) = self.schemas.get(id) {
            return Ok(Some(Arc::clone(known)));
        }
        match self.runtime.block_on(self.schemas.fetch(id, |text| text.parse::<Schema>())) {
            Ok(schema) => Ok(Some(schema)),
            Err(CacheError::Registry(error)) if error.is_transient() => {
                Err(Box::new(CacheError::Registry(error)))
            }
            Err(CacheError::Registry(_) | CacheError::Unusable { .. }) => Ok(None),
        }
    }
}
