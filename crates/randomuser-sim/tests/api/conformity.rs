//! Side by side with users of the real server (`tests/data/real-users.json`: one of each nationality).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{start_at_noon, text, users};

const REAL: &str = include_str!("../data/real-users.json");

/// The values whose form differs by nationality, and their forms: `9` for a digit, `A` for an upper-case letter.
fn forms(user: &Value) -> Vec<(&'static str, String)> {
    let form = |path: &'static str| {
        let value = user.pointer(path).unwrap_or_else(|| panic!("{path} is missing in {user}"));
        let text = match value {
            Value::String(text) => format!("\"{text}\""),
            other => other.to_string(),
        };
        let class = |letter: char| match letter {
            '0'..='9' => '9',
            'A'..='Z' => 'A',
            other => other,
        };
        (path, text.chars().map(class).collect())
    };
    let paths = [
        "/phone",
        "/cell",
        "/id/name",
        "/id/value",
        "/location/postcode",
        "/dob/date",
        "/registered/date",
        "/nat",
    ];
    let mut forms: Vec<_> = paths.into_iter().map(form).collect();
    // Constant texts count as they are.
    for path in ["/location/country", "/nat", "/id/name"] {
        forms.push((path, user.pointer(path).unwrap().to_string()));
    }
    forms
}

/// The type of every value, by path.
fn types(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| types(value, &format!("{path}/{key}"), found))
        }
        Value::String(_) => found.push(format!("{path} string")),
        Value::Number(_) => found.push(format!("{path} number")),
        Value::Null => found.push(format!("{path} null")),
        other => panic!("{path} is {other}"),
    }
}

/// The keys of a JSON text in the order in which they stand.
fn keys(json: &str) -> Vec<&str> {
    let strings = json.split('"').enumerate().filter(|(position, _)| position % 2 == 1);
    let pieces: Vec<_> = json.split('"').collect();
    strings.filter(|(position, _)| pieces[position + 1].starts_with(':')).map(|(_, string)| string).collect()
}

#[tokio::test]
async fn keys_types_and_forms_are_those_of_the_real_server() {
    let sim = start_at_noon().await;
    let real: Value = serde_json::from_str(REAL).unwrap();
    let real = real["results"].as_array().unwrap();
    assert_eq!(real.len(), 21);
    for real in real {
        let nat = real["nat"].as_str().unwrap();
        let simulated = users(&sim, &format!("results=400&seed=forms&nat={nat}")).await;
        let type_list = |user: &Value| {
            let mut found = Vec::new();
            types(user, "", &mut found);
            found
        };
        for user in &simulated {
            assert_eq!(type_list(user), type_list(real), "{nat}");
        }
        let seen: BTreeSet<_> = simulated.iter().flat_map(forms).collect();
        for form in forms(real) {
            assert!(seen.contains(&form), "{nat}: the real {form:?} never comes up");
        }
    }
}

#[tokio::test]
async fn keys_stand_in_the_real_order() {
    let sim = start_at_noon().await;
    let simulated = text(&sim, "results=21&seed=order").await;
    assert_eq!(keys(&simulated), keys(REAL));
}

#[tokio::test]
async fn hashes_are_of_the_password_followed_by_the_salt() {
    use sha2::Digest;
    let sim = start_at_noon().await;
    let real: Value = serde_json::from_str(REAL).unwrap();
    let simulated = users(&sim, "results=20&seed=hash").await;
    for user in real["results"].as_array().unwrap().iter().chain(&simulated) {
        let login = &user["login"];
        let salted = format!("{}{}", login["password"].as_str().unwrap(), login["salt"].as_str().unwrap());
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(login["md5"], hex(&md5::Md5::digest(&salted)), "{login}");
        assert_eq!(login["sha1"], hex(&sha1::Sha1::digest(&salted)), "{login}");
        assert_eq!(login["sha256"], hex(&sha2::Sha256::digest(&salted)), "{login}");
    }
}
