//! Errors of the HTTP API as RFC 9457 problem details.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::database::DatabaseError;
use crate::request::FieldError;

/// Seconds after which a caller may ask again when PostgreSQL is away.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// A problem: `type`, `title`, `status`, `detail` and, where fields are wrong, `errors`.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    #[serde(serialize_with = "status_code")]
    status: StatusCode,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

fn status_code<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { kind, title, status, detail: detail.into(), errors: Vec::new() }
    }

    fn with(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// 401: the token is missing or wrong.
    #[must_use]
    pub fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "urn:datastreaming:problem:unauthorized", "Unauthorized", detail)
    }

    /// 400: the body is no JSON.
    #[must_use]
    pub fn malformed(detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let errors = vec![FieldError::new("body", detail.clone())];
        Self::new(StatusCode::BAD_REQUEST, "urn:datastreaming:problem:malformed", "Malformed request", detail)
            .with(errors)
    }

    /// 413: the body is longer than the limit.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        let detail = format!("the body is longer than {limit} bytes");
        let errors = vec![FieldError::new("body", detail.clone())];
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "urn:datastreaming:problem:too-large",
            "Request too large",
            detail,
        )
        .with(errors)
    }

    /// 422: fields are wrong.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let fields = names(&errors);
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "urn:datastreaming:problem:invalid",
            "Invalid request",
            format!("these fields can't be used: {fields}"),
        )
        .with(errors)
    }

    /// 409: the run is there with other parameters.
    #[must_use]
    pub fn conflict(run_id: &str, errors: Vec<FieldError>) -> Self {
        let fields = names(&errors);
        Self::new(
            StatusCode::CONFLICT,
            "urn:datastreaming:problem:conflict",
            "Run exists with other parameters",
            format!(
                "run {run_id:?} was asked for with another {fields}; use its parameters or another run_id"
            ),
        )
        .with(errors)
    }

    /// 404.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "urn:datastreaming:problem:not-found", "Not found", detail)
    }

    /// 405.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "urn:datastreaming:problem:method-not-allowed",
            "Method not allowed",
            "there are POST /runs, GET /runs and GET /runs/{run_id}",
        )
    }
}

fn names(errors: &[FieldError]) -> String {
    let mut names: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    names.dedup();
    names.join(", ")
}

/// 503: nothing was stored, the caller may try again.
impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        tracing::warn!(%error, "a request could not be served");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "urn:datastreaming:problem:unavailable",
            "Database unavailable",
            "PostgreSQL can't be used now, see /readyz; nothing was stored",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, axum::Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"fetcher\""));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parts(problem: Problem) -> (axum::http::response::Parts, serde_json::Value) {
        let (parts, body) = problem.into_response().into_parts();
        let body = axum::body::to_bytes(body, 100_000).await.unwrap();
        (parts, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_problem_names_its_fields() {
        let (parts, body) = parts(Problem::invalid(vec![FieldError::new("count", "is required")])).await;
        assert_eq!(parts.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(parts.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(
            body,
            serde_json::json!({
                "type": "urn:datastreaming:problem:invalid",
                "title": "Invalid request",
                "status": 422,
                "detail": "these fields can't be used: count",
                "errors": [{"field": "count", "detail": "is required"}],
            })
        );
    }

    #[tokio::test]
    async fn a_caller_learns_how_to_go_on() {
        let (unauthorized, body) = parts(Problem::unauthorized("no token")).await;
        assert_eq!(unauthorized.headers[header::WWW_AUTHENTICATE], "Bearer realm=\"fetcher\"");
        assert!(body.get("errors").is_none());
        let (unavailable, _) = parts(DatabaseError::NotMigrated("users".to_owned()).into()).await;
        assert_eq!(unavailable.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(unavailable.headers[header::RETRY_AFTER], "5");
    }
}
