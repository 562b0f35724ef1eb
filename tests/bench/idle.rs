//! `bench idle`: what the gateway's memory is before anybody called, and what streams take on which nothing happens.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;

use crate::load::{self, Target};
use crate::sides::{Side, Sides, What};
use crate::usage::Usage;

/// Streams that are opened together.
const TOGETHER: usize = 64;

/// An open stream and its connection.
type Open = (SendRequest<Full<Bytes>>, Incoming);

/// Opens so many and prints one table.
pub(crate) async fn measure(streams: usize) -> anyhow::Result<()> {
    let places = streams * 2;
    let limits = format!("limits.in_flight = {places}\nlimits.per_server = {places}\n");
    let sides = Sides::start_with(&limits, &[]).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "| streams | RSS MB | kB for each |\n|---|---|---|")?;
    let target = sides.target(Side::Unread, What::Listen).context("the gateway is there")?;
    let rss = || Usage::of(&target.processes).rss_mb;
    let none = rss();
    writeln!(out, "| 0, nobody has called | {none:.0} | - |")?;
    let mut open = Vec::new();
    for count in [64, streams / 2, streams] {
        while open.len() < count {
            let more = (0..TOGETHER.min(count - open.len())).map(|_| stream(&target));
            open.extend(futures_util::future::try_join_all(more).await?);
        }
        // What opening them took is given back.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let now = rss();
        writeln!(out, "| {count} | {now:.0} | {:.1} |", (now - none) * 1e3 / count as f64)?;
    }
    Ok(())
}

async fn stream(target: &Target) -> anyhow::Result<Open> {
    let mut connection = load::connect(target.address).await?;
    let mut request = Request::post(&target.path).body(Full::new(target.body.clone()))?;
    *request.headers_mut() = target.headers.clone();
    let response = connection.send_request(request).await?;
    let status = response.status();
    let mut body = response.into_body();
    let first = tokio::time::timeout(Duration::from_secs(10), body.frame()).await;
    let first = first.context("nothing comes")?.context("the stream ended")??;
    anyhow::ensure!(
        status == 200
            && first.data_ref().is_some_and(|data| data.windows(5).any(|w| w == b"data:")),
        "status {status}, {first:?}"
    );
    Ok((connection, body))
}
