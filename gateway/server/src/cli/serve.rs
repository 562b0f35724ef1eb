//! `gateway serve` and `gateway migrate`.

use anyhow::Context;
use gateway_store::Store;
use tokio::signal::unix::{SignalKind, signal};

use super::{Ended, quiet};
use crate::app::App;
use crate::config::Config;
use crate::telemetry;

/// Runs until SIGTERM or Ctrl-C; a second one ends at once.
pub(super) async fn serve(config: Config) -> anyhow::Result<Ended> {
    let telemetry = telemetry::start(&config.log, &config.telemetry)?;
    let mut terminate = signal(SignalKind::terminate()).context("signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
    let mut asked = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let app = Box::pin(App::start(config)).await?;
    asked().await;
    let impatient = tokio::select! {
        () = Box::pin(app.run_until(async {})) => false,
        () = asked() => true,
    };
    if impatient {
        tracing::warn!(
            "stopped at once: calls were cut, their outcome will be recorded as unknown"
        );
    }
    // Exports what is queued; its threads block.
    tokio::task::spawn_blocking(move || telemetry.stop()).await?;
    Ok(Ended::Done)
}

/// Applies the missing migrations.
pub(super) async fn migrate(config: Config) -> anyhow::Result<Ended> {
    let _lines = quiet(&config)?;
    Store::migrate(&crate::app::store_settings(&config)).await.context("database")?;
    Ok(Ended::Done)
}
