//! `/_sim/…`: what the simulator has done, and what it is to do wrong. For clients on the same machine only.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::error;
use crate::connection::Peer;
use crate::faults::{FaultPlan, FaultState};
use crate::server::App;
use crate::stats::Stats;

/// Without a token nobody from elsewhere may change what this server does.
pub(crate) async fn loopback_only(
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if peer.address.ip().to_canonical().is_loopback() {
        next.run(request).await
    } else {
        error(StatusCode::FORBIDDEN, "/_sim/ answers clients on the same machine only")
    }
}

pub(crate) async fn stats(State(app): State<Arc<App>>) -> Json<Stats> {
    Json(app.stats().clone())
}

pub(crate) async fn faults(State(app): State<Arc<App>>) -> Json<FaultPlan> {
    Json(app.faults().plan())
}

/// Replaces the plan; `{}` ends all faults.
pub(crate) async fn set_faults(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let state = serde_json::from_slice::<FaultPlan>(&body)
        .map_err(|problem| problem.to_string())
        .and_then(|plan| FaultState::new(plan).map_err(|problem| problem.to_string()));
    match state {
        Ok(state) => {
            let plan = state.plan();
            *app.faults() = state;
            Json(plan).into_response()
        }
        Err(problem) => error(StatusCode::BAD_REQUEST, &format!("not a plan of faults: {problem}")),
    }
}
