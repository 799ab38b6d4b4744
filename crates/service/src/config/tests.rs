use std::io::Write as _;
use std::time::Duration;

use serde::Deserialize;

use super::units::duration;
use super::{Config, ConfigError, PostgresConfig, TelemetryConfig, is_secret};

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn load(text: &str) -> Result<Config, ConfigError> {
    Config::from_files(&[file(text).path()])
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fetcher {
    #[serde(with = "duration")]
    timeout: Duration,
    #[serde(default)]
    page_size: u16,
}

#[test]
fn a_later_file_wins() {
    let base = file("[fetcher]\ntimeout = '10s'\npage_size = 1\n");
    let overlay = file("[fetcher]\npage_size = 2\n");
    let config = Config::from_files(&[base.path(), overlay.path()]).unwrap();
    let fetcher: Fetcher = config.section("fetcher").unwrap();
    assert_eq!((fetcher.timeout, fetcher.page_size), (Duration::from_secs(10), 2));
}

#[test]
fn a_missing_file_is_named_with_its_whole_path() {
    let error = Config::from_files(&["no/such.toml"]).unwrap_err().to_string();
    let whole = std::env::current_dir().unwrap().join("no/such.toml").display().to_string();
    assert!(error.contains(&whole), "{error}");
}

#[test]
fn an_unknown_section_names_the_known_ones() {
    let error = load("[relais]\na = 1\n").unwrap_err().to_string();
    assert!(error.contains("relais") && error.contains("relay"), "{error}");
}

#[test]
fn an_unknown_key_names_key_place_and_the_known_ones() {
    let error =
        load("[fetcher]\ntimeout = '1s'\npagesize = 1\n").unwrap().section::<Fetcher>("fetcher").unwrap_err();
    let text = error.to_string();
    for part in ["fetcher.pagesize", ".toml", "page_size"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[test]
fn a_wrong_value_names_key_value_place_and_what_is_allowed() {
    let error = load("[fetcher]\ntimeout = 'soon'\n").unwrap().section::<Fetcher>("fetcher").unwrap_err();
    let text = error.to_string();
    for part in ["fetcher.timeout", "soon", ".toml", "250ms"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[test]
fn a_value_that_its_type_or_its_service_refuses_is_named_with_its_place() {
    #[derive(Debug, Deserialize)]
    struct Listener {
        #[serde(rename = "listen")]
        _listen: std::net::SocketAddr,
    }
    let config = load("[fetcher]\nlisten = 'nowhere'\n").unwrap();
    let wrong_type = config.section::<Listener>("fetcher").unwrap_err();
    let refused = ConfigError::invalid("fetcher.listen", "nowhere", "write an address");
    for error in [wrong_type, refused] {
        let text = config.locate(error).to_string();
        for part in ["fetcher.listen", "\"nowhere\"", ".toml", "address"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }
}

#[test]
fn a_missing_key_names_the_variable_that_sets_it() {
    let error = load("[fetcher]\npage_size = 1\n").unwrap().section::<Fetcher>("fetcher").unwrap_err();
    assert!(error.to_string().contains("PIPELINE__FETCHER__TIMEOUT"), "{error}");
}

#[test]
fn a_section_that_is_not_set_has_its_defaults() {
    let telemetry: TelemetryConfig = load("").unwrap().section("telemetry").unwrap();
    assert_eq!(telemetry.log_level, "info");
}

#[test]
fn a_secret_never_shows() {
    let text = "[postgres]\nhost='h'\ndatabase='d'\nuser='u'\npassword=4711\n";
    let error = load(text).unwrap().section::<PostgresConfig>("postgres").unwrap_err().to_string();
    assert!(error.contains("postgres.password") && !error.contains("4711"), "{error}");
    let config: PostgresConfig = load(&text.replace("4711", "'4711'")).unwrap().section("postgres").unwrap();
    assert!(!format!("{config:?}").contains("4711"));
    assert!(is_secret("POSTGRES__PASSWORD") && is_secret("fetcher.token") && !is_secret("kafka.topic"));
}

#[test]
fn durations_have_a_unit() {
    assert_eq!(duration::parse("250ms"), Some(Duration::from_millis(250)));
    assert_eq!(duration::parse("5m"), Some(Duration::from_secs(300)));
    for wrong in ["", "5", "ms", "-5s", "5 days", "99999999999999999999s"] {
        assert_eq!(duration::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn variables_of_a_file_fill_in_what_is_not_set() {
    let variables = [
        ("PIPELINE__FETCHER__TIMEOUT".to_owned(), "1s".to_owned()),
        ("PIPELINE__FETCHER__TOKEN".to_owned(), "0123".to_owned()),
        ("OTHER".to_owned(), "x".to_owned()),
    ];
    let config = load("[fetcher]\ntimeout = '10s'\n").unwrap().or_variables(variables);
    #[derive(Deserialize)]
    struct WithToken {
        timeout: String,
        token: String,
    }
    let fetcher: WithToken = config.section("fetcher").unwrap();
    assert_eq!((fetcher.timeout.as_str(), fetcher.token.as_str()), ("10s", "0123"));
}
