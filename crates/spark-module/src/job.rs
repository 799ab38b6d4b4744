//! The driver's part: what must be there before a record is read, where Spark begins, and what operators see.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use events::Registry;
use kafka::topics;
use pyo3::prelude::*;
use rdkafka::Offset;
use rdkafka::consumer::Consumer as _;
use service::admin::AdminServer;
use service::health::{Component, Health};
use stream_processor::config::Settings;
use stream_processor::continuity::Continuity;
use stream_processor::tally::{self, Tally};
use tokio::runtime::{Handle, Runtime};
use tokio_util::sync::CancellationToken;

use crate::error::SparkError;
use crate::lease::Lease;
use crate::partition::Report;
use crate::plan::{self, Plan, VERSION, host};
use crate::source;
use crate::watch::{self, Watched};

/// How often Python is asked whether it was interrupted.
const LOOK: Duration = Duration::from_millis(50);
/// Bound of one question to the brokers.
const QUESTION: Duration = Duration::from_secs(15);

/// The job that a driver runs. It is visible at the processor's admin port from the beginning on.
#[pyclass]
pub(crate) struct Job {
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    health: Health,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tally: Tally,
    pub(crate) watched: Watched,
    continuity: Mutex<Continuity>,
    held: Mutex<Option<Held>>,
}

/// What the job has once everything is there.
struct Held {
    lease: Arc<Lease>,
    partitions: usize,
}

#[pymethods]
impl Job {
    /// Refuses another version than the job's script was written for, then reads the configuration.
    #[new]
    fn new(expects: &str) -> PyResult<Self> {
        Ok(Self::open(expects)?)
    }

    /// Waits for Kafka, the topics and the registry, then takes the group; the plan for the tasks.
    fn prepare(&self, py: Python<'_>) -> PyResult<String> {
        let shared = Arc::clone(&self.shared);
        let plan = self.wait_for(py, move |handle| handle.block_on(prepare(&shared)))?;
        Ok(serde_json::to_string(&plan).map_err(SparkError::Json)?)
    }

    /// Options of Spark's Kafka source: where the brokers are, and the group's position in every partition.
    fn source(&self, py: Python<'_>) -> PyResult<HashMap<String, String>> {
        let shared = Arc::clone(&self.shared);
        Ok(py.detach(|| shared.source())?)
    }

    /// The query runs.
    fn started(&self) {
        self.shared.health.component("spark").ready();
    }

    /// Takes in what the tasks of a batch have reported; counts for the log.
    #[expect(clippy::needless_pass_by_value, reason = "as Python hands it over")]
    fn batch(&self, reports: Vec<String>) -> PyResult<BTreeMap<String, u64>> {
        Ok(self.shared.take_in(&reports)?)
    }

    /// Takes in Spark's progress of a batch, as JSON. Fails if the group was lost to the other engine.
    fn progress(&self, json: &str) -> PyResult<()> {
        if let Some(refusal) = self.shared.lease().and_then(|lease| lease.refusal()) {
            return Err(refusal.into());
        }
        self.shared.watched.progress(json);
        Ok(())
    }

    /// Leaves the group and closes the admin port.
    fn close(&mut self, py: Python<'_>) {
        self.shared.shutdown.cancel();
        let runtime = self.runtime.take();
        py.detach(|| {
            // Leaves the group.
            drop(self.shared.held().take());
            if let Some(runtime) = runtime {
                runtime.shutdown_timeout(Duration::from_secs(2));
            }
        });
    }
}

impl Job {
    fn open(expects: &str) -> Result<Self, SparkError> {
        if expects != VERSION {
            return Err(SparkError::Version { ours: VERSION, wanted: expects.to_owned(), host: host() });
        }
        let (settings, telemetry) = plan::load()?;
        let metrics = service::telemetry::init(&telemetry).map_err(SparkError::Telemetry)?;
        // Fails only where it is there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        tally::describe();
        watch::describe();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (health, shutdown) = (Health::default(), CancellationToken::new());
        for part in ["kafka", "registry", "group", "spark"] {
            drop(health.component(part));
        }
        let server = runtime.block_on(AdminServer::bind(settings.processor.listen))?;
        tracing::info!(address = %server.address(), version = VERSION, "Spark's job, listening");
        runtime.spawn(server.serve(health.clone(), metrics.clone(), Router::new(), shutdown.clone()));
        runtime.spawn(service::telemetry::upkeep(metrics, shutdown.clone()));
        let shared = Arc::new(Shared {
            continuity: Mutex::new(Continuity::new(&settings.processor.source_topic)),
            watched: Watched::new(&settings),
            settings,
            health,
            shutdown,
            tally: Tally::default(),
            held: Mutex::new(None),
        });
        runtime.spawn(watch::report(Arc::clone(&shared)));
        Ok(Self { shared, runtime: Some(runtime) })
    }

