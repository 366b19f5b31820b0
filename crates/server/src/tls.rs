//! Where connections come in: plain, or over TLS (1.2 and 1.3, rustls) with a certificate that is read
//! again when its files change, as they do every few weeks where somebody renews them.
//!
//! Handshakes run beside each other, since a client that begins one and falls silent must not keep
//! the next from coming in.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use crate::config::Certificate;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes under way at once; further clients wait to be accepted.
const HANDSHAKES: usize = 256;
/// How often the certificate's files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Rest after the system refused a connection, for want of descriptors.
const REST: Duration = Duration::from_secs(1);

/// A connection, either way.
pub(crate) type Connection = Either<TcpStream, TlsStream<TcpStream>>;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read as what it is to be.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The certificate and the key are not of one another, or are of a kind that nobody takes.
    #[error("{chain} with {key}")]
    Pair {
        /// The certificate's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// What the server says its name with, replaced while it runs.
#[derive(Debug)]
pub(crate) struct Tls {
    files: Certificate,
    provider: CryptoProvider,
    current: RwLock<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Tls {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

impl Tls {
    pub(crate) fn open(files: Certificate) -> Result<Arc<Self>, TlsError> {
        let provider = aws_lc_rs::default_provider();
        let current = RwLock::new(read(&files, &provider)?);
        Ok(Arc::new(Self {
            files,
            provider,
            current,
        }))
    }

    fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, rustls::Error> {
        let provider = Arc::new(self.provider.clone());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config).into())
    }

    /// Reads the files again whenever they changed. What cannot be used is said, and the certificate
    /// there is goes on.
    pub(crate) async fn follow(self: Arc<Self>, stopping: CancellationToken) {
        let mut seen = self.version();
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let version = self.version();
            if version == seen {
                continue;
            }
            match read(&self.files, &self.provider) {
                Ok(new) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
                    tracing::info!(path = %self.files.chain.display(), "new certificate");
                }
                Err(error) => {
                    // Often only one of the two is there yet: the other's change comes here again.
                    let error = crate::problem::chain(&error);
                    tracing::warn!(
                        error,
                        "the new certificate cannot be used; the old one stays"
                    );
                }
            }
            seen = version;
        }
    }

    /// What changes with the files, for links that are pointed elsewhere too.
    fn version(&self) -> [Option<(u64, i64, i64, u64)>; 2] {
        [&self.files.chain, &self.files.key].map(|path| {
            let about = fs::metadata(path).ok()?;
            Some((about.ino(), about.mtime(), about.mtime_nsec(), about.len()))
        })
    }
}

fn read(files: &Certificate, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File { path, source }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.chain)
        .and_then(Iterator::collect)
        .map_err(wrong(&files.chain))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(wrong(&files.key))?;
    let pair = CertifiedKey::from_der(chain, key, provider).map_err(|source| TlsError::Pair {
        chain: files.chain.clone(),
        key: files.key.clone(),
        source,
    })?;
    Ok(Arc::new(pair))
}

/// Where connections come in.
pub(crate) struct Door {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    handshakes: JoinSet<Option<(Connection, SocketAddr)>>,
}

impl Door {
    pub(crate) fn new(listener: TcpListener, tls: Option<&Arc<Tls>>) -> io::Result<Self> {
        let tls = tls.map(Tls::acceptor).transpose();
        Ok(Self {
            listener,
            tls: tls.map_err(io::Error::other)?,
            handshakes: JoinSet::new(),
        })
    }
}

impl Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept(), if self.handshakes.len() < HANDSHAKES => accepted,
                Some(done) = self.handshakes.join_next() => match done {
                    Ok(Some(connection)) => return connection,
                    _ => continue,
                },
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(REST).await;
                    continue;
                }
            };
            // A playlist is one small write; waiting to fill a packet would only delay it.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
            let Some(tls) = &self.tls else {
                return (Either::Left(stream), peer);
            };
            let handshake = tokio::time::timeout(HANDSHAKE, tls.accept(stream));
            self.handshakes.spawn(async move {
                match handshake.await {
                    Ok(Ok(stream)) => Some((Either::Right(stream), peer)),
                    Ok(Err(error)) => {
                        tracing::debug!(%peer, %error, "no TLS connection");
                        None
                    }
                    Err(_) => None,
                }
            });
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self(*stream.remote_addr())
    }
}
