use std::io::Write as _;

use service::config::Config;

use super::*;

const POSTGRES: &str = "[postgres]\nhost='h'\ndatabase='d'\nuser='u'\npassword='p'\n";

fn load(fetcher: &str) -> Result<Settings, ConfigError> {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    write!(file, "{POSTGRES}[fetcher]\n{fetcher}").unwrap();
    Settings::load_service(&Config::from_files(&[file.path()]).unwrap())
}

#[test]
fn everything_but_the_token_has_a_default() {
    let settings = load("token = 'secret'").unwrap();
    assert_eq!(settings.api_url.as_str(), "https://randomuser.me/api/1.4/");
    assert!(!format!("{settings:?}").contains("'secret'"));
    assert!(load("").unwrap_err().to_string().contains("PIPELINE__FETCHER__TOKEN"));
}

#[test]
fn a_wrong_value_is_named_with_what_is_allowed() {
    for (line, parts) in [
        ("api_url = 'randomuser'", ["fetcher.api_url", "\"randomuser\"", "https://randomuser.me"]),
        ("api_url = 'ftp://a/'", ["fetcher.api_url", "\"ftp://a/\"", "http or https"]),
        ("page_size = 5001", ["fetcher.page_size", "5001", "1 to 5000"]),
        ("max_count = 50000001", ["fetcher.max_count", "50000001", "1 to 50000000"]),
        ("users_per_window = 10", ["fetcher.users_per_window", "10", "page_size, 5000"]),
        ("run_deadline = '0s'", ["fetcher.run_deadline", "0ns", "longer than nothing"]),
        ("pagesize = 1", ["fetcher.pagesize", "no such key", "page_size"]),
    ] {
        let error = load(&format!("token = 't'\n{line}\n")).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }
}

/// The file is where people read the defaults.
#[test]
fn the_file_says_what_the_defaults_are() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let config = Config::from_files(&[root.join("config/pipeline.toml")]).unwrap();
    let written: FetcherConfig = config.section("fetcher").unwrap();
    assert_eq!(format!("{written:?}"), format!("{:?}", FetcherConfig::default()));
    let text = std::fs::read_to_string(root.join("config/pipeline.toml")).unwrap();
    let section = text.split("[fetcher]").nth(1).unwrap().split("\n[").next().unwrap();
    let keys = format!("{written:#?}")
        .lines()
        .filter(|line| line.starts_with("    ") && line.contains(": "))
        .count();
    let listed = section.lines().filter(|line| line.contains(" = ") || line.starts_with("# token")).count();
    assert_eq!(listed, keys, "every key stands in the file");
}
