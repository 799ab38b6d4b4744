use std::path::PathBuf;

use service::BoxError;
use service::cli::CommonArgs;
use service::config::Config;

use super::error::RootError;
use super::root::Root;
use super::secrets::Secrets;

impl Root {
    /// Returns the configuration of the stack if it runs and the arguments name its files or none, else that of the
    /// arguments.
    ///
    /// # Errors
    /// Fails with a [`RootError`] if a file of the root can't be read, and with a
    /// [`ConfigError`](service::config::ConfigError) if the configuration can't be used.
    pub fn configuration(&self, args: &CommonArgs) -> Result<Config, BoxError> {
        match self.manifest()? {
            Some(manifest) if args.config.is_empty() || absolute(&args.config)? == manifest.config => {
                let config = Config::from_files(&manifest.config)?;
                Ok(match Secrets::load(self)? {
                    Some(secrets) => config.or_variables(secrets.variables()),
                    None => config,
                })
            }
            Some(_) | None => Ok(Config::load(args)?),
        }
    }
}

/// Makes paths absolute, as seen from the working directory. The files need not exist.
///
/// # Errors
/// Fails if a path is empty, or the working directory can't be read.
pub fn absolute(files: &[PathBuf]) -> Result<Vec<PathBuf>, RootError> {
    files.iter().map(|file| std::path::absolute(file).map_err(RootError::file("find", file))).collect()
}
