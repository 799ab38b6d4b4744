//! `/healthz`, `/readyz` and `/metrics` of every service.

use std::net::SocketAddr;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::health::Health;

/// The admin port can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {listen}: choose another address with the section's key `listen`")]
pub struct BindError {
    listen: SocketAddr,
    source: std::io::Error,
}

/// An open port, not served yet.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
}

#[derive(Clone)]
struct AdminState {
    health: Health,
    metrics: PrometheusHandle,
}

impl AdminServer {
    /// Opens the port; port 0 takes a free one.
    ///
    /// # Errors
    /// The address is taken or not of this machine.
    pub async fn bind(listen: SocketAddr) -> Result<Self, BindError> {
        let open = async {
            let listener = TcpListener::bind(listen).await?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        open.await.map_err(|source| BindError { listen, source })
    }

    /// The address that is bound.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the admin routes and `extra` until the shutdown.
    ///
    /// # Errors
    /// Those of accepting connections.
    pub async fn serve(
        self,
        health: Health,
        metrics: PrometheusHandle,
        extra: Router,
        shutdown: CancellationToken,
    ) -> std::io::Result<()> {
        let admin = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(render))
            .with_state(AdminState { health, metrics });
        axum::serve(self.listener, extra.merge(admin))
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await
    }
}

async fn ready(State(state): State<AdminState>) -> Response {
    let waiting = state.health.waiting();
    let status = if waiting.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ready": waiting.is_empty(), "waiting": waiting }))).into_response()
}

async fn render(State(state): State<AdminState>) -> Response {
    state.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], state.metrics.render()).into_response()
}
