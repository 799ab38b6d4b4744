//! What a Python worker of Spark keeps from one task to the next: settings, the registry, the schemas that were learnt,
//! and its membership of the group.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use events::Registry;
use kafka::context::Throttle;
use rdkafka::message::{Message as _, OwnedMessage};
use service::error_chain;
use service::retry::Backoff;
use stream_processor::config::Settings;
use stream_processor::write::Writer;
use tokio::runtime::Runtime;

use crate::error::SparkError;
use crate::lease::Lease;
use crate::plan::{self, Plan};

/// How long a task waits for the registry; then Spark tries it again, and in the end the job waits at its start.
const REGISTRY: Duration = Duration::from_secs(120);
/// How long an id that the registry does not know is not asked for again.
const MISSING_FOR: Duration = Duration::from_secs(60);

/// One for each process.
pub(crate) struct Session {
    plan: Plan,
    pub(crate) settings: Settings,
    pub(crate) lease: Lease,
    registry: Registry,
    runtime: Runtime,
    writing: Mutex<Writing>,
}

/// What one transaction at a time writes with.
pub(crate) struct Writing {
    pub(crate) writer: Writer,
    missing_since: Instant,
}

impl Session {
    /// This process's own, made anew for another plan or after it was refused.
    pub(crate) fn of(plan: &Plan) -> Result<Arc<Self>, SparkError> {
        static SESSION: Mutex<Option<Arc<Session>>> = Mutex::new(None);
        let mut session = SESSION.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) =
            session.as_ref().filter(|kept| kept.plan == *plan && kept.lease.refusal().is_none())
        {
            return Ok(Arc::clone(kept));
        }
        // First, so that it leaves the group.
        *session = None;
        let made = Arc::new(Self::new(plan)?);
        *session = Some(Arc::clone(&made));
        Ok(made)
    }

    fn new(plan: &Plan) -> Result<Self, SparkError> {
        let (settings, telemetry) = plan::load()?;
        plan.check(&settings)?;
        service::telemetry::init_logs(&telemetry).map_err(SparkError::Telemetry)?;
        // Fails only where it is there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let registry = Registry::new(&settings.registry)?;
        let throttle = Arc::<Throttle>::default();
        let mut writer = Writer::new(&settings, plan.target_partitions, plan.target_id, throttle);
        writer.look_at_target(&settings);
        Ok(Self {
            plan: plan.clone(),
            lease: Lease::new(&settings, "worker")?,
            settings,
            registry,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            writing: Mutex::new(Writing { writer, missing_since: Instant::now() }),
        })
    }

    pub(crate) fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that the writer knows the schema of each of these records.
    pub(crate) fn learn(&self, writing: &mut Writing, records: &[OwnedMessage]) -> Result<(), SparkError> {
        if writing.missing_since.elapsed() > MISSING_FOR {
            writing.writer.forget_missing();
            writing.missing_since = Instant::now();
        }
        let (mut backoff, began) = (Backoff::default(), Instant::now());
        for record in records {
            while let Some(unknown) = writing.writer.needs(record.payload()) {
                let answer = self.runtime.block_on(self.registry.schema_by_id(unknown.0));
                let Err(error) = writing.writer.learn(unknown, answer) else { continue };
                let reason = error_chain(&*error);
                if began.elapsed() > REGISTRY {
                    return Err(SparkError::Waited { reason, within: REGISTRY });
                }
                tracing::warn!(reason, "waiting");
                std::thread::sleep(backoff.next_delay());
            }
        }
        Ok(())
    }
}
