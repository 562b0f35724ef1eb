//! The conformance suite's upstream: `PORT=7001 conformance-fixture` answers at
//! `http://127.0.0.1:7001/mcp` until it is stopped. What it answers is in `gateway_tests::fixture`.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let port = std::env::var("PORT").context("PORT is not set, expected a TCP port")?;
    let port: u16 = port.parse().with_context(|| format!("PORT={port}: expected a TCP port"))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
    let service = TowerToHyperService::new(gateway_tests::fixture::service());
    gateway_tests::serve::serve(listener, service).await;
    Ok(())
}