    /// Waits for work on another thread while Python can be interrupted.
    fn wait_for<T: Send + 'static>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(Handle) -> Result<T, SparkError> + Send + 'static,
    ) -> PyResult<T> {
        let handle = self.runtime.as_ref().ok_or(SparkError::Stopped)?.handle().clone();
        let working = std::thread::spawn(move || work(handle));
        while !working.is_finished() {
            py.detach(|| std::thread::sleep(LOOK));
            py.check_signals()?;
        }
        Ok(working.join().unwrap_or(Err(SparkError::Stopped))?)
    }
}

async fn prepare(shared: &Arc<Shared>) -> Result<Plan, SparkError> {
    let (settings, health, shutdown) = (&shared.settings, &shared.health, &shared.shutdown);
    let config = &settings.processor;
    let names = [&*config.source_topic, &config.target_topic, &config.dead_letter_topic];
    let waited = topics::wait(&settings.kafka, &names, &health.component("kafka"), shutdown).await;
    let Some([partitions, target_partitions, _]) = waited.as_deref() else { return Err(SparkError::Stopped) };
    let target_partitions = i32::try_from(*target_partitions).unwrap_or(i32::MAX);
    let (client, component) = (Registry::new(&settings.registry)?, health.component("registry"));
    let registered = stream_processor::register(&client, &config.target_topic, &component, shutdown).await?;
    let target_id = registered.ok_or(SparkError::Stopped)?;
    let lease = join(settings, &health.component("group")).await?;
    let held = Held { lease, partitions: *partitions };
    *shared.held() = Some(held);
    Ok(Plan {
        version: VERSION.to_owned(),
        fingerprint: plan::fingerprint(settings),
        target_partitions,
        target_id,
    })
}

async fn join(settings: &Settings, group: &Component) -> Result<Arc<Lease>, SparkError> {
    group.waiting("joining");
    let settings = settings.clone();
    let joined = tokio::task::spawn_blocking(move || {
        let lease = Lease::new(&settings, "driver")?;
        lease.wait()?;
        Ok(Arc::new(lease))
    });
    let lease = joined.await.unwrap_or(Err(SparkError::Stopped))?;
    group.ready();
    Ok(lease)
}

impl Shared {
    fn held(&self) -> std::sync::MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lease(&self) -> Option<Arc<Lease>> {
        self.held().as_ref().map(|held| Arc::clone(&held.lease))
    }

    /// Shows whether this process is a member of the group.
    pub(crate) fn show_membership(&self, member: bool) {
        let group = self.health.component("group");
        if member { group.ready() } else { group.waiting("not a member of the consumer group") }
    }

    fn source(&self) -> Result<HashMap<String, String>, SparkError> {
        let topic = &self.settings.processor.source_topic;
        let failed = |source| SparkError::Positions { topic: topic.clone(), source };
        let count = self.held().as_ref().map_or(0, |held| held.partitions);
        let lease = self.lease().ok_or(SparkError::Stopped)?;
        let partitions: Vec<i32> = (0..i32::try_from(count).unwrap_or(i32::MAX)).collect();
        let committed = lease.committed(topic, &partitions)?;
        let mut begin = BTreeMap::new();
        for element in committed.elements() {
            let partition = element.partition();
            let (low, high) =
                lease.consumer().fetch_watermarks(topic, partition, QUESTION).map_err(failed)?;
            let position = match element.offset() {
                // As the processor's consumer does with a position that the topic does not have.
                Offset::Offset(offset) if (low..=high).contains(&offset) => offset,
                _ => low,
            };
            begin.insert(partition, position);
            self.watched.begin(partition, position);
            self.adopt(partition, element.metadata());
        }
        self.show_continuity();
        Ok(source::options(&self.settings.kafka, topic, &begin))
    }

    fn take_in(&self, reports: &[String]) -> Result<BTreeMap<String, u64>, SparkError> {
        let mut counts = BTreeMap::new();
        let mut add = |name: &str, count: u64| {
            if count > 0 {
                *counts.entry(name.to_owned()).or_insert(0) += count;
            }
        };
        for report in reports {
            let report: Report = serde_json::from_str(report)?;
            add("skipped", report.skipped);
            for done in &report.transactions {
                self.tally.committed(&done.outcomes, &done.latencies, done.took);
                add("processed", done.outcomes.processed);
                add("tombstones", done.outcomes.tombstones);
                add("repeats", done.outcomes.repeats);
                add("dead_letters", done.outcomes.rejected());
            }
            self.watched.late(&report);
            if !report.ledger.is_empty() {
                self.adopt(report.partition, &report.ledger);
            }
        }
        self.show_continuity();
        Ok(counts)
    }

    fn adopt(&self, partition: i32, ledger: &str) {
        self.continuity.lock().unwrap_or_else(PoisonError::into_inner).adopt(partition, ledger);
    }

    fn show_continuity(&self) {
        let alarm = self.continuity.lock().unwrap_or_else(PoisonError::into_inner).alarm();
        let component = self.health.component("continuity");
        match alarm {
            Some(alarm) => component.waiting(alarm),
            None => component.ready(),
        }
    }
}
