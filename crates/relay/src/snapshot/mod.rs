//! The rows that were there before the stream began, each published once.
//!
//! The slot streams every transaction that commits after it was made. Once those that ran at that moment have ended,
//! a `REPEATABLE READ` transaction sees all others, and perhaps some that are streamed too. Which ones it saw is
//! kept, so that the stream can leave them out, by key range where a snapshot took several attempts
//! (see [`crate::progress::Coverage`]).

pub mod copy;

use std::task::Poll;
use std::time::{Duration, Instant};

use pgwire_replication::Lsn;
use service::config::PostgresConfig;
use service::health::Component;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};
use tokio_util::sync::CancellationToken;

use crate::catalog::{self, Published};
use crate::change::Writer;
use crate::error::RelayError;
use crate::plan::Stamp;
use crate::postgres::{self, PATIENCE, within};
use crate::progress::{Coverage, Handover, Phase, Progress};
use crate::relations::Relations;
use crate::report::Report;
use crate::sink::Sink;
use crate::slot;
use crate::visibility::XidSnapshot;
pub use copy::SnapshotError;

/// How often the end of old transactions is looked for.
const WAIT_INTERVAL: Duration = Duration::from_millis(100);

/// So many looks in a row, [`PATIENCE`] apart, at a session that is to send rows and does not: they were lost.
const MAX_IDLE: u32 = 2;

/// What a snapshot works with.
pub struct Snapshot<'a> {
    /// How to connect.
    pub postgres: &'a PostgresConfig,
    /// The connection for queries.
    pub conn: &'a mut PgConnection,
    /// Kafka.
    pub sink: &'a mut Sink,
    /// The tables.
    pub relations: &'a mut Relations,
    /// The published tables.
    pub tables: &'a [Published],
    /// Where it is said what the snapshot waits for.
    pub component: &'a Component,
    /// When to stop.
    pub shutdown: &'a CancellationToken,
    /// Whose positions are kept; its phase is not kept up to date.
    pub origin: Progress,
    /// From where the slot streams.
    pub slot_lsn: Lsn,
    /// The `__lsn` of the records.
    pub first_lsn: Lsn,
}

