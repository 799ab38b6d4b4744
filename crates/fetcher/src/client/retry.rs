//! A page, tried until it is had, or until its run has no time or no tries left.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use service::retry::Backoff;

use super::{Api, FetchError, Policy};
use crate::config::FetcherConfig;
use crate::metrics;
use crate::page::{self, Page, PageRequest};
use crate::rate_limit::RateLimit;

/// When a run's time is over. Time that PostgreSQL was away is given back.
#[derive(Debug, Clone)]
pub struct Deadline {
    at: Arc<Mutex<Instant>>,
    run_deadline: Duration,
}

impl Deadline {
    /// `run_deadline` from now.
    #[must_use]
    pub fn new(run_deadline: Duration) -> Self {
        Self { at: Arc::new(Mutex::new(Instant::now() + run_deadline)), run_deadline }
    }

    /// Time that is left.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).saturating_duration_since(Instant::now())
    }

    /// Moves it later.
    pub fn extend(&self, by: Duration) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

/// Why a page, and with it the run, was given up.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// Another try would not help.
    #[error("page {page}")]
    Refused {
        /// Page number.
        page: i32,
        /// What the API did.
        source: FetchError,
    },
    /// `fetcher.max_attempts` tries did not help.
    #[error("page {page}: gave up after {attempts} tries")]
    Attempts {
        /// Page number.
        page: i32,
        /// Tries made.
        attempts: u32,
        /// What the API did last.
        source: FetchError,
    },
    /// The next try would be after the run's deadline.
    #[error("page {page}: the run's deadline of {} s leaves no time to wait {} s for try {}", deadline.as_secs(), wait.as_secs_f32(), attempts + 1)]
    Retry {
        /// Page number.
        page: i32,
        /// Tries made.
        attempts: u32,
        /// The wait that would be needed.
        wait: Duration,
        /// `fetcher.run_deadline`.
        deadline: Duration,
        /// What the API did last.
        source: FetchError,
    },
    /// The run's time was over before the page could be asked for.
    #[error("page {page}: the run's deadline of {} s has passed", deadline.as_secs())]
    Deadline {
        /// Page number.
        page: i32,
        /// `fetcher.run_deadline`.
        deadline: Duration,
    },
}

/// Fetches pages for all runs of a process.
#[derive(Debug)]
pub struct Fetcher {
    api: Api,
    limit: RateLimit,
    max_attempts: u32,
    backoff_initial: Duration,
    backoff_max: Duration,
    window: Duration,
}

impl Fetcher {
    /// With the limits of the configuration.
    #[must_use]
    pub const fn new(api: Api, config: &FetcherConfig) -> Self {
        Self {
            api,
            limit: RateLimit::new(config.users_per_window, config.window),
            max_attempts: config.max_attempts,
            backoff_initial: config.backoff_initial,
            backoff_max: config.backoff_max,
            window: config.window,
        }
    }

    /// Fetches and parses one page. Cancelled by dropping it.
    ///
    /// # Errors
    /// Why the run has to be given up.
    pub async fn page(&self, request: &Arc<PageRequest>, deadline: &Deadline) -> Result<Page, PageError> {
        let page = request.number;
        let mut backoff = Backoff::new(self.backoff_initial, self.backoff_max);
        loop {
            self.wait_for_room(request, deadline).await?;
            let attempts = backoff.attempts() + 1;
            let source = match self.attempt(request, deadline).await {
                Ok(page) => return Ok(page),
                Err(error) => error,
            };
            let delay = backoff.next_delay();
            let wait = match source.policy() {
                Policy::Fail => return Err(PageError::Refused { page, source }),
                Policy::Backoff => delay,
                Policy::After(wait) => wait,
                Policy::NextWindow => self.window,
            };
            if attempts >= self.max_attempts {
                return Err(PageError::Attempts { page, attempts, source });
            }
            if wait >= deadline.remaining() {
                let deadline = deadline.run_deadline;
                return Err(PageError::Retry { page, attempts, wait, deadline, source });
            }
            metrics::retried(source.label());
            tracing::warn!(
                page,
                attempts,
                wait_seconds = wait.as_secs_f32(),
                error = service::error_chain(&source),
                "page will be tried again"
            );
            tokio::time::sleep(wait).await;
        }
    }

    async fn wait_for_room(&self, request: &PageRequest, deadline: &Deadline) -> Result<(), PageError> {
        let users = u64::try_from(request.users).unwrap_or(0);
        let mut told = false;
        loop {
            let passed = PageError::Deadline { page: request.number, deadline: deadline.run_deadline };
            let left = deadline.remaining();
            if left.is_zero() {
                return Err(passed);
            }
            let Err(wait) = self.limit.take(users, Instant::now()) else { return Ok(()) };
            if wait >= left {
                return Err(passed);
            }
            if !std::mem::replace(&mut told, true) {
                let page = request.number;
                tracing::info!(
                    page,
                    wait_seconds = wait.as_secs(),
                    "keeping to the API's limit of users in a window"
                );
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&self, request: &Arc<PageRequest>, deadline: &Deadline) -> Result<Page, FetchError> {
        let started = Instant::now();
        let outcome = self.fetch_and_parse(request, deadline.remaining()).await;
        metrics::requested(outcome.as_ref().map_or_else(FetchError::label, |_| "ok"), started.elapsed());
        outcome
    }

    async fn fetch_and_parse(&self, request: &Arc<PageRequest>, left: Duration) -> Result<Page, FetchError> {
        let answer = self.api.get(request, left).await?;
        let request = Arc::clone(request);
        // Tens of milliseconds of computing: not on a thread that serves connections.
        let parsed = tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            let page = page::parse(&answer.body, answer.simulated, &request);
            metrics::parsed(started.elapsed());
            page
        });
        parsed.await.map_err(FetchError::Parser)?
    }
}
