//! Our own processes, as they run beside the servers.

use std::ffi::OsString;

use local_servers::ServiceSpec;
use operate::config::Settings;
use operate::local::{Manifest, Secrets, Source, secrets};
use secrecy::ExposeSecret as _;

/// Name of the simulator's process.
const SIMULATOR: &str = "randomuser-sim";

/// What to start, in no particular order: each waits for what it needs. The simulator only if it is the source.
pub(super) fn specs(
    settings: &Settings,
    secrets: &Secrets,
    manifest: &Manifest,
) -> Result<Vec<ServiceSpec>, local_servers::Error> {
    let mut all = Vec::new();
    let mut fetcher_env = Vec::new();
    if manifest.source == Source::Sim {
        let listen = settings.pipeline.local.simulator_listen;
        let api = format!("http://{listen}/api/1.4/");
        let mut simulator = ServiceSpec::built(SIMULATOR, listen, format!("{api}?results=1"))?;
        simulator.args = vec!["--listen".into(), listen.to_string().into()];
        all.push(simulator);
        for (key, value) in [("API_URL", api.as_str()), ("GZIP", "false"), ("USERS_PER_WINDOW", "0")] {
            fetcher_env.push((format!("PIPELINE__FETCHER__{key}"), value.into()));
        }
    }
    let own = [
        ("fetcher", settings.fetcher.listen, &[secrets::POSTGRES, secrets::FETCHER][..]),
        ("relay", settings.relay.listen, &[secrets::POSTGRES][..]),
        ("stream-processor", settings.stream_processor.listen, &[secrets::HMAC_KEY][..]),
        ("cassandra-sink", settings.cassandra_sink.listen, &[][..]),
    ];
    let files: Vec<String> = manifest.config.iter().map(|file| file.display().to_string()).collect();
    for (name, listen, names) in own {
        if name == "stream-processor" && manifest.spark {
            continue;
        }
        let mut spec = ServiceSpec::built(name, listen, format!("http://{listen}/readyz"))?;
        spec.env.push(("PIPELINE_CONFIG".to_owned(), files.join(",").into()));
        for name in names {
            spec.env.push(((*name).to_owned(), OsString::from(secrets.get(name).expose_secret())));
        }
        if name == "fetcher" {
            spec.env.append(&mut fetcher_env);
        }
        all.push(spec);
    }
    Ok(all)
}
