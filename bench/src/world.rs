//! The servers, the data, and what a scenario does with them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use local_servers::{Artifact, Progress, Stack, StackConfig};
use pipeline_tests::env::TOKEN;
use pipeline_tests::{Service, TestEnv};
use randomuser_sim::{SimConfig, Simulator};
use serde_json::{Value, json};
use sqlx::Connection as _;
use sqlx::postgres::{PgConnection, PgPoolCopyExt as _};
use tokio::sync::OnceCell;

use crate::Result;
use crate::topics;

/// Rows of one transaction of what fills a table.
pub(crate) const TRANSACTION_ROWS: usize = 10_000;

/// Profiles of a page, the API's own limit.
pub(crate) const PAGE: u64 = 5000;

/// The API's seed of all rows.
pub(crate) const SEED: &str = "bench-rows";

/// Inserts the staged row of this number.
pub(crate) const STAGED_INSERT: &str = "SELECT insert_staged($1)";

/// How long the simulated profiles may take to arrive.
const FETCH_DEADLINE: Duration = Duration::from_secs(900);

/// One set of real servers, and the rows that every run gets.
#[derive(Debug)]
pub(crate) struct World {
    /// PostgreSQL, ZooKeeper, Kafka, Schema Registry, Cassandra.
    pub(crate) stack: &'static Stack,
    /// Rows of a run.
    pub(crate) rows: u64,
    /// Measured runs of each contender.
    pub(crate) runs: u32,
    /// Whether each contender has a run before that does not count.
    pub(crate) warms_up: bool,
    /// Whether it is to be over soon.
    pub(crate) quick: bool,
    /// What the names of those who run have in them.
    pub(crate) only: String,
    /// Files with rows, as COPY takes them, in transactions.
    chunks: Vec<PathBuf>,
    /// The row that they refer to.
    parent: PathBuf,
    /// An environment whose topics have all rows.
    streamed: OnceCell<TestEnv>,
}

impl World {
    /// Starts the servers, and makes the rows with the fetcher and the simulated API.
    pub(crate) async fn start(rows: u64, runs: u32, quick: bool, only: String) -> Result<Self> {
        let mut config = StackConfig::on_free_ports(pipeline_tests::fresh_root("bench"))?;
        config.progress = Progress::lines();
        config.short_lived = false;
        // Stays until this process ends: what runs on it borrows it for as long.
        let stack: &'static Stack = Box::leak(Box::new(Stack::start(config).await?));
        let folder = stack.config().root.join("rows");
        std::fs::create_dir_all(&folder)?;
        let parent = folder.join("fetch_runs.copy");
        let mut world = Self {
            stack,
            rows,
            runs,
            warms_up: !quick,
            quick,
            only,
            chunks: Vec::new(),
            parent,
            streamed: OnceCell::new(),
        };
        let env = Box::pin(fetched(stack, rows)).await?;
        world.export(&env, &folder).await?;
        world.discard(env).await?;
        Ok(world)
    }

    /// The same servers with a tenth of the rows, for what only warms up.
    pub(crate) fn with_few_rows(&self) -> Self {
        let chunks = self.chunks[..self.chunks.len().div_ceil(10)].to_vec();
        let rows = self.rows.min((chunks.len() * TRANSACTION_ROWS) as u64);
        let (only, parent) = (self.only.clone(), self.parent.clone());
        Self { rows, only, chunks, parent, streamed: OnceCell::new(), ..*self }
    }

    /// A folder below the stack's root.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.stack.config().root.join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Java libraries, fetched if they are not there; their class path.
    pub(crate) async fn class_path(&self, artifact: Artifact) -> Result<String> {
        Ok(self.fetched(artifact).await?.join("libs").join("*").display().to_string())
    }

    /// An artifact's folder; it is fetched if it is not there.
    pub(crate) async fn fetched(&self, artifact: Artifact) -> Result<PathBuf> {
        let cache = &self.stack.config().cache;
        local_servers::fetch(cache, &[artifact], &Progress::lines()).await?;
        Ok(cache.folder(&artifact)?)
    }

    /// Writes the rows of `env` to files.
    async fn export(&mut self, env: &TestEnv, folder: &Path) -> Result<()> {
        let mut copy = env.db.copy_out_raw("COPY fetch_runs TO STDOUT").await?;
        let mut parent = Vec::new();
        while let Some(row) = copy.try_next().await? {
            parent.extend_from_slice(&row);
        }
        std::fs::write(&self.parent, parent)?;
        // PostgreSQL sends a row a message.
        let mut copy = env.db.copy_out_raw("COPY users TO STDOUT").await?.chunks(TRANSACTION_ROWS);
        let mut count = 0;
        while let Some(rows) = copy.next().await {
            let rows = rows.into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
            count += rows.len() as u64;
            let path = folder.join(format!("users-{:05}.copy", self.chunks.len()));
            tokio::fs::write(&path, rows.concat()).await?;
            self.chunks.push(path);
        }
        if count == self.rows { Ok(()) } else { Err(format!("{count} rows, not {}", self.rows).into()) }
    }

