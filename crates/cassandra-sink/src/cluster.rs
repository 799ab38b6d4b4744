//! Cassandra: connecting, and executing a write until it is done or known never to be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cassandra::{CassandraConfig, ConnectError};
use scylla::client::execution_profile::ExecutionProfileHandle;
use scylla::client::session::Session;
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
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
use crate::table::{self, Table, TableError};

/// Why the record of a write, or a plan for it, does not come to its end.
#[derive(Debug)]
pub enum Stop {
    /// It never will: it is a dead letter.
    Poison(Poison),
    /// Its partition was given up while it waited.
    GivenUp,
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
    tables: Vec<TableConfig>,
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
            tables: sink.tables.clone(),
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
    /// The row is refused whenever it is tried, or the record is no longer wanted.
    pub async fn execute(
        &self,
        write: &Write<'_>,
        table: &TablePlan,
        ticket: &Ticket,
        metrics: &Metrics,
    ) -> Result<(), Stop> {
        let mut backoff = backoff();
        loop {
            let began = Instant::now();
            let error = match self.session.execute_unpaged(write.statement, write.values).await {
                Ok(_) => {
                    metrics.wrote(write.table, write.is_delete, began.elapsed());
                    self.availability.answered();
                    return Ok(());
                }
                Err(error) => error,
            };
            let failure = Failure::from(&error);
            metrics.failed(failure);
            let retry = match failure.policy() {
                Policy::Retry => true,
                Policy::CheckTable => !Box::pin(self.still_fits(table)).await,
                Policy::GiveUp => false,
            };
            if !retry {
                let message = format!("table {}: {error}", table.table.name);
                return Err(Poison::new(Kind::Refused(failure), message).into());
            }
            self.failed(failure.reason(), &error, &mut backoff, ticket).await?;
        }
    }

    /// Whether the table is still what the statements were prepared for. A table that was dropped or altered makes
    /// every write invalid, and none of those records is to blame.
    async fn still_fits(&self, table: &TablePlan) -> bool {
        match refreshed(&self.session, &self.keyspace, &self.tables).await {
            Ok(tables) => tables.contains(&table.table),
            Err(_) => false,
        }
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
