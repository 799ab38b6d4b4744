//! What a configuration error says: key, value, place, and what is allowed.

use std::path::PathBuf;

use figment::error::{Actual, Kind};
use figment::{Figment, Metadata};

/// A configuration that can't be used. Reported once, with exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A named file does not exist.
    #[error("configuration file {} does not exist (tried: {tried}); name one with --config or PIPELINE_CONFIG", path.display())]
    Missing {
        /// As it was given.
        path: PathBuf,
        /// Every path that was tried, absolute.
        tried: String,
    },
    /// A section that no part of the pipeline reads.
    #[error("unknown section `{name}`{place}; there are: {}", super::SECTIONS.join(", "))]
    UnknownSection {
        /// The section's name.
        name: String,
        /// Where it was set.
        place: String,
    },
    /// A key or value that the section's type does not take.
    #[error("configuration key `{key}`{place}: {problem}")]
    Value {
        /// Dotted path of the key.
        key: String,
        /// Where it was set.
        place: String,
        /// What is wrong with it and what is allowed.
        problem: String,
    },
    /// A value that is well formed and still can't be used.
    #[error("configuration key `{key}` = {value}{place}: {allowed}")]
    Invalid {
        /// Dotted path of the key.
        key: String,
        /// The value, quoted; never that of a secret.
        value: String,
        /// Where it was set.
        place: String,
        /// What is allowed instead.
        allowed: String,
    },
}

impl ConfigError {
    /// A value that is well formed and still can't be used; `allowed` says what can be.
    pub fn invalid(key: &str, value: impl std::fmt::Debug, allowed: impl Into<String>) -> Self {
        let value = format!("{value:?}");
        Self::Invalid { key: key.to_owned(), value, place: String::new(), allowed: allowed.into() }
    }

    /// The same error with what only the configuration knows: where the value was set, and what it is.
    pub(crate) fn located(self, figment: &Figment) -> Self {
        match self {
            Self::Invalid { key, value, place: _, allowed } => {
                let place = figment.find_metadata(&key).map(place).unwrap_or_default();
                Self::Invalid { key, value, place, allowed }
            }
            // A type's own complaint, such as that of an address, does not repeat the value.
            Self::Value { key, place, problem } if !super::is_secret(&key) => {
                let found = figment.find_value(&key).ok().and_then(|value| value.into_string());
                let problem = match found {
                    Some(text) if !problem.contains(&text) => format!("{text:?}: {problem}"),
                    _ => problem,
                };
                Self::Value { key, place, problem }
            }
            other => other,
        }
    }

    pub(super) fn value(section: &str, error: &figment::Error) -> Self {
        let mut path: Vec<String> =
            Some(section.to_owned()).filter(|name| !name.is_empty()).into_iter().collect();
        path.extend(error.path.iter().cloned());
        // serde reports a missing or unknown key at the table that holds it.
        if let Kind::MissingField(field) = &error.kind {
            path.push(field.to_string());
        }
        if let Kind::UnknownField(field, _) = &error.kind
            && path.last() != Some(field)
        {
            path.push(field.clone());
        }
        let key = path.join(".");
        let place = error.metadata.as_ref().map(place).unwrap_or_default();
        let problem = problem(&key, &error.kind);
        Self::Value { key, place, problem }
    }
}

/// ` in config/pipeline.toml`, or ` from the environment variable PIPELINE__…`.
pub(super) fn place(metadata: &Metadata) -> String {
    match &metadata.source {
        Some(source) => format!(" in {source}"),
        None => format!(" from {}", metadata.name),
    }
}

fn problem(key: &str, kind: &Kind) -> String {
    match kind {
        Kind::MissingField(_) => format!("is required; set it in a file or as {}", variable(key)),
        Kind::UnknownField(_, []) => "no such key; this section takes none".to_owned(),
        Kind::UnknownField(_, known) => format!("no such key; there are: {}", known.join(", ")),
        Kind::UnknownVariant(found, known) => format!("{found:?} is not one of: {}", known.join(", ")),
        Kind::InvalidType(found, wanted) if super::is_secret(key) => {
            format!("is a {}, wanted {wanted}", type_of(found))
        }
        Kind::InvalidType(found, wanted) => format!("is {found}, wanted {wanted}"),
        Kind::InvalidValue(_, wanted) if super::is_secret(key) => format!("wanted {wanted}"),
        Kind::InvalidValue(found, wanted) => format!("is {found}, wanted {wanted}"),
        other => other.to_string(),
    }
}

fn type_of(found: &Actual) -> &'static str {
    match found {
        Actual::Bool(_) => "boolean",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "number",
        Actual::Seq => "list",
        Actual::Map => "table",
        _ => "value of another type",
    }
}

fn variable(key: &str) -> String {
    format!("{}{}", super::ENV_PREFIX, key.to_ascii_uppercase().replace('.', "__"))
}
