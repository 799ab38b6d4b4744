//! Plans by schema id: the registry, the tables and the configuration brought together when an id is first seen.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use events::avro::Layout;
use events::{Registry, RegistryError};
use service::health::Component;

use crate::cluster::{Cluster, Stop, backoff};
use crate::config::TableConfig;
use crate::mapping::{Mapping, Metadata};
use crate::offsets::Ticket;
use crate::plan::{Plan, TablePlan};
use crate::poison::{Kind, Poison};
use crate::statement::Statements;

/// How long an id stays unusable before it is looked at again: a schema may come to exist, a table may be altered.
const UNUSABLE_FOR: Duration = Duration::from_secs(30);
/// Unusable ids that are remembered. Garbage has any id.
const MAX_UNUSABLE: usize = 1024;

/// Used on the writer's thread only.
pub struct Plans {
    cluster: Rc<Cluster>,
    registry: Registry,
    component: Component,
    tables: Vec<TableConfig>,
    plans: RefCell<HashMap<u32, Rc<Plan>>>,
    unusable: RefCell<HashMap<u32, (Poison, Instant)>>,
    making: tokio::sync::Mutex<()>,
}

impl Plans {
    /// None yet.
    #[must_use]
    pub fn new(
        cluster: Rc<Cluster>,
        registry: Registry,
        component: Component,
        tables: Vec<TableConfig>,
    ) -> Self {
        Self {
            cluster,
            registry,
            component,
            tables,
            plans: RefCell::default(),
            unusable: RefCell::default(),
            making: tokio::sync::Mutex::default(),
        }
    }

    /// The plan, if it has been made.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<Rc<Plan>> {
        self.plans.borrow().get(&id).cloned()
    }

    /// Forgets a plan that no longer holds, unless it has been replaced already.
    pub fn forget(&self, id: u32, plan: &Rc<Plan>) {
        let mut plans = self.plans.borrow_mut();
        if plans.get(&id).is_some_and(|known| Rc::ptr_eq(known, plan)) {
            plans.remove(&id);
        }
    }

    /// Makes the plan unless it is there. Waits for the registry and for Cassandra.
    ///
    /// # Errors
    /// No record of the schema can be written, or this one is no longer wanted.
    pub async fn make(&self, id: u32, ticket: &Ticket) -> Result<Rc<Plan>, Stop> {
        // Records of one schema come together: the first makes the plan, the others find it.
        let _making = self.making.lock().await;
        if let Some(plan) = self.get(id) {
            return Ok(plan);
        }
        if let Some(poison) = self.known_unusable(id) {
            return Err(Stop::Poison(poison));
        }
        let made = self.try_make(id, ticket).await;
        match &made {
            Ok(plan) => {
                self.plans.borrow_mut().insert(id, Rc::clone(plan));
            }
            Err(Stop::Poison(poison)) => {
                let mut unusable = self.unusable.borrow_mut();
                if unusable.len() >= MAX_UNUSABLE {
                    unusable.clear();
                }
                tracing::warn!(schema = id, problem = poison.message, "records of a schema are dead letters");
                unusable.insert(id, (poison.clone(), Instant::now()));
            }
            Err(Stop::GivenUp | Stop::TableChanged) => {}
        }
        made
    }

    fn known_unusable(&self, id: u32) -> Option<Poison> {
        let unusable = self.unusable.borrow();
        let (poison, since) = unusable.get(&id)?;
        (since.elapsed() < UNUSABLE_FOR).then(|| poison.clone())
    }

    async fn try_make(&self, id: u32, ticket: &Ticket) -> Result<Rc<Plan>, Stop> {
        let unusable = |problem: &dyn std::fmt::Display| {
            Poison::new(Kind::UnusableSchema, format!("schema {id} can't be used: {problem}"))
        };
        let schema = self.schema(id, ticket).await?;
        let layout = Layout::parse(&schema).map_err(|error| unusable(&error))?;
        let metadata = Metadata::of(&layout).map_err(|error| unusable(&error))?;
        let tables = self.cluster.tables(ticket).await?;
        let mut plans = Vec::with_capacity(tables.len());
        for (table, config) in tables.into_iter().zip(&self.tables) {
            let mapping = Mapping::new(&layout, &table, config).map_err(|error| unusable(&error))?;
            tracing::info!(
                schema = id,
                table = table.name,
                columns = mapping.columns.len(),
                unfilled = mapping.unfilled.join(","),
                "mapped"
            );
            let (key, old_key) = (mapping.key.clone(), mapping.old_key.clone());
            let statements = self.prepare(&table.name, mapping, metadata.lsn, ticket).await?;
            plans.push(TablePlan { table, key, old_key, statements });
        }
        Ok(Rc::new(Plan { layout, metadata, tables: plans }))
    }

    async fn prepare(
        &self,
        table: &str,
        mapping: Mapping,
        timestamp: usize,
        ticket: &Ticket,
    ) -> Result<Statements, Stop> {
        let mut backoff = backoff();
        loop {
            let prepared = Statements::prepare(&self.cluster, table, mapping.clone(), timestamp).await;
            match prepared {
                Ok(statements) => return Ok(statements),
                Err(error) => {
                    let reason = format!("the statements of table {table} can't be prepared");
                    self.cluster.failed(&reason, &error, &mut backoff, ticket).await?;
                }
            }
        }
    }

    async fn schema(&self, id: u32, ticket: &Ticket) -> Result<String, Stop> {
        let mut backoff = backoff();
        loop {
            let error = match self.registry.schema_by_id(id).await {
                Ok(schema) => {
                    self.component.ready();
                    return Ok(schema);
                }
                Err(error) => error,
            };
            match &error {
                RegistryError::NotFound { .. } => {
                    self.component.ready();
                    return Err(Poison::new(Kind::UnknownSchema, error).into());
                }
                // A refusal is about us, such as missing credentials, and not about the record.
                RegistryError::Unavailable { .. }
                | RegistryError::Incompatible { .. }
                | RegistryError::Refused { .. } => self.component.waiting(error.to_string()),
            }
            if !self.cluster.offsets.is_wanted(ticket) {
                return Err(Stop::GivenUp);
            }
            self.cluster.availability.pause(&mut backoff, &self.cluster.offsets).await;
        }
    }
}
