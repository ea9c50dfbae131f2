//! The webhook's certificate and the authorities that sidecars are given, as the files are now.
//! In: paths of PEM files. Out: our side of TLS (1.3 only, as everywhere), the authorities as text.
//! Never: a certificate with another's key; files half replaced leave the former ones in use.

use std::path::PathBuf;

use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::version::TLS13;

use crate::config::followed::{FollowError, Followed};
use crate::tls::pem;

/// Bytes of the authorities at most: they travel in an annotation, and all of a pod's must fit into 256 KiB.
const AUTHORITIES_BYTES_MAX: usize = 64 * 1024;

/// Our side of TLS, followed.
pub type Certificate = Followed<ServerConfig>;
/// Authorities as PEM, followed.
pub type Authorities = Followed<String>;

/// Reads certificate chain and key.
///
/// # Errors
/// If one cannot be read, or they do not fit together.
pub fn certificate(chain: PathBuf, key: PathBuf) -> Result<Certificate, FollowError> {
    Followed::start(vec![chain, key], |bytes| match bytes {
        [chain, key] => server(chain, key),
        _ => Err("expected two files".to_owned()),
    })
}

/// Reads the authorities that are to vouch for the core.
///
/// # Errors
/// If they cannot be read, or are none.
pub fn authorities(path: PathBuf) -> Result<Authorities, FollowError> {
    Followed::one(path, bundle)
}

fn server(chain: &[u8], key: &[u8]) -> Result<ServerConfig, String> {
    let chain = pem::certificates(chain).map_err(|why| format!("certificate: {why}"))?;
    let key = pem::key(key).map_err(|why| format!("key: {why}"))?;
    let mut config = ServerConfig::builder_with_provider(pem::provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| format!("certificate and key: {error}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn bundle(text: &[u8]) -> Result<String, String> {
    pem::certificates(text).map_err(|why| format!("certificate: {why}"))?;
    if text.len() > AUTHORITIES_BYTES_MAX {
        return Err(format!(
            "more than {AUTHORITIES_BYTES_MAX} bytes of authorities"
        ));
    }
    String::from_utf8(text.to_vec()).map_err(|_| "not text".to_owned())
}
