//! 20,000 users against the figures observed over 20,000 users of the real server.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use crate::{start_at_noon, users};

const OFFSETS: [&str; 30] = [
    "-12:00", "-11:00", "-10:00", "-9:00", "-8:00", "-7:00", "-6:00", "-5:00", "-4:00", "-3:30", "-3:00",
    "-2:00", "-1:00", "0:00", "+1:00", "+2:00", "+3:00", "+3:30", "+4:00", "+4:30", "+5:00", "+5:30",
    "+5:45", "+6:00", "+7:00", "+8:00", "+9:00", "+9:30", "+10:00", "+11:00",
];

/// Text fields with their least and greatest length in characters.
const LENGTHS: [(&str, usize, usize); 22] = [
    ("/gender", 4, 6),
    ("/name/title", 2, 12),
    ("/name/first", 1, 19),
    ("/name/last", 2, 22),
    ("/location/city", 2, 34),
    ("/location/state", 2, 28),
    ("/location/country", 4, 14),
    ("/location/coordinates/latitude", 6, 8),
    ("/location/coordinates/longitude", 6, 9),
    ("/location/timezone/offset", 4, 6),
    ("/location/timezone/description", 5, 47),
    ("/email", 17, 39),
    ("/login/uuid", 36, 36),
    ("/login/username", 9, 21),
    ("/login/password", 0, 18),
    ("/login/salt", 8, 8),
    ("/dob/date", 24, 24),
    ("/phone", 8, 16),
    ("/cell", 8, 14),
    ("/picture/large", 45, 48),
    ("/picture/medium", 49, 52),
    ("/picture/thumbnail", 51, 54),
];

async fn twenty_thousand() -> Vec<Value> {
    let sim = start_at_noon().await;
    let mut all = Vec::new();
    for query in ["seed=q1", "seed=q2&page=2", "seed=q3&page=3", "seed=q4"] {
        all.extend(users(&sim, &format!("results=5000&{query}")).await);
    }
    assert_eq!(all.len(), 20_000);
    all
}

fn string<'a>(user: &'a Value, path: &str) -> &'a str {
    user.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("{path} in {user}"))
}

fn has_edge_space(text: &str) -> bool {
    text.trim() != text
}

/// The share of `users` for which `holds`, with a message when it is outside `range`.
#[track_caller]
fn assert_share(
    users: &[&Value],
    range: std::ops::RangeInclusive<f64>,
    what: &str,
    holds: impl Fn(&Value) -> bool,
) {
    let share = users.iter().filter(|user| holds(user)).count() as f64 / users.len() as f64;
    assert!(range.contains(&share), "{what}: {share:.4} is outside {range:?}");
}

#[tokio::test]
async fn twenty_thousand_users_look_like_the_real_ones() {
    let all = twenty_thousand().await;
    let everyone: Vec<&Value> = all.iter().collect();
    let mut by_nat: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for user in &all {
        by_nat.entry(string(user, "/nat")).or_default().push(user);
    }
    assert_eq!(by_nat.len(), 21);
    for (nat, users) in &by_nat {
        assert!((820..=1_090).contains(&users.len()), "{nat} has {} users", users.len());
        check_nationality(nat, users);
    }
    for user in &all {
        check_values(user);
    }
    check_uniqueness(&all);

    assert_share(&everyone, 0.48..=0.52, "men", |user| user["gender"] == "male");
    assert_share(&everyone, 0.42..=0.47, "born before 1970", |user| string(user, "/dob/date") < "1970");
    assert_share(&everyone, 0.10..=0.15, "registered under age", |user| {
        let year = |path| string(user, path)[..4].parse::<i32>().unwrap();
        let day = |path: &str| string(user, path)[4..].to_owned();
        let years = year("/registered/date") - year("/dob/date");
        years < 18 || (years == 18 && day("/registered/date") < day("/dob/date"))
    });
    assert_share(&everyone, 0.00005..=0.0005, "empty passwords", |user| user["login"]["password"] == "");
    assert_share(&everyone, 0.02..=0.05, "apostrophes", |user| {
        [&user["name"], &user["location"]].iter().any(|part| part.to_string().contains('\''))
    });
    assert_share(&everyone, 0.08..=0.16, "non-ASCII first names", |user| {
        !string(user, "/name/first").is_ascii()
    });
    assert_share(&everyone, 0.12..=0.25, "non-ASCII last names", |user| {
        !string(user, "/name/last").is_ascii()
    });
    assert_share(&everyone, 0.15..=0.30, "non-ASCII cities", |user| {
        !string(user, "/location/city").is_ascii()
    });
    assert_share(&everyone, 0.001..=0.01, "apostrophes in e-mail", |user| {
        string(user, "/email").contains('\'')
    });
    let offsets: HashSet<_> = all.iter().map(|user| string(user, "/location/timezone/offset")).collect();
    assert_eq!(offsets, HashSet::from(OFFSETS));
}

