//! What the documents say of the code, checked.

use std::path::PathBuf;
use std::process::Command;

use pipeline_tests::{binary, project_file};

const PROGRAMS: [&str; 6] =
    ["fetcher", "relay", "stream-processor", "cassandra-sink", "pipeline", "randomuser-sim"];

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

fn documents() -> Vec<PathBuf> {
    let in_docs = std::fs::read_dir(project_file("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = in_docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.chain(["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(project_file)).collect()
}

/// What a document shows at a prompt or quotes in a line, without what the shell does with its output.
fn commands(document: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in document.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => found.push(command.to_owned()),
            None => found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned)),
        }
    }
    for command in &mut found {
        let end = command.find(['|', '>', '&', '#', ';']).unwrap_or(command.len());
        command.truncate(end);
    }
    found
}

#[test]
fn documented_commands_exist_with_their_options() {
    let makefile = text("Makefile");
    let mut tried = 0;
    for path in documents() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for command in commands(&std::fs::read_to_string(&path).unwrap()) {
            let words: Vec<&str> = command.split_whitespace().skip_while(|word| word.contains('=')).collect();
            let Some((&first, arguments)) = words.split_first() else { continue };
            let program = first.strip_prefix("target/programs/").unwrap_or(first);
            if PROGRAMS.contains(&program) && !arguments.is_empty() {
                // What comes before `--help` is read first, and refused if it is unknown.
                let output = Command::new(binary(program)).args(arguments).arg("--help").output().unwrap();
                assert!(
                    output.status.success(),
                    "{name} has {command:?}: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
            } else if let ("make", [target, ..]) = (first, arguments) {
                assert!(makefile.contains(&format!("\n{target}:")), "{name} has {command:?}");
            } else if first.starts_with("scripts/") {
                assert!(project_file(first).exists(), "{name} has {command:?}");
            } else {
                continue;
            }
            tried += 1;
        }
    }
    assert!(tried > 50, "only {tried} commands were found");
}
