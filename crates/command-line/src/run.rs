use std::process::ExitCode;

use service::config::ConfigError;
use service::{BoxError, EXIT_CONFIG, EXIT_FAILURE, error_chain};
use tracing::level_filters::LevelFilter;

use crate::output::Output;

/// Runs a command to its end, and returns the exit code: 0 if it returns true, 1 if it returns false or fails, 2 if it
/// fails with a [`ConfigError`]. Prints why `program` failed.
pub fn run(program: &str, output: Output, command: impl Future<Output = Result<bool, BoxError>>) -> ExitCode {
    match outcome(command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILURE),
        Err(error) => {
            output.failure(program, &error_chain(error.as_ref()));
            let of_configuration = error.downcast_ref::<ConfigError>().is_some();
            ExitCode::from(if of_configuration { EXIT_CONFIG } else { EXIT_FAILURE })
        }
    }
}

fn outcome(command: impl Future<Output = Result<bool, BoxError>>) -> Result<bool, BoxError> {
    // Fails only where it was done already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(command);
    // Threads of librdkafka and lookups that are under way must not keep the process.
    runtime.shutdown_background();
    outcome
}

/// Prints the logs of the libraries to standard error: none at 0, those of level `INFO` at 1, of `DEBUG` above.
pub fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level);
    // Fails only where a subscriber was set already, which serves as well.
    let _ = subscriber.try_init();
}
