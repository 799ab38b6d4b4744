//! Parameters, envelope, headers, rate limit.

use std::time::{Duration, Instant};

use randomuser_sim::{RateLimit, SimConfig};
use serde_json::{Value, json};

use crate::{client, get, json as page, start, start_at_noon, text, unzipping_client, users};

#[tokio::test]
async fn results_page_and_info_follow_the_real_server() {
    let sim = start_at_noon().await;
    for (query, count, page_shown) in [
        ("seed=s", 1, json!(1)),
        ("seed=s&results=7", 7, json!(1)),
        ("seed=s&results=5001", 1, json!(1)),
        ("seed=s&results=0", 1, json!(1)),
        ("seed=s&results=-5", 1, json!(1)),
        ("seed=s&results=1.5", 1, json!(1)),
        ("seed=s&results=many", 1, json!(1)),
        ("seed=s&results=2&page=3", 2, json!(3)),
        ("seed=s&results=2&page=0", 2, json!(1)),
        ("seed=s&results=2&page=-1", 2, json!(1)),
        ("seed=s&results=2&page=10001", 2, json!(1)),
        ("seed=s&results=2&page=2.5", 2, json!(2.5)),
    ] {
        let found = page(&sim, query).await;
        assert_eq!(found["results"].as_array().map(Vec::len), Some(count), "{query}");
        let info = json!({"seed": "s", "results": count, "page": page_shown, "version": "1.4"});
        assert_eq!(found["info"], info, "{query}");
    }
}

#[tokio::test]
async fn a_seed_gives_the_same_users_byte_for_byte() {
    let sim = start_at_noon().await;
    let other = start_at_noon().await;
    let query = "results=50&seed=alpha&page=2";
    let first = text(&sim, query).await;
    assert_eq!(first, text(&sim, query).await);
    assert_eq!(first, text(&other, query).await, "another process gives the same");
    assert_ne!(first, text(&sim, "results=50&seed=alpha&page=3").await);
    assert_ne!(first, text(&sim, "results=50&seed=beta&page=2").await);
    // Seed and page are glued as text.
    assert_eq!(
        users(&sim, "results=5&seed=ab&page=12").await,
        users(&sim, "results=5&seed=ab1&page=2").await
    );
    // A shorter page is the beginning of a longer one.
    let shorter = users(&sim, "results=20&seed=alpha&page=2").await;
    assert_eq!(shorter, users(&sim, query).await[..20]);
}

#[tokio::test]
async fn ages_come_from_the_clock_and_nothing_else_does() {
    let fixed = start_at_noon().await;
    let system = start(SimConfig::default()).await;
    let without_ages = |users: Vec<Value>| -> Vec<Value> {
        let strip = |mut user: Value| {
            user["dob"]["age"].take();
            user["registered"]["age"].take();
            user
        };
        users.into_iter().map(strip).collect()
    };
    let query = "results=30&seed=clock";
    assert_eq!(without_ages(users(&fixed, query).await), without_ages(users(&system, query).await));
    for user in users(&fixed, query).await {
        for (part, ages) in [("dob", 25..=81), ("registered", 4..=24)] {
            let year: i64 = user[part]["date"].as_str().unwrap()[..4].parse().unwrap();
            let age = user[part]["age"].as_i64().unwrap();
            assert!(ages.contains(&age) && (2026 - year - age == 0 || 2026 - year - age == 1), "{user}");
        }
    }
}

#[tokio::test]
async fn an_eighteen_character_seed_chooses_the_nationality() {
    let sim = start_at_noon().await;
    let found = page(&sim, "results=20&seed=0123456789abcdef0c&nat=gb").await;
    assert_eq!(found["info"]["seed"], "0123456789abcdef0c0c");
    assert!(found["results"].as_array().unwrap().iter().all(|user| user["nat"] == "IR"));
    // Fed back, the seed of 20 characters is an ordinary one with other users.
    let again = page(&sim, "results=20&seed=0123456789abcdef0c0c").await;
    assert_ne!(again["results"], found["results"]);
}

