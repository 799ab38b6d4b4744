//! Three minutes of `chaos`. `make chaos` has longer ones.

use std::process::Command;

use pipeline_tests::{binary, fresh_root, project_file};
use serde_json::Value;

const MINUTES: &str = "3";
const SEED: &str = "7";

#[tokio::test]
#[ignore = "make test-slow GROUP=chaos"]
async fn nothing_is_lost_repeated_or_out_of_order_whatever_is_broken() {
    let root = fresh_root("chaos");
    let output = Command::new(binary("chaos"))
        .args(["--minutes", MINUTES, "--seed", SEED, "--json", "--root"])
        .arg(&root)
        .arg("--config")
        .arg(project_file("config/pipeline.toml"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}{errors}"));
    // Last what it is about: the document is long.
    let found = [&report["differences"], &report["waiting"], &report["findings"]];
    assert!(output.status.success() && report["clean"] == true, "{text}{errors}{found:#?}");
    // What it says when nothing happens is worth nothing.
    let kinds: std::collections::BTreeSet<&String> = report["faults"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|kinds| kinds.as_object().unwrap().keys())
        .collect();
    assert!(report["injected"].as_u64().unwrap() >= 10 && kinds.len() >= 5, "{text}");
    for (poison, least) in report["load"]["poison"].as_array().unwrap().iter().zip([10, 4]) {
        assert!(poison.as_object().unwrap().len() >= least, "{text}");
    }
    assert!(report["load"]["runs"].as_u64().unwrap() > 1, "{text}");
    let stages = report["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 6);
    for stage in stages {
        let least = if stage["name"].as_str().unwrap().starts_with("cassandra") { 50 } else { 1_000 };
        assert!(stage["records"].as_u64().unwrap() >= least, "{stage}");
    }
}
