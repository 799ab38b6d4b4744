//! Transactions in PostgreSQL, runs of the fetcher, and records that nobody can process, from the beginning of the run
//! to its end.
//!
//! A trigger keeps the order of all changes that were committed, in a table that is not published: what the topics
//! must have, whatever the writers were told of their transactions.

pub(crate) mod fetching;
pub(crate) mod poison;
mod users;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use operate::config::Settings;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use self::fetching::Fetching;
use self::poison::{Poisoned, Poisoner};
use self::users::{FIRST_ID, USERS};
use crate::cli::Request;
use crate::error::ChaosError;

/// Concurrent ones, so that transactions interleave in the WAL.
const WRITERS: u64 = 2;
/// Most changes of one transaction.
const CHANGES: u32 = 4;
/// After a transaction that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// For a connection to PostgreSQL, which may be away.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

const PREPARE: &str = "\
INSERT INTO fetch_runs (run_id, requested, seed, page_size, status)
    SELECT run, 1, 'chaos', 1, 'failed' FROM unnest(ARRAY['chaos', 'chaos-0', 'chaos-1', 'chaos-2']) run;
INSERT INTO users SELECT ('{ids}' || lpad(to_hex(n), 12, '0'))::uuid, 'chaos', now(), 'DK', 'female', 'Ms', 'Åse', 'Dahl', n, 'Vej', 'Ribe',
    'Syd', 'Denmark', '6760', 1.5, 2.5, '+1:00', 'x', 'a@example.com', 'aase', '1980-01-01', '2020-01-01', '1', '2',
    NULL, NULL, 'l', 'm', 't' FROM generate_series(0, {users} - 1) n;
CREATE TABLE known (n integer PRIMARY KEY, id uuid NOT NULL, template users NOT NULL);
INSERT INTO known SELECT users.street_number, users.id, users FROM users;
CREATE TABLE changes (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id uuid NOT NULL, op text NOT NULL);
CREATE FUNCTION log_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO changes (id, op) VALUES (coalesce(NEW.id, OLD.id),
        CASE TG_OP WHEN 'INSERT' THEN 'c' WHEN 'UPDATE' THEN 'u' ELSE 'd' END);
    RETURN NULL;
END $$;
CREATE TRIGGER log_change AFTER INSERT OR UPDATE OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION log_change();";

/// What the writers were told.
#[derive(Debug, Default)]
struct Counts {
    committed: AtomicU64,
    failed: AtomicU64,
}

/// The load while it runs. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    writers: JoinSet<()>,
    poisoner: JoinHandle<Result<[Poisoned; 2], ChaosError>>,
    fetching: JoinHandle<Result<u64, reqwest::Error>>,
}

/// What it did.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Done {
    /// Transactions whose commit was acknowledged.
    pub(crate) committed: u64,
    /// Those that were refused, or whose connection broke: they are committed or not.
    pub(crate) failed: u64,
    /// Records that the processor can't process, and those that the sink can't write, acknowledged by the broker, by
    /// the kind of error.
    pub(crate) poison: [Poisoned; 2],
    /// Runs that the fetcher was asked for.
    pub(crate) runs: u64,
}

/// Inserts the users and installs the trigger. For an empty table.
pub(crate) async fn prepare(settings: &Settings) -> Result<(), ChaosError> {
    let pool = pool(settings);
    let ids: String = Uuid::from_u128(FIRST_ID).to_string().chars().take(24).collect();
    let script = PREPARE.replace("{users}", &USERS.to_string()).replace("{ids}", &ids);
    let prepared = sqlx::raw_sql(AssertSqlSafe(script)).execute(&pool).await;
    pool.close().await;
    prepared.map(|_| ()).map_err(|source| ChaosError::Sql { what: "prepare the users", source })
}

/// Connects when it has to.
fn pool(settings: &Settings) -> PgPool {
    PgPoolOptions::new().acquire_timeout(CONNECT_WITHIN).connect_lazy_with(settings.postgres_options())
}

