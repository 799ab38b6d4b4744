//! The fetcher through its port: what a run stores, and what bad input gets.

use std::time::Duration;

use pipeline_tests::env::TOKEN;
use pipeline_tests::{Service, TestEnv, wait};
use randomuser_sim::{Fault, FaultPlan, NextFault, Poison, SimConfig, Simulator};
use reqwest::StatusCode;
use serde_json::{Value, json};

struct Fetching {
    sim: Simulator,
    env: TestEnv,
    fetcher: Service,
}

impl Fetching {
    async fn start(name: &str, settings: &[(&str, toml::Value)]) -> Self {
        let sim = Simulator::bind(SimConfig::default()).await.unwrap();
        let mut env = TestEnv::new(name).await;
        env.set("fetcher.api_url", sim.url())
            .set("fetcher.users_per_window", 0)
            .set("fetcher.page_size", 100)
            .set("fetcher.backoff_initial", "10ms")
            .set("fetcher.backoff_max", "50ms");
        for (key, value) in settings {
            env.set(key, value.clone());
        }
        let fetcher = env.start("fetcher").await;
        fetcher.ready().await;
        Self { sim, env, fetcher }
    }

    async fn post(&self, body: &Value) -> (StatusCode, Value) {
        self.send(body.to_string(), Some(TOKEN)).await
    }

