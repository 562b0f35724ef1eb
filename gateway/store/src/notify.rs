//! What other replicas did, as it is committed. Notices are a courtesy: while the connection is cut none
//! arrive, so whoever listens also polls, and reads everything anew after [`Notice::Restored`].

use std::time::Duration;

use gateway_core::ids::ConfirmationId;
use sqlx::postgres::{PgListener, PgNotification};
use tokio::time::Instant;

use crate::pool::Store;

const CATALOGUE: &str = "gateway_catalogue";
const CONFIRMATION: &str = "gateway_confirmation";
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The catalogue has this version now.
    Catalogue(i64),
    /// That confirmation was asked for, settled or used.
    Confirmation(ConfirmationId),
    /// The connection broke: from now on notices are missed.
    Cut,
    /// Listening again; what happened in between was missed. Also the first notice of all.
    Restored,
    /// The store was closed: nothing follows.
    Closed,
}

/// A subscription that mends itself. It holds one connection of the pool.
#[derive(Debug)]
pub struct Notices {
    store: Store,
    listener: Option<PgListener>,
    pause: Duration,
    /// An instant and not a pause: a dropped `next` must not start the wait anew.
    try_at: Instant,
}

impl Store {
    /// Subscribes to changes; nothing happens before the first [`Notices::next`].
    pub fn listen(&self) -> Notices {
        Notices {
            store: self.clone(),
            listener: None,
            pause: Duration::ZERO,
            try_at: Instant::now(),
        }
    }
}

impl Notices {
    /// Waits for the next notice, as long as it takes. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Notice {
        loop {
            if self.store.pool().is_closed() {
                self.listener = None;
                return Notice::Closed;
            }
            let Some(listener) = &mut self.listener else {
                if self.connect().await {
                    return Notice::Restored;
                }
                continue;
            };
            match listener.try_recv().await {
                Ok(Some(notification)) => {
                    if let Some(notice) = read(&notification) {
                        return notice;
                    }
                }
                Ok(None) => {
                    self.listener = None;
                    return Notice::Cut;
                }
                Err(error) => {
                    self.listener = None;
                    if !self.store.pool().is_closed() {
                        tracing::warn!(%error, "lost the connection that listens for changes");
                        return Notice::Cut;
                    }
                }
            }
        }
    }

    async fn connect(&mut self) -> bool {
        tokio::time::sleep_until(self.try_at).await;
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.try_at = Instant::now() + self.pause;
        let subscribed = async {
            let mut listener = PgListener::connect_with(self.store.pool()).await?;
            // Cut is ours to tell, before anything is connected anew.
            listener.eager_reconnect(false);
            listener.listen_all([CATALOGUE, CONFIRMATION]).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        match tokio::time::timeout(Duration::from_secs(5), subscribed).await {
            Ok(Ok(listener)) => {
                self.listener = Some(listener);
                self.pause = Duration::ZERO;
                true
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "cannot listen for changes yet");
                false
            }
            Err(_) => false,
        }
    }
}

fn read(notification: &PgNotification) -> Option<Notice> {
    let payload = notification.payload();
    match notification.channel() {
        CATALOGUE => payload.parse().ok().map(Notice::Catalogue),
        CONFIRMATION => payload.parse().ok().map(Notice::Confirmation),
        _ => None,
    }
}
