//! `GET /api/`: users, or the fault that the plan has for this request.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, Path, Query as Pairs, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::connection::{Peer, Valve};
use crate::faults::{Fault, Injected};
use crate::poison::PoisonPlan;
use crate::query::Query;
use crate::render::{self, Page, PageRequest};
use crate::seed;
use crate::server::{App, not_found};

const JSON: &str = "application/json; charset=utf-8";
/// Pages above this size are rendered off the threads that serve connections.
const QUICK_PAGE_USERS: u32 = 100;
const ENVELOPE: &str =
    "Uh oh, something has gone wrong. Please tweet us @randomapi about the issue. Thank you.";

type Parameters = Pairs<Vec<(String, String)>>;

pub(crate) async fn latest(app: State<Arc<App>>, peer: ConnectInfo<Peer>, pairs: Parameters) -> Response {
    users(app, peer, Query::parse(&pairs)).await
}

pub(crate) async fn version(
    Path(version): Path<String>,
    app: State<Arc<App>>,
    peer: ConnectInfo<Peer>,
    pairs: Parameters,
) -> Response {
    if version == "1.4" {
        return users(app, peer, Query::parse(&pairs)).await;
    }
    let mut stats = app.stats();
    stats.requests += 1;
    stats.refused += 1;
    not_found()
}

async fn users(State(app): State<Arc<App>>, ConnectInfo(peer): ConnectInfo<Peer>, query: Query) -> Response {
    let (injected, poison) = {
        let mut faults = app.faults();
        (faults.decide(), faults.poison())
    };
    {
        let mut stats = app.stats();
        stats.requests += 1;
        if let Some(Injected { fault, .. }) = injected {
            *stats.faults.entry(fault).or_insert(0) += 1;
        }
    }
    if let Some(injected) = injected {
        if let Some(response) = instead(&injected, &peer.valve) {
            return response;
        }
        if injected.fault == Fault::Slow {
            app.pause(injected.slow).await;
        }
    }
    if let Some(format) = query.unsupported_format {
        app.stats().refused += 1;
        return error(
            StatusCode::BAD_REQUEST,
            &format!("format={format} is not simulated; ask for format=json"),
        );
    }
    if let Some(limiter) = &app.limiter
        && let Err(count) = limiter.admit(peer.address.ip(), query.results, Instant::now())
    {
        app.stats().rate_limited += 1;
        return too_many(count);
    }
    match rendered(Arc::clone(&app), query.clone(), poison).await {
        Some(page) => deliver(&app, &peer.valve, &query, page, injected.as_ref()),
        None => {
            // The real server never answers. Here the wait ends, in a reset.
            app.stats().hangs += 1;
            app.pause(app.config.hang).await;
            broken(&peer.valve)
        }
    }
}

async fn rendered(app: Arc<App>, query: Query, poison: PoisonPlan) -> Option<Page> {
    let given = query.seed.clone().unwrap_or_else(|| app.seeds.next_seed());
    let seed = seed::resolve(&query, &given)?;
    let now = app.config.clock.now();
    let large = query.results > QUICK_PAGE_USERS;
    let render = move || {
        render::page(PageRequest { catalogue: &app.catalogue, query: &query, seed, now, poison: &poison })
    };
    // The task ends early only when the runtime stops, and then nobody waits for the page.
    if large { tokio::task::spawn_blocking(render).await.ok()? } else { render() }
}

/// The page as it leaves: whole, or broken as the plan has it.
fn deliver(app: &App, valve: &Valve, query: &Query, page: Page, injected: Option<&Injected>) -> Response {
    let Page { mut json, poisoned } = page;
    match injected {
        Some(Injected { fault: Fault::Truncated, variant, .. }) => {
            json.truncate(share(json.len(), 500, 9_500, *variant));
        }
        Some(Injected { fault: Fault::Cut, variant, .. }) => {
            // Compression leaves a third of a page, so at 5 to 20 % of its length something is still missing.
            valve.cut_after(share(json.len(), 500, 2_000, *variant) as u64);
        }
        _ => {
            let mut stats = app.stats();
            stats.pages += 1;
            stats.users += u64::from(query.results);
            stats.json_bytes += json.len() as u64;
            for (kind, count) in poisoned {
                *stats.poisoned.entry(kind).or_insert(0) += count;
            }
        }
    }
    ([(header::CONTENT_TYPE, JSON), (header::CACHE_CONTROL, "no-cache")], json).into_response()
}

/// The response to a request that gets no page, or `None` where the fault needs one.
fn instead(injected: &Injected, valve: &Valve) -> Option<Response> {
    match injected.fault {
        Fault::TooManyRequests => {
            let mut response =
                error(StatusCode::TOO_MANY_REQUESTS, "Whoa, ease up there cowboy (on request).");
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(injected.retry_after_s));
            Some(response)
        }
        Fault::ServerError => {
            const STATUSES: [StatusCode; 4] = [
                StatusCode::INTERNAL_SERVER_ERROR,
                StatusCode::BAD_GATEWAY,
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::GATEWAY_TIMEOUT,
            ];
            let status = STATUSES[injected.variant as usize % STATUSES.len()];
            Some((status, status.canonical_reason().unwrap_or_default()).into_response())
        }
        Fault::NotJson => {
            let html = "<!DOCTYPE html><html><body><h1>Down for maintenance</h1></body></html>";
            Some(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response())
        }
        Fault::ErrorEnvelope => Some(error(StatusCode::OK, ENVELOPE)),
        Fault::Reset => Some(broken(valve)),
        Fault::Truncated | Fault::Cut | Fault::Slow => None,
    }
}

/// A response of which no byte leaves, because the connection is reset first.
fn broken(valve: &Valve) -> Response {
    valve.reset();
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

/// A share of `length` between `from` and `to` ten-thousandths, by a draw in 0..10,000.
fn share(length: usize, from: usize, to: usize, draw: u32) -> usize {
    length * (from + (to - from) * draw as usize / 10_000) / 10_000
}

/// The real server's words, which speak of one minute although it counts for five; there is no `Retry-After`.
fn too_many(count: u64) -> Response {
    error(
        StatusCode::TOO_MANY_REQUESTS,
        &format!(
            "Whoa, ease up there cowboy. You've requested {count} users in the last minute. Help us keep this service \
             free and spare some bandwidth for other users please :)"
        ),
    )
}

/// `{"error": …}` with a status.
pub(crate) fn error(status: StatusCode, message: &str) -> Response {
    let json = serde_json::json!({ "error": message }).to_string();
    (status, [(header::CONTENT_TYPE, JSON)], json).into_response()
}
