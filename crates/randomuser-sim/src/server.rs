//! The running simulator: routes, start and stop.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

use crate::config::SimConfig;
use crate::connection::{BoundedListener, Peer};
use crate::faults::{FaultPlan, FaultPlanError, FaultState};
use crate::rate_limit::Limiter;
use crate::seed::SeedChain;
use crate::stats::Stats;
use crate::words::{Catalogue, WordsError};
use crate::{api, control};

/// Time for requests under way to end after [`Simulator::shutdown`].
const DRAIN: Duration = Duration::from_secs(5);
/// Largest body of `POST /_sim/faults`.
const MAX_CONTROL_BODY_BYTES: usize = 64 * 1024;
const ABOUT: &str = "randomuser-sim: a simulation of the randomuser.me API 1.4. No user here comes from the real service.\n\
    GET /api/?results=10&seed=abc   users\n\
    GET /_sim/stats                 counts\n\
    GET, POST /_sim/faults          faults on request\n";

/// Why a simulator could not start or stop.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The address can't be listened on.
    #[error("can't listen on {address}; choose a free one (port 0 takes any)")]
    Listen {
        /// The address as configured.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The plan of faults can't be carried out.
    #[error("the plan of faults can't be used")]
    Faults(#[from] FaultPlanError),
    /// A word list is damaged.
    #[error("the word lists can't be used")]
    Words(#[from] WordsError),
    /// The server ended with an error.
    #[error("the server on {address} failed")]
    Serve {
        /// Where it listened.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// What all requests share.
pub(crate) struct App {
    pub(crate) config: SimConfig,
    pub(crate) catalogue: Catalogue,
    pub(crate) seeds: SeedChain,
    pub(crate) limiter: Option<Limiter>,
    pub(crate) stop: watch::Receiver<bool>,
    faults: Mutex<FaultState>,
    stats: Mutex<Stats>,
}

impl App {
    pub(crate) fn faults(&self) -> MutexGuard<'_, FaultState> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stats(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps, but not beyond the server's end.
    pub(crate) async fn pause(&self, duration: Duration) {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            // An error means that the simulator was dropped, which is an end as well.
            _ = stop.wait_for(|&stopping| stopping) => {}
        }
    }
}

/// A running simulator. Dropping it stops it without waiting.
pub struct Simulator {
    address: SocketAddr,
    app: Arc<App>,
    stop: watch::Sender<bool>,
    server: JoinHandle<io::Result<()>>,
}

impl Simulator {
    /// Starts to listen and to answer.
    ///
    /// # Errors
    /// The address is taken or not ours, or the plan of faults can't be carried out.
    pub async fn bind(config: SimConfig) -> Result<Self, SimError> {
        let (catalogue, faults) = (Catalogue::load()?, FaultState::new(config.faults.clone())?);
        let listener = TcpListener::bind(config.listen)
            .await
            .and_then(|listener| Ok((listener.local_addr()?, listener)))
            .map_err(|source| SimError::Listen { address: config.listen, source });
        let (address, listener) = listener?;
        let listener = BoundedListener::new(listener, config.max_connections);
        let (stop, stopped) = watch::channel(false);
        let app = Arc::new(App {
            catalogue,
            seeds: SeedChain::starting_at(config.first_seed.unwrap_or_else(rand::random)),
            limiter: config.rate_limit.map(Limiter::new),
            stop: stopped.clone(),
            faults: Mutex::new(faults),
            stats: Mutex::default(),
            config,
        });
        let service = routes(Arc::clone(&app)).into_make_service_with_connect_info::<Peer>();
        let server = tokio::spawn(async move {
            let mut stopped = stopped;
            axum::serve(listener, service)
                .with_graceful_shutdown(async move {
                    // An error means that the simulator was dropped.
                    let _ = stopped.wait_for(|&stopping| stopping).await;
                })
                .await
        });
        Ok(Self { address, app, stop, server })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the API, `http://127.0.0.1:PORT/api/`.
    pub fn url(&self) -> String {
        format!("http://{}/api/", self.address)
    }

    /// What it has done so far.
    pub fn stats(&self) -> Stats {
        self.app.stats().clone()
    }

    /// The plan of faults in force; `next` holds what is still to come.
    pub fn faults(&self) -> FaultPlan {
        self.app.faults().plan()
    }

    /// Replaces the plan of faults, as `POST /_sim/faults` does.
    ///
    /// # Errors
    /// The plan can't be carried out; the one before stays in force.
    pub fn set_faults(&self, plan: FaultPlan) -> Result<(), FaultPlanError> {
        *self.app.faults() = FaultState::new(plan)?;
        Ok(())
    }

    /// Stops accepting, lets requests under way end within 5 seconds (delays and hangs end at once), and returns.
    ///
    /// # Errors
    /// The server had failed before.
    pub async fn shutdown(self) -> Result<(), SimError> {
        let Self { address, stop, mut server, .. } = self;
        stop.send_replace(true);
        match tokio::time::timeout(DRAIN, &mut server).await {
            Ok(Ok(result)) => result.map_err(|source| SimError::Serve { address, source }),
            Ok(Err(panicked)) => Err(SimError::Serve { address, source: io::Error::other(panicked) }),
            Err(_too_slow) => {
                server.abort();
                Ok(())
            }
        }
    }
}

fn routes(app: Arc<App>) -> Router {
    let control = Router::new()
        .route("/stats", get(control::stats))
        .route("/faults", get(control::faults).post(control::set_faults))
        .layer(middleware::from_fn(control::loopback_only))
        .layer(DefaultBodyLimit::max(MAX_CONTROL_BODY_BYTES));
    Router::new()
        .route("/", get(|| async { ABOUT }))
        .route("/api", get(api::latest))
        .route("/api/", get(api::latest))
        .route("/api/{version}", get(api::version))
        .route("/api/{version}/", get(api::version))
        .nest("/_sim", control)
        .fallback(|| async { not_found() })
        .layer(CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest))
        .layer(middleware::map_response(mark_simulated))
        .with_state(app)
}

async fn mark_simulated(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-simulated"), HeaderValue::from_static("randomuser-sim"));
    response
}

/// As the real server answers for a path or a version it does not have.
pub(crate) fn not_found() -> Response {
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "Not Found")
        .into_response()
}