fn check_nationality(nat: &str, users: &[&Value]) {
    let text_postcode = matches!(nat, "CA" | "GB" | "NO");
    let no_id = matches!(nat, "IR" | "NZ" | "TR" | "UA");
    let titles: HashSet<_> = users.iter().map(|user| string(user, "/name/title")).collect();
    let expected =
        if nat == "CH" { &["Madame", "Mademoiselle", "Monsieur"][..] } else { &["Miss", "Mr", "Mrs", "Ms"] };
    assert_eq!(titles, expected.iter().copied().collect(), "{nat}");
    for user in users {
        let postcode = &user["location"]["postcode"];
        assert_eq!(postcode.is_string(), text_postcode, "{nat}: {postcode}");
        let range = match nat {
            "AU" => 200..=9_999,
            "CH" => 1_000..=9_999,
            _ => 10_000..=99_999,
        };
        assert!(text_postcode || range.contains(&postcode.as_u64().unwrap()), "{nat}: {postcode}");
        let id = &user["id"];
        assert_eq!(id["value"].is_null(), no_id, "{nat}: {id}");
        assert_eq!(id["name"] == "", no_id, "{nat}: {id}");
        let from_2000 = string(user, "/dob/date") >= "2000";
        let length = match nat {
            "DE" => 15 + usize::from(from_2000),
            "DK" => 11 + usize::from(from_2000),
            "FR" => 16 + usize::from(from_2000),
            _ => id["value"].as_str().map_or(0, str::len),
        };
        assert_eq!(id["value"].as_str().map_or(0, str::len), length, "{nat}: {id}");
    }
    match nat {
        "BR" => assert_share(users, 0.60..=0.80, "BR streets with an edge space", |user| {
            has_edge_space(string(user, "/location/street/name"))
        }),
        "RS" => assert_share(users, 0.08..=0.20, "RS streets with an edge space", |user| {
            has_edge_space(string(user, "/location/street/name"))
        }),
        "DK" => assert_share(users, 0.003..=0.03, "DK cities with an edge space", |user| {
            has_edge_space(string(user, "/location/city"))
        }),
        "IR" => {
            assert_share(users, 0.06..=0.16, "IR cities with U+200C", |user| {
                string(user, "/location/city").contains('\u{200c}')
            });
            let arabic = |letter: char| ('\u{600}'..='\u{6ff}').contains(&letter) || letter == ' ';
            assert!(users.iter().all(|user| string(user, "/name/first").chars().all(arabic)));
        }
        "FI" => assert!(users.iter().all(|user| {
            let id = string(user, "/id/value");
            id.len() == 17 && id.starts_with("NaNNA") && id.ends_with("undefined")
        })),
        "NO" => assert_share(users, 0.05..=0.15, "NO post codes that begin with 0", |user| {
            string(user, "/location/postcode").starts_with('0')
        }),
        _ => {}
    }
}

