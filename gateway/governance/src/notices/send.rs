//! Sending what is stored: one worker a channel, so that a slow receiver of the one keeps nothing of the
//! other; with pauses that grow, until it arrives or is given up.

use gateway_core::Timestamp;
use gateway_core::ids::{CallId, EventId};
use gateway_core::reason::Reason;
use gateway_core::record::{ActionType, Event, Outcome, Subject};
use gateway_store::StoreError;
use gateway_store::notice::{Channel, Notice};
use serde::Deserialize;
use time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::Notices;
use crate::ports::{Letter, uuid7};

/// How long one attempt may take.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(15);
/// How long a replica holds a notice; longer than an attempt takes.
const HELD: Duration = Duration::MINUTE;
/// How long after each failed attempt the next one follows; after the last one it is given up.
const PAUSES: [Duration; 8] = [
    Duration::seconds(5),
    Duration::seconds(30),
    Duration::minutes(2),
    Duration::minutes(10),
    Duration::minutes(30),
    Duration::hours(2),
    Duration::hours(6),
    Duration::hours(12),
];
/// How long what was told is remembered.
const REMEMBERED: Duration = Duration::days(7);
/// How often what is no longer needed is looked for.
const SWEEP: std::time::Duration = std::time::Duration::from_secs(600);
/// Longest answer of a webhook that is read; nothing of it is used.
const MAX_ANSWER: usize = 64 << 10;

#[derive(Deserialize)]
struct Written {
    subject: String,
    text: String,
}

impl Notices {
    /// Sends what is due until `shutdown`.
    pub(crate) async fn follow(&self, shutdown: CancellationToken) {
        let webhook = async {
            if self.signer.is_some() {
                self.work(Channel::Webhook).await;
            }
        };
        let mail = async {
            if self.ways.mail.is_some() {
                self.work(Channel::Mail).await;
            }
        };
        let all = async { tokio::join!(webhook, mail, self.forget()) };
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = all => {}
        }
    }

    async fn work(&self, channel: Channel) {
        let mut poll = interval(self.poll);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = poll.tick() => {}
                () = self.written.notified() => {}
            }
            loop {
                match self.next(channel).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::debug!(%error, "notices cannot be read now");
                        break;
                    }
                }
            }
        }
    }

    async fn forget(&self) {
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            sweep.tick().await;
            if let Err(error) = self.store.sweep_notices(self.clock.now() - REMEMBERED).await {
                tracing::debug!(%error, "old notices cannot be removed now");
            }
        }
    }

    /// Sends the next one; false when none is due.
    async fn next(&self, channel: Channel) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let Some(notice) = self.store.claim_notice(channel, now, now + HELD).await? else {
            return Ok(false);
        };
        let sent = timeout(WITHIN, self.send(channel, &notice)).await;
        let sent = sent.unwrap_or_else(|_| Err(format!("no answer within {} s", WITHIN.as_secs())));
        let now = self.clock.now();
        let Err(error) = sent else {
            self.store.notice_sent(notice.id, now).await?;
            return Ok(true);
        };
        let tried = usize::try_from(notice.attempts).unwrap_or(usize::MAX);
        let pause = PAUSES.get(tried.saturating_sub(1));
        self.store.notice_failed(notice.id, &error, now, pause.map(|pause| now + *pause)).await?;
        if pause.is_some() {
            tracing::warn!(%error, notice = %notice.id, kind = notice.kind, attempts = tried, "a notice was not told yet");
        } else {
            tracing::error!(%error, notice = %notice.id, kind = notice.kind, attempts = tried, "a notice is given up");
            self.record_failure(channel, &notice, error, now);
        }
        Ok(true)
    }

    async fn send(&self, channel: Channel, notice: &Notice) -> Result<(), String> {
        match channel {
            Channel::Webhook => {
                let signer = self.signer.as_ref().ok_or("no webhook is configured here")?;
                let request = signer.request(notice.id, self.clock.now(), &notice.body)?;
                let status = self.ways.fetch.send(request, MAX_ANSWER).await?.status();
                if status.is_success() {
                    Ok(())
                } else {
                    Err(format!("status {}", status.as_u16()))
                }
            }
            Channel::Mail => {
                let mail = self.ways.mail.as_ref().ok_or("no mail server is configured here")?;
                let written: Written =
                    serde_json::from_str(&notice.body).map_err(|e| e.to_string())?;
                let Written { subject, text } = written;
                let to = notice.recipient.clone();
                mail.send(&Letter { id: notice.id.0, to, subject, text }).await
            }
        }
    }

    fn record_failure(&self, channel: Channel, notice: &Notice, error: String, now: Timestamp) {
        let subject = Subject {
            method: Some(channel.as_str().into()),
            resource_type: Some("notice"),
            resource_name: Some(notice.id.to_string()),
            ..Subject::default()
        };
        self.trail.conclude(Event {
            reason: Some(Reason::UpstreamUnreachable),
            detail: Some(format!(
                "{} given up after {} attempts: {error}",
                notice.kind, notice.attempts
            )),
            ..Event::new(
                EventId(uuid7(now, &*self.random)),
                now,
                CallId(uuid7(now, &*self.random)),
                subject,
                ActionType::NoticeFailed,
                Outcome::Error,
            )
        });
    }
}
