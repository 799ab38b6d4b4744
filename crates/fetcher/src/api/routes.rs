//! `POST /runs`, `GET /runs`, `GET /runs/{run_id}`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use super::auth::Authorized;
use super::problem::Problem;
use super::{ApiState, MAX_BODY_BYTES};
use crate::database::DatabaseError;
use crate::request::{FieldError, RunRequest};
use crate::runs::{self, Run, Status, Submission};

const DEFAULT_LIMIT: u16 = 100;
const MAX_LIMIT: u16 = 1_000;

#[derive(Serialize)]
pub(super) struct Runs {
    runs: Vec<Run>,
}

pub(super) async fn submit(
    _: Authorized,
    State(state): State<ApiState>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(MAX_BODY_BYTES),
        _ => Problem::malformed("the body could not be read"),
    })?;
    let body: Value = serde_json::from_slice(&body)
        .map_err(|error| Problem::malformed(format!("the body is not JSON: {error}")))?;
    let request = RunRequest::from_json(&body, state.bounds).map_err(Problem::invalid)?;
    let mut connection = state.pool.acquire().await.map_err(DatabaseError::from)?;
    let (status, run) = match runs::submit(&mut connection, &request).await? {
        Submission::Accepted(run) => {
            state.wake.notify_one();
            (StatusCode::ACCEPTED, run)
        }
        Submission::Known(run) if run.status == Status::Succeeded => (StatusCode::OK, run),
        Submission::Known(run) => (StatusCode::ACCEPTED, run),
        Submission::Differs(errors) => return Err(Problem::conflict(&request.run_id, errors)),
    };
    let location = location(&run.run_id);
    let mut response = (status, Json(run)).into_response();
    if let Some(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

pub(super) async fn show(
    State(state): State<ApiState>,
    run_id: Result<Path<String>, PathRejection>,
) -> Result<Json<Run>, Problem> {
    let Path(run_id) = run_id.map_err(|_| Problem::not_found("the run id is not UTF-8"))?;
    let run = if run_id.contains('\0') { None } else { runs::get(&state.pool, &run_id).await? };
    run.map(Json).ok_or_else(|| Problem::not_found(format!("there is no run {run_id:?}")))
}

pub(super) async fn list(
    State(state): State<ApiState>,
    parameters: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Runs>, Problem> {
    let Query(parameters) = parameters.map_err(|_| Problem::malformed("the query string can't be read"))?;
    let (status, limit) = selection(parameters).map_err(Problem::invalid)?;
    Ok(Json(Runs { runs: runs::list(&state.pool, status, limit).await? }))
}

fn selection(parameters: Vec<(String, String)>) -> Result<(Option<Status>, u16), Vec<FieldError>> {
    let (mut status, mut limit) = (None, DEFAULT_LIMIT);
    let mut errors = Vec::new();
    for (name, value) in parameters {
        match name.as_str() {
            "limit" => match value.parse() {
                Ok(number) if (1..=MAX_LIMIT).contains(&number) => limit = number,
                _ => errors.push(FieldError::new("limit", format!("{value:?} is not 1 to {MAX_LIMIT}"))),
            },
            "status" => match Status::try_from(value) {
                Ok(known) => status = Some(known),
                Err(unknown) => errors.push(FieldError::new("status", unknown.to_string())),
            },
            _ => errors.push(FieldError::new(&name, "is unknown; there are: limit, status")),
        }
    }
    if errors.is_empty() { Ok((status, limit)) } else { Err(errors) }
}

/// `/runs/…` with the run id as one percent-encoded path segment.
fn location(run_id: &str) -> Option<HeaderValue> {
    let mut url = url::Url::parse("http://fetcher/runs").ok()?;
    url.path_segments_mut().ok()?.push(run_id);
    HeaderValue::from_str(url.path()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_one_segment() {
        assert_eq!(location("manual__1+0:0").unwrap(), "/runs/manual__1+0:0");
        assert_eq!(location("a/b ?ä").unwrap(), "/runs/a%2Fb%20%3F%C3%A4");
    }

    #[test]
    fn a_selection_names_what_is_wrong() {
        let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        assert_eq!(selection(pair("status", "failed")), Ok((Some(Status::Failed), 100)));
        assert_eq!(selection(pair("limit", "1000")), Ok((None, 1_000)));
        for (name, value) in
            [("limit", "0"), ("limit", "1001"), ("limit", "x"), ("status", "done"), ("page", "2")]
        {
            assert_eq!(selection(pair(name, value)).unwrap_err()[0].field, name);
        }
    }
}
