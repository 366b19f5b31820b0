//! Streams in a store, and word of them to others: what the server and the command line share.
//!
//! `ladder` makes streams and says in which order they are published, but knows of no storage;
//! `store` keeps content, but does not know what it means. Between them stand [`StoreShelf`], which
//! keeps a stream's pieces as pinned objects and its playlists as names, and [`StoredUnits`], by
//! which a ladder finds segments that were made before. [`Webhook`] tells a receiver elsewhere what
//! happens to a stream. Everything here is synchronous.

#![forbid(unsafe_code)]

mod shelf;
mod units;
mod webhook;

pub use shelf::StoreShelf;
pub use units::StoredUnits;
pub use webhook::{Target, Webhook};

use std::sync::Arc;

use ureq::config::ConfigBuilder;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

/// Whether a stream may be called so: its name stands in addresses and in names of pins.
pub fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

/// A client for whoever talks to other machines: it says who it is, gives answers of all kinds as
/// answers, and over TLS trusts the certificates that the machine trusts.
pub fn http() -> ConfigBuilder<AgentScope> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(Arc::new(provider))
        .build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .user_agent(concat!("kinora/", env!("CARGO_PKG_VERSION")))
}

/// The store's error as the one that a sink gives: a full disk stays one.
fn io(error: store::Error) -> std::io::Error {
    let full = error.is_full().then_some(std::io::ErrorKind::StorageFull);
    std::io::Error::new(full.unwrap_or(std::io::ErrorKind::Other), error)
}

#[cfg(test)]
mod tests {
    #[test]
    fn names() {
        for good in ["a", "gate-2", "2026.11.20_x", &"x".repeat(64)] {
            assert!(super::is_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "a b",
            "\u{fc}ber",
            &"x".repeat(65),
        ] {
            assert!(!super::is_name(bad), "{bad}");
        }
    }
}
