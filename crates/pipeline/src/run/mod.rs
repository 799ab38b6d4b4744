//! `pipeline run`: triggers the DAG, follows its profiles through every stage, and proves that all have arrived.

mod bars;
mod follow;
mod rows;

use std::time::{Duration, Instant};

use command_line::{Output, table};
use operate::config::Settings;
use operate::verify::until_equal;
use serde::Serialize;
use serde_json::{Value, json};
use service::{BoxError, error_chain};

use crate::airflow::{Airflow, AirflowError, DagRun};
use crate::{verify, wait};
use bars::Bars;
use follow::{Follower, Stages};

/// Airflow may just have started: its DAG processor then takes some time to find the DAG.
const AIRFLOW_PATIENCE: Duration = Duration::from_secs(120);
/// How often the stages are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How often Airflow is asked.
const ASK_AIRFLOW: Duration = Duration::from_secs(1);
/// The DAG has seen all profiles in one table of Cassandra; the others have them when the sink has committed.
const VERIFY_PATIENCE: Duration = Duration::from_secs(60);
/// Ids that differ that are shown for each stage.
const LIMIT: usize = 20;

/// What to fetch.
#[derive(Debug)]
pub struct Request {
    /// Profiles; the DAG's own default if not set.
    pub count: Option<u64>,
    /// Codes; all if empty.
    pub nationalities: Vec<String>,
    /// The same seed gives the same profiles.
    pub seed: Option<String>,
    /// How long to follow the run.
    pub timeout: Duration,
    /// Rows to show with cqlsh at the end.
    pub show_rows: u32,
}

/// When something was reached, in seconds since the trigger.
#[derive(Debug, Serialize)]
struct Milestone {
    what: &'static str,
    seconds: f64,
}

/// Triggers a run and follows it to its end; whether it succeeded and all stages are equal.
///
/// # Errors
/// A server that can't be asked. The run goes on without us then.
pub async fn run(settings: &Settings, request: &Request, output: &Output) -> Result<bool, BoxError> {
    let airflow = connect(settings, output).await?;
    let follower = Follower::prepare(settings).await?;
    let triggered = Instant::now();
    let dag_run = airflow.trigger(&conf(request)).await?;
    let run_id = dag_run.dag_run_id.as_str();
    let page = airflow.page(run_id)?;
    output.note(format_args!("run {run_id}: {page}"));

    let follower = follower.start(run_id);
    let followed = tokio::select! {
        followed = follow(&airflow, &follower, dag_run.clone(), triggered, output) => Some(followed?),
        () = tokio::time::sleep(request.timeout) => None,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            None
        }
    };
    let Some((dag_run, mut milestones)) = followed else {
        output.line(format_args!(
            "run {run_id} goes on, see {page}; `pipeline verify --run {run_id}` says how it ended"
        ));
        return Ok(false);
    };
    drop(follower);

    let succeeded = dag_run.state == "success";
    let failures = if succeeded { Vec::new() } else { failures(&airflow, run_id).await };
    // After a success the stages have a moment to become equal; after a failure they are what they are.
    let patience = if succeeded { VERIFY_PATIENCE } else { Duration::ZERO };
    let verified = until_equal(settings, run_id, patience, &|text| output.note(text)).await;
    let summary = verified.map(|verification| verification.summary(LIMIT));
    let equal = summary.as_ref().is_ok_and(|summary| summary.equal);
    milestones.push(Milestone { what: "verified", seconds: triggered.elapsed().as_secs_f64() });
    let verification = match &summary {
        Ok(summary) => json!(summary),
        Err(error) => json!({ "error": error_chain(error) }),
    };
    output.document(&json!({
        "run_id": run_id,
        "url": page,
        "dag_state": dag_run.state,
        "failures": failures,
        "milestones": milestones,
        "verification": verification,
    }));
    match &summary {
        Ok(summary) => verify::print(summary, output),
        Err(error) => output.line(format_args!("it can't be verified: {}", error_chain(error))),
    }
    for failure in &failures {
        output.line(failure);
    }
    let rows = milestones.iter().map(|at| vec![at.what.to_owned(), format!("{:.1}", at.seconds)]);
    output.line(format_args!("\n{}", table(&["reached", "seconds after the trigger"], rows)));
    output.line(format_args!("the DAG run ended with {}: {page}", dag_run.state));
    if equal && request.show_rows > 0 && !output.is_json() {
        rows::show(settings, run_id, request.show_rows, output).await?;
    }
    Ok(succeeded && equal)
}

