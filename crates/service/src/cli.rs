//! Arguments that every binary takes.

use std::path::PathBuf;

/// Where the configuration comes from.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CommonArgs {
    /// Configuration file; may be given more than once, later files win
    #[arg(
        long = "config",
        value_name = "FILE",
        env = "PIPELINE_CONFIG",
        value_delimiter = ',',
        global = true
    )]
    pub config: Vec<PathBuf>,
}

/// What every service can be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::Subcommand)]
pub enum ServiceCommand {
    /// Serve until stopped (the default)
    #[default]
    Serve,
    /// Ask the service that runs beside this command whether it is ready; print what it waits for
    Healthcheck,
}
