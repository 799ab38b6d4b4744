//! What the documents say of the code, checked.

use pipeline_tests::project_file;

fn text(path: &str) -> String {
    std::fs::read_to_string(project_file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_readme_has_the_whole_configuration() {
    let shown = format!("```toml\n{}```\n", text("config/pipeline.toml"));
    assert!(text("README.md").contains(&shown), "copy config/pipeline.toml into the README's Configuration");
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
