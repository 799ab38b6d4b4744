//! Faults and damaged profiles on request.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use randomuser_sim::{Fault, FaultPlan, NextFault, Poison, SimConfig, Simulator};
use serde_json::{Value, json};

use crate::{client, get, json as page, start, unzipping_client, users};

async fn with_plan(faults: FaultPlan) -> Simulator {
    start(SimConfig { faults, ..SimConfig::default() }).await
}

/// A plan whose next request meets `fault`.
fn once(fault: Fault) -> FaultPlan {
    FaultPlan { next: vec![NextFault { fault, times: 1 }], ..FaultPlan::default() }
}

/// What a client can tell about an answer.
async fn outcome(sim: &Simulator) -> String {
    match client().get(format!("{}?results=2&seed=s", sim.url())).send().await {
        Err(_) => "no response".to_owned(),
        Ok(response) => {
            let status = response.status().as_u16();
            match response.text().await {
                Err(_) => format!("{status}, broken body"),
                Ok(body) => match serde_json::from_str::<Value>(&body) {
                    Ok(json) if json["results"].is_array() => format!("{status}, users"),
                    Ok(json) if json["error"].is_string() => format!("{status}, error"),
                    _ => format!("{status}, no JSON"),
                },
            }
        }
    }
}

#[tokio::test]
async fn each_fault_happens_once_and_then_the_users_come() {
    for (fault, expected) in [
        (Fault::TooManyRequests, "429, error"),
        (Fault::Truncated, "200, no JSON"),
        (Fault::NotJson, "200, no JSON"),
        (Fault::Reset, "no response"),
        (Fault::Slow, "200, users"),
        (Fault::ErrorEnvelope, "200, error"),
    ] {
        let sim = with_plan(FaultPlan { slow_ms: 1, ..once(fault) }).await;
        assert_eq!(outcome(&sim).await, expected, "{fault}");
        assert_eq!(outcome(&sim).await, "200, users", "after {fault}");
        assert_eq!(sim.stats().faults, BTreeMap::from([(fault, 1)]));
        assert_eq!(sim.faults().next, []);
    }
}

#[tokio::test]
async fn details_of_the_faults() {
    let sim = with_plan(FaultPlan { retry_after_s: 7, ..once(Fault::TooManyRequests) }).await;
    assert_eq!(get(&sim, "").await.headers()["retry-after"], "7");

    sim.set_faults(FaultPlan {
        next: vec![NextFault { fault: Fault::ServerError, times: 40 }],
        ..FaultPlan::default()
    })
    .unwrap();
    let mut statuses = BTreeMap::new();
    for _ in 0..40 {
        *statuses.entry(get(&sim, "").await.status().as_u16()).or_insert(0) += 1;
    }
    assert_eq!(statuses.keys().copied().collect::<Vec<_>>(), [500, 502, 503, 504]);

    sim.set_faults(FaultPlan { slow_ms: 300, ..once(Fault::Slow) }).unwrap();
    let began = Instant::now();
    assert_eq!(users(&sim, "results=2").await.len(), 2);
    assert!(began.elapsed() >= Duration::from_millis(300));

    sim.set_faults(once(Fault::NotJson)).unwrap();
    assert_eq!(get(&sim, "").await.headers()["content-type"], "text/html; charset=utf-8");

    // Truncated: a whole HTTP message with the beginning of the page.
    let whole = get(&sim, "results=50&seed=s").await.text().await.unwrap();
    sim.set_faults(once(Fault::Truncated)).unwrap();
    let cut = get(&sim, "results=50&seed=s").await.text().await.unwrap();
    assert!(cut.len() < whole.len() && whole.starts_with(&cut));
}

#[tokio::test]
async fn a_cut_response_breaks_with_and_without_compression() {
    for results in [1, 200, 5_000] {
        for client in [client(), unzipping_client()] {
            let sim = with_plan(once(Fault::Cut)).await;
            let url = format!("{}?results={results}&seed=s", sim.url());
            let broken = match client.get(&url).send().await {
                Ok(response) => response.bytes().await.is_err(),
                Err(_) => true,
            };
            assert!(broken, "{results} users");
            assert!(client.get(&url).send().await.unwrap().bytes().await.is_ok(), "the next one is whole");
        }
    }
}

#[tokio::test]
async fn probabilities_reproduce_with_the_seed() {
    let plan = |seed| FaultPlan {
        seed,
        faults: BTreeMap::from([(Fault::TooManyRequests, 0.3), (Fault::Reset, 0.1), (Fault::Truncated, 0.1)]),
        ..FaultPlan::default()
    };
    let sim = with_plan(plan(1)).await;
    let mut runs = Vec::new();
    for seed in [1, 2] {
        // Setting a plan, even the same one, starts its sequence anew.
        for _ in 0..2 {
            sim.set_faults(plan(seed)).unwrap();
            let mut run = Vec::new();
            for _ in 0..60 {
                run.push(outcome(&sim).await);
            }
            runs.push(run);
        }
    }
    assert_eq!(runs[0], runs[1]);
    assert_eq!(runs[2], runs[3]);
    assert_ne!(runs[0], runs[2]);
    for expected in ["429, error", "no response", "200, no JSON", "200, users"] {
        assert!(runs[0].iter().any(|seen| seen == expected), "{expected} in {:?}", runs[0]);
    }
}

