//! A session of the driver, made from the configuration.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::statement::Consistency as DriverConsistency;
use secrecy::ExposeSecret as _;

use crate::config::{CassandraConfig, Compression, Consistency};

/// Why there is no session. Its text holds the driver's own, since it is what a waiting service shows.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No contact point answered as a node.
    #[error("no node of {contact_points} can be used ({problem})")]
    Unreachable {
        /// As configured.
        contact_points: String,
        /// The driver's words.
        problem: String,
    },
    /// The certificate authorities can't be read.
    #[error("the certificate authorities in {path} can't be read ({problem}); see cassandra.ssl_ca_location")]
    Certificates {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Connects to the cluster. Token aware; every request has the configuration's consistency and bound.
///
/// The keyspace need not exist yet, so statements name it.
///
/// # Errors
/// No contact point can be used, or the file of certificate authorities can't.
pub async fn connect(config: &CassandraConfig) -> Result<Session, ConnectError> {
    let mut balancing = DefaultPolicy::builder().token_aware(true);
    if let Some(datacenter) = &config.local_datacenter {
        balancing = balancing.prefer_datacenter(datacenter.clone());
    }
    let profile = ExecutionProfile::builder()
        .consistency(config.consistency.into())
        .request_timeout(Some(config.request_timeout))
        .load_balancing_policy(balancing.build())
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.contact_points)
        .connection_timeout(config.connect_timeout)
        .compression(match config.compression {
            Compression::None => None,
            Compression::Lz4 => Some(scylla::client::Compression::Lz4),
        })
        .keyspaces_to_fetch([config.keyspace.as_str()])
        // A node that hangs without closing its connections is noticed as soon as a request may take.
        .keepalive_interval(config.request_timeout)
        .keepalive_timeout(config.request_timeout)
        .default_execution_profile_handle(profile.into_handle());
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        builder = builder.user(user, password.expose_secret());
    }
    if let Some(path) = &config.ssl_ca_location {
        builder = builder.tls_context(Some(tls(path)?));
    }
    // The driver's future is some tens of kilobytes: kept off the caller's stack.
    Box::pin(builder.build()).await.map_err(|error| ConnectError::Unreachable {
        contact_points: config.contact_points.join(", "),
        problem: error.to_string(),
    })
}

fn tls(path: &Path) -> Result<Arc<ClientConfig>, ConnectError> {
    let unreadable = |problem: &dyn std::fmt::Display| ConnectError::Certificates {
        path: path.display().to_string(),
        problem: problem.to_string(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))? {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        roots.add(certificate).map_err(|error| unreadable(&error))?;
    }
    if roots.is_empty() {
        return Err(unreadable(&"it has no certificate"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unreadable(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

impl From<Consistency> for DriverConsistency {
    fn from(consistency: Consistency) -> Self {
        match consistency {
            Consistency::One => Self::One,
            Consistency::LocalOne => Self::LocalOne,
            Consistency::Quorum => Self::Quorum,
            Consistency::LocalQuorum => Self::LocalQuorum,
            Consistency::EachQuorum => Self::EachQuorum,
            Consistency::All => Self::All,
        }
    }
}
