//! docs/configuration.md and docs/pipeline.schema.json are made from the structs that read the configuration:
//! `UPDATE=1 cargo test --test configuration` writes them anew.

// clippy.toml frees the test functions only, not what they share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;

use cassandra::CassandraConfig;
use cassandra_sink::config::SinkConfig;
use events::RegistryConfig;
use fetcher::config::FetcherConfig;
use kafka::KafkaConfig;
use operate::config::{AirflowConfig, PipelineConfig};
use pipeline_tests::project_file;
use relay::config::RelayConfig;
use schemars::JsonSchema;
use serde_json::Value;
use service::config::{PostgresConfig, SECTIONS, TelemetryConfig};
use stream_processor::config::ProcessorConfig;

/// The configuration of the whole pipeline.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "Pipeline")]
#[expect(dead_code, reason = "only its schema counts")]
struct File {
    /// What every service logs, and how.
    telemetry: TelemetryConfig,
    /// The database with the source tables.
    postgres: PostgresConfig,
    /// The brokers.
    kafka: KafkaConfig,
    /// The Schema Registry.
    registry: RegistryConfig,
    /// The cluster with the target tables.
    cassandra: CassandraConfig,
    /// What `pipeline migrate` makes, and where the other commands look.
    pipeline: PipelineConfig,
    /// Where `pipeline run` triggers the DAG.
    airflow: AirflowConfig,
    /// From the profile API to PostgreSQL.
    fetcher: FetcherConfig,
    /// From PostgreSQL to Kafka.
    relay: RelayConfig,
    /// From one topic to the next.
    stream_processor: ProcessorConfig,
    /// From Kafka to Cassandra.
    cassandra_sink: SinkConfig,
}

const INTRODUCTION: &str = "\
<!-- Made by tests/configuration/main.rs from the code: UPDATE=1 cargo test --test configuration -->

# Configuration

Every service and `pipeline` read the same TOML files: those of `--config`, or of `PIPELINE_CONFIG` with commas between
them, or [config/pipeline.toml](../config/pipeline.toml), which is the example's. Later files win over earlier ones. The
environment wins over all: `PIPELINE__KAFKA__BOOTSTRAP_SERVERS` sets `kafka.bootstrap_servers`.

Passwords, tokens and keys have no default. They come from the environment, such as `PIPELINE__POSTGRES__PASSWORD`.
A duration is a whole number and `ms`, `s`, `m` or `h`. An unknown key is an error that names the file.

Editors check and complete the files with [pipeline.schema.json](pipeline.schema.json): many find it by the first line
of a file, `#:schema docs/pipeline.schema.json`.
";

fn schema() -> Value {
    let mut schema = schemars::schema_for!(File).to_value();
    // Any key may be in another file, or in the environment.
    without_required(&mut schema);
    schema
}

fn without_required(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("required").is_some_and(Value::is_array) {
                map.remove("required");
            }
            map.values_mut().for_each(without_required);
        }
        Value::Array(all) => all.iter_mut().for_each(without_required),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Writes the tables of the keys, a heading for each table of the file.
struct Page<'s> {
    root: &'s Value,
    text: String,
}

impl<'s> Page<'s> {
    fn table(&mut self, path: &str, about: &str, schema: &'s Value) {
        let level = if path.contains(['.', '[']) { "###" } else { "##" };
        let title = path.strip_suffix("[]").map_or_else(|| format!("[{path}]"), |list| format!("[[{list}]]"));
        let _ = write!(
            self.text,
            "\n{level} `{title}`\n\n{about}\n\n| key | value | default | |\n|---|---|---|---|\n"
        );
        let mut tables = Vec::new();
        for (key, value) in schema["properties"].as_object().into_iter().flatten() {
            let about = words(value["description"].as_str().unwrap_or_default());
            let target = self.resolved(value);
            if target["properties"].is_object() {
                tables.push((format!("{path}.{key}"), about, target));
                continue;
            }
            let of_list = self.resolved(&target["items"]);
            let of_map = self.resolved(&target["additionalProperties"]);
            if of_list["properties"].is_object() {
                tables.push((format!("{path}.{key}[]"), about, of_list));
            } else if of_map["properties"].is_object() {
                tables.push((format!("{path}.{key}.NAME"), about, of_map));
            } else {
                let default = value.get("default").or(target.get("default"));
                let default = default.filter(|default| !default.is_null()).map_or_else(
                    || "–".to_owned(),
                    |default| format!("`{}`", default.to_string().replace('|', "\\|")),
                );
                let _ = writeln!(self.text, "| `{key}` | {} | {default} | {about} |", self.kind(target));
            }
        }
        for (path, about, schema) in tables {
            self.table(&path, &about, schema);
        }
    }