#[tokio::test]
async fn the_plan_changes_at_run_time_through_the_port() {
    let sim = with_plan(FaultPlan::default()).await;
    let control = sim.url().replace("/api/", "/_sim");
    let post = |body: Value| client().post(format!("{control}/faults")).body(body.to_string()).send();
    let answer = post(json!({"next": [{"fault": "error_envelope", "times": 2}], "faults": {"slow": 0.0}}))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(outcome(&sim).await, "200, error");
    let plan = client().get(format!("{control}/faults")).send().await.unwrap().text().await.unwrap();
    let plan: Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan["next"], json!([{"fault": "error_envelope", "times": 1}]), "what is still to come");

    for (bad, says) in [
        (json!({"faults": {"slow": 2}}), "slow"),
        (json!({"faults": {"nonsense": 0.1}}), "nonsense"),
        (json!({"fault": {}}), "fault"),
        (json!("slow"), "plan"),
    ] {
        let answer = post(bad).await.unwrap();
        assert_eq!(answer.status(), 400);
        let body = answer.text().await.unwrap();
        assert!(body.contains(says), "{body}");
    }
    let huge = json!({"next": [], "seed": 1, "padding": "x".repeat(100_000)});
    assert_eq!(post(huge).await.unwrap().status(), 413);
    assert_eq!(outcome(&sim).await, "200, error", "a refused plan leaves the one before in force");

    assert_eq!(post(json!({})).await.unwrap().status(), 200);
    assert_eq!(outcome(&sim).await, "200, users");
    let stats = client().get(format!("{control}/stats")).send().await.unwrap();
    assert_eq!(stats.headers()["x-simulated"], "randomuser-sim");
    let stats: Value = serde_json::from_str(&stats.text().await.unwrap()).unwrap();
    assert_eq!((&stats["requests"], &stats["users"]), (&json!(3), &json!(2)));
    assert_eq!(stats["faults"], json!({"error_envelope": 2}));
}

#[tokio::test]
async fn every_damage_breaks_its_own_field_only() {
    let sim = start(SimConfig::default()).await;
    let query = "results=3&seed=s&nat=us";
    let sound = users(&sim, query).await;
    for kind in Poison::ALL {
        sim.set_faults(FaultPlan { poison: [(kind, 1.0)].into(), ..FaultPlan::default() }).unwrap();
        for (damaged, sound) in users(&sim, query).await.into_iter().zip(&sound) {
            let mut expected = sound.clone();
            match kind {
                Poison::MissingUuid => drop(expected["login"].as_object_mut().unwrap().remove("uuid")),
                Poison::InvalidUuid => expected["login"]["uuid"] = json!("not-a-uuid"),
                Poison::ImpossibleDate => {
                    expected["dob"]["date"] = json!("2001-02-30T12:00:00.000Z");
                    expected["dob"]["age"] = damaged["dob"]["age"].clone();
                }
                Poison::PostcodeObject => expected["location"]["postcode"] = json!({"code": "12345"}),
                Poison::LatitudeText => expected["location"]["coordinates"]["latitude"] = json!("abc"),
                Poison::LatitudeRange => expected["location"]["coordinates"]["latitude"] = json!("123.4567"),
                Poison::MissingName => drop(expected.as_object_mut().unwrap().remove("name")),
                Poison::NullEmail => expected["email"] = Value::Null,
                Poison::UnknownGender => expected["gender"] = json!("unspecified"),
                Poison::UnknownNationality => expected["nat"] = json!("XX"),
                Poison::NotAnObject => expected = json!("not a profile"),
            }
            assert_eq!(damaged, expected, "{kind}");
        }
        assert_eq!(sim.stats().poisoned[&kind], 3);
    }
}

#[tokio::test]
async fn the_same_page_is_damaged_the_same_way_again() {
    let poison = |seed| FaultPlan {
        seed,
        poison: [(Poison::NullEmail, 0.05), (Poison::UnknownGender, 0.1)].into(),
        ..FaultPlan::default()
    };
    let sim = with_plan(poison(3)).await;
    let query = "results=2000&seed=s";
    let first = page(&sim, query).await;
    assert_eq!(first, page(&sim, query).await);
    let stats = sim.stats().poisoned;
    let share = |kind| stats[&kind] as f64 / 4_000.0;
    assert!((share(Poison::NullEmail) - 0.05).abs() < 0.02, "{stats:?}");
    assert!((share(Poison::UnknownGender) - 0.1).abs() < 0.03, "{stats:?}");
    // Fields that a page leaves out can't be damaged.
    users(&sim, "results=2000&seed=s&inc=nat").await;
    assert_eq!(sim.stats().poisoned, stats);
    sim.set_faults(poison(4)).unwrap();
    assert_ne!(first, page(&sim, query).await);
}