impl Load {
    /// Everything must be ready.
    pub(crate) async fn start(
        settings: &Settings,
        fetching: Fetching,
        request: Request,
    ) -> Result<Self, ChaosError> {
        let poisoner = Poisoner::new(settings).await?;
        let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
        let mut writers = JoinSet::new();
        let random = |nth| Pcg64Mcg::seed_from_u64(request.seed.wrapping_add(1 + nth));
        let pause = 1000 * WRITERS / u64::from(request.rate);
        for writer in 0..WRITERS {
            let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
            writers.spawn(write(pool(settings), random(writer), pause, stop, counts));
        }
        let random = random(WRITERS);
        let poisoner = tokio::spawn(poisoner.run(random, Arc::clone(&stop)));
        let fetching = tokio::spawn(fetching.run(Arc::clone(&stop)));
        Ok(Self { stop, counts, writers, poisoner, fetching })
    }

    /// Ends it in good order. Everything must be healed.
    pub(crate) async fn finish(mut self) -> Result<Done, ChaosError> {
        self.stop.store(true, Ordering::Relaxed);
        while self.writers.join_next().await.is_some() {}
        let poison = (&mut self.poisoner).await.map_err(ChaosError::Cancelled)??;
        let runs = (&mut self.fetching).await.map_err(ChaosError::Cancelled)?.map_err(ChaosError::Client)?;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ok(Done {
            committed: count(&self.counts.committed),
            failed: count(&self.counts.failed),
            poison,
            runs,
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Transactions with a pause between two that is `pause` milliseconds on average.
async fn write(pool: PgPool, mut random: Pcg64Mcg, pause: u64, stop: Arc<AtomicBool>, counts: Arc<Counts>) {
    while !stop.load(Ordering::Relaxed) {
        let count = random.random_range(1..=CHANGES);
        let changes: Vec<String> = (0..count).map(|_| change(&mut random)).collect();
        // Statements that are sent together are one transaction; with a BEGIN it would stay open when one fails.
        match sqlx::raw_sql(AssertSqlSafe(changes.join("; "))).execute(&pool).await {
            Ok(_) => _ = counts.committed.fetch_add(1, Ordering::Relaxed),
            Err(_) => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(pause / 4..=pause * 7 / 4))).await;
    }
    pool.close().await;
}

/// One change of one user; of what is part of Cassandra's primary keys, too.
fn change(random: &mut Pcg64Mcg) -> String {
    let user = format!("id = (SELECT id FROM known WHERE n = {})", random.random_range(0..USERS));
    let number = random.random_range(1..1_000_000);
    match random.random_range(0..10) {
        0 => format!("DELETE FROM users WHERE {user}"),
        1 => format!(
            "INSERT INTO users SELECT (template).* FROM known WHERE {user} ON CONFLICT (id) DO NOTHING"
        ),
        2 => format!("UPDATE users SET nat = chr(65 + {number} % 26) || 'X' WHERE {user}"),
        3 => format!(
            "UPDATE users SET registered_at = '2020-01-15'::timestamptz + {number} * '1 min'::interval WHERE {user}"
        ),
        // Below what Cassandra's timestamps tell apart.
        4 => format!(
            "UPDATE users SET registered_at = date_trunc('second', registered_at) + {number} % 999 * '1 us'::interval \
             WHERE {user}"
        ),
        5 => format!("UPDATE users SET run_id = 'chaos-' || {number} % 3 WHERE {user}"),
        6 => format!("UPDATE users SET document_name = 'CPR', document_value = '{number}' WHERE {user}"),
        7 => format!("UPDATE users SET document_name = NULL, document_value = NULL WHERE {user}"),
        _ => format!("UPDATE users SET username = 'u{number}', email = 'u{number}@example.com' WHERE {user}"),
    }
}
