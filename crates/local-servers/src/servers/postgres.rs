//! PostgreSQL with logical replication. Under root it runs as a system user, because it refuses root.

use std::{
    ffi::OsString,
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::{Context, create_folder, write_file};
use crate::{
    artifacts::POSTGRES,
    config::{Server, StackConfig},
    error::{Error, Result},
    job::Job,
    probe::Probe,
    process::{POLL, ProcessSpec},
    procfs,
    user::{SystemUser, flat_under, reachable},
};

/// The superuser.
pub(crate) const SUPERUSER: &str = "postgres";

/// Settings that differ from PostgreSQL's own. Each stack has room for many tests with a slot each.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("wal_level", "logical"),
    ("max_replication_slots", "200"),
    ("max_wal_senders", "50"),
    ("max_connections", "200"),
    ("max_wal_size", "1GB"),
    ("log_checkpoints", "off"),
    ("log_replication_commands", "off"),
];

/// How to connect as the superuser.
pub(crate) fn options(config: &StackConfig, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(config.ports.postgres)
        .username(SUPERUSER)
        .password(config.secrets.postgres.expose_secret())
        .database(database)
        .ssl_mode(PgSslMode::Disable)
}

pub(super) async fn plan(context: &Context<'_>) -> Result<Vec<ProcessSpec>> {
    let config = context.config;
    let user = SystemUser::for_postgres()?;
    let programs = config.cache.folder(&POSTGRES)?.join("bin");
    let wanted = config.data(Server::Postgres.name());
    let data = data_folder(user.as_ref(), wanted.clone());
    if !data.join("PG_VERSION").exists() || !belongs(&data, &wanted) {
        context.step.say("creating the database cluster");
        initialise(context, user.as_ref(), &programs, &data).await?;
        if !belongs(&data, &wanted) {
            wanted.parent().map_or(Ok(()), create_folder)?;
            symlink(&data, &wanted).map_err(Error::file("link to the data", &wanted))?;
        }
    }
    forget_unreaped(&data).await?;
    let mut args: Vec<OsString> = vec!["-D".into(), data.clone().into()];
    let port = ("port".to_owned(), config.ports.postgres.to_string());
    let ours = SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    for (name, value) in ours.chain([port]).chain(config.postgres_settings.iter().cloned()) {
        args.extend(["-c".into(), format!("{name}={value}").into()]);
    }
    Ok(vec![ProcessSpec {
        name: Server::Postgres.name().to_owned(),
        version: POSTGRES.version.to_owned(),
        program: programs.join("postgres"),
        args,
        env: Vec::new(),
        env_remove: vec!["PGDATA", "PGPORT"],
        directory: data,
        user,
        log: config.log(Server::Postgres.name()),
        port: Some(config.ports.postgres),
        listens: super::listens(Server::Postgres, config),
        precondition: None,
        ready: Probe::Postgres(Box::new(options(config, SUPERUSER))),
        ready_within: Duration::from_secs(180),
        // "Fast shutdown": sessions are ended, nothing is lost.
        stop: Signal::SIGINT,
        stop_within: Duration::from_secs(30),
        is_service: false,
        needs: Vec::new(),
    }])
}

/// Where its data is: in the stack's root, unless its user can't get there.
pub(super) fn data_folder(user: Option<&SystemUser>, wanted: PathBuf) -> PathBuf {
    reachable(user, wanted, |wanted| flat_under("/var/lib", wanted))
}

/// Whether data that may lie elsewhere is this stack's own, and not that of a stack whose root was at the same path
/// and has been deleted: nobody has the passwords of such data any more.
fn belongs(data: &Path, wanted: &Path) -> bool {
    data == wanted || fs::read_link(wanted).is_ok_and(|link| link == data)
}

/// A server that was killed with its supervisor is a zombie until process 1 reaps it. PostgreSQL takes it for alive
/// and refuses to start, so this waits; where process 1 never reaps, as in some containers, the stale lock goes.
async fn forget_unreaped(data: &Path) -> Result<()> {
    let lock = data.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&lock) else { return Ok(()) };
    let Some(pid) = text.lines().next().and_then(|line| line.trim().parse().ok()) else { return Ok(()) };
    let deadline = Instant::now() + Duration::from_secs(10);
    while procfs::is_zombie(pid) {
        if Instant::now() > deadline {
            return fs::remove_file(&lock).map_err(Error::file("remove", lock));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Runs `initdb` in a folder beside the final one and renames it, so that a half-made cluster never counts.
async fn initialise(
    context: &Context<'_>,
    user: Option<&SystemUser>,
    programs: &Path,
    data: &Path,
) -> Result<()> {
    let new = data.with_extension("new");
    let password = data.with_extension("password");
    for leftover in [new.as_path(), data] {
        match fs::remove_dir_all(leftover) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("remove", leftover)(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    create_folder(&new)?;
    write_file(&password, "")?;
    fs::set_permissions(&password, Permissions::from_mode(0o600)).map_err(Error::file("close", &password))?;
    if let Some(user) = user {
        user.create_private(&new)?;
        chown(&password, Some(user.uid), Some(user.gid)).map_err(Error::file("give away", &password))?;
    }
    write_file(&password, context.config.secrets.postgres.expose_secret())?;
    let job = Job {
        what: "initdb".to_owned(),
        program: programs.join("initdb"),
        args: [
            "-D".into(),
            new.clone().into_os_string(),
            format!("--username={SUPERUSER}").into(),
            "--auth=scram-sha-256".into(),
            property("--pwfile=", &password),
            "--encoding=UTF8".into(),
            // Needs no locale of the system.
            "--locale-provider=builtin".into(),
            "--builtin-locale=C.UTF-8".into(),
            "--locale=C".into(),
        ]
        .to_vec(),
        env: Vec::new(),
        directory: new.clone(),
        user: user.cloned(),
        log: context.config.log("postgres-initdb"),
        hint: format!("make sure that {} can be written and read", data.display()),
        within: Duration::from_secs(120),
    };
    let made = job.run(context.watchdog, || {}).await;
    fs::remove_file(&password).map_err(Error::file("remove", &password))?;
    made?;
    fs::rename(&new, data).map_err(Error::file("move the new cluster to", data))
}

fn property(option: &str, path: &Path) -> OsString {
    let mut text = OsString::from(option);
    text.push(path);
    text
}
