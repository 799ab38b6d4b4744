//! Decoders by schema id, each made once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::registry::{Registry, RegistryError};

/// What `T` is for a reader: a parsed schema, or a plan made from it. Bounded: ids come from the registry, and only
/// those that it knows are kept.
#[derive(Debug)]
pub struct SchemaCache<T> {
    registry: Registry,
    by_id: HashMap<u32, Arc<T>>,
}

/// A schema that can't be had or can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError<E: std::error::Error + 'static> {
    /// The registry did not give the schema.
    #[error(transparent)]
    Registry(RegistryError),
    /// The registry gave a schema that the reader can't use.
    #[error("schema {id} can't be read")]
    Unusable {
        /// The schema's id.
        id: u32,
        /// Why.
        source: E,
    },
}

impl<T> SchemaCache<T> {
    /// Empty.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self { registry, by_id: HashMap::new() }
    }

    /// What is cached for the id, without asking the registry.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&Arc<T>> {
        self.by_id.get(&id)
    }

    /// Fetches the schema unless it is cached, and makes its reader.
    ///
    /// # Errors
    /// The registry's, or that of `make`. Nothing is cached then.
    pub async fn fetch<E: std::error::Error + 'static>(
        &mut self,
        id: u32,
        make: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Arc<T>, CacheError<E>> {
        if let Some(known) = self.by_id.get(&id) {
            return Ok(Arc::clone(known));
        }
        let schema = self.registry.schema_by_id(id).await.map_err(CacheError::Registry)?;
        let made = Arc::new(make(&schema).map_err(|source| CacheError::Unusable { id, source })?);
        self.by_id.insert(id, Arc::clone(&made));
        Ok(made)
    }
}
