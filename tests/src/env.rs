//! What one test has for itself: a database, topics, a keyspace, and the configuration that names them.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use events::{Registry, RegistryConfig};
use local_servers::{Endpoints, Server, ServiceSpec, Stack, StackConfig, free_ports};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use secrecy::ExposeSecret as _;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use toml::{Table, Value};

use crate::records::{self, Decoder, Record};
use crate::service::Service;
use crate::spark::Submission;
use crate::{binary, project_file, servers, shared};

/// The token that `POST /runs` takes in tests.
pub const TOKEN: &str = "a-token-for-tests";

/// A name of its own on every shared server, and the configuration with it.
#[derive(Debug)]
pub struct TestEnv {
    name: String,
    /// Supervises its services, and has the servers that are not its own.
    stack: &'static Stack,
    endpoints: Endpoints,
    config: Table,
    folder: PathBuf,
    secrets: Vec<(String, String)>,
    services: AtomicU32,
    /// The test's database, with every migration applied.
    pub db: PgPool,
}

impl TestEnv {
    /// A migrated environment. The name is for people; a number makes it unique.
    pub async fn new(name: &str) -> Self {
        Self::on(shared_servers().await, name).await
    }

    /// The same on other servers than those that tests share.
    pub async fn on(stack: &'static Stack, name: &str) -> Self {
        let env = Box::pin(Self::unmigrated_on(stack, None, name)).await;
        env.migrate().await;
        env
    }

    /// The same with keys such as `pipeline.partitions` set before it is migrated.
    pub async fn on_with(stack: &'static Stack, name: &str, settings: &[(&str, Value)]) -> Self {
        let mut env = Box::pin(Self::unmigrated_on(stack, None, name)).await;
        for (key, value) in settings {
            env.set(key, value.clone());
        }
        env.migrate().await;
        env
    }

    /// The same with the servers of `config` for itself, and the others shared; for what would disturb other tests.
    pub async fn with_own(config: StackConfig, name: &str) -> (Stack, Self) {
        // Servers that start side by side on few processors answer too late for `pipeline migrate`.
        let _one_at_a_time = shared::alone("starts").await;
        let own = Stack::start(config).await.expect("servers of its own");
        let env = Box::pin(Self::unmigrated_on(shared_servers().await, Some(&own), name)).await;
        env.migrate().await;
        (own, env)
    }

    /// The same before `pipeline migrate`: an empty database, no topics, no keyspace.
    pub async fn unmigrated(name: &str) -> Self {
        Box::pin(Self::unmigrated_on(shared_servers().await, None, name)).await
    }

    async fn migrate(&self) {
        // The registry of the tests can't take the first schemas of two subjects at once: its database is embedded.
        let one_at_a_time = shared::alone("first-schemas").await;
        let output = self.pipeline(&["migrate"]);
        drop(one_at_a_time);
        assert!(output.status.success(), "pipeline migrate: {}", String::from_utf8_lossy(&output.stderr));
    }

    async fn unmigrated_on(stack: &'static Stack, own: Option<&Stack>, name: &str) -> Self {
        let of = |server| own.filter(|own| own.config().all_servers().contains(&server)).unwrap_or(stack);
        let postgres = of(Server::Postgres);
        let endpoints = Endpoints {
            postgres_port: postgres.endpoints().postgres_port,
            kafka_bootstrap: of(Server::Kafka).kafka_bootstrap(),
            registry_url: of(Server::Registry).registry_url(),
            cassandra: of(Server::Cassandra).cassandra(),
            ..stack.endpoints()
        };
        static COUNTER: AtomicU32 = AtomicU32::new(1);
        // Every test has a process of its own, and servers that it shares with others.
        let name = format!("{name}_{}_{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let admin =
            PgPool::connect(postgres.postgres_url("postgres").expose_secret()).await.expect("PostgreSQL");
        let create = format!("CREATE DATABASE {name}");
        sqlx::query(sqlx::AssertSqlSafe(create)).execute(&admin).await.expect("a database");
        let url = postgres.postgres_url(&name);
        let db =
            PgPoolOptions::new().max_connections(4).connect(url.expose_secret()).await.expect("a database");
        let folder = stack.config().root.join("tests").join(&name);
        std::fs::create_dir_all(&folder).expect("a folder for the configuration");
        let config = configuration(&name, &endpoints);
        let secrets = vec![
            (
                "PIPELINE__POSTGRES__PASSWORD".to_owned(),
                postgres.config().secrets.postgres.expose_secret().to_owned(),
            ),
            ("PIPELINE__FETCHER__TOKEN".to_owned(), TOKEN.to_owned()),
        ];
        Self { name, stack, endpoints, config, folder, secrets, services: AtomicU32::new(0), db }
    }

    /// Sets a key, such as `fetcher.page_size`, for the services that are started from now on.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        let (section, key) = key.rsplit_once('.').expect("section.key");
        let mut table = &mut self.config;
        for part in section.split('.') {
            let entry = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
            table = entry.as_table_mut().expect("a section");
        }
        table.insert(key.to_owned(), value.into());
        self
    }

