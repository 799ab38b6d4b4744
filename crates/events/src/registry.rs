//! The Schema Registry, by Confluent's API.
//!
//! Its errors are sorted by what a caller must do: wait, treat the record as poison, or stop.

mod subjects;

use std::time::Duration;

use schema_registry_converter::async_impl::schema_registry::{SrSettings, post_schema};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RawError, SchemaType, SuppliedSchema};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use service::config::ConfigError;
use service::config::units::{DurationText, duration};
use url::Url;

/// `[registry]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistryConfig {
    /// Base of the API: what `/subjects` is appended to.
    pub url: Url,
    /// Bound of one request.
    #[serde(with = "duration", default = "default_timeout")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
}

const fn default_timeout() -> Duration {
    Duration::from_secs(5)
}

/// Why the registry did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It can't be reached or is not up yet: worth a wait.
    #[error("Schema Registry at {url} does not answer")]
    Unavailable {
        /// Base of its API.
        url: Url,
        /// The failed request.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answered that there is no such schema.
    #[error("Schema Registry knows no schema {id}")]
    NotFound {
        /// The id asked for.
        id: u32,
    },
    /// The new schema is not compatible with what is registered.
    #[error("Schema Registry refuses the new schema of {subject} as incompatible: {message}")]
    Incompatible {
        /// The subject.
        subject: String,
        /// The registry's words.
        message: String,
    },
    /// Any other refusal.
    #[error("Schema Registry at {url} refuses {what}: {message}")]
    Refused {
        /// Base of its API.
        url: Url,
        /// What was asked.
        what: String,
        /// The registry's words.
        message: String,
    },
}

impl RegistryError {
    /// Whether the same request may succeed later without anybody's doing.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::NotFound { .. } | Self::Incompatible { .. } | Self::Refused { .. } => false,
        }
    }
}

/// A client; clones share its connections.
#[derive(Debug, Clone)]
pub struct Registry {
    url: Url,
    settings: SrSettings,
    client: reqwest::Client,
}

impl Registry {
    /// No connection is made yet.
    ///
    /// # Errors
    /// The HTTP client can't be built.
    pub fn new(config: &RegistryConfig) -> Result<Self, ConfigError> {
        let base = config.url.as_str().trim_end_matches('/').to_owned();
        let unusable = |error: &dyn std::fmt::Display| {
            ConfigError::invalid("registry.url", &base, format!("no client can be made for it: {error}"))
        };
        let settings = SrSettings::new_builder(base.clone())
            .set_timeout(config.timeout)
            .no_proxy()
            .build()
            .map_err(|error| unusable(&error))?;
        let client = reqwest::Client::builder()
            .timeout(config.timeout)
            .no_proxy()
            .build()
            .map_err(|error| unusable(&error))?;
        Ok(Self { url: config.url.clone(), settings, client })
    }

    /// The schema with this id, as JSON.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if the registry answers that there is none.
    pub async fn schema_by_id(&self, id: u32) -> Result<String, RegistryError> {
        // Registries count in Java's int, and some fail at a number that is none.
        if i32::try_from(id).is_err() {
            return Err(RegistryError::NotFound { id });
        }
        let request = self.client.get(self.path(&format!("schemas/ids/{id}")));
        match self.ask(request, || format!("schema {id}")).await? {
            Ok(answer) => match answer.get("schema").and_then(Value::as_str) {
                Some(schema) => Ok(schema.to_owned()),
                None => Err(self.unavailable(format!("its answer has no schema {id}"))),
            },
            Err(NoSuch { by_registry: true }) => Err(RegistryError::NotFound { id }),
            // Whatever the answer's body says. But what stands in front of a registry that is away may answer 404 to
            // everything, and then no record is to blame.
            Err(NoSuch { by_registry: false }) => match self.global_compatibility().await? {
                Some(_) => Err(RegistryError::NotFound { id }),
                None => Err(self.unavailable("404 for whatever is asked")),
            },
        }
    }

    /// Registers the schema under the subject, or finds it there; returns its id.
    ///
    /// # Errors
    /// [`RegistryError::Incompatible`] if the subject's compatibility forbids it.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let supplied = SuppliedSchema::new(None, SchemaType::Avro, schema.to_owned());
        match post_schema(&self.settings, subject.to_owned(), supplied).await {
            Ok(registered) => Ok(registered.id),
            Err(error) => Err(match code(&error) {
                Some(code) if is_status(code, 409) => {
                    RegistryError::Incompatible { subject: subject.to_owned(), message: words(&error) }
                }
                code => self.classify(error, code, format!("the schema of {subject}")),
            }),
        }
    }

    fn classify(&self, error: SRCError, code: Option<u32>, what: String) -> RegistryError {
        let refused = [400, 401, 403, 404, 405, 409, 422]
            .iter()
            .any(|status| code.is_some_and(|c| is_status(c, *status)));
        if refused {
            RegistryError::Refused { url: self.url.clone(), what, message: words(&error) }
        } else {
            self.unavailable(error)
        }
    }

    fn unavailable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RegistryError {
        RegistryError::Unavailable { url: self.url.clone(), source: source.into() }
    }
}

/// The answer 404, and whether its body is the registry's own: then nobody else has said so.
struct NoSuch {
    by_registry: bool,
}

/// The registry's own error code: an HTTP status, or one with two more digits.
fn code(error: &SRCError) -> Option<u32> {
    let raw = std::error::Error::source(error)?.downcast_ref::<RawError>()?;
    Some(raw.error_code).filter(|code| *code != 0)
}

fn words(error: &SRCError) -> String {
    error.cause.clone().unwrap_or_else(|| error.error.clone())
}

const fn is_status(code: u32, status: u32) -> bool {
    code == status || code / 100 == status
}

#[cfg(test)]
mod tests;
