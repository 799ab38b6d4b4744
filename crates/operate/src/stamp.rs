//! Decodes the little of a record's value that says which run and which change it belongs to.

use std::sync::Arc;

use events::cache::{CacheError, SchemaCache};
use events::{Registry, wire};
use serde::Deserialize;
use serde_avro_fast::Schema;
use tokio::runtime::Handle;

/// Says which run and which change a record belongs to; the decoder skips the rest of the value.
#[derive(Debug, Deserialize)]
pub struct RecordStamp<'a> {
    /// The run that fetched the profile.
    pub run_id: &'a str,
    /// The kind of the change, see [`events::meta::Op`].
    #[serde(rename = "__op")]
    pub op: &'a str,
    /// The place of the change in PostgreSQL's WAL.
    #[serde(rename = "__lsn")]
    pub lsn: i64,
}

/// Says why the registry did not give a schema. It says nothing about the record.
pub type SchemaFailure = CacheError<serde_avro_fast::schema::SchemaError>;

/// Decodes stamps on a thread that may block, and keeps the schemas that it needs.
pub struct StampDecoder {
    schemas: SchemaCache<Schema>,
    runtime: Handle,
}

impl StampDecoder {
    /// Makes a decoder. `runtime` is where the registry's client runs.
    #[must_use]
    pub fn new(registry: Registry, runtime: Handle) -> Self {
        Self { schemas: SchemaCache::new(registry), runtime }
    }

    /// Decodes a value's stamp. Returns `None` if the value is not in the wire format, its schema does not exist, or it
    /// does not fit its schema.
    ///
    /// # Errors
    /// Fails if the registry is away.
    pub fn decode<'v>(&mut self, value: &'v [u8]) -> Result<Option<RecordStamp<'v>>, Box<SchemaFailure>> {
        self.decode_as(value)
    }

    /// Decodes other fields than a stamp's.
    ///
    /// # Errors
    /// As [`StampDecoder::decode`].
    pub fn decode_as<'v, T: Deserialize<'v>>(
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
