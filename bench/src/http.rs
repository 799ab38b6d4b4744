//! The client of everything that is asked over HTTP.

use std::sync::Once;

/// Straight to this machine, whatever proxy the environment names.
pub(crate) fn client() -> reqwest::Result<reqwest::Client> {
    // reqwest wants a TLS provider even for plain HTTP.
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    reqwest::Client::builder().no_proxy().build()
}
