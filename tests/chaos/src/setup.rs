//! Servers and services of a run, in a folder of their own and on ports of their own.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use command_line::Output;
use futures::future::try_join_all;
use local_servers::{CommitLogSync, KafkaOutside, ServiceSpec, Stack, StackConfig, StackState, free_ports};
use operate::config::Settings;
use operate::local::{Root, RootError, Secrets, absolute, secrets};
use operate::status::ask_service;
use secrecy::{ExposeSecret as _, SecretString};
use service::cli::CommonArgs;
use service::config::{Config, DEFAULT_FILE, ENV_PREFIX};
use tokio::time::Instant;

use crate::error::ChaosError;
use crate::faults::proxy::Link;
use crate::faults::schedule::{FETCHER, GROUPS, INSTANCES, LINKS, RELAY, instances, process};
use crate::load::fetching::{Fetching, PAGE, PROFILES};
use crate::migrate::migrate;

/// Name of the simulator's process.
const SIMULATOR: &str = "randomuser-sim";
/// For all services to be ready.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How often they are asked.
const LOOK: Duration = Duration::from_millis(250);
/// A service drains within 10 s of SIGTERM, and a machine may be slow.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(20);

/// The run's folder and configuration; nothing runs yet.
pub(crate) struct Plan {
    pub(crate) root: Root,
    /// With the servers' own addresses, which no fault is on the way to.
    pub(crate) settings: Settings,
    /// The configuration that the settings are read from, less the secrets.
    files: Vec<PathBuf>,
    pub(crate) stack: StackConfig,
    links: Vec<(&'static str, TcpListener, u16)>,
    /// What every service gets in its environment.
    env: Vec<(String, std::ffi::OsString)>,
    secrets: Secrets,
}

/// What runs.
pub(crate) struct Running {
    pub(crate) stack: Stack,
    /// By the name of the server.
    pub(crate) links: BTreeMap<&'static str, Link>,
    /// By the name of the process; those that join later are among them.
    pub(crate) services: BTreeMap<String, Service>,
    fetcher_token: SecretString,
}

/// One of our processes.
pub(crate) struct Service {
    pub(crate) service: &'static str,
    pub(crate) spec: ServiceSpec,
    pub(crate) listen: SocketAddr,
}

impl Plan {
    /// Removes what an earlier run has left in the folder, but for its logs, and writes this one's configuration.
    pub(crate) fn new(root: Root, args: &CommonArgs) -> Result<Self, ChaosError> {
        refuse_overrides()?;
        if let Some(state) = StackState::load(root.path())?
            && state.is_running()
        {
            let (root, pid) = (root.path().to_owned(), state.supervisor.pid);
            return Err(local_servers::Error::AlreadyRunning { root, pid }.into());
        }
        keep_logs(&root)?;
        root.purge().map_err(ChaosError::Purge)?;
        let secrets = Secrets::load_or_create(&root)?;

        // Held until they are needed, so that no two parts choose the same port.
        let mut listeners = Vec::new();
        for port in free_ports::<{ LINKS.len() + 1 }>()? {
            listeners.push(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(ChaosError::Proxy)?);
        }
        let mut stack = StackConfig::on_free_ports(root.path())?;
        stack.secrets.postgres = secrets.get(secrets::POSTGRES_ADMIN);
        // What a node has acknowledged must outlive its end, as with `pipeline up`.
        stack.commit_log_sync = CommitLogSync::Group;
        let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
        let outside =
            listeners.pop().map(|listener| port(&listener)).transpose().map_err(ChaosError::Proxy)?;
        let mut links = Vec::new();
        for (name, listener) in LINKS.into_iter().zip(listeners) {
            let server = match name {
                "postgres" => stack.ports.postgres,
                "kafka" => outside.unwrap_or_default(),
                "registry" => stack.ports.registry,
                _ => stack.ports.cassandra,
            };
            links.push((name, listener, server));
        }
        let mut proxied = BTreeMap::new();
        for (name, listener, _) in &links {
            proxied.insert(*name, port(listener).map_err(ChaosError::Proxy)?);
        }
        let at = |name: &str| proxied.get(name).copied().unwrap_or_default();
        stack.kafka_outside = outside.map(|listen| KafkaOutside { listen, advertised: at("kafka") });

        let ports = &stack.ports;
        let servers = addresses(ports.postgres, ports.kafka, ports.registry, ports.cassandra);
        let proxies = addresses(at("postgres"), at("kafka"), at("registry"), at("cassandra"));
        let base =
            if args.config.is_empty() { vec![PathBuf::from(DEFAULT_FILE)] } else { args.config.clone() };
        let files = absolute(&base)?;
        let with = |name: &str, text: String| -> Result<Vec<PathBuf>, RootError> {
            let file = root.path().join(name);
            fs::write(&file, text).map_err(RootError::file("write", &file))?;
            Ok(files.iter().cloned().chain([file]).collect())
        };
        let files_of_servers = with("servers.toml", servers)?;
        let own = Config::from_files(&files_of_servers)?.or_variables(secrets.variables());
        let files = with("services.toml", proxies)?;
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        let mut env = vec![("PIPELINE_CONFIG".to_owned(), files.join(",").into())];
        for name in [secrets::POSTGRES, secrets::HMAC_KEY] {
            env.push((name.to_owned(), secrets.get(name).expose_secret().into()));
        }
        Ok(Self {
            settings: Settings::load(&own)?,
            root,
            stack,
            files: files_of_servers,
            secrets,
            links,
            env,
        })
    }

