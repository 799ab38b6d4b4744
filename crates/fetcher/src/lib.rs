//! The fetcher: user profiles from the randomuser.me API into PostgreSQL, each profile of a run once.
//!
//! The way of a run: [`api`] takes the request and [`runs`] makes its row; [`worker`] takes it up with a
//! [`session`] that holds its lock; [`execute`] has [`client`] fetch page after page, [`page`] check and parse each
//! one, and [`store`] commit its profiles together with the run's progress. The API's seed comes from the run id
//! ([`seed`]), so page N is the same users on every try, also after a crash.

pub mod api;
mod cli;
pub mod client;
pub mod config;
pub mod copy;
pub mod database;
pub mod engine;
pub mod execute;
mod held;
pub mod metrics;
pub mod page;
pub mod rate_limit;
pub mod request;
pub mod runs;
pub mod seed;
pub mod session;
pub mod store;
pub mod worker;

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use service::{BoxError, Context};
use sqlx::postgres::PgPoolOptions;
use tokio::sync::Notify;

use api::ApiState;
use api::auth::Token;
pub use cli::main;
use config::Settings;
use engine::Engine;

/// How long a request waits for a connection before it is answered with 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the API keeps a connection that nobody uses.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Starts the service: the API at once, the work on runs as soon as PostgreSQL is there.
///
/// # Errors
/// The port can't be opened or the HTTP client can't be made.
pub async fn serve(settings: Settings, context: Context) -> Result<(), BoxError> {
    metrics::describe();
    let config = &settings.fetcher;
    let engine = Arc::new(Engine::new(&settings, &context)?);
    let wake = Arc::new(Notify::new());
    let pool = PgPoolOptions::new()
        .max_connections(settings.postgres.max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(IDLE_TIMEOUT)
        .connect_lazy_with(engine.options.clone());
    let token = Token::new(config.token.as_ref().unwrap_or(&SecretString::default()));
    let state = ApiState { pool, token, bounds: config.into(), wake: Arc::clone(&wake) };
    context.serve_admin(config.listen, api::router(state)).await?;
    context.tasks.spawn("watch", worker::watch(Arc::clone(&engine)));
    for _ in 0..config.concurrent_runs {
        let work = worker::work(Arc::clone(&engine), Arc::clone(&wake), config.poll_interval);
        context.tasks.spawn("worker", work);
    }
    Ok(())
}
