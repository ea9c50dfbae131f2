//! Connections that we make to core nodes: over TLS if we have credentials, else without.
//! In: `HOST:PORT` as a URI. Out: a connected socket. Never: TLS to somebody who is not the host that was called.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tower::Service;

use super::caller::Io;
use super::credentials::Credentials;

/// Makes them. Clones share the credentials.
#[derive(Debug, Clone, Default)]
pub struct Connector {
    credentials: Option<Credentials>,
}

impl Connector {
    /// With these credentials; without any, unencrypted.
    pub fn new(credentials: Option<Credentials>) -> Self {
        Self { credentials }
    }

    /// Our side, if it is TLS.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Io>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<Io>>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        Box::pin(connect(to, self.credentials.clone()))
    }
}

async fn connect(to: Uri, credentials: Option<Credentials>) -> io::Result<TokioIo<Io>> {
    match credentials {
        Some(credentials) => secured(&to, &credentials, b"h2").await,
        None => Ok(TokioIo::new(Io::Plain(socket(&to).await?.0))),
    }
}

/// Over TLS, for this protocol inside.
pub(super) async fn secured(
    to: &Uri,
    credentials: &Credentials,
    protocol: &[u8],
) -> io::Result<TokioIo<Io>> {
    let (socket, host) = socket(to).await?;
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let mut config = credentials.client().map_err(io::Error::other)?;
    if !config.alpn_protocols.iter().any(|known| known == protocol) {
        Arc::make_mut(&mut config).alpn_protocols = vec![protocol.to_vec()];
    }
    let stream = TlsConnector::from(config).connect(name, socket).await?;
    Ok(TokioIo::new(Io::Tls(Box::new(stream.into()))))
}

/// A socket to the host, and its name.
async fn socket(to: &Uri) -> io::Result<(TcpStream, String)> {
    let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{to}: {why}"));
    let host = to.host().ok_or_else(|| wrong("no host"))?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let port = to.port_u16().ok_or_else(|| wrong("no port"))?;
    let socket = TcpStream::connect((host.as_str(), port)).await?;
    socket.set_nodelay(true)?;
    Ok((socket, host))
}