    /// Starts the servers, then `prepare`s what must be there before the services, then those.
    pub(crate) async fn start(
        self,
        output: &Output,
        prepare: impl AsyncFnOnce(&Settings) -> Result<(), ChaosError>,
    ) -> Result<Running, ChaosError> {
        let mut links = BTreeMap::new();
        for (name, listener, server) in self.links {
            let server = SocketAddr::from((Ipv4Addr::LOCALHOST, server));
            links.insert(name, Link::start(listener, server).map_err(ChaosError::Proxy)?);
        }
        output.note("starting the servers");
        let stack = Stack::start(self.stack).await?;
        migrate(&self.root, &self.files, &self.secrets).await?;
        prepare(&self.settings).await?;
        output.note("starting the services");
        let [port] = free_ports()?;
        let simulator = simulator(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let fetcher_token = self.secrets.get(secrets::FETCHER);
        let services = services(&self.env, port, &fetcher_token)?;
        stack.start_service(simulator, env!("CARGO_PKG_VERSION")).await?;
        let running = Running { stack, links, services, fetcher_token };
        running.start_services().await?;
        Ok(running)
    }
}

impl Running {
    /// Starts all but those that join later, and waits until they are ready.
    async fn start_services(&self) -> Result<(), ChaosError> {
        let first: Vec<&Service> = self.services.values().filter(|service| !service.joins_later()).collect();
        for service in &first {
            self.stack.start_service(service.spec.clone(), env!("CARGO_PKG_VERSION")).await?;
        }
        // Of the relays one stands by, and is never ready; that the other one is means that its snapshot is done.
        let (relays, others): (Vec<&Service>, Vec<&Service>) =
            first.into_iter().partition(|service| service.service == RELAY);
        try_join_all(others.into_iter().map(|service| ready(vec![service]))).await?;
        ready(relays).await
    }

    /// What the services that are not ready wait for.
    pub(crate) async fn waiting(&self) -> Vec<String> {
        let mut waiting = Vec::new();
        for (name, service) in self.services.iter().filter(|(_, service)| !service.joins_later()) {
            let asked = ask_service(service.service, service.listen.to_string()).await;
            if !asked.ready {
                waiting.push(format!("{name} is {}", asked.describe()));
            }
        }
        waiting
    }
}

impl Running {
    /// How to ask for a run.
    pub(crate) fn fetching(&self) -> Fetching {
        let address = self.addresses(FETCHER).into_iter().next().unwrap_or_default();
        Fetching { address, token: self.fetcher_token.clone() }
    }