    /// Sets what only the environment may have, by the name of its variable.
    pub fn set_secret(&mut self, variable: &str, value: &str) -> &mut Self {
        self.secrets.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// A string of the configuration.
    pub fn get(&self, section: &str, key: &str) -> &str {
        self.config[section][key].as_str().expect("a text")
    }

    /// The test's own name on the servers.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `host:port` for Kafka clients.
    pub fn kafka_bootstrap(&self) -> &str {
        &self.endpoints.kafka_bootstrap
    }

    /// Port of PostgreSQL, for a [`crate::Gate`] before it.
    pub fn postgres_port(&self) -> u16 {
        self.endpoints.postgres_port
    }

    /// Topic of the relay.
    pub fn raw_topic(&self) -> &str {
        self.get("pipeline", "raw_topic")
    }

    /// Topic of the stream processor.
    pub fn processed_topic(&self) -> &str {
        self.get("pipeline", "processed_topic")
    }

    /// Starts a service on a free port. It need not be ready yet.
    pub async fn start(&self, service: &str) -> Service {
        self.start_with(service, &[]).await
    }

    /// The same with more arguments.
    pub async fn start_with(&self, service: &str, args: &[&str]) -> Service {
        self.launch(service, args, None).await
    }

    /// Starts a service that ends itself at a point of `service::crash`, given as `POINT` or `POINT:N`.
    pub async fn start_to_crash(&self, service: &str, point: &str) -> Service {
        self.launch(service, &[], Some(point)).await
    }

    async fn launch(&self, service: &str, args: &[&str], crash_at: Option<&str>) -> Service {
        let (file, port, name) = self.place(service, &service.replace('-', "_"));
        let mut spec = ServiceSpec::new(service, binary(service));
        spec.args = args.iter().map(Into::into).collect();
        spec.env = self.environment(&file).into_iter().map(|(name, value)| (name, value.into())).collect();
        spec.env.extend(crash_at.map(|point| ("PIPELINE_CRASH_AT".to_owned(), point.into())));
        Service::start(self.stack, name, spec, port).await
    }

    /// Submits Spark's job, in place of the processor. It need not be ready yet.
    pub async fn submit(&self, submission: &Submission<'_>) -> Service {
        let (file, port, name) = self.place("spark", "stream_processor");
        let mut spec = submission.spec(self.stack, &self.environment(&file)).await;
        spec.port = Some(port);
        Service::start(self.stack, name, spec, port).await
    }

    /// Configuration, free port and name for a service.
    fn place(&self, service: &str, section: &str) -> (PathBuf, u16, String) {
        let [port] = free_ports().expect("a free port");
        let number = self.services.fetch_add(1, Ordering::Relaxed);
        let mut config = self.config.clone();
        let table = config.entry(section).or_insert_with(|| Value::Table(Table::new()));
        table
            .as_table_mut()
            .expect("a section")
            .insert("listen".to_owned(), format!("127.0.0.1:{port}").into());
        let file = self.folder.join(format!("{service}-{number}.toml"));
        std::fs::write(&file, toml::to_string(&config).expect("TOML")).expect("write the configuration");
        (file, port, format!("{}.{service}.{number}", self.name))
    }

    /// Runs `pipeline` with the test's configuration to its end.
    pub fn pipeline(&self, args: &[&str]) -> Output {
        self.run("pipeline", args)
    }

    /// Runs any of our binaries with the test's configuration to its end.
    pub fn run(&self, program: &str, args: &[&str]) -> Output {
        self.command(program, args).output().expect("run a binary")
    }

    /// The same in the background, silently; it is the test's to wait for.
    pub fn spawn(&self, program: &str, args: &[&str]) -> Child {
        let mut command = self.command(program, args);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start a binary")
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let file = self.folder.join("command.toml");
        std::fs::write(&file, toml::to_string(&self.config).expect("TOML")).expect("write the configuration");
        let mut command = Command::new(binary(program));
        command.args(args).envs(self.environment(&file)).current_dir(&self.folder);
        command
    }

    /// Every committed record of a topic.
    pub async fn records(&self, topic: &str) -> Vec<Record> {
        let (bootstrap, topic) = (self.kafka_bootstrap().to_owned(), topic.to_owned());
        tokio::task::spawn_blocking(move || records::read_all(&bootstrap, &topic)).await.expect("records")
    }

    /// Writes records as a foreign producer would.
    pub fn produce(&self, topic: &str, records: &[(Option<&str>, Option<&[u8]>)]) {
        records::produce(self.kafka_bootstrap(), topic, records);
    }

    /// Writes records once more where they were.
    pub fn copy(&self, topic: &str, records: &[Record]) {
        records::copy(&self.stack.kafka_bootstrap(), topic, records);
    }

    /// A client of the Schema Registry.
    pub fn registry(&self) -> Registry {
        let url = self.endpoints.registry_url.parse().expect("a URL");
        Registry::new(&RegistryConfig { url, timeout: std::time::Duration::from_secs(10) }).expect("a client")
    }

    /// A decoder of values.
    pub fn decoder(&self) -> Decoder {
        Decoder::new(self.registry())
    }

    /// A session that uses the test's keyspace.
    pub async fn cassandra(&self) -> Session {
        let session =
            SessionBuilder::new().known_node(&self.endpoints.cassandra).build().await.expect("Cassandra");
        session.use_keyspace(self.get("cassandra", "keyspace"), false).await.expect("the keyspace");
        session
    }

    fn environment(&self, overlay: &std::path::Path) -> Vec<(String, String)> {
        let base = project_file("config/pipeline.toml");
        let files = format!("{},{}", base.display(), overlay.display());
        let mut environment = self.secrets.clone();
        environment.push(("PIPELINE_CONFIG".to_owned(), files));
        environment
    }
}

async fn shared_servers() -> &'static Stack {
    tokio::task::spawn_blocking(servers).await.expect("the servers")
}