impl Snapshot<'_> {
    /// Publishes what `coverage` does not have yet. `None` if the shutdown came first; what was published stands in
    /// the offsets topic. It may be broken off while it waits.
    ///
    /// # Errors
    /// Anything that keeps the snapshot from going on.
    pub async fn run(mut self, mut coverage: Coverage) -> Result<Option<Handover>, RelayError> {
        let started = Instant::now();
        if coverage.snapshots.is_empty() {
            self.wait_for_old_transactions().await?;
        }
        let mut reader = postgres::connect(self.postgres, "pipeline-relay-snapshot").await?;
        let (snapshot, until, micros) = begin(&mut reader).await?;
        tracing::info!(%snapshot, tables = self.tables.len(), resumed = !coverage.snapshots.is_empty(), "snapshot");
        coverage.snapshots.push(snapshot);
        let stamp = Stamp { lsn: self.first_lsn.as_u64(), commit_micros: micros };
        let mut rows = 0;
        for table in self.tables {
            match self.table(&mut reader, table, &mut coverage, stamp).await? {
                Some(published) => rows += published,
                None => return Ok(None),
            }
        }
        // Nothing was written, so that there is nothing to commit.
        within(reader.close()).await?;
        tracing::info!(rows, seconds = started.elapsed().as_secs_f32(), "snapshot done");
        Ok(Some(Handover { until, coverage }))
    }

    /// Waits until every transaction that runs now has ended: after that, what the stream does not have is visible.
    async fn wait_for_old_transactions(&mut self) -> Result<(), RelayError> {
        let running = sqlx::query_scalar("SELECT pg_snapshot_xmax(pg_current_snapshot())::text");
        let running: String = within(running.fetch_one(&mut *self.conn)).await?;
        let ended = "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= $1::text::xid8";
        let started = Instant::now();
        while !within(sqlx::query_scalar::<_, bool>(ended).bind(&running).fetch_one(&mut *self.conn)).await? {
            if started.elapsed() > Duration::from_secs(1) {
                let oldest = slot::oldest_transaction(self.conn).await?;
                self.component.waiting(format!(
                    "the snapshot begins when the transactions that were open before it have ended, such as {oldest}"
                ));
            }
            tokio::time::sleep(WAIT_INTERVAL).await;
        }
        self.component.ready();
        Ok(())
    }

    /// Rows published; `None` if the shutdown came first.
    async fn table(
        &mut self,
        reader: &mut PgConnection,
        published: &Published,
        coverage: &mut Coverage,
        stamp: Stamp,
    ) -> Result<Option<u64>, RelayError> {
        let table = self.relations.table(&published.relation, &published.types, &published.key)?;
        let Some(mut table) = self.relations.make(table).await? else {
            return Ok(None);
        };
        if coverage.is_finished(&table.name) {
            return Ok(Some(0));
        }
        let pid = slot::process(reader).await?;
        let begun = copy::Copy::begin(reader, published, &table, coverage.last_key(&table.name));
        let mut copy = attended(self.conn, pid, begun).await?;
        let (mut writer, mut report, mut rows) = (Writer::default(), Report::default(), 0);
        while attended(self.conn, pid, copy.next()).await? {
            writer.write_read(&mut table, copy.row(), stamp, self.sink)?;
            rows += 1;
            report.rows += 1;
            if self.sink.is_full() {
                let key = table.plan.key_values(copy.row())?;
                let key = key.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect();
                coverage.advance(&table.name, Some(key));
                self.commit(coverage)?;
                table.metrics.commit();
                report.log_if_due(0.0);
                if self.shutdown.is_cancelled() {
                    return Ok(None);
                }
            }
        }
        coverage.advance(&table.name, None);
        self.commit(coverage)?;
        table.metrics.commit();
        tracing::info!(table = table.name, rows, "table published");
        Ok(Some(rows))
    }

    fn commit(&mut self, coverage: &Coverage) -> Result<(), RelayError> {
        let phase = Phase::Snapshot {
            slot_lsn: self.slot_lsn,
            first_lsn: self.first_lsn,
            coverage: coverage.clone(),
        };
        self.sink.commit(Progress { phase, ..self.origin.clone() })
    }
}

/// What the work gives that waits for this process of PostgreSQL. The first row may have to wait for a sort or a lock, so
/// there is no bound: it is broken off when that process does nothing for it, since what it said was lost then.
async fn attended<T>(
    conn: &mut PgConnection,
    pid: i32,
    work: impl Future<Output = Result<T, SnapshotError>>,
) -> Result<T, RelayError> {
    let mut work = std::pin::pin!(work);
    // Nearly always; without the clock's cost for each row.
    if let Poll::Ready(done) = futures::poll!(work.as_mut()) {
        return Ok(done?);
    }
    let mut idle = 0;
    while idle < MAX_IDLE {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done?),
            () = tokio::time::sleep(PATIENCE) => {
                idle = if slot::is_working(conn, pid).await? { 0 } else { idle + 1 };
            }
        }
    }
    Err(postgres::silent().into())
}

/// Begins the reading transaction: its snapshot, the end of the WAL after it was taken, and its time in microseconds
/// since 1970.
async fn begin(reader: &mut PgConnection) -> Result<(XidSnapshot, Lsn, i64), RelayError> {
    let begin = sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    within(begin.execute(&mut *reader)).await?;
    // The snapshot is taken before the statement runs, and the WAL's end read while it does: whatever the snapshot
    // sees has committed before that end.
    let row = sqlx::query(
        "SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text, \
         (extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
    );
    let row = within(row.fetch_one(reader)).await?;
    let snapshot: String = row.try_get(0)?;
    let snapshot = snapshot.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    let until = catalog::lsn(&row, 1)?.unwrap_or_default();
    Ok((snapshot, until, row.try_get(2)?))
}