    /// The schema that a reference leads to; of something or nothing, that of something.
    fn resolved(&self, schema: &'s Value) -> &'s Value {
        if let Some(name) = schema["$ref"].as_str() {
            return self.resolved(&self.root["$defs"][name.trim_start_matches("#/$defs/")]);
        }
        match schema["anyOf"].as_array().map(Vec::as_slice) {
            Some([some, nothing]) if nothing["type"] == "null" => self.resolved(some),
            _ => schema,
        }
    }

    fn kind(&self, schema: &Value) -> String {
        let constants = |all: &Value| -> Option<Vec<String>> {
            let texts =
                |one: &Value| one["const"].as_str().map(|text| vec![text.to_owned()]).or_else(|| names(one));
            Some(all.as_array()?.iter().filter_map(texts).flatten().collect())
        };
        if let Some(all) = constants(&schema["oneOf"]).or_else(|| names(schema)) {
            return all.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        }
        let is_duration = schema["pattern"].as_str().is_some_and(|pattern| pattern.contains("ms|s|m|h"));
        let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or("text");
        match kind {
            "string" if is_duration => "duration".to_owned(),
            "string" => "text".to_owned(),
            "integer" => "number".to_owned(),
            "boolean" => "`true`, `false`".to_owned(),
            "array" => "list".to_owned(),
            "object" => "table".to_owned(),
            other => other.to_owned(),
        }
    }
}

fn names(schema: &Value) -> Option<Vec<String>> {
    Some(schema["enum"].as_array()?.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
}

/// On one line, without rustdoc's links.
fn words(about: &str) -> String {
    let words = about.split_whitespace().collect::<Vec<_>>().join(" ");
    words.replace("[`", "`").replace("`]", "`").replace('|', "\\|")
}

fn page(schema: &Value) -> String {
    let mut page = Page { root: schema, text: INTRODUCTION.to_owned() };
    let sections = schema["properties"].as_object().expect("sections");
    for (name, section) in sections {
        let about = words(section["description"].as_str().unwrap_or_default());
        let target = page.resolved(section);
        page.table(name, &about, target);
    }
    page.text
}

/// Compares a generated file with what is kept, or writes it.
fn check(path: &str, wanted: &str) {
    let file = project_file(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, wanted).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == wanted, "{path} is not what the code says: UPDATE=1 cargo test --test configuration");
}

#[test]
fn the_reference_is_what_the_code_says() {
    let schema = schema();
    check("docs/configuration.md", &page(&schema));
    check("docs/pipeline.schema.json", &format!("{schema:#}\n"));
}

#[test]
fn it_has_every_section_and_every_key_of_the_example() {
    let schema = schema();
    let mut sections: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    sections.sort();
    assert_eq!(sections, SECTIONS);
    let page = page(&schema);
    let example: toml::Table =
        std::fs::read_to_string(project_file("config/pipeline.toml")).unwrap().parse().unwrap();
    for (section, keys) in &example {
        let (_, of_section) = page.split_once(&format!("## `[{section}]`")).unwrap();
        for key in keys.as_table().unwrap().keys() {
            let is_there =
                [format!("| `{key}` |"), format!("[{section}.{key}]"), format!("[[{section}.{key}]]")];
            assert!(
                is_there.iter().any(|text| of_section.contains(text)) || key == "properties",
                "{section}.{key}"
            );
        }
    }
}