    /// A file with some of the rows, a line each.
    pub(crate) fn some_rows(&self) -> Option<&Path> {
        self.chunks.first().map(PathBuf::as_path)
    }

    /// A connection to the database of an environment.
    pub(crate) async fn connect(&self, env: &TestEnv) -> Result<PgConnection> {
        use secrecy::ExposeSecret as _;
        Ok(PgConnection::connect(self.stack.postgres_url(env.name()).expose_secret()).await?)
    }

    /// Inserts all rows.
    pub(crate) async fn copy_rows(&self, env: &TestEnv) -> Result<()> {
        let mut db = self.connect(env).await?;
        copy_in(&mut db, "fetch_runs", &self.parent).await?;
        for chunk in &self.chunks {
            copy_in(&mut db, "users", chunk).await?;
        }
        Ok(db.close().await?)
    }

    /// Inserts all rows, and leaves the server with nothing to write back.
    pub(crate) async fn insert(&self, env: &TestEnv) -> Result<()> {
        self.copy_rows(env).await?;
        self.settle(&mut self.connect(env).await?).await
    }

    /// Leaves the server with nothing to write back.
    pub(crate) async fn settle(&self, db: &mut PgConnection) -> Result<()> {
        sqlx::query("VACUUM ANALYZE").execute(&mut *db).await?;
        sqlx::query("CHECKPOINT").execute(&mut *db).await?;
        Ok(())
    }

    /// Puts so many rows, or all there are, beside the table, for [`STAGED_INSERT`]; their numbers and ids.
    pub(crate) async fn stage(&self, env: &TestEnv, count: usize) -> Result<Vec<(i64, String)>> {
        let mut db = self.connect(env).await?;
        let columns = self.staging_table(&mut db, count).await?;
        // A function, so that the columns are named once; in plpgsql, which keeps the plan.
        let insert = format!(
            "CREATE FUNCTION insert_staged(bigint) RETURNS void LANGUAGE plpgsql AS \
             'BEGIN INSERT INTO users ({columns}) SELECT {columns} FROM staged WHERE number = $1; END'"
        );
        sqlx::query(sqlx::AssertSqlSafe(insert)).execute(&mut db).await?;
        self.settle(&mut db).await?;
        let rows = sqlx::query_as("SELECT number, id::text FROM staged ORDER BY number LIMIT $1")
            .bind(i64::try_from(count)?)
            .fetch_all(&mut db)
            .await?;
        db.close().await?;
        Ok(rows)
    }

    /// Makes the table `staged` with so many rows or a few more, as far as there are, and a `number` from 1 each; the
    /// other columns.
    pub(crate) async fn staging_table(&self, db: &mut PgConnection, count: usize) -> Result<String> {
        copy_in(db, "fetch_runs", &self.parent).await?;
        // Without WAL: whoever reads the change stream does not pass it.
        sqlx::query("CREATE UNLOGGED TABLE staged (LIKE users, number bigserial PRIMARY KEY)")
            .execute(&mut *db)
            .await?;
        let columns: String = sqlx::query_scalar(
            "SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute \
             WHERE attrelid = 'users'::regclass AND attnum > 0",
        )
        .fetch_one(&mut *db)
        .await?;
        for chunk in self.chunks.iter().take(count.div_ceil(TRANSACTION_ROWS)) {
            copy_in(db, &format!("staged ({columns})"), chunk).await?;
        }
        Ok(columns)
    }

    /// An environment with the rows in it, and nothing that reads them yet.
    pub(crate) async fn filled(&self, name: &str) -> Result<TestEnv> {
        let env = Box::pin(TestEnv::on(self.stack, name)).await;
        self.insert(&env).await?;
        Ok(env)
    }

    /// An environment whose raw and processed topics have all rows; the same at each call.
    pub(crate) async fn streamed(&self) -> Result<&TestEnv> {
        let fill = async || {
            let env = Box::pin(self.filled("streamed")).await?;
            let services = [env.start("relay").await, env.start("stream-processor").await];
            let (bootstrap, topic, rows) =
                (env.kafka_bootstrap().to_owned(), env.processed_topic().to_owned(), self.rows);
            let watch = move || topics::watch(&bootstrap, &topic, rows, FETCH_DEADLINE, |_| ());
            tokio::task::spawn_blocking(watch).await??;
            for service in &services {
                service.stop().await;
            }
            // Or it would hold back all WAL that comes after.
            drop_slots(&mut self.admin().await?, env.name()).await;
            Ok(env)
        };
        self.streamed.get_or_try_init(fill).await
    }

