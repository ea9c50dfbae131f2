//! What the HTTP stack allows: a bare axum server that reads JSON and sends it back.
//! In: an address. Out: echoes. Never: anything else.

use std::net::SocketAddr;

use axum::routing::post;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde_json::Value;

/// Serves the echo until it is ended.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen
    address: SocketAddr,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(args.address).await?;
    let listener = listener.tap_io(|socket| {
        if let Err(error) = socket.set_nodelay(true) {
            eprintln!("no TCP_NODELAY: {error}");
        }
    });
    let echo = async |Json(body): Json<Value>| Json(body);
    let router = Router::new().route("/", post(echo));
    axum::serve(listener, router).await?;
    Ok(())
}
