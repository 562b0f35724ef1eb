//! `gateway audit verify`.

use anyhow::Context;
use gateway_core::keys::Purpose;
use gateway_store::Store;
use gateway_store::audit::{Verdict, Verified, verify as walk};

use super::{Ended, quiet, say};
use crate::config::{Config, read_root_key};

/// Walks every chain. Changes nothing, migrates nothing.
pub(super) async fn verify(config: Config) -> anyhow::Result<Ended> {
    let _lines = quiet(&config)?;
    let root = read_root_key(&config.keys.root_file)?;
    let settings = crate::app::store_settings(&config);
    let settings = gateway_store::StoreSettings { migrate: false, ..settings };
    let store = Store::open(&settings).await.context("database")?;
    let verdict = walk(&store, &root.derive(Purpose::AuditChain)).await;
    store.close().await;
    match verdict.context("database")? {
        Verdict::Verified(verified) => {
            let Verified { chains, batches, rows, payloads } = verified;
            say(&format!(
                "whole: {rows} records and {payloads} payloads in {batches} batches of {chains} chains\n"
            ))?;
            Ok(Ended::Done)
        }
        Verdict::Broken(broken) => {
            say(&format!("BROKEN {broken}\n"))?;
            Ok(Ended::NotSo)
        }
    }
}