    /// Frees what an environment holds on the servers: slots keep WAL, topics and tables take room.
    pub(crate) async fn discard(&self, env: TestEnv) -> Result<()> {
        let name = env.name().to_owned();
        let topics = topics::named(env.kafka_bootstrap(), &name.replace('_', "-"))?;
        topics::delete(env.kafka_bootstrap(), &topics).await?;
        let cassandra = env.cassandra().await;
        cassandra.query_unpaged(format!("DROP KEYSPACE IF EXISTS {name}"), ()).await?;
        env.db.close().await;
        let mut db = self.admin().await?;
        drop_slots(&mut db, &name).await;
        let drop = format!("DROP DATABASE {name} WITH (FORCE)");
        sqlx::query(sqlx::AssertSqlSafe(drop)).execute(&mut db).await?;
        Ok(db.close().await?)
    }

    /// Ends what a contender that failed has left running, and frees the WAL that it held.
    pub(crate) async fn sweep(&self) {
        // The servers have plain names; services and peers have that of their environment before theirs.
        for status in self.stack.status() {
            let name = status.record.name;
            if name.contains('.') && status.record.process.is_some() {
                let _ = self.stack.kill(&name).await;
            }
        }
        let slots = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active";
        if let Ok(mut db) = self.admin().await {
            let _ = sqlx::query(slots).execute(&mut db).await;
            let _ = db.close().await;
        }
    }

    /// A connection that may do everything.
    async fn admin(&self) -> Result<PgConnection> {
        use secrecy::ExposeSecret as _;
        Ok(PgConnection::connect(self.stack.postgres_url("postgres").expose_secret()).await?)
    }

    /// Process id of what runs under this name.
    pub(crate) fn pid(&self, name: &str) -> Result<u32> {
        let status = self.stack.status().into_iter().find(|status| status.record.name == name);
        let process = status.and_then(|status| status.record.process);
        let pid = process.and_then(|process| u32::try_from(process.pid).ok());
        pid.ok_or_else(|| {
            format!("{name} does not run; its log is {}", self.stack.log(name).display()).into()
        })
    }
}

/// Drops the slots of a database. One is held for a moment after its reader was killed.
async fn drop_slots(db: &mut PgConnection, database: &str) {
    let slots = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1";
    pipeline_tests::wait::until("the slots are free", Duration::from_secs(30), async || {
        sqlx::query(slots).bind(database).execute(&mut *db).await.ok()
    })
    .await;
}

/// An environment whose table has so many simulated profiles.
async fn fetched(stack: &'static Stack, rows: u64) -> Result<TestEnv> {
    let sim = Simulator::bind(SimConfig::default()).await?;
    let mut env = TestEnv::on(stack, "rows").await;
    point_at(&mut env, &sim.url(), rows)?;
    let fetcher = env.start("fetcher").await;
    fetcher.ready().await;
    fetch(&fetcher, rows).await?;
    fetcher.stop().await;
    Ok(env)
}

/// Makes the environment's fetcher fetch from an API on this machine.
pub(crate) fn point_at(env: &mut TestEnv, api: &str, rows: u64) -> Result<()> {
    env.set("fetcher.api_url", api).set("fetcher.users_per_window", 0).set("fetcher.gzip", false);
    env.set("fetcher.max_count", i64::try_from(rows)?);
    Ok(())
}

/// A run of so many profiles, to its end.
pub(crate) async fn fetch(fetcher: &Service, rows: u64) -> Result<()> {
    let client = local_servers::http_client()?;
    let body = json!({"run_id": "bench", "count": rows, "seed": SEED});
    let request = client.post(fetcher.url("/runs")).bearer_auth(TOKEN).json(&body);
    request.send().await?.error_for_status()?;
    let url = fetcher.url("/runs/bench");
    let run = pipeline_tests::wait::until("the rows are fetched", FETCH_DEADLINE, async || {
        let run: Value = client.get(&url).send().await.ok()?.json().await.ok()?;
        matches!(run["status"].as_str(), Some("succeeded" | "failed")).then_some(run)
    })
    .await;
    if run["status"] == "succeeded" && run["stored"] == rows {
        Ok(())
    } else {
        Err(format!("the rows could not be fetched: {run}").into())
    }
}

/// One transaction.
async fn copy_in(db: &mut PgConnection, table: &str, file: &Path) -> Result<()> {
    let mut copy = db.copy_in_raw(&format!("COPY {table} FROM STDIN")).await?;
    copy.read_from(tokio::fs::File::open(file).await?).await?;
    copy.finish().await?;
    Ok(())
}