fn check_values(user: &Value) {
    for (path, least, greatest) in LENGTHS {
        let length = string(user, path).chars().count();
        assert!((least..=greatest).contains(&length), "{path} has {length} characters in {user}");
    }
    for (path, limit) in [("latitude", 90.0), ("longitude", 180.0)] {
        let text = string(user, &format!("/location/coordinates/{path}"));
        let (whole, decimals) = text.trim_start_matches('-').split_once('.').unwrap();
        assert!(
            decimals.len() == 4 && (whole == "0" || !whole.starts_with('0')) && text != "-0.0000",
            "{text}"
        );
        assert!(text.parse::<f64>().unwrap().abs() <= limit, "{text}");
    }
    let number = user["location"]["street"]["number"].as_u64().unwrap();
    assert!((1..=9_999).contains(&number), "{number}");
    assert!(("1944-08-25".."2001-05-29").contains(&string(user, "/dob/date")));
    assert!(("2002-03-21".."2022-05-24").contains(&string(user, "/registered/date")));
    assert!(string(user, "/email").is_ascii() && string(user, "/email").ends_with("@example.com"));
    let uuid = string(user, "/login/uuid").as_bytes();
    assert!(uuid[14] == b'4' && matches!(uuid[19], b'8' | b'9' | b'a' | b'b'), "version 4, variant 1");
}

fn check_uniqueness(all: &[Value]) {
    let distinct = |path| all.iter().map(|user| string(user, path)).collect::<HashSet<_>>().len();
    assert_eq!(distinct("/login/uuid"), 20_000);
    assert_eq!(distinct("/login/salt"), 20_000);
    // Not unique, as in the real data: 19,372 and 19,621.
    for (path, least, greatest) in [
        ("/email", 18_800, 19_900),
        ("/login/username", 19_300, 19_950),
        ("/name/first", 1_500, 7_000),
        ("/name/last", 1_500, 7_000),
        ("/location/city", 1_000, 7_000),
        ("/location/street/name", 1_000, 6_000),
        ("/location/state", 500, 700),
        ("/login/password", 1_500, 8_000),
    ] {
        let count = distinct(path);
        assert!((least..=greatest).contains(&count), "{path}: {count} distinct values");
    }
    let ids: HashSet<_> = all.iter().filter_map(|user| user["id"]["value"].as_str()).collect();
    assert!((15_500..=16_100).contains(&ids.len()), "{} personal numbers", ids.len());
}

#[tokio::test]
async fn a_ukrainian_street_is_blank_once_in_a_while() {
    let sim = start_at_noon().await;
    let mut blank = 0;
    for page in 1..=5 {
        let ukrainians = users(&sim, &format!("results=5000&nat=ua&inc=location&seed=ua&page={page}")).await;
        blank += ukrainians.iter().filter(|user| string(user, "/location/street/name").is_empty()).count();
    }
    assert!((1..=20).contains(&blank), "{blank} of 25,000");
}

#[tokio::test]
async fn check_digits_hold() {
    let sim = start_at_noon().await;
    for user in users(&sim, "results=300&seed=check&nat=ca,no,fr,us").await {
        let value = string(&user, "/id/value");
        let digits: Vec<u64> =
            value.bytes().filter(u8::is_ascii_digit).map(|byte| u64::from(byte - b'0')).collect();
        let weighted =
            |weights: &[u64]| weights.iter().zip(&digits).map(|(weight, digit)| weight * digit).sum::<u64>();
        match string(&user, "/nat") {
            "CA" => {
                let luhn: u64 =
                    digits.iter().zip([1, 2].iter().cycle()).map(|(d, w)| (d * w) / 10 + (d * w) % 10).sum();
                assert_eq!(luhn % 10, 0, "{value}");
            }
            "NO" => {
                assert_eq!(weighted(&[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]) % 11, 0, "{value}");
                assert_eq!(weighted(&[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]) % 11, 0, "{value}");
                assert_eq!(digits[8] % 2 == 1, user["gender"] == "male", "{value}");
            }
            "FR" => {
                let (number, check) = value.split_once(' ').unwrap();
                assert_eq!(
                    97 - number.parse::<u64>().unwrap() % 97,
                    check.parse::<u64>().unwrap(),
                    "{value}"
                );
                assert_eq!(value.starts_with('1'), user["gender"] == "male", "{value}");
            }
            "US" => assert!(
                !value.starts_with("000") && !value.starts_with("666") && !value.starts_with('9'),
                "{value}"
            ),
            other => panic!("{other}"),
        }
    }
}