#[tokio::test]
async fn filters_and_switches() {
    let sim = start_at_noon().await;
    let nats = |users: &[Value]| {
        let mut nats: Vec<_> = users.iter().map(|user| user["nat"].as_str().unwrap().to_owned()).collect();
        nats.sort();
        nats.dedup();
        nats
    };
    assert_eq!(nats(&users(&sim, "results=100&seed=s&nat=us,gb").await), ["GB", "US"]);
    assert!(
        nats(&users(&sim, "results=100&seed=s&nat=us,xx").await).len() > 2,
        "one bad code drops the filter"
    );
    assert!(nats(&users(&sim, "results=100&seed=s&nat=lego").await).len() > 2, "LEGO is no nationality");

    let women = users(&sim, "results=50&gender=female").await;
    assert!(women.iter().all(|user| user["gender"] == "female"));
    let mixed = users(&sim, "results=50&gender=female&seed=s").await;
    assert!(mixed.iter().any(|user| user["gender"] == "male"), "a seed switches the filter off");

    let lego = page(&sim, "results=3&seed=golf&lego").await;
    assert_eq!(lego["info"]["seed"], "golf-1");
    for user in lego["results"].as_array().unwrap() {
        assert_eq!(user["nat"], "LEGO");
        assert!(user["location"].get("country").is_none());
        assert!(user["picture"]["large"].as_str().unwrap().contains("/portraits/lego/"));
    }
    for query in ["seed=s&noinfo", "seed=s&noinfo=false"] {
        assert!(page(&sim, query).await.get("info").is_none(), "{query}");
    }
}

#[tokio::test]
async fn inc_and_exc_leave_the_other_fields_as_they_are() {
    let sim = start_at_noon().await;
    let all = users(&sim, "results=20&seed=echo").await;
    let some = users(&sim, "results=20&seed=echo&inc=name,nat,bogus").await;
    let most = users(&sim, "results=20&seed=echo&exc=login").await;
    for ((all, some), most) in all.iter().zip(&some).zip(&most) {
        assert_eq!(*some, json!({"name": all["name"], "nat": all["nat"]}));
        let mut without_login = all.clone();
        without_login.as_object_mut().unwrap().remove("login");
        assert_eq!(*most, without_login);
    }
    assert_eq!(users(&sim, "results=2&seed=echo&inc=bogus").await, [json!({}), json!({})]);
}

#[tokio::test]
async fn requests_without_a_seed_get_one_that_gives_the_same_users_again() {
    let sim = start_at_noon().await;
    let first = page(&sim, "results=3").await;
    let second = page(&sim, "results=3").await;
    assert_ne!(first["info"]["seed"], second["info"]["seed"]);
    let seed = first["info"]["seed"].as_str().unwrap();
    assert!(seed.len() == 16 && seed.bytes().all(|byte| byte.is_ascii_hexdigit()), "{seed}");
    assert_eq!(page(&sim, &format!("results=3&seed={seed}")).await, first);
    let odd = page(&sim, "results=1&seed=%22%C3%A9%5C").await;
    assert_eq!(odd["info"]["seed"], "\"é\\", "a seed is escaped in the answer");
}

