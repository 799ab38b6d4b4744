//! The tables of the stream: each with its plan, made when its first record is written.
//!
//! PostgreSQL describes a table ahead of its changes, and again whenever something may have altered it. Only a
//! description that differs makes a new plan, and only a schema that differs goes to the registry.

use std::collections::{BTreeSet, HashMap};

use events::schemas::value_subject;
use events::{Registry, RegistryError};
use service::health::Component;
use service::retry;
use sqlx::postgres::PgConnection;
use tokio_util::sync::CancellationToken;

use crate::catalog;
use crate::config::RelayConfig;
use crate::error::RelayError;
use crate::metrics::TableMetrics;
use crate::order::KeyOrder;
use crate::pgoutput::RelationMessage;
use crate::plan::Plan;
use crate::schema::value_schema;
use crate::table::{Table, TableError};

/// A table whose records can be written.
#[derive(Debug)]
pub struct Active {
    /// Its description.
    pub table: Table,
    /// Its name as text, as in the configuration and the position.
    pub name: String,
    /// Its topic.
    pub topic: String,
    /// How its records are written.
    pub plan: Plan,
    /// The order of its keys.
    pub order: KeyOrder,
    /// Its counters.
    pub metrics: TableMetrics,
}

/// The tables by their object identifiers.
#[derive(Debug)]
pub struct Relations {
    config: RelayConfig,
    registry: Registry,
    component: Component,
    shutdown: CancellationToken,
    has_old_rows: bool,
    binary: bool,
    by_id: HashMap<u32, Entry>,
    /// The last schema of each topic and its id.
    registered: HashMap<String, (String, u32)>,
}

#[derive(Debug)]
struct Entry {
    message: RelationMessage,
    active: Option<Active>,
}

impl Relations {
    /// None yet. `binary` says whether the stream has values in binary form.
    #[must_use]
    pub fn new(
        config: &RelayConfig,
        registry: &Registry,
        component: &Component,
        shutdown: &CancellationToken,
        has_old_rows: bool,
        binary: bool,
    ) -> Self {
        Self {
            config: config.clone(),
            registry: registry.clone(),
            component: component.clone(),
            shutdown: shutdown.clone(),
            has_old_rows,
            binary,
            by_id: HashMap::new(),
            registered: HashMap::new(),
        }
    }

    /// The stream describes a table.
    pub fn describe(&mut self, message: RelationMessage) {
        match self.by_id.get_mut(&message.id) {
            Some(entry) if entry.message == message => {}
            _ => drop(self.by_id.insert(message.id, Entry { message, active: None })),
        }
    }

    /// The table of a change, if its plan is made.
    #[must_use]
    pub fn active(&self, id: u32) -> Option<&Active> {
        self.by_id.get(&id)?.active.as_ref()
    }

    /// The same, to be written with.
    pub fn active_mut(&mut self, id: u32) -> Option<&mut Active> {
        self.by_id.get_mut(&id)?.active.as_mut()
    }

    /// What was sent is committed.
    pub fn count_published(&mut self) {
        self.by_id
            .values_mut()
            .filter_map(|entry| entry.active.as_mut())
            .for_each(|table| table.metrics.commit());
    }

    /// The name of a table that was described.
    #[must_use]
    pub fn name(&self, id: u32) -> Option<String> {
        let message = &self.by_id.get(&id)?.message;
        Some(format!("{}.{}", message.schema, message.table))
    }

    /// A table by its name: as the stream has described it, or else as the catalog does.
    pub fn find(&mut self, name: &str, published: Vec<catalog::Published>) -> Option<u32> {
        let described = self.by_id.keys().copied().find(|id| self.name(*id).is_some_and(|of| of == name));
        described.or_else(|| {
            let is_it = |message: &RelationMessage| format!("{}.{}", message.schema, message.table) == name;
            let message = published.into_iter().map(|table| table.relation).find(is_it)?;
            let id = message.id;
            self.describe(message);
            Some(id)
        })
    }

    /// Makes the plan of a table that was described. `false` if the shutdown came first.
    ///
    /// # Errors
    /// A table that can't be relayed, a schema that the registry refuses, or PostgreSQL's errors.
    pub async fn activate(&mut self, conn: &mut PgConnection, id: u32) -> Result<bool, RelayError> {
        let entry = self.by_id.get(&id).ok_or(RelayError::UnknownRelation(id))?;
        let message = entry.message.clone();
        let types = catalog::types(conn, &message).await?;
        let key = catalog::key_then(conn, &message).await?;
        let table = self.table(&message, &types, &key)?;
        if self.binary && !table.reads_binary() {
            return Err(RelayError::NeedsText { table: table.name });
        }
        let Some(active) = self.make(table).await? else {
            return Ok(false);
        };
        self.by_id.insert(id, Entry { message, active: Some(active) });
        Ok(true)
    }

