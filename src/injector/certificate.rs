//! The webhook's certificate and the authorities that sidecars are given, as the files are now.
//! In: paths of PEM files. Out: our side of TLS (1.3 only, as everywhere), the authorities as text.
//! Never: a certificate with another's key; files half replaced leave the former ones in use.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::TLS13;

use crate::config::followed::{FollowError, Followed};

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
    Followed::start(vec![path], |bytes| match bytes {
        [pem] => bundle(pem),
        _ => Err("expected one file".to_owned()),
    })
}

fn server(chain: &[u8], key: &[u8]) -> Result<ServerConfig, String> {
    let chain = certificates(chain)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("key: {error}"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| format!("certificate and key: {error}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn bundle(pem: &[u8]) -> Result<String, String> {
    certificates(pem)?;
    if pem.len() > AUTHORITIES_BYTES_MAX {
        return Err(format!(
            "more than {AUTHORITIES_BYTES_MAX} bytes of authorities"
        ));
    }
    String::from_utf8(pem.to_vec()).map_err(|_| "not text".to_owned())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| format!("certificate: {error}"))?;
    match read.is_empty() {
        true => Err("no certificate in it".to_owned()),
        false => Ok(read),
    }
}
