use std::collections::{BTreeMap, BTreeSet};

use randomuser_sim::{FaultPlan, Poison, SimConfig, Simulator};
use serde_json::{Value, json};

use super::*;

fn request(users: i32) -> PageRequest {
    PageRequest { seed: "alpha".to_owned(), number: 1, users, nationalities: Vec::new() }
}

async fn body(plan: FaultPlan, users: i32) -> Vec<u8> {
    let simulator = Simulator::bind(SimConfig { faults: plan, ..SimConfig::default() }).await.unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = format!("{}?seed=alpha&results={users}", simulator.url());
    reqwest::get(url).await.unwrap().bytes().await.unwrap().to_vec()
}

fn envelope(results: &[Value]) -> Vec<u8> {
    let info = json!({"seed": "alpha", "results": results.len(), "page": 1, "version": "1.4"});
    serde_json::to_vec(&json!({"results": results, "info": info})).unwrap()
}

async fn profiles(users: i32) -> Vec<Value> {
    let body: Value = serde_json::from_slice(&body(FaultPlan::default(), users).await).unwrap();
    body["results"].as_array().unwrap().clone()
}

fn ids(page: &Page) -> Vec<[u8; 16]> {
    // Row: 2 bytes for the number of fields, then each field with 4 bytes for its length.
    let mut ids = Vec::new();
    let mut at = 19;
    let number = |at: usize, bytes: usize| {
        page.rows[at..at + bytes].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    while number(at, 2) != 0xffff {
        at += 2;
        ids.push(page.rows[at + 4..at + 20].try_into().unwrap());
        for _ in 0..crate::copy::COLUMNS.len() {
            let length = number(at, 4);
            at += 4 + if length == 0xffff_ffff { 0 } else { usize::try_from(length).unwrap() };
        }
    }
    assert_eq!(at + 2, page.rows.len());
    ids
}

#[tokio::test]
async fn damaged_profiles_are_kept_aside_and_the_others_go_on() {
    let kinds = [
        (Poison::MissingUuid, "missing_field"),
        (Poison::InvalidUuid, "invalid_uuid"),
        (Poison::ImpossibleDate, "invalid_date"),
        (Poison::PostcodeObject, "invalid_type"),
        (Poison::LatitudeText, "invalid_number"),
        (Poison::LatitudeRange, "out_of_range"),
        (Poison::MissingName, "missing_field"),
        (Poison::NullEmail, "missing_field"),
        (Poison::NotAnObject, "invalid_type"),
    ];
    for (kind, reason) in kinds {
        let plan = FaultPlan { poison: BTreeMap::from([(kind, 0.2)]), ..FaultPlan::default() };
        let page = parse(&body(plan, 500).await, true, &request(500)).unwrap();
        assert!((50..150).contains(&page.rejects.len()), "{kind:?}: {}", page.rejects.len());
        assert_eq!(page.row_count + page.rejects.len(), 500);
        assert_eq!(ids(&page).len(), page.row_count);
        for reject in &page.rejects {
            assert_eq!(reject.reason, reason, "{kind:?}: {}", reject.message);
            let profile: Value = serde_json::from_str(&reject.profile).unwrap();
            let login =
                profile["login"].as_object().map(|login| login.keys().cloned().collect::<BTreeSet<_>>());
            let kept = BTreeSet::from(["username".to_owned(), "uuid".to_owned()]);
            assert!(login.is_none_or(|login| login.is_subset(&kept)), "{}", reject.profile);
        }
        let positions: BTreeSet<_> = page.rejects.iter().map(|reject| reject.position).collect();
        assert_eq!(positions.len(), page.rejects.len());
    }
}

#[tokio::test]
async fn rows_are_sorted_and_a_uuid_comes_once() {
    let mut results = profiles(20).await;
    results.push(results[3].clone());
    results.push(results[0].clone());
    let page = parse(&envelope(&results), false, &request(22)).unwrap();
    assert_eq!((page.fetched, page.row_count), (22, 20));
    let ids = ids(&page);
    assert!(ids.is_sorted());
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 20);
}

#[tokio::test]
async fn a_nationality_that_was_filtered_out_is_a_reject() {
    let results = profiles(50).await;
    let wanted = results[0]["nat"].as_str().unwrap().to_owned();
    let others = results.iter().filter(|profile| profile["nat"] != wanted.as_str()).count();
    let filtered = PageRequest { nationalities: vec![wanted], ..request(50) };
    let page = parse(&envelope(&results), false, &filtered).unwrap();
    assert_eq!(page.rejects.len(), others);
    assert!(page.rejects.iter().all(|reject| reject.reason == UNREQUESTED_NATIONALITY));
}

#[tokio::test]
async fn what_postgresql_can_not_hold_is_a_reject() {
    let mut results = profiles(3).await;
    results[0]["email"] = json!("a\u{0}b");
    results[1] = json!("x".repeat(MAX_REJECT_BYTES + 1));
    let page = parse(&envelope(&results), false, &request(3)).unwrap();
    assert_eq!(page.rejects.len(), 2);
    assert_eq!(page.rejects[0].reason, "invalid_text");
    assert!(!page.rejects[0].message.contains('\0') && !page.rejects[0].profile.contains('\0'));
    assert!(page.rejects[1].profile.len() < 100, "a profile of 64 KiB is not kept");
}

#[test]
fn an_answer_that_is_not_a_page_is_an_error() {
    let info = json!({"seed": "alpha", "results": 1, "page": 1});
    for (body, label) in [
        (String::new(), "truncated"),
        ("{\"results\":[".to_owned(), "truncated"),
        ("<html>".to_owned(), "not_json"),
        ("[]".to_owned(), "not_json"),
        (json!({"error": "Whoa"}).to_string(), "api_error"),
        (json!({"error": {"code": 5}}).to_string(), "api_error"),
        (json!({}).to_string(), "mismatch"),
        (json!({"results": [1]}).to_string(), "mismatch"),
        (json!({"results": [], "info": info}).to_string(), "mismatch"),
        (json!({"results": [1, 2], "info": info}).to_string(), "mismatch"),
        (json!({"results": [1], "info": {"seed": "alpha"}}).to_string(), "mismatch"),
    ] {
        let error = parse(body.as_bytes(), false, &request(1)).unwrap_err();
        assert_eq!(error.label(), label, "{body}: {error}");
    }
    let whole = json!({"results": [1], "info": info}).to_string();
    assert_eq!(parse(whole.as_bytes(), false, &request(1)).unwrap().rejects.len(), 1);
}