    /// A table by its description, keyed by its primary key unless the configuration names other columns.
    ///
    /// # Errors
    /// A table that can't be relayed.
    pub fn table(
        &self,
        message: &RelationMessage,
        types: &[crate::value::ColumnType],
        primary_key: &[String],
    ) -> Result<Table, TableError> {
        table(&self.config, message, types, primary_key, self.has_old_rows)
    }

    /// A table with its plan, its schema registered. `None` if the shutdown came first.
    ///
    /// # Errors
    /// A schema that the registry refuses.
    pub async fn make(&mut self, table: Table) -> Result<Option<Active>, RelayError> {
        let topic = self.config.topic(&table.name);
        let schema = value_schema(&self.config.namespace, &table)?;
        let known = self.registered.get(&topic).filter(|(registered, _)| *registered == schema);
        let id = match known.map(|(_, id)| *id) {
            Some(id) => id,
            None => match self.register(&table, &topic, &schema).await? {
                Some(id) => id,
                None => return Ok(None),
            },
        };
        self.registered.insert(topic.clone(), (schema, id));
        Ok(Some(Active {
            name: table.name.to_string(),
            plan: Plan::new(&table, id),
            order: KeyOrder::new(&table),
            metrics: TableMetrics::new(&topic),
            table,
            topic,
        }))
    }

    /// Waits while the registry is away. `None` if the shutdown came first.
    async fn register(&self, table: &Table, topic: &str, schema: &str) -> Result<Option<u32>, RelayError> {
        let subject = value_subject(topic);
        let answer = retry::until_ready(&self.component, &self.shutdown, "Schema Registry", async || {
            match self.registry.register(&subject, schema).await {
                Err(error) if error.is_transient() => Err(service::error_chain(&error)),
                // Nothing can be incompatible with nothing: Apicurio answers so, too, while the subject is being made.
                Err(error @ RegistryError::Incompatible { .. })
                    if matches!(self.registry.latest_schema(&subject).await, Ok(None)) =>
                {
                    Err(service::error_chain(&error))
                }
                answer => Ok(answer),
            }
        });
        match answer.await {
            None => Ok(None),
            Some(Ok(id)) => {
                tracing::info!(table = %table.name, topic, schema_id = id, "schema registered");
                TableMetrics::count_schema(topic);
                Ok(Some(id))
            }
            Some(Err(source)) => {
                let changes = self.changes(&subject, schema).await;
                Err(RelayError::Schema {
                    table: table.name.clone(),
                    topic: topic.to_owned(),
                    changes,
                    source: Box::new(source),
                })
            }
        }
    }

    /// What a refused schema does differently from the registered one, for the one who must repair it.
    async fn changes(&self, subject: &str, schema: &str) -> String {
        match self.registry.latest_schema(subject).await {
            Ok(Some(latest)) => differences(&latest, schema),
            Ok(None) => "the subject has no schema yet".to_owned(),
            Err(error) => service::error_chain(&error),
        }
    }
}

/// A table by its description, keyed by its primary key unless the configuration names other columns.
///
/// # Errors
/// A table that can't be relayed.
pub fn table(
    config: &RelayConfig,
    message: &RelationMessage,
    types: &[crate::value::ColumnType],
    primary_key: &[String],
    has_old_rows: bool,
) -> Result<Table, TableError> {
    let name = crate::table::TableName { schema: message.schema.clone(), table: message.table.clone() };
    let key = config.key(&name).unwrap_or(primary_key);
    Table::new(message, types, key, has_old_rows)
}

/// `column a is new, column b is gone, column c was "int" and is "string"`.
fn differences(old: &str, new: &str) -> String {
    let [old, new] = [old, new].map(|schema| {
        let schema: serde_json::Value = serde_json::from_str(schema).unwrap_or_default();
        let fields = schema.get("fields").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
        let named = fields.into_iter().filter_map(|field| {
            let name = field.get("name")?.as_str()?.to_owned();
            Some((name, field.get("type")?.clone()))
        });
        named.collect::<HashMap<_, _>>()
    });
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changes: Vec<String> = names
        .into_iter()
        .filter_map(|name| match (old.get(name), new.get(name)) {
            (Some(_), None) => Some(format!("column {name} is gone")),
            (None, Some(_)) => Some(format!("column {name} is new")),
            (Some(was), Some(is)) if was != is => Some(format!("column {name} was {was} and is {is}")),
            _ => None,
        })
        .collect();
    if changes.is_empty() {
        "no column differs from the latest version".to_owned()
    } else {
        changes.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::differences;

    #[test]
    fn differences_name_the_columns() {
        let old = r#"{"fields":[{"name":"a","type":"int"},{"name":"b","type":["null","int"]},{"name":"c","type":"int"}]}"#;
        let new = r#"{"fields":[{"name":"a","type":"int"},{"name":"b","type":["null","string"]},{"name":"d","type":"int"}]}"#;
        assert_eq!(
            differences(old, new),
            r#"column b was ["null","int"] and is ["null","string"], column c is gone, column d is new"#
        );
        assert_eq!(differences(old, old), "no column differs from the latest version");
        assert!(differences("", old).contains("column a is new"));
    }
}
