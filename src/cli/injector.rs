//! `sidelock injector`: the admission webhook that gives pods a sidecar.
//! In: where to listen, its certificate, what sidecars are made of. Out: a running webhook.
//! Never: a listener without TLS; the API server takes no other.

use std::path::PathBuf;
use std::time::Duration;

use super::exit::{FAILED, Failure, Outcome};
use super::listen::{self, Stop};
use crate::config::address::{self, Listen};
use crate::injector::api_server::ApiServer;
use crate::injector::certificate;
use crate::injector::server::{self, Config, Ends};
use crate::injector::settings::{MeshDefaults, Settings, Trust};
use crate::injector::version::Version;

/// Told to stop, it is still asked until the cluster's proxies have all heard that it is not ready any more.
const LEAVE: Duration = Duration::from_secs(3);

/// Run the admission webhook that gives pods a sidecar (Kubernetes 1.29 or newer).
///
/// The API server sends it new pods of namespaces, and new pods, that have the label `sidelock.dev/inject:
/// "true"`. Nothing is refused: a pod that cannot have a sidecar starts without one, and its author sees a
/// warning. The certificate and the authorities are read again when their files change.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the API server asks
    #[arg(
        long,
        value_name = "ADDR",
        env = "SIDELOCK_LISTEN",
        default_value = "0.0.0.0:8443"
    )]
    listen: Listen,
    /// The webhook's certificate chain, PEM
    #[arg(long, value_name = "FILE", env = "SIDELOCK_TLS_CERT")]
    tls_cert: PathBuf,
    /// The key of the certificate, PEM
    #[arg(long, value_name = "FILE", env = "SIDELOCK_TLS_KEY")]
    tls_key: PathBuf,
    /// The image of the sidecars; its entry point is `sidelock`
    #[arg(long, value_name = "IMAGE", env = "SIDELOCK_IMAGE",
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    image: String,
    /// The core's nodes, as pods of any namespace find them
    #[arg(long, value_name = "HOST:PORT,...", env = "SIDELOCK_CORE", value_delimiter = ',',
          required = true, value_parser = address::host_port)]
    core: Vec<String>,
    /// The injector's own namespace; its pods, and those in kube-system, are left alone
    #[arg(long, value_name = "NAMESPACE", env = "SIDELOCK_NAMESPACE",
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    namespace: String,
    /// The authorities that vouch for the core, PEM, given to each pod; without these sidecars speak plaintext
    #[arg(
        long,
        value_name = "FILE",
        env = "SIDELOCK_CA_FILE",
        conflicts_with = "ca_config_map"
    )]
    ca_file: Option<PathBuf>,
    /// A config map with the authorities as `ca.crt`, which is in every namespace with sidecars
    #[arg(long, value_name = "NAME", env = "SIDELOCK_CA_CONFIG_MAP",
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    ca_config_map: Option<String>,
    /// For whom the sidecars' service-account tokens are; empty: they show none
    #[arg(
        long,
        value_name = "TEXT",
        env = "SIDELOCK_TOKEN_AUDIENCE",
        default_value = "sidelock"
    )]
    token_audience: String,
    /// The version of Kubernetes; default: the API server is asked
    #[arg(long, value_name = "1.N", env = "SIDELOCK_KUBERNETES_VERSION")]
    kubernetes_version: Option<Version>,
    /// Ports that the mesh lets alone by default, outbound; kept for pods that list none
    #[arg(
        long,
        value_name = "PORTS",
        env = "SIDELOCK_MESH_OUTBOUND",
        default_value = ""
    )]
    mesh_outbound: String,
    /// Ports that the mesh lets alone by default, inbound; kept for pods that list none
    #[arg(
        long,
        value_name = "PORTS",
        env = "SIDELOCK_MESH_INBOUND",
        default_value = ""
    )]
    mesh_inbound: String,
}

/// Runs until told to stop.
pub async fn run(args: Args) -> Outcome {
    let mut stop = Stop::new()?;
    let failed = |error| Failure::new(FAILED, error);
    let certificate = certificate::certificate(args.tls_cert, args.tls_key).map_err(failed)?;
    let authorities = args.ca_file.map(certificate::authorities);
    let authorities = authorities.transpose().map_err(failed)?;
    let config = Config {
        settings: Settings {
            image: args.image,
            core: args.core,
            namespace: args.namespace,
            trust: args.ca_config_map.map(Trust::ConfigMap),
            audience: Some(args.token_audience).filter(|text| !text.is_empty()),
            kubernetes: args.kubernetes_version,
            mesh: MeshDefaults {
                outbound: args.mesh_outbound,
                inbound: args.mesh_inbound,
            },
        },
        certificate,
        authorities,
        api_server: match args.kubernetes_version {
            Some(_) => None,
            None => Some(ApiServer::in_cluster()),
        },
    };
    let listeners = listen::bind(args.listen).await?;
    for (address, _) in &listeners {
        tracing::info!("listening on https://{address}");
    }
    let listeners = listeners
        .into_iter()
        .map(|(_, listener)| listener)
        .collect();
    let ends = Ends::default();
    let serving = server::serve(config, listeners, ends.clone());
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        () = &mut serving => return Err(Failure::new(FAILED, "the webhook has ended")),
        _ = stop.next() => {}
    }
    let last = async {
        ends.leaving.cancel();
        let leave = async {
            tokio::time::sleep(LEAVE).await;
            ends.closing.cancel();
        };
        tokio::join!(serving, leave);
    };
    Ok(stop.finish(last).await)
}
