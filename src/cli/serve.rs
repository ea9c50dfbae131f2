//! The sidecar's face on its listeners: the API for apps, and probes for whoever watches from outside.
//! In: bound listeners, a running sidecar. Out: served requests until told to close.
//! Never: the API on the admin address.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::config::api_token::ApiToken;
use crate::config::followed::Followed;
use crate::sidecar::handle::Sidecar;
use crate::telemetry::push;

/// What a sidecar listens on.
pub struct Face {
    /// For apps.
    pub tcp: Vec<(SocketAddr, TcpListener)>,
    /// For apps that share a directory.
    pub socket: Option<UnixListener>,
    /// For probes and metrics; none unless asked for.
    pub admin: Vec<(SocketAddr, TcpListener)>,
    /// Whether apps may break locks.
    pub operator_routes: bool,
    /// Values of `Host` that are allowed besides the local ones.
    pub hosts: Vec<String>,
    /// What apps must show, if they must.
    pub token: Option<Arc<Followed<ApiToken>>>,
}

impl Face {
    /// Serves until `closing`, and then what is under way for a moment.
    pub async fn serve(self, sidecar: Arc<dyn Sidecar>, closing: CancellationToken) {
        let mut hosts = self.hosts;
        // A face that was told to listen elsewhere is called by that address.
        for (address, _) in self
            .tcp
            .iter()
            .filter(|(address, _)| !address.ip().is_loopback())
        {
            hosts.push(address.to_string());
        }
        let config = api::Config {
            operator_routes: self.operator_routes,
            hosts,
            token: self.token.clone(),
        };
        let measured = sidecar.clone();
        let push = push::run(
            "sidecar",
            Arc::new(move || api::measured(&*measured).messages()),
        );
        let (router, probes) = api::router_and_probes(sidecar, config);
        let tcp = self.tcp.into_iter().map(|(_, listener)| listener.into());
        let listeners = tcp.chain(self.socket.map(Into::into)).collect();
        let admin: Vec<api::Listener> = self
            .admin
            .into_iter()
            .map(|(_, listener)| listener.into())
            .collect();
        let serving = api::serve(listeners, router, closing.clone().cancelled_owned());
        let probing = async {
            if !admin.is_empty() {
                api::serve(admin, probes, closing.cancelled_owned()).await;
            }
        };
        let serving = async { tokio::join!(serving, probing) };
        let beside = async {
            let following = async {
                if let Some(token) = &self.token {
                    token.follow().await;
                }
            };
            tokio::join!(push, following);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = serving => {}
            () = beside => {}
        }
    }
}
