//! `relay resnapshot`: every row once more, after the slot was lost.
//!
//! The next start then is a first start, and publishes the rows that are there. What rows were before they were moved
//! or deleted while there was no slot stands in their topics only: it is compared with the tables here, and what
//! differs is ordered as a repair ([`crate::repair`]) in the WAL of the new slot. The position is given up last, so that
//! a relay that starts after a try that was broken off says that it must be repeated.

mod compare;
mod scalar;
mod topic;

use events::Registry;
use events::repair::{Order, PREFIX, Row as OrderRow};
use serde_avro_fast::Schema;
use service::{BoxError, Context};
use sqlx::postgres::PgConnection;

use crate::catalog::Published;
use crate::config::Settings;
use crate::metrics::TableMetrics;
use crate::offsets::{self, OffsetsError};
use crate::order::KeyOrder;
use crate::plan::Plan;
use crate::postgres::{self, within};
use crate::preflight::{self, Server};
use crate::progress::{Phase, Progress};
use crate::relations::{self, Active};
use crate::schema::{avro_name, value_schema};
use crate::sink::Sink;
use crate::slot;
use compare::{Comparison, identity_columns};
use topic::Reader;

/// Rows of one message: what they make goes into one transaction of Kafka.
const ROWS_OF_ORDER: usize = 200;

/// A relay that still works.
#[derive(Debug, thiserror::Error)]
#[error("slot {slot} is held by {holder} (process {pid} of PostgreSQL): stop that relay first")]
pub struct StillHeld {
    slot: String,
    holder: String,
    pid: i32,
}

/// It was told to stop.
#[derive(Debug, thiserror::Error)]
#[error("stopped before the end: run `relay resnapshot` again")]
pub struct Stopped;

/// Makes the slot anew and forgets what was published through the last one, if there is one.
///
/// # Errors
/// A relay that still works, or errors of the servers. It can be repeated.
pub async fn run(settings: Settings, context: Context) -> Result<(), BoxError> {
    tokio::select! {
        biased;
        () = context.shutdown.cancelled() => Err(Stopped.into()),
        done = resnapshot(&settings) => done,
    }
}

async fn resnapshot(settings: &Settings) -> Result<(), BoxError> {
    let config = &settings.relay;
    let mut conn = postgres::connect(&settings.postgres, "pipeline-relay-resnapshot").await?;
    let server = preflight::check(&mut conn, config).await?;
    let mut sink = Sink::connect(&settings.kafka, config)?;
    drop_slot(&mut conn, &config.slot).await?;
    // A relay that comes up in between finds no slot for its position, or one that begins after it, and stops.
    sink.take_over()?;
    sink.count_on(position(settings)?.as_ref());
    tracing::info!(slot = config.slot, "making the slot: waits for the transactions that are open now");
    slot::create(&mut conn, &config.slot).await?;
    let mut left_over = 0;
    for published in server.tables.iter().filter(|_| server.has_old_rows) {
        left_over += order_left_over(settings, &server, published, &mut conn).await?;
    }
    sink.commit(Progress::of(&server, Phase::Creating))?;
    tracing::info!(
        slot = config.slot,
        left_over,
        "forgotten: the next start publishes every row, and takes away what is left of rows that were moved or deleted"
    );
    Ok(())
}

/// For the numbers of the records, which go on. One that can't be read is given up anyway.
fn position(settings: &Settings) -> Result<Option<Progress>, OffsetsError> {
    let config = &settings.relay;
    match offsets::read(&settings.kafka, &config.offsets_topic, &config.slot) {
        Err(error @ OffsetsError::Unreadable { .. }) => {
            tracing::warn!(error = service::error_chain(&error), "the records' numbers begin anew");
            Ok(None)
        }
        position => position,
    }
}

/// Orders what is left of a table's rows to be taken away; how many rows that are. The slot is there already, so that
/// what changes meanwhile is in its stream.
async fn order_left_over(
    settings: &Settings,
    server: &Server,
    published: &Published,
    conn: &mut PgConnection,
) -> Result<usize, BoxError> {
    let config = &settings.relay;
    let table =
        relations::table(config, &published.relation, &published.types, &published.key, server.has_old_rows)?;
    let schema: Schema = value_schema(&config.namespace, &table)?.parse()?;
    let topic = config.topic(&table.name);
    let table = Active {
        name: table.name.to_string(),
        // The records are not sent.
        plan: Plan::new(&table, 0),
        order: KeyOrder::new(&table),
        metrics: TableMetrics::new(&topic),
        topic,
        table,
    };
    let fields: Vec<String> = identity_columns(&table).map(|column| avro_name(&column.name)).collect();
    let registry = Registry::new(&settings.registry)?;
    let mut topic = Reader::new(&settings.kafka, &registry, &table.topic, fields.clone());
    let partitions = topic.partitions()?;
    let comparison = Comparison { published, table: &table, schema: &schema, fields: &fields, partitions };
    let mut reader = postgres::connect(&settings.postgres, "pipeline-relay-resnapshot").await?;
    let mut count = 0;
    for partition in 0..partitions {
        let living;
        (topic, living) = tokio::task::spawn_blocking(move || {
            let living = topic.read(partition);
            (topic, living)
        })
        .await?;
        let rows = comparison.left_over(&mut reader, partition, living?).await?;
        for rows in rows.chunks(ROWS_OF_ORDER) {
            order(conn, &table.name, rows).await?;
        }
        count += rows.len();
        tracing::info!(table = table.name, partition, left_over = rows.len(), "compared");
    }
    Ok(count)
}

async fn order(conn: &mut PgConnection, table: &str, rows: &[OrderRow]) -> Result<(), BoxError> {
    let order = Order { table: table.to_owned(), rows: rows.to_vec(), note: None };
    let emit = sqlx::query("SELECT pg_logical_emit_message(true, $1, $2)")
        .bind(PREFIX)
        .bind(serde_json::to_string(&order)?);
    within(emit.execute(conn)).await?;
    Ok(())
}

async fn drop_slot(conn: &mut PgConnection, name: &str) -> Result<(), BoxError> {
    let Some(state) = slot::find(conn, name).await? else { return Ok(()) };
    if let Some(holder) = state.holder {
        let (slot, pid) = (name.to_owned(), holder.pid);
        return Err(StillHeld { slot, holder: holder.application_name, pid }.into());
    }
    within(sqlx::query("SELECT pg_drop_replication_slot($1)").bind(name).execute(conn)).await?;
    Ok(())
}
