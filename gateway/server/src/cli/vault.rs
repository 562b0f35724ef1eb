//! `gateway vault rotate`.

use super::{Ended, quiet, say};
use crate::app::Base;
use crate::config::Config;

/// Makes a new data key and seals everything with it.
pub(super) async fn rotate(config: Config) -> anyhow::Result<Ended> {
    let _lines = quiet(&config)?;
    let base = Base::offline(&config).await?;
    let rotated = base.governance.rotate_vault().await;
    base.close().await;
    say(&format!("sealed {} credentials with a new key\n", rotated?))?;
    Ok(Ended::Done)
}
