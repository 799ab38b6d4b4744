//! Airflow's REST API, as far as triggering a DAG and following its run needs it.
//!
//! Source: <https://airflow.apache.org/docs/apache-airflow/3.3.2/stable-rest-api-ref.html>

use chrono::{DateTime, Utc};
use operate::config::Settings;
use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

/// Why Airflow did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AirflowError {
    #[error("airflow.password is not set; set PIPELINE__AIRFLOW__PASSWORD to that of user {user}")]
    NoPassword { user: String },
    #[error("Airflow at {url} does not answer")]
    Unreachable { url: Url, source: reqwest::Error },
    #[error("Airflow refuses {what}: {status}: {reason}")]
    Refused { what: String, status: StatusCode, reason: String },
    #[error("{0:?} is no path below Airflow's URL")]
    Path(String),
}

impl AirflowError {
    /// Whether the same request may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => status.is_server_error() || *status == StatusCode::NOT_FOUND,
            Self::NoPassword { .. } | Self::Path(_) => false,
        }
    }
}

/// A DAG as Airflow has parsed it.
#[derive(Debug, Deserialize)]
pub(crate) struct Dag {
    pub(crate) is_paused: bool,
}

/// A run of a DAG.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct DagRun {
    pub(crate) dag_run_id: String,
    pub(crate) state: String,
    pub(crate) start_date: Option<DateTime<Utc>>,
    pub(crate) end_date: Option<DateTime<Utc>>,
}

impl DagRun {
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state.as_str(), "success" | "failed")
    }
}

/// A task of a run.
#[derive(Debug, Deserialize)]
pub(crate) struct Task {
    pub(crate) task_id: String,
    pub(crate) state: Option<String>,
    pub(crate) try_number: u32,
}

/// Logged in as the configured user, for one DAG.
pub(crate) struct Airflow {
    http: reqwest::Client,
    base: Url,
    dag: String,
    token: String,
}

impl Airflow {
    /// Logs in. The token is good for a day, longer than any run.
    pub(crate) async fn login(settings: &Settings) -> Result<Self, AirflowError> {
        let config = &settings.airflow;
        let base = settings.airflow_url.clone();
        let unreachable = |source| AirflowError::Unreachable { url: base.clone(), source };
        let Some(password) = &config.password else {
            return Err(AirflowError::NoPassword { user: config.user.clone() });
        };
        let http =
            reqwest::Client::builder().timeout(config.timeout).no_proxy().build().map_err(unreachable)?;
        let mut airflow = Self { http, base: base.clone(), dag: config.dag.clone(), token: String::new() };
        #[derive(Deserialize)]
        struct Login {
            access_token: String,
        }
        let url = airflow.url(&["auth", "token"])?;
        let body = json!({ "username": config.user, "password": password.expose_secret() });
        let login: Login = airflow.send(airflow.http.post(url).json(&body), "the login").await?;
        airflow.token = login.access_token;
        Ok(airflow)
    }

    /// The DAG, once it has been parsed.
    pub(crate) async fn dag(&self) -> Result<Dag, AirflowError> {
        self.call(Method::GET, &[], None).await
    }

    /// Lets the DAG's runs start.
    pub(crate) async fn unpause(&self) -> Result<(), AirflowError> {
        self.call::<Value>(Method::PATCH, &[], Some(json!({ "is_paused": false }))).await.map(drop)
    }

    /// Triggers a run now.
    pub(crate) async fn trigger(&self, conf: &Value) -> Result<DagRun, AirflowError> {
        self.call(Method::POST, &["dagRuns"], Some(json!({ "logical_date": null, "conf": conf }))).await
    }

    /// A run as it is now.
    pub(crate) async fn run(&self, run_id: &str) -> Result<DagRun, AirflowError> {
        self.call(Method::GET, &["dagRuns", run_id], None).await
    }

    /// Its tasks.
    pub(crate) async fn tasks(&self, run_id: &str) -> Result<Vec<Task>, AirflowError> {
        #[derive(Deserialize)]
        struct Tasks {
            task_instances: Vec<Task>,
        }
        let path = ["dagRuns", run_id, "taskInstances"];
        self.call::<Tasks>(Method::GET, &path, None).await.map(|tasks| tasks.task_instances)
    }

    /// Messages that a task has logged as errors.
    pub(crate) async fn errors(&self, run_id: &str, task: &Task) -> Result<Vec<String>, AirflowError> {
        let attempt = task.try_number.to_string();
        let path = ["dagRuns", run_id, "taskInstances", &task.task_id, "logs", &attempt];
        let log: Value = self.call(Method::GET, &path, None).await?;
        let events = log.get("content").and_then(Value::as_array).into_iter().flatten();
        let errors = events.filter(|event| event.get("level").and_then(Value::as_str) == Some("error"));
        // An exception's own text is in its detail; the event itself only says that the task failed.
        let text = |event: &Value| {
            let exception = event.pointer("/error_detail/0/exc_value").and_then(Value::as_str);
            exception.or_else(|| event.get("event")?.as_str()).map(str::to_owned)
        };
        Ok(errors.filter_map(text).collect())
    }

    /// The run's page.
    pub(crate) fn page(&self, run_id: &str) -> Result<Url, AirflowError> {
        self.url(&["dags", &self.dag, "runs", run_id])
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Value>,
    ) -> Result<T, AirflowError> {
        let whole: Vec<&str> =
            ["api", "v2", "dags", &self.dag].into_iter().chain(path.iter().copied()).collect();
        let mut request = self
            .http
            .request(method.clone(), self.url(&whole)?)
            .bearer_auth(&self.token)
            .header("accept", "application/json");
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.send(request, &format!("{method} {}", whole.join("/"))).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        what: &str,
    ) -> Result<T, AirflowError> {
        let unreachable = |source| AirflowError::Unreachable { url: self.base.clone(), source };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if status.is_success() {
            return response.json().await.map_err(unreachable);
        }
        let body = response.text().await.map_err(unreachable)?;
        Err(AirflowError::Refused { what: what.to_owned(), status, reason: reason(&body) })
    }

    /// Each part is encoded: run ids have colons and pluses.
    fn url(&self, parts: &[&str]) -> Result<Url, AirflowError> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut path) => {
                path.pop_if_empty().extend(parts);
            }
            Err(()) => return Err(AirflowError::Path(parts.join("/"))),
        }
        Ok(url)
    }
}

/// The first paragraph of the detail that Airflow gives; what follows repeats the schema.
fn reason(body: &str) -> String {
    let document: Option<Value> = serde_json::from_str(body).ok();
    let detail = document.as_ref().and_then(|document| document.get("detail")?.as_str());
    detail.and_then(|detail| detail.split("\n\n").next()).unwrap_or(body).to_owned()
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn the_reason_is_the_first_paragraph() {
        assert_eq!(reason(r#"{"detail":"count is 0\n\nFailed validating"}"#), "count is 0");
        assert_eq!(reason("no JSON"), "no JSON");
        assert_eq!(reason(r#"{"detail":[{"msg":"x"}]}"#), r#"{"detail":[{"msg":"x"}]}"#);
    }
}
