//! The ledger: what the upstream has done, on disk before anybody is told.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Received;

/// A call that has reached the upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Receipt {
    /// The JSON-RPC id as JSON text.
    pub id: String,
    /// The JSON-RPC method.
    pub method: String,
    /// Tool or prompt name, resource URI.
    pub name: String,
}

impl Receipt {
    /// True for requests that may have effects.
    pub(super) fn is_due(received: &Received) -> bool {
        matches!(received.method(), "tools/call" | "resources/read" | "prompts/get")
    }

    pub(super) fn of(received: &Received) -> Receipt {
        let params = &received.json["params"];
        let name = params["name"].as_str().or(params["uri"].as_str()).unwrap_or_default();
        Receipt { id: received.id(), method: received.method().into(), name: name.into() }
    }
}

#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    file: Mutex<File>,
}

impl Ledger {
    pub(super) fn create() -> Ledger {
        let name = format!("gateway-ledger-{}", Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        let file = File::options().create_new(true).append(true).open(&path);
        Ledger { file: Mutex::new(file.expect("the ledger can be made")), path }
    }

    pub(super) fn write(&self, receipt: &Receipt) {
        let mut line = serde_json::to_vec(receipt).expect("a receipt is JSON");
        line.push(b'\n');
        let mut file = self.file.lock().expect("no test panics in here");
        file.write_all(&line).expect("the ledger can be written");
        file.sync_data().expect("the ledger can be synced");
    }

    pub(super) fn read(&self) -> Vec<Receipt> {
        let text = fs::read_to_string(&self.path).expect("the ledger can be read");
        text.lines().map(|line| serde_json::from_str(line).expect("receipts are JSON")).collect()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