/// Logs in and waits until Airflow knows the DAG.
async fn connect(settings: &Settings, output: &Output) -> Result<Airflow, BoxError> {
    let transient = AirflowError::is_transient;
    let what = format!("Airflow at {}", settings.airflow_url);
    let login = || Airflow::login(settings);
    let airflow = wait::until(&what, AIRFLOW_PATIENCE, output, transient, login).await?;
    let what = format!("DAG {}", settings.airflow.dag);
    let dag = wait::until(&what, AIRFLOW_PATIENCE, output, transient, || airflow.dag()).await?;
    if dag.is_paused {
        airflow.unpause().await?;
        output.note(format_args!("{what} was paused; it is active now"));
    }
    Ok(airflow)
}

fn conf(request: &Request) -> Value {
    let mut conf = serde_json::Map::new();
    if let Some(count) = request.count {
        conf.insert("count".to_owned(), count.into());
    }
    if !request.nationalities.is_empty() {
        conf.insert("nationalities".to_owned(), request.nationalities.clone().into());
    }
    if let Some(seed) = &request.seed {
        conf.insert("seed".to_owned(), seed.clone().into());
    }
    conf.into()
}

/// Shows the stages until the run has ended.
async fn follow(
    airflow: &Airflow,
    follower: &Follower,
    mut dag_run: DagRun,
    triggered: Instant,
    output: &Output,
) -> Result<(DagRun, Vec<Milestone>), BoxError> {
    let bars = Bars::new(output);
    let mut milestones: Vec<Milestone> = Vec::new();
    let mut asked = Instant::now();
    let mut stages = Stages::default();
    let mut is_noted = false;
    loop {
        match follower.look().await {
            Ok(seen) => stages = seen,
            // The bars stand still until it answers again; the run is not affected, and its end comes from Airflow.
            Err(error) => {
                if !is_noted {
                    output.note(format_args!("can't look at the stages: {}", error_chain(error.as_ref())));
                }
                is_noted = true;
            }
        }
        bars.show(&stages, &dag_run.state);
        let seconds = triggered.elapsed().as_secs_f64();
        for what in reached(&stages, &dag_run) {
            if milestones.iter().all(|known| known.what != what) {
                milestones.push(Milestone { what, seconds });
            }
        }
        if dag_run.has_ended() {
            bars.finish();
            return Ok((dag_run, milestones));
        }
        tokio::time::sleep(LOOK).await;
        if asked.elapsed() > ASK_AIRFLOW {
            asked = Instant::now();
            dag_run = match airflow.run(&dag_run.dag_run_id).await {
                Ok(dag_run) => dag_run,
                // Airflow is busy or restarts; the run is not affected.
                Err(error) if error.is_transient() => continue,
                Err(error) => return Err(error.into()),
            };
        }
    }
}

fn reached(stages: &Stages, dag_run: &DagRun) -> impl Iterator<Item = &'static str> {
    let complete = |count: u64| stages.stored.is_some_and(|stored| count >= stored);
    [
        ("DAG run started", dag_run.start_date.is_some()),
        ("fetch began", stages.fetch_began),
        ("all fetched", stages.stored.is_some()),
        ("all in users.raw", complete(stages.raw)),
        ("all in users.processed", complete(stages.processed)),
        ("all in Cassandra", complete(stages.processed) && stages.sink_is_through),
        ("DAG run ended", dag_run.end_date.is_some()),
    ]
    .into_iter()
    .filter_map(|(what, is)| is.then_some(what))
}

/// What the failed tasks say.
async fn failures(airflow: &Airflow, run_id: &str) -> Vec<String> {
    let tasks = match airflow.tasks(run_id).await {
        Ok(tasks) => tasks,
        Err(error) => return vec![error_chain(&error)],
    };
    let mut failures = Vec::new();
    for task in tasks.iter().filter(|task| task.state.as_deref() == Some("failed")) {
        let said = airflow.errors(run_id, task).await.unwrap_or_else(|error| vec![error_chain(&error)]);
        failures.push(format!("task {} failed: {}", task.task_id, said.join("; ")));
    }
    failures
}
