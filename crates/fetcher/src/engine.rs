//! What every run of a process shares, and how it gets to PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use service::Context;
use service::health::{Component, Health};
use service::retry::Backoff;
use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;

use crate::client::{Api, ClientError, Fetcher};
use crate::config::Settings;
use crate::database::{self, DatabaseError};
use crate::session::Session;

/// Everything that fetches and stores runs.
#[derive(Debug)]
pub struct Engine {
    /// How connections are opened.
    pub options: PgConnectOptions,
    /// The API, its limits and retries.
    pub fetcher: Arc<Fetcher>,
    /// `fetcher.run_deadline`.
    pub run_deadline: Duration,
    /// `fetcher.store_timeout`.
    pub store_timeout: Duration,
    /// What `/readyz` says about PostgreSQL.
    pub readiness: Readiness,
    /// Cancelled when the process has to end.
    pub shutdown: CancellationToken,
}

impl Engine {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// The HTTP client can't be made.
    pub fn new(settings: &Settings, context: &Context) -> Result<Self, ClientError> {
        let api = Api::new(settings)?;
        Ok(Self {
            options: database::options(&settings.postgres),
            fetcher: Arc::new(Fetcher::new(api, &settings.fetcher)),
            run_deadline: settings.fetcher.run_deadline,
            store_timeout: settings.fetcher.store_timeout,
            readiness: Readiness::new(&context.health),
            shutdown: context.shutdown.clone(),
        })
    }

    /// Opens a session, however long PostgreSQL or its migrations take; `None` at the shutdown.
    pub async fn open(&self) -> Option<Session> {
        let mut backoff = Backoff::default();
        loop {
            let opened = tokio::select! {
                () = self.shutdown.cancelled() => return None,
                opened = Session::open(&self.options) => opened,
            };
            match opened {
                Ok(session) => {
                    self.readiness.reached();
                    return Some(session);
                }
                Err(error) => self.readiness.failed(&error),
            }
            self.pause(backoff.next_delay()).await?;
        }
    }

    /// Waits; `None` at the shutdown.
    pub async fn pause(&self, wait: Duration) -> Option<()> {
        tokio::select! {
            () = self.shutdown.cancelled() => None,
            () = tokio::time::sleep(wait) => Some(()),
        }
    }
}

/// What the fetcher needs of PostgreSQL, in two parts.
#[derive(Debug, Clone)]
pub struct Readiness {
    postgres: Component,
    migrations: Component,
}

impl Readiness {
    fn new(health: &Health) -> Self {
        Self { postgres: health.component("postgres"), migrations: health.component("migrations") }
    }

    /// A connection was there, with its tables.
    pub fn reached(&self) {
        self.postgres.ready();
        self.migrations.ready();
    }

    /// Something was not there.
    pub fn failed(&self, error: &DatabaseError) {
        match error {
            DatabaseError::NotMigrated(_) => {
                self.postgres.ready();
                self.migrations.waiting(error.to_string());
            }
            DatabaseError::Sql(_) | DatabaseError::Timeout(_) => self.postgres.waiting(error.to_string()),
        }
    }
}
