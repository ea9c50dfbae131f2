//! An authority for a try-out, and certificates of it: what `sidelock certs` writes.
//! In: names. Out: PEM. Never: an authority for production; its key lies in a file.

use tokio_rustls::rustls::pki_types::CertificateDer;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::world::clock;

/// Clocks of other machines may be behind by so much.
const BACKDATED: Duration = Duration::hours(1);

/// Signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub pem: String,
    days: u16,
}

/// Who gets a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// For people, and the identity if there is no URI.
    pub common_name: String,
    /// Host names and addresses, of those who listen.
    pub hosts: Vec<String>,
    /// SPIFFE ids; one at most makes sense.
    pub uris: Vec<String>,
}

/// A certificate and its key.
pub struct Issued {
    /// The certificate.
    pub pem: String,
    /// The same, as it goes over the wire.
    pub der: CertificateDer<'static>,
    /// Its key.
    pub key_pem: String,
}

impl Authority {
    /// A new one. All that it signs, and itself, is valid for so many days from now.
    ///
    /// # Errors
    /// If the name cannot be part of a certificate.
    pub fn new(name: &str, days: u16) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = params(name, days)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
            days,
        })
    }

    /// Its key, PEM.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate for client and server.
    ///
    /// # Errors
    /// If a name cannot be part of a certificate.
    pub fn issue(&self, subject: &Subject) -> Result<Issued, rcgen::Error> {
        let mut params = params(&subject.common_name, self.days)?;
        for host in &subject.hosts {
            params.subject_alt_names.push(match host.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_name) => SanType::DnsName(host.as_str().try_into()?),
            });
        }
        for uri in &subject.uris {
            params
                .subject_alt_names
                .push(SanType::URI(uri.as_str().try_into()?));
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            key_pem: key.serialize_pem(),
        })
    }
}

fn params(common_name: &str, days: u16) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    let now = i64::try_from(clock::unix_nanos() / 1_000_000_000).unwrap_or(0);
    let now = OffsetDateTime::from_unix_timestamp(now).map_err(|_| rcgen::Error::Time)?;
    params.not_before = now - BACKDATED;
    params.not_after = now + Duration::days(i64::from(days));
    Ok(params)
}
