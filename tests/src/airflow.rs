//! Airflow with the project's DAG, and its REST API as a test needs it.
//!
//! Source of the API: <https://airflow.apache.org/docs/apache-airflow/3.3.2/stable-rest-api-ref.html>

use std::sync::OnceLock;
use std::time::Duration;

use local_servers::{AirflowConfig, Server, Stack, StackConfig};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::{project_file, shared, wait};

/// Airflow, started when first asked for, on a PostgreSQL of its own.
pub fn airflow() -> &'static Stack {
    static STACK: OnceLock<Stack> = OnceLock::new();
    STACK.get_or_init(|| {
        let mut config = StackConfig::on_free_ports(shared::fresh_root("airflow")).expect("a configuration");
        config.servers = vec![Server::Airflow];
        config.airflow = Some(AirflowConfig { dags: project_file("airflow/dags"), env: Vec::new() });
        shared::start(config)
    })
}

/// A client that is logged in as the administrator.
#[derive(Debug)]
pub struct AirflowClient {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl AirflowClient {
    /// Starts Airflow if it does not run, and logs in.
    pub async fn login() -> Self {
        let stack = tokio::task::spawn_blocking(airflow).await.expect("Airflow");
        let (http, base) = (reqwest::Client::new(), stack.airflow_url());
        let password = stack.config().secrets.airflow_admin.expose_secret();
        let login =
            http.post(format!("{base}/auth/token")).json(&json!({"username": "admin", "password": password}));
        let answer: Value = login.send().await.expect("an answer").json().await.expect("JSON");
        let token =
            answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned();
        Self { http, base, token }
    }

    /// One call below `/api/v2`.
    ///
    /// # Panics
    /// If the answer is no success.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let mut request =
            self.http.request(method, format!("{}/api/v2{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status();
        let text = response.text().await.expect("a body");
        assert!(status.is_success(), "{path}: {status}: {text}");
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") }
    }

    /// Triggers the DAG and gives the run's id.
    pub async fn trigger(&self, dag: &str, conf: Value) -> String {
        let body = json!({ "logical_date": null, "conf": conf });
        let run = self.call(Method::POST, &format!("/dags/{dag}/dagRuns"), Some(body)).await;
        run["dag_run_id"].as_str().expect("an id").to_owned()
    }

    /// Waits until the run has ended; its state.
    pub async fn ended(&self, dag: &str, run: &str, within: Duration) -> String {
        let path = format!("/dags/{dag}/dagRuns/{run}");
        wait::until(&format!("{run} ends"), within, async || {
            let state = self.call(Method::GET, &path, None).await["state"].as_str()?.to_owned();
            matches!(state.as_str(), "success" | "failed").then_some(state)
        })
        .await
    }
}
