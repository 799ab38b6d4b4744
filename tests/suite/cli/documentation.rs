//! What the documents say of the code, checked.

use pipeline_tests::project_file;

fn text(path: &str) -> String {
    std::fs::read_to_string(project_file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_architecture_names_files_that_exist() {
    let document = text("docs/architecture.md");
    let mut section = String::new();
    for line in document.lines() {
        if let Some((_, folder)) = line.split_once(": `crates/") {
            section = format!("crates/{}", folder.trim_end_matches('`'));
        }
        for quoted in line.split('`').skip(1).step_by(2) {
            let path = match quoted.split_once('/') {
                Some(("src", _)) => format!("{section}/{quoted}"),
                Some(("crates" | "airflow" | "tests", _)) => quoted.to_owned(),
                _ => continue,
            };
            assert!(project_file(&path).exists(), "docs/architecture.md names {path}, which is not there");
        }
    }
}

#[test]
fn the_guarantees_name_tests_that_exist() {
    let document = text("docs/guarantees.md");
    let mut named = 0;
    for paragraph in document.split("- **Tests.**").skip(1) {
        let paragraph = paragraph.split("\n\n").next().unwrap();
        for module in paragraph.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs")) {
            let path = format!("tests/suite/{module}");
            assert!(project_file(&path).exists(), "docs/guarantees.md names {path}, which is not there");
            named += 1;
        }
    }
    assert!(named > 10, "only {named} tests are named");
}

#[test]
fn debeziums_options_lead_to_keys_that_exist() {
    let reference = text("docs/configuration.md");
    for row in text("docs/coming-from-debezium.md").lines().filter(|line| line.starts_with("| `")) {
        let Some(ours) = row.split('|').nth(2) else { continue };
        for key in ours.split('`').skip(1).step_by(2).filter(|key| key.contains('.')) {
            let (section, name) = key.split_once('.').unwrap();
            let name = name.rsplit('.').next().unwrap();
            assert!(
                reference.contains(&format!("`[{section}]`")) && reference.contains(&format!("| `{name}` |")),
                "docs/coming-from-debezium.md names {key}, which is no key"
            );
        }
    }
}
