//! PostgreSQL's own client programs, which do nothing with what they get: the limit of a reader.

use std::process::Stdio;
use std::time::Instant;

use pipeline_tests::TestEnv;
use secrecy::ExposeSecret as _;
use tokio::process::Command;

use crate::Result;
use crate::measure::{Usage, reaped_cpu_seconds};
use crate::report::{CPU, PEAK, PER_CPU, PER_CPU_STARTED, POSTGRES_CPU, RATE, Sample, WALL};
use crate::world::World;

/// Creates a slot of pgoutput.
pub(crate) async fn create_slot(env: &TestEnv, slot: &str) -> Result<()> {
    let create = "SELECT pg_create_logical_replication_slot($1, 'pgoutput')";
    sqlx::query(create).bind(slot).execute(&env.db).await?;
    Ok(())
}

/// Reads all changes of a slot up to now, as text, into nothing.
pub(crate) async fn recvlogical(world: &World, env: &TestEnv, slot: &str) -> Result<Sample> {
    let end: String = sqlx::query_scalar("SELECT pg_current_wal_lsn()::text").fetch_one(&env.db).await?;
    let mut command = client(world, env, "pg_recvlogical");
    command.args(["--slot", slot, "--start", "--no-loop", "--file=/dev/null", "--endpos", &end]);
    command.args(["--option=proto_version=1", "--option=publication_names=datastreaming"]);
    run(world, command).await
}

/// Reads the whole table as text, into nothing.
pub(crate) async fn copy(world: &World, env: &TestEnv) -> Result<Sample> {
    let mut command = client(world, env, "psql");
    command.args(["--no-psqlrc", "--command=COPY users TO STDOUT"]);
    run(world, command).await
}

fn client(world: &World, env: &TestEnv, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PGPASSWORD", world.stack.config().secrets.postgres.expose_secret());
    command.args(["--host=127.0.0.1", "--username=postgres", "--dbname", env.name()]);
    command.arg(format!("--port={}", world.stack.endpoints().postgres_port));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs a program to its end.
async fn run(world: &World, mut command: Command) -> Result<Sample> {
    let server = world.pid("postgres")?;
    let (reaped, before) = (reaped_cpu_seconds(), Usage::of(server));
    let began = Instant::now();
    let child = command.spawn().map_err(|error| {
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        format!("{program}: {error}; Debian's package postgresql-client has it")
    })?;
    let pid = child.id().unwrap_or_default();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let peak = tokio::spawn(async move {
        let mut peak = 0;
        while stopped.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
            peak = peak.max(Usage::of(pid).peak_bytes);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        peak
    });
    let output = child.wait_with_output().await?;
    let seconds = began.elapsed().as_secs_f64();
    drop(stop);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned().into());
    }
    let (cpu, rows) = (reaped_cpu_seconds() - reaped, world.rows as f64);
    Ok(Sample::from([
        (RATE, rows / seconds),
        (WALL, seconds),
        (CPU, cpu),
        (PER_CPU, rows / cpu),
        (PER_CPU_STARTED, rows / cpu),
        (PEAK, peak.await? as f64 / 1e6),
        (POSTGRES_CPU, Usage::of(server).cpu_seconds - before.cpu_seconds),
    ]))
}
