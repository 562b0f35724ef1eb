//! Recorded calls come in pages, each once, with the arguments that were kept, and nothing else comes.

use gateway_core::reason::Reason;

use super::*;
use crate::audit::{EventCursor, RecordedCall};

async fn all(store: &Store, span: (Timestamp, Timestamp), limit: usize) -> Vec<RecordedCall> {
    let (mut calls, mut after) = (vec![], None::<EventCursor>);
    for _ in 0..1000 {
        let page = store.recorded_calls(span, after, limit).await.unwrap();
        assert!(page.calls.len() <= limit);
        calls.extend(page.calls);
        after = page.next;
        if after.is_none() {
            return calls;
        }
    }
    panic!("pages without end");
}

/// A row of its own, as of a call that never left.
fn denied(tool: &str, arguments: Option<&'static [u8]>) -> Event {
    let intent = intent(subject(tool));
    Event {
        concludes_intent: false,
        action: ActionType::AccessDenied,
        outcome: Outcome::Denied,
        arguments: arguments.map(Bytes::from_static),
        ..outcome(&intent)
    }
}

#[tokio::test]
async fn calls_come_with_what_was_kept_of_them() {
    let (store, dir) = (testing::store().await, Dir::new());
    let limit = TrailSettings { payload_limit: 64, ..settings(&dir) };
    let trail = Trail::start(&store, limit).await.unwrap();
    let start = SystemClock.now() - Duration::from_secs(60);
    call(&trail, "left").await;
    trail.conclude(denied("denied", Some(b"{\"n\":2}")));
    trail.conclude(denied("bare", None));
    trail.conclude(denied("cut", Some(&[b' '; 200])));
    // Not calls: an operation that was denied, a call of nobody, a listing, something without a server.
    let strange = |change: fn(&mut Subject, &mut Event)| {
        let mut event = denied("strange", None);
        let mut subject = (*event.subject).clone();
        change(&mut subject, &mut event);
        Event { subject: Arc::new(subject), ..event }
    };
    trail.conclude(strange(|subject, _| subject.method = Some("set_server_status".into())));
    trail.conclude(strange(|subject, _| subject.actor_id = None));
    trail.conclude(strange(|subject, _| subject.server_id = None));
    trail.conclude(strange(|subject, _| subject.resource_type = Some("server")));
    trail.conclude(strange(|_, event| event.action = ActionType::ListingRead));
    trail.conclude(strange(|_, event| event.action = ActionType::ConfirmationRequested));
    trail.conclude(strange(|_, event| event.action = ActionType::RequestRefused));
    let limited = denied("limited", Some(b"{\"n\":4}"));
    let reason = Some(Reason::BudgetExhausted);
    trail.conclude(Event { action: ActionType::RequestRefused, reason, ..limited });
    let blocked = denied("blocked", Some(b"{\"n\":5}"));
    trail.conclude(Event { action: ActionType::SecurityViolation, ..blocked });
    assert!(trail.flush(PATIENCE).await);
    trail.stop().await;
    let span = (start, SystemClock.now() + Duration::from_secs(1));
    let calls = all(&store, span, 500).await;
    let mut names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["bare", "blocked", "cut", "denied", "left", "limited"]);
    assert!(calls.is_sorted_by_key(|call| std::cmp::Reverse((call.at, call.event))));
    for limit in [1, 2, 3] {
        assert_eq!(all(&store, span, limit).await, calls);
    }
    let found = |name: &str| calls.iter().find(|call| call.name == name).unwrap();
    assert_eq!(found("bare").arguments, None);
    let cut = found("cut").arguments.unwrap();
    assert!(!cut.whole && cut.kept == 64);
    let (left, denied) = (found("left"), found("denied"));
    assert_eq!((left.actor, left.server.0.as_u128()), (user(1), 7));
    assert_eq!((&*left.kind, left.client_ip.as_deref()), ("tool", Some("10.1.2.3")));
    assert!(["blocked", "limited"].iter().all(|name| found(name).arguments.is_some()));
    let wanted = [denied, left].map(|call| call.arguments.unwrap());
    assert!(wanted.iter().all(|kept| kept.whole));
    let read = store.recorded_arguments(&wanted).await.unwrap();
    let read: Vec<&[u8]> = read.iter().map(|body| &*body.as_ref().unwrap().bytes).collect();
    assert_eq!(read, [&b"{\"n\":2}"[..], b"{\"id\":1}"]);
    // Retention takes bodies first.
    sql(&store, "delete from audit_payload").await;
    assert_eq!(store.recorded_arguments(&wanted).await.unwrap(), [None, None]);
    assert!(all(&store, span, 9).await.iter().all(|call| call.arguments.is_none()));
    // Only what is in the span.
    assert_eq!(all(&store, (start, left.at), 9).await.len(), 0);
    assert_eq!(store.recorded_arguments(&[]).await.unwrap(), []);
}