#[tokio::test]
async fn paths_versions_and_headers() {
    let sim = start_at_noon().await;
    let base = sim.url().trim_end_matches("/api/").to_owned();
    for (path, status, kind) in [
        ("/", 200, "text/plain; charset=utf-8"),
        ("/api", 200, "application/json; charset=utf-8"),
        ("/api/", 200, "application/json; charset=utf-8"),
        ("/api/1.4", 200, "application/json; charset=utf-8"),
        ("/api/1.4/", 200, "application/json; charset=utf-8"),
        ("/api/1.9/", 404, "text/plain; charset=utf-8"),
        ("/nothing/here", 404, "text/plain; charset=utf-8"),
        ("/api/?format=csv", 400, "application/json; charset=utf-8"),
        ("/api/?format=whatever", 200, "application/json; charset=utf-8"),
    ] {
        let response = client().get(format!("{base}{path}")).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["content-type"], kind, "{path}");
        assert_eq!(response.headers()["x-simulated"], "randomuser-sim", "{path}");
        let body = response.text().await.unwrap();
        match status {
            404 => assert_eq!(body, "Not Found"),
            400 => assert!(serde_json::from_str::<Value>(&body).unwrap()["error"].is_string(), "{body}"),
            _ if path == "/" => assert!(body.contains("simulation"), "{body}"),
            _ => assert!(body.starts_with("{\"results\":[{\"gender\":"), "{body}"),
        }
    }
    assert_eq!(sim.stats().refused, 2);
}

#[tokio::test]
async fn gzip_is_used_when_the_client_takes_it() {
    let sim = start_at_noon().await;
    let url = format!("{}?results=200&seed=zip", sim.url());
    let plain = client().get(&url).send().await.unwrap();
    assert!(plain.headers().get("content-encoding").is_none());
    let plain = plain.text().await.unwrap();
    let zipped = client().get(&url).header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(zipped.headers()["content-encoding"], "gzip");
    let size = zipped.bytes().await.unwrap().len();
    assert!(size * 2 < plain.len(), "{size} of {} bytes", plain.len());
    assert_eq!(unzipping_client().get(&url).send().await.unwrap().text().await.unwrap(), plain);
}

#[tokio::test]
async fn the_rate_limit_refuses_without_retry_after() {
    let rate_limit = Some(RateLimit { users: 100, window: Duration::from_secs(3_600) });
    let sim = start(SimConfig { rate_limit, ..SimConfig::default() }).await;
    assert_eq!(users(&sim, "results=99").await.len(), 99);
    assert_eq!(users(&sim, "results=500").await.len(), 500, "the last request may go over");
    let refused = get(&sim, "results=1").await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().get("retry-after").is_none());
    let body: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert!(body["error"].as_str().unwrap().starts_with("Whoa") && body.get("results").is_none(), "{body}");
    let stats = sim.stats();
    assert_eq!((stats.requests, stats.pages, stats.users, stats.rate_limited), (3, 2, 599, 1));
}

#[tokio::test]
async fn what_the_real_server_never_answers_hangs_for_a_while() {
    let hang = Duration::from_millis(200);
    let sim = start(SimConfig { hang, ..SimConfig::default() }).await;
    for query in ["results=10&seed=s&nat=de&inc=id", "seed=0123456789abcdefzz"] {
        let began = Instant::now();
        let answer = client().get(format!("{}?{query}", sim.url())).send().await;
        assert!(answer.is_err() && began.elapsed() >= hang, "{query}: {answer:?}");
    }
    assert_eq!(sim.stats().hangs, 2);
    // With the name, or without Germans, there is an answer.
    assert_eq!(users(&sim, "results=10&seed=s&nat=de&inc=id,name").await.len(), 10);
    assert_eq!(users(&sim, "results=10&seed=s&nat=fr,no&inc=id").await.len(), 10);
}

#[tokio::test]
async fn shutdown_ends_hanging_requests_and_frees_the_port() {
    let sim = start(SimConfig { hang: Duration::from_secs(600), ..SimConfig::default() }).await;
    let (address, url) = (sim.addr(), format!("{}?seed=0123456789abcdefzz", sim.url()));
    let hanging = tokio::spawn(client().get(url).send());
    let arrived = async {
        while sim.stats().hangs == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), arrived).await.unwrap();
    sim.shutdown().await.unwrap();
    assert!(hanging.await.unwrap().is_err());
    start(SimConfig { listen: address, ..SimConfig::default() }).await;
}
