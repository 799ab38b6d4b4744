//! Cassandra: connecting, and executing a write until it is done or known never to be.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cassandra::{CassandraConfig, ConnectError};
use scylla::client::execution_profile::ExecutionProfileHandle;
use scylla::client::session::Session;
use scylla::errors::ExecutionError;
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use service::health::Component;
use service::retry::{self, Backoff};
use tokio_util::sync::CancellationToken;

use crate::availability::Availability;
use crate::config::{SinkConfig, TableConfig};
use crate::failure::{Failure, Policy};
use crate::metrics::Metrics;
use crate::offsets::{Offsets, Ticket};
use crate::plan::{TablePlan, Write};
use crate::poison::{Kind, Poison};
use crate::statement::Values;
use crate::table::{self, Table, TableError};
use crate::together::{Lead, Together, Turn};

/// A write apart from its record.
type Detached = (PreparedStatement, Values);

/// Why the record of a write, or a plan for it, does not come to its end.
#[derive(Debug)]
pub enum Stop {
    /// It never will: it is a dead letter.
    Poison(Poison),
    /// Its partition was given up while it waited.
    GivenUp,
    /// A table is not what the plan was made for: another plan is needed.
    TableChanged,
}

/// A table compared with what its statements were prepared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Changed,
    /// The same, but the nodes may still be learning so one by one.
    Settling,
    Same,
}

impl From<Poison> for Stop {
    fn from(poison: Poison) -> Self {
        Self::Poison(poison)
    }
}

/// The session and what writing with it needs. Used on the writer's thread only.
#[derive(Debug)]
pub struct Cluster {
    /// The driver.
    pub session: Session,
    /// How statements are executed.
    pub profile: ExecutionProfileHandle,
    /// Keyspace of the tables.
    pub keyspace: String,
    /// Whether the nodes answer.
    pub availability: Availability,
    /// Which records are wanted.
    pub offsets: Arc<Offsets>,
    together: Together<Detached>,
    tables: Vec<TableConfig>,
    /// When the schema was last looked at because of an invalid write.
    looked: tokio::sync::Mutex<Option<Instant>>,
    /// When a table was last found missing or altered.
    changed_at: Cell<Option<Instant>>,
}

/// Not ready yet.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("its schema can't be read ({0})")]
    Schema(String),
    #[error(transparent)]
    Table(#[from] TableError),
}

/// How long after a change of the tables no row is blamed for an invalid write: the nodes learn of it one by one.
const SCHEMA_PATIENCE: Duration = Duration::from_secs(10);

/// First and longest wait between two tries.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Waits between the tries of one thing.
#[must_use]
pub const fn backoff() -> Backoff {
    Backoff::new(BACKOFF.0, BACKOFF.1)
}

impl Cluster {
    /// Waits until a node answers and the tables are there. `None` if the shutdown came first.
    pub async fn connect(
        config: &CassandraConfig,
        sink: &SinkConfig,
        component: Component,
        offsets: Arc<Offsets>,
        shutdown: &CancellationToken,
    ) -> Option<Self> {
        let session =
            retry::until_ready(&component, shutdown, "Cassandra", async || cassandra::connect(config).await);
        let session = session.await?;
        let found = retry::until_ready(&component, shutdown, "Cassandra", async || {
            refreshed(&session, &config.keyspace, &sink.tables).await
        });
        found.await?;
        let mut profile = session.get_default_execution_profile_handle().to_profile();
        if !sink.speculative_after.is_zero() {
            let policy = SimpleSpeculativeExecutionPolicy {
                max_retry_count: 1,
                retry_interval: sink.speculative_after,
            };
            profile = profile.to_builder().speculative_execution_policy(Some(Arc::new(policy))).build();
        }
        Some(Self {
            session,
            profile: profile.into_handle(),
            keyspace: config.keyspace.clone(),
            availability: Availability::new(component),
            offsets,
            together: Together::default(),
            tables: sink.tables.clone(),
            looked: tokio::sync::Mutex::default(),
            changed_at: Cell::default(),
        })
    }

    /// The tables as they are now.
    ///
    /// # Errors
    /// [`Stop::GivenUp`] if the record stopped being wanted while a node or a table was waited for.
    pub async fn tables(&self, ticket: &Ticket) -> Result<Vec<Table>, Stop> {
        let mut backoff = backoff();
        loop {
            match refreshed(&self.session, &self.keyspace, &self.tables).await {
                Ok(tables) => return Ok(tables),
                Err(error) => self.failed(&error.to_string(), &error, &mut backoff, ticket).await?,
            }
        }
    }

    /// Says that something failed and waits for the next try.
    ///
    /// # Errors
    /// [`Stop::GivenUp`] if the record is no longer wanted.
    pub async fn failed(
        &self,
        reason: &str,
        error: &dyn std::fmt::Display,
        backoff: &mut Backoff,
        ticket: &Ticket,
    ) -> Result<(), Stop> {
        self.availability.failed(reason, error, backoff);
        if self.offsets.is_wanted(ticket) {
            self.availability.pause(backoff, &self.offsets).await;
        }
        if self.offsets.is_wanted(ticket) { Ok(()) } else { Err(Stop::GivenUp) }
    }