    /// Where the instances of a service listen.
    pub(crate) fn addresses(&self, service: &str) -> Vec<String> {
        let of_service = self.services.values().filter(|running| running.service == service);
        of_service.map(|running| running.listen.to_string()).collect()
    }
}

impl Service {
    pub(crate) fn joins_later(&self) -> bool {
        self.spec.name == process(self.service, INSTANCES + 1)
    }
}

/// The environment wins over every file, so that it could lead to other servers than the run's own.
fn refuse_overrides() -> Result<(), ChaosError> {
    match std::env::vars_os().find(|(name, _)| name.to_string_lossy().starts_with(ENV_PREFIX)) {
        None => Ok(()),
        Some((name, _)) => Err(ChaosError::Overridden(name.to_string_lossy().into_owned())),
    }
}

fn addresses(postgres: u16, kafka: u16, registry: u16, cassandra: u16) -> String {
    format!(
        "[postgres]\nhost = \"127.0.0.1\"\nport = {postgres}\n\
         [kafka]\nbootstrap_servers = \"127.0.0.1:{kafka}\"\n\
         [registry]\nurl = \"http://127.0.0.1:{registry}/apis/ccompat/v7\"\n\
         [cassandra]\ncontact_points = [\"127.0.0.1:{cassandra}\"]\n"
    )
}

/// The logs of the run before: what it has found is looked into by running it again.
fn keep_logs(root: &Root) -> Result<(), ChaosError> {
    let logs = root.path().join("logs");
    let previous = previous_logs(root);
    if !logs.exists() {
        return Ok(());
    }
    if previous.exists() {
        fs::remove_dir_all(&previous).map_err(RootError::file("remove", &previous))?;
    }
    fs::rename(&logs, &previous).map_err(RootError::file("rename", &logs))?;
    Ok(())
}

/// Beside the root, which is purged.
fn previous_logs(root: &Root) -> PathBuf {
    let mut name = root.path().file_name().unwrap_or_default().to_owned();
    name.push(".logs.previous");
    root.path().with_file_name(name)
}

/// The API of the run.
fn simulator(listen: SocketAddr) -> Result<ServiceSpec, ChaosError> {
    let ready = format!("{}?results=1", api(listen.port()));
    let mut spec = ServiceSpec::built(SIMULATOR, listen, ready)?;
    spec.args = vec!["--listen".into(), listen.to_string().into()];
    Ok(spec)
}

fn api(port: u16) -> String {
    format!("http://127.0.0.1:{port}/api/1.4/")
}

/// Every instance with its own port; those that join later, too.
fn services(
    env: &[(String, std::ffi::OsString)],
    simulator: u16,
    fetcher_token: &SecretString,
) -> Result<BTreeMap<String, Service>, ChaosError> {
    let mut services = BTreeMap::new();
    let all = instances().flat_map(|(service, count)| {
        let last = if GROUPS.contains(&service) { count + 1 } else { count };
        (1..=last).map(move |number| (service, number))
    });
    // The servers listen already, so that theirs are not among them.
    for ((service, number), port) in all.zip(free_ports::<9>()?) {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut spec = ServiceSpec::built(service, listen, String::new())?;
        spec.name = process(service, number);
        // A standby is never ready, and others are when what they need is healed.
        spec.ready = None;
        spec.stop_within = STOP_WITHIN;
        spec.env = env.to_vec();
        let section = service.to_uppercase().replace('-', "_");
        spec.env.push((format!("{ENV_PREFIX}{section}__LISTEN"), listen.to_string().into()));
        if service == "stream-processor" {
            // Its default, the name of the host, is the same for all of them here.
            spec.env.push((format!("{ENV_PREFIX}{section}__INSTANCE"), spec.name.clone().into()));
        }
        if service == FETCHER {
            spec.env.push((secrets::FETCHER.to_owned(), fetcher_token.expose_secret().into()));
            let own = [
                ("API_URL", api(simulator)),
                ("PAGE_SIZE", PAGE.to_string()),
                // More than its default would be more pages than one run may have.
                ("MAX_COUNT", PROFILES.to_string()),
                ("GZIP", "false".to_owned()),
                ("USERS_PER_WINDOW", "0".to_owned()),
            ];
            spec.env.extend(
                own.into_iter().map(|(key, value)| (format!("{ENV_PREFIX}{section}__{key}"), value.into())),
            );
        }
        services.insert(spec.name.clone(), Service { service, spec, listen });
    }
    Ok(services)
}

/// Waits until one of these is ready.
async fn ready(services: Vec<&Service>) -> Result<(), ChaosError> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let mut states = Vec::new();
        for service in &services {
            let asked = ask_service(service.service, service.listen.to_string()).await;
            if asked.ready {
                return Ok(());
            }
            states.push(format!("{} is {}", service.spec.name, asked.describe()));
        }
        if Instant::now() > deadline {
            return Err(ChaosError::NotReady(states.join(", ")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_of_the_run_before_are_kept_until_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(&folder.path().join("chaos")).unwrap();
        let logs = root.path().join("logs");
        keep_logs(&root).unwrap();
        for run in ["first", "second"] {
            fs::create_dir_all(&logs).unwrap();
            fs::write(logs.join("relay-1.log"), run).unwrap();
            keep_logs(&root).unwrap();
            root.purge().unwrap();
            let kept = fs::read_to_string(folder.path().join("chaos.logs.previous/relay-1.log")).unwrap();
            assert_eq!(kept, run);
        }
    }
}
