//! What wrong configuration and servers that are away get, from the binaries themselves.

use pipeline_tests::TestEnv;

/// Every binary that reads the configuration, with arguments that make it do so.
const PROGRAMS: [(&str, &[&str]); 5] = [
    ("fetcher", &[]),
    ("relay", &[]),
    ("stream-processor", &[]),
    ("cassandra-sink", &[]),
    ("pipeline", &["migrate"]),
];

/// Runs a binary with a configuration that it can't use; its one message.
fn refused(env: &TestEnv, program: &str, args: &[&str]) -> String {
    let output = env.run(program, args);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{program}: {message}");
    assert_eq!(message.trim_end().lines().count(), 1, "{program}: {message}");
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_section_is_named_with_its_file_and_the_known_ones() {
    let mut env = TestEnv::unmigrated("config_section").await;
    env.set("relais.slot", "x");
    for (program, args) in PROGRAMS {
        let message = refused(&env, program, args);
        for part in ["`relais`", "command.toml", "stream_processor"] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_named_with_its_file_and_the_known_ones() {
    for (program, key, known) in [
        ("fetcher", "fetcher.pagesize", "page_size"),
        ("relay", "relay.slots", "slot"),
        ("stream-processor", "stream_processor.worker", "workers"),
        ("cassandra-sink", "cassandra_sink.inflight", "in_flight"),
    ] {
        let mut env = TestEnv::unmigrated("config_key").await;
        env.set(key, 1);
        let message = refused(&env, program, &[]);
        for part in [key, "command.toml", known] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_value_is_named_with_its_key_its_file_and_what_is_allowed() {
    for (program, key, value, allowed) in [
        ("fetcher", "fetcher.api_url", "not a url", "http"),
        ("fetcher", "fetcher.window", "soon", "250ms"),
        ("relay", "registry.url", "nowhere", "URL"),
        ("relay", "kafka.security_protocol", "tls", "sasl_ssl"),
        ("stream-processor", "stream_processor.linger", "5", "250ms"),
        ("cassandra-sink", "cassandra.consistency", "some", "local_quorum"),
    ] {
        let mut env = TestEnv::unmigrated("config_value").await;
        env.set(key, value);
        let message = refused(&env, program, &[]);
        for part in [key, value, allowed] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_is_named_with_its_whole_path() {
    let env = TestEnv::unmigrated("config_file").await;
    for (program, args) in PROGRAMS {
        let args = [args, &["--config", "/no/such/file.toml"]].concat();
        assert!(refused(&env, program, &args).contains("/no/such/file.toml"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_servers_are_away_waits_says_for_what_and_is_not_ready() {
    // Nothing listens on port 1.
    for (service, key, component) in [
        ("fetcher", "postgres.port", "postgres"),
        ("relay", "postgres.port", "postgres"),
        ("stream-processor", "kafka.bootstrap_servers", "kafka"),
        ("cassandra-sink", "cassandra.contact_points", "cassandra"),
    ] {
        let mut env = TestEnv::new("servers_away").await;
        match key {
            "postgres.port" => env.set(key, 1),
            "kafka.bootstrap_servers" => env.set(key, "127.0.0.1:1"),
            _ => env.set(key, vec!["127.0.0.1:1"]),
        };
        let service = env.start(service).await;
        service.waits_for(component, "").await;
        let ready = reqwest::get(service.url("/readyz")).await.unwrap();
        assert_eq!(ready.status(), 503);
        let alive = reqwest::get(service.url("/healthz")).await.unwrap();
        assert_eq!(alive.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_started_before_the_migration_become_ready_after_it() {
    let env = TestEnv::unmigrated("before_migration").await;
    let mut services = Vec::new();
    for service in ["fetcher", "relay", "stream-processor", "cassandra-sink"] {
        services.push(env.start(service).await);
    }
    for service in &services {
        pipeline_tests::wait::until("it waits", std::time::Duration::from_secs(30), async || {
            let waiting = service.waiting().await?;
            waiting.to_string().contains("pipeline migrate").then_some(())
        })
        .await;
    }
    assert!(env.pipeline(&["migrate"]).status.success());
    for service in &services {
        service.ready().await;
    }
}
