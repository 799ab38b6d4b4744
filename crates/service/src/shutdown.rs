//! Named tasks that live and die together.
//!
//! The first failure, or a signal, cancels the token that every task watches; each then finishes or gives up its
//! batch. What has not ended by the deadline is named and abandoned, and the process exits with a failure.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::BoxError;

/// How long a service's tasks may take to end after the shutdown began.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// The tasks of one service. Clones share them.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    deadline: Duration,
    first_failure: Arc<Mutex<Option<TaskError>>>,
    shutdown: CancellationToken,
}

/// Why a service did not end well.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A task returned an error; the others were told to stop.
    #[error("task `{name}` failed")]
    Failed {
        /// The task's name.
        name: &'static str,
        /// What it returned.
        #[source]
        source: BoxError,
    },
    /// A task panicked.
    #[error("task `{name}` panicked")]
    Panicked {
        /// The task's name.
        name: &'static str,
        /// The panic.
        source: JoinError,
    },
    /// Tasks did not end in time.
    #[error("tasks still ran {} s after the shutdown began: they were abandoned", .0.as_secs())]
    Deadline(Duration),
}

impl Tasks {
    /// No tasks yet; `shutdown` is cancelled by the first failure. `deadline` is how long tasks may take to end
    /// after that.
    #[must_use]
    pub fn new(shutdown: CancellationToken, deadline: Duration) -> Self {
        Self { tracker: TaskTracker::new(), deadline, first_failure: Arc::default(), shutdown }
    }

    /// Starts a task. It must end soon after the shutdown token is cancelled.
    pub fn spawn<F, E>(&self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError> + Send + 'static,
    {
        self.watch(name, tokio::spawn(task));
    }

    /// Starts work that blocks its thread, such as polling librdkafka. It must watch the shutdown token.
    pub fn spawn_blocking<F, E>(&self, name: &'static str, task: F)
    where
        F: FnOnce() -> Result<(), E> + Send + 'static,
        E: Into<BoxError> + Send + 'static,
    {
        self.watch(name, tokio::task::spawn_blocking(task));
    }

    /// Waits for every task; the first failure cancels the rest.
    ///
    /// # Errors
    /// The first failure, or that tasks outlived the deadline.
    pub async fn join(self) -> Result<(), TaskError> {
        self.tracker.close();
        let overdue = async {
            self.shutdown.cancelled().await;
            tokio::time::sleep(self.deadline).await;
        };
        let in_time = tokio::select! {
            () = self.tracker.wait() => true,
            () = overdue => false,
        };
        match self.lock().take() {
            Some(failure) => Err(failure),
            None if in_time => Ok(()),
            None => Err(TaskError::Deadline(self.deadline)),
        }
    }

    fn watch<E: Into<BoxError> + Send + 'static>(&self, name: &'static str, task: JoinHandle<Result<(), E>>) {
        let tasks = self.clone();
        self.tracker.spawn(async move {
            let failure = match task.await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => TaskError::Failed { name, source: error.into() },
                Err(source) => TaskError::Panicked { name, source },
            };
            tasks.lock().get_or_insert(failure);
            tasks.shutdown.cancel();
        });
    }

    fn lock(&self) -> MutexGuard<'_, Option<TaskError>> {
        self.first_failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cancels the token at SIGTERM or SIGINT.
///
/// # Errors
/// If the handlers can't be installed.
pub fn on_signal(shutdown: CancellationToken) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
        shutdown.cancel();
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_failure_stops_the_rest() {
        let shutdown = CancellationToken::new();
        let tasks = Tasks::new(shutdown.clone(), Duration::from_millis(50));
        let token = shutdown.clone();
        tasks.spawn("patient", async move {
            token.cancelled().await;
            Ok::<_, BoxError>(())
        });
        tasks.spawn("faulty", async { Err::<(), BoxError>("no route".into()) });
        let error = tasks.join().await.unwrap_err();
        assert!(matches!(error, TaskError::Failed { name: "faulty", .. }), "{error}");
        assert!(shutdown.is_cancelled());
    }

    #[tokio::test]
    async fn a_task_that_does_not_stop_is_abandoned() {
        let shutdown = CancellationToken::new();
        let tasks = Tasks::new(shutdown.clone(), Duration::from_millis(50));
        tasks.spawn("stuck", std::future::pending::<Result<(), BoxError>>());
        shutdown.cancel();
        assert!(matches!(tasks.join().await, Err(TaskError::Deadline(_))));
    }
}