fn configuration(name: &str, endpoints: &Endpoints) -> Table {
    let Endpoints { postgres_port: port, kafka_bootstrap: kafka, registry_url: registry, cassandra, .. } =
        endpoints;
    let topics = name.replace('_', "-");
    let text = format!(
        r#"
        [postgres]
        port = {port}
        database = "{name}"
        user = "postgres"
        [kafka]
        bootstrap_servers = "{kafka}"
        [registry]
        url = "{registry}"
        [cassandra]
        contact_points = ["{cassandra}"]
        keyspace = "{name}"
        [pipeline]
        raw_topic = "{topics}.raw"
        processed_topic = "{topics}.processed"
        offsets_topic = "{topics}.offsets"
        [relay]
        slot = "{name}"
        offsets_topic = "{topics}.offsets"
        [relay.tables."public.users"]
        topic = "{topics}.raw"
        [stream_processor]
        group = "{topics}-processor"
        source_topic = "{topics}.raw"
        target_topic = "{topics}.processed"
        dead_letter_topic = "{topics}.raw.dlq"
        [cassandra_sink]
        group = "{topics}-sink"
        source_topic = "{topics}.processed"
        dead_letter_topic = "{topics}.processed.dlq"
        "#
    );
    text.parse().expect("TOML")
}