    async fn send(&self, body: String, token: Option<&str>) -> (StatusCode, Value) {
        let mut request = reqwest::Client::new().post(self.fetcher.url("/runs")).body(body);
        request = request.header("content-type", "application/json");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    async fn ended(&self, run_id: &str) -> Value {
        let url = self.fetcher.url(&format!("/runs/{run_id}"));
        wait::until(&format!("{run_id} ends"), Duration::from_secs(60), async || {
            let run: Value = reqwest::get(&url).await.ok()?.json().await.ok()?;
            matches!(run["status"].as_str(), Some("succeeded" | "failed")).then_some(run)
        })
        .await
    }

    async fn run(&self, run_id: &str, count: u32) -> Value {
        let (status, body) = self.post(&json!({"run_id": run_id, "count": count})).await;
        assert_eq!(status, 202, "{body}");
        self.ended(run_id).await
    }

    async fn rows(&self, table: &str) -> i64 {
        let query = format!("SELECT count(*) FROM {table}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(&self.env.db).await.unwrap()
    }

    fn fail_next(&self, fault: Fault, times: u32) {
        self.sim
            .set_faults(FaultPlan { next: vec![NextFault { fault, times }], ..FaultPlan::default() })
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_made_once_whoever_asks_again() {
    let fetching = Fetching::start("fetcher_once", &[]).await;
    let run = fetching.run("one", 250).await;
    assert_eq!(
        (&run["status"], &run["stored"], &run["simulated"]),
        (&json!("succeeded"), &json!(250), &json!(true))
    );
    let (status, again) = fetching.post(&json!({"run_id": "one", "count": 250})).await;
    assert!(status.is_success(), "{again}");
    assert_eq!(fetching.rows("users").await, 250);
    assert_eq!(fetching.rows("fetch_runs").await, 1);
    let (status, problem) = fetching.post(&json!({"run_id": "one", "count": 7})).await;
    assert_eq!(status, 409, "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_it_resumes_and_stores_each_profile_once() {
    let fetching = Fetching::start("fetcher_killed", &[]).await;
    let slow = FaultPlan { faults: [(Fault::Slow, 1.0)].into(), slow_ms: 50, ..FaultPlan::default() };
    fetching.sim.set_faults(slow).unwrap();
    let (status, _) = fetching.post(&json!({"run_id": "killed", "count": 2_000})).await;
    assert_eq!(status, 202);
    for at_least in [300, 900] {
        wait::until("progress", Duration::from_secs(30), async || {
            (fetching.rows("users").await >= at_least).then_some(())
        })
        .await;
        fetching.fetcher.kill().await;
        fetching.fetcher.restart().await;
    }
    fetching.fetcher.ready().await;
    let run = fetching.ended("killed").await;
    assert_eq!(
        (&run["status"], &run["stored"], &run["duplicates"]),
        (&json!("succeeded"), &json!(2_000), &json!(0))
    );
    assert_eq!(fetching.rows("users").await, 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_api_are_retried() {
    let fetching = Fetching::start("fetcher_faults", &[]).await;
    let faults = [
        Fault::TooManyRequests,
        Fault::ServerError,
        Fault::Truncated,
        Fault::Cut,
        Fault::NotJson,
        Fault::Reset,
    ];
    for fault in faults {
        fetching.fail_next(fault, 2);
        let run = fetching.run(fault.name(), 150).await;
        assert_eq!(run["status"], "succeeded", "{fault}: {run}");
        assert_eq!(run["stored"], 150, "{fault}: {run}");
    }
    let retries = fetching.fetcher.metric("pipeline_fetcher_retries_total", "").await;
    assert!(retries.is_some_and(|retries| retries >= 12.0), "{retries:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_honoured() {
    let fetching = Fetching::start("fetcher_retry_after", &[]).await;
    let plan = FaultPlan {
        next: vec![NextFault { fault: Fault::TooManyRequests, times: 1 }],
        retry_after_s: 2,
        ..FaultPlan::default()
    };
    fetching.sim.set_faults(plan).unwrap();
    let began = std::time::Instant::now();
    assert_eq!(fetching.run("patient", 100).await["status"], "succeeded");
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_gives_up_keeps_what_it_has_and_resumes_from_the_next_page() {
    let fetching = Fetching::start("fetcher_gives_up", &[("fetcher.max_attempts", 2.into())]).await;
    let slow = FaultPlan { faults: [(Fault::Slow, 1.0)].into(), slow_ms: 200, ..FaultPlan::default() };
    fetching.sim.set_faults(slow).unwrap();
    let (status, _) = fetching.post(&json!({"run_id": "failing", "count": 1_000})).await;
    assert_eq!(status, 202);
    wait::until("a page", Duration::from_secs(30), async || (fetching.rows("users").await > 0).then_some(()))
        .await;
    let broken = FaultPlan { faults: [(Fault::ServerError, 1.0)].into(), ..FaultPlan::default() };
    fetching.sim.set_faults(broken).unwrap();
    let failed = fetching.ended("failing").await;
    assert_eq!(failed["status"], "failed", "{failed}");
    assert!(failed["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{failed}");
    let kept = fetching.rows("users").await;
    assert!(0 < kept && kept < 1_000, "{kept}");
    assert_eq!(failed["stored"], kept);
    fetching.sim.set_faults(FaultPlan::default()).unwrap();
    let asked_before = fetching.sim.stats().users;
    let resumed = fetching.run("failing", 1_000).await;
    assert_eq!((&resumed["status"], &resumed["stored"]), (&json!("succeeded"), &json!(1_000)));
    let asked_again = fetching.sim.stats().users - asked_before;
    assert_eq!(i64::try_from(asked_again).unwrap(), 1_000 - kept, "it went on from the next page");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_api_fails_the_run_at_once_with_its_text() {
    let fetching = Fetching::start("fetcher_error", &[]).await;
    fetching.fail_next(Fault::ErrorEnvelope, 1);
    let run = fetching.run("refused", 100).await;
    assert_eq!(run["status"], "failed", "{run}");
    assert!(run["reason"].as_str().unwrap().contains("Uh oh"), "{run}");
    assert_eq!(fetching.rows("users").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_profiles_are_kept_as_rejects_and_the_others_go_on() {
    let fetching = Fetching::start("fetcher_rejects", &[]).await;
    let poison = Poison::ALL.into_iter().map(|poison| (poison, 0.02)).collect();
    fetching.sim.set_faults(FaultPlan { poison, ..FaultPlan::default() }).unwrap();
    let run = fetching.run("damaged", 1_000).await;
    assert_eq!(run["status"], "succeeded", "{run}");
    let (stored, rejected) = (run["stored"].as_i64().unwrap(), run["rejected"].as_i64().unwrap());
    assert!(rejected > 50 && stored + rejected == 1_000, "{run}");
    assert_eq!((fetching.rows("users").await, fetching.rows("fetch_rejects").await), (stored, rejected));
    let secrets: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM fetch_rejects WHERE profile::text ~ '\"(password|salt|md5|sha1|sha256)\"'",
    )
    .fetch_one(&fetching.env.db)
    .await
    .unwrap();
    assert_eq!(secrets, 0);
    let blank: i64 =
        sqlx::query_scalar("SELECT count(*) FROM fetch_rejects WHERE reason = '' OR message = ''")
            .fetch_one(&fetching.env.db)
            .await
            .unwrap();
    assert_eq!(blank, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_nothing_is_stored_and_the_attempt_counts() {
    let fetching = Fetching::start("fetcher_token", &[]).await;
    let body = json!({"run_id": "intruder", "count": 1}).to_string();
    for token in [None, Some("wrong"), Some("")] {
        let (status, problem) = fetching.send(body.clone(), token).await;
        assert_eq!((status.as_u16(), &problem["status"]), (401, &json!(401)));
    }
    assert_eq!(fetching.rows("fetch_runs").await, 0);
    let counted = fetching.fetcher.metric("pipeline_fetcher_unauthorized_total", "").await;
    assert_eq!(counted, Some(3.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_gets_a_problem_that_names_the_field() {
    let fetching = Fetching::start("fetcher_bad_request", &[]).await;
    let long = "x".repeat(300);
    for (body, field) in [
        (json!({"run_id": "a", "count": 0}), "count"),
        (json!({"run_id": "a", "count": 2_000_000_000_u32}), "count"),
        (json!({"run_id": "a", "count": "ten"}), "count"),
        (json!({"run_id": "a"}), "count"),
        (json!({"count": 1}), "run_id"),
        (json!({"run_id": "", "count": 1}), "run_id"),
        (json!({"run_id": long, "count": 1}), "run_id"),
        (json!({"run_id": "a", "count": 1, "nationalities": ["XX"]}), "nationalities"),
        (json!({"run_id": "a", "count": 1, "colour": "red"}), "colour"),
    ] {
        let (status, problem) = fetching.post(&body).await;
        assert!(status.is_client_error(), "{body}: {status}");
        assert_eq!(problem["status"], status.as_u16(), "{problem}");
        let fields = problem["errors"].as_array().unwrap();
        let named = fields.iter().any(|error| error["field"].as_str().unwrap().starts_with(field));
        assert!(named, "{body}: {problem}");
    }
    let (status, _) = fetching.send("{".to_owned(), Some(TOKEN)).await;
    assert_eq!(status, 400);
    let (status, _) = fetching.send(format!("\"{}\"", "x".repeat(70_000)), Some(TOKEN)).await;
    assert_eq!(status, 413);
    assert_eq!(fetching.rows("fetch_runs").await, 0);
}
