//! What was read from labelled servers, and sessions that are over.

use gateway_core::Timestamp;
use gateway_core::ids::{ServerId, UserId};
use gateway_core::label::Label;
use time::Duration;
use uuid::Uuid;

use crate::flow::{FlowMark, FlowReaders};
use crate::testing::store;

fn user(n: u128) -> UserId {
    UserId(Uuid::from_u128(n))
}

fn readers(principals: &[UserId], agent: Option<UserId>) -> FlowReaders {
    FlowReaders { principals: principals.to_vec(), agent }
}

#[tokio::test]
async fn marks_are_of_those_who_read_and_of_those_for_whom_it_was_read() {
    let store = store().await;
    let now = Timestamp::UNIX_EPOCH + Duration::days(20_000);
    let [bob, alice, agent] = [1, 2, 3].map(user);
    let [web, mail] = [10, 11].map(|n| ServerId(Uuid::from_u128(n)));
    let both = [Label::Untrusted, Label::Private];
    store.mark_flow((bob, None), web, &both[..1], now).await.unwrap();
    store.mark_flow((bob, Some(agent)), mail, &both, now - Duration::MINUTE).await.unwrap();
    // Neither does an older read hide a later one, nor are there two of them.
    store.mark_flow((bob, None), web, &both[..1], now - Duration::HOUR).await.unwrap();
    let of = async |readers: FlowReaders, since| {
        let marks = store.flow_marks(&readers, since).await.unwrap();
        marks.into_iter().map(|m| (m.server, m.label)).collect::<Vec<_>>()
    };
    let hour = now - Duration::HOUR;
    let mails = [(mail, Label::Private), (mail, Label::Untrusted)];
    let all = [(web, Label::Untrusted), mails[0], mails[1]];
    assert_eq!(of(readers(&[bob], None), hour).await, all);
    assert_eq!(of(readers(&[bob, agent], None), hour).await, all);
    assert_eq!(of(readers(&[agent], Some(agent)), hour).await, mails);
    assert_eq!(of(readers(&[agent], None), hour).await, []);
    assert_eq!(of(readers(&[alice, agent], None), hour).await, []);
    assert_eq!(of(readers(&[bob], None), now - Duration::MINUTE).await, all[..1]);
    assert_eq!(of(readers(&[bob], None), now).await, []);
    let first = store.flow_marks(&readers(&[bob], None), hour).await.unwrap().remove(0);
    assert_eq!(first, FlowMark { server: web, label: Label::Untrusted, at: now });
    assert_eq!(store.forget_flow_marks(now - Duration::MINUTE).await.unwrap(), 2);
    assert_eq!(of(readers(&[bob], None), hour).await, all[..1]);
}

#[tokio::test]
async fn an_ended_session_is_in_the_catalogue_until_its_handle_expires() {
    let store = store().await;
    let before = store.load_catalogue().await.unwrap();
    assert_eq!(before.ended_sessions, [] as [[u8; 32]; 0]);
    let until = Timestamp::UNIX_EPOCH + Duration::days(20_000);
    store.end_mcp_session(&[7; 32], until).await.unwrap();
    let after = store.load_catalogue().await.unwrap();
    assert_eq!(after.ended_sessions, [[7; 32]]);
    assert_ne!(after.version, before.version, "nobody would read it");
    store.end_mcp_session(&[7; 32], until).await.unwrap();
    assert_eq!(store.catalogue_version().await.unwrap(), after.version, "nothing has changed");
    store.sweep_oauth(until - Duration::SECOND).await.unwrap();
    assert_eq!(store.load_catalogue().await.unwrap().ended_sessions, [[7; 32]]);
    store.sweep_oauth(until).await.unwrap();
    assert_eq!(store.load_catalogue().await.unwrap().ended_sessions, [] as [[u8; 32]; 0]);
}