    /// Executes a write, for as long as it takes.
    ///
    /// # Errors
    /// The row is refused whenever it is tried, the table has changed, or the record is no longer wanted.
    pub async fn execute(
        &self,
        write: &Write<'_>,
        table: &TablePlan,
        ticket: &Ticket,
        metrics: &Metrics,
    ) -> Result<(), Stop> {
        let mut backoff = backoff();
        // Whether the table was what it should be before this try.
        let mut table_fitted = false;
        let mut is_first = true;
        loop {
            let began = Instant::now();
            let tried = if std::mem::take(&mut is_first) {
                self.first_try(write, metrics).await
            } else {
                self.alone(write).await
            };
            let error = match tried {
                Ok(()) => {
                    metrics.wrote(write.table, write.is_delete, began.elapsed());
                    self.availability.answered();
                    return Ok(());
                }
                Err(error) => error,
            };
            let failure = Failure::from(&error);
            metrics.failed(failure);
            let give_up = match failure.policy() {
                Policy::Retry => false,
                Policy::CheckTable => match Box::pin(self.fit(table)).await {
                    Fit::Changed => return Err(Stop::TableChanged),
                    Fit::Settling => false,
                    // A table that was made meanwhile explains the failure as well as one that is missing.
                    Fit::Same if !std::mem::replace(&mut table_fitted, true) => {
                        self.availability.pause(&mut backoff, &self.offsets).await;
                        continue;
                    }
                    Fit::Same => true,
                },
                Policy::GiveUp => true,
            };
            if give_up {
                let message = format!("table {}: {error}", table.table.name);
                return Err(Poison::new(Kind::Refused(failure), message).into());
            }
            self.failed(failure.reason(), &error, &mut backoff, ticket).await?;
        }
    }

    /// The first try goes with what else is to be written to the partition. Later ones do not, so that no record keeps
    /// others waiting.
    async fn first_try(&self, write: &Write<'_>, metrics: &Metrics) -> Result<(), ExecutionError> {
        let Some(partition) = write.partition else { return self.alone(write).await };
        let detach = || {
            let values = write.values.detach().ok()?;
            let bytes = values.size();
            Some(((write.statement.clone(), values), bytes))
        };
        match self.together.turn((write.table, partition), detach).await {
            Turn::Written => Ok(()),
            Turn::Alone => self.alone(write).await,
            Turn::Lead(lead) if lead.is_empty() => {
                let tried = self.alone(write).await;
                drop(lead);
                tried
            }
            Turn::Lead(lead) => {
                let tried = self.batch(write, &lead).await;
                lead.end(tried.is_ok());
                match tried {
                    Ok(()) => {
                        metrics.wrote_batch(write.table);
                        Ok(())
                    }
                    Err(error) => {
                        metrics.failed(Failure::from(&error));
                        self.alone(write).await
                    }
                }
            }
        }
    }

    async fn alone(&self, write: &Write<'_>) -> Result<(), ExecutionError> {
        // The driver's future takes kilobytes, which would be copied with each future that holds it.
        Box::pin(self.session.execute_unpaged(write.statement, write.values)).await.map(drop)
    }

    async fn batch(&self, write: &Write<'_>, lead: &Lead<Detached>) -> Result<(), ExecutionError> {
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_is_idempotent(true);
        batch.set_execution_profile_handle(Some(self.profile.clone()));
        batch.append_statement(write.statement.clone());
        let mut rows: Vec<&dyn SerializeRow> = vec![&write.values];
        for (statement, values) in lead.others() {
            batch.append_statement(statement.clone());
            rows.push(values);
        }
        Box::pin(self.session.batch(&batch, rows)).await.map(drop)
    }

    /// Looks at a table after an invalid write. One that was dropped or altered makes every write invalid, and none of
    /// those records is to blame.
    async fn fit(&self, table: &TablePlan) -> Fit {
        let asked = Instant::now();
        // Many writes fail together: what one of them learns after the others failed is true for all.
        let mut looked = self.looked.lock().await;
        if looked.is_none_or(|began| began < asked) {
            let began = Instant::now();
            if Box::pin(self.session.refresh_metadata()).await.is_err() {
                return Fit::Settling;
            }
            *looked = Some(began);
        }
        let known = table::read(&self.session, &self.keyspace, &self.tables);
        if !known.is_ok_and(|tables| tables.contains(&table.table)) {
            self.changed_at.set(Some(Instant::now()));
            return Fit::Changed;
        }
        let settled = self.changed_at.get().is_none_or(|at| at.elapsed() >= SCHEMA_PATIENCE);
        if settled { Fit::Same } else { Fit::Settling }
    }
}

async fn refreshed(
    session: &Session,
    keyspace: &str,
    tables: &[TableConfig],
) -> Result<Vec<Table>, NotReady> {
    Box::pin(session.refresh_metadata()).await.map_err(|error| NotReady::Schema(error.to_string()))?;
    Ok(table::read(session, keyspace, tables)?)
}
