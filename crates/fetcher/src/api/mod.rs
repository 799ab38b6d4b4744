//! The HTTP API: ask for a run, look at runs.

pub mod auth;
pub mod problem;
mod routes;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::routing::get;
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::request::Bounds;
use auth::Token;
use problem::Problem;

/// The longest body of a request, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// What the routes share.
#[derive(Clone)]
pub struct ApiState {
    /// Where the runs are.
    pub pool: PgPool,
    /// What `POST /runs` must present.
    pub token: Token,
    /// What a request may ask for.
    pub bounds: Bounds,
    /// Told of each new run.
    pub wake: Arc<Notify>,
}

/// The routes of the API.
pub fn router(state: ApiState) -> Router {
    Router::new()
        .route("/runs", get(routes::list).post(routes::submit))
        .route("/runs/{run_id}", get(routes::show))
        .fallback(async || {
            Problem::not_found("there are /runs, /runs/{run_id}, /healthz, /readyz and /metrics")
        })
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(state)
}

impl FromRef<ApiState> for Token {
    fn from_ref(state: &ApiState) -> Self {
        state.token.clone()
    }
}
