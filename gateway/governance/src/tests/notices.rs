//! Who is told what, once, signed, and again where it did not arrive.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gateway_store::audit::EventFilter;
use http::{Request, Response, StatusCode};
use ring::hmac;
use serde_json::{Value, json};

use super::house::{House, eventually};
use crate::settings::WebhookSettings;
use crate::testing::settings;
use crate::{Face, Fetch, GovernanceSettings, Letter, Mail};

const SECRET: &str = "canary-webhook-0123456789abcdef";

/// The receivers of everything; what arrives is checked at once.
#[derive(Default)]
struct Outside {
    /// What the webhook answers from now on.
    status: Mutex<u16>,
    /// Ids of attempts, and the events that arrived.
    attempts: Mutex<Vec<String>>,
    events: Mutex<Vec<Value>>,
    letters: Mutex<Vec<Letter>>,
}

impl Outside {
    fn of(&self, kind: &str) -> Vec<Value> {
        let events = self.events.lock().unwrap();
        events.iter().filter(|event| event["type"] == kind).cloned().collect()
    }

    fn letters_to(&self) -> Vec<String> {
        let letters = std::mem::take(&mut *self.letters.lock().unwrap());
        let mut to: Vec<String> = letters.into_iter().map(|letter| letter.to).collect();
        to.sort();
        to
    }
}

#[async_trait]
impl Fetch for Outside {
    async fn send(&self, request: Request<Bytes>, _: usize) -> Result<Response<Bytes>, String> {
        assert_eq!(request.uri(), "https://hooks.test/in");
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        let id = header("webhook-id");
        let body = std::str::from_utf8(request.body()).unwrap();
        let signed = format!("{id}.{}.{body}", header("webhook-timestamp"));
        let signature = header("webhook-signature");
        let signature = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        hmac::verify(&key, signed.as_bytes(), &signature).unwrap();
        self.attempts.lock().unwrap().push(id);
        let status = StatusCode::from_u16(*self.status.lock().unwrap()).unwrap();
        if status.is_success() {
            self.events.lock().unwrap().push(serde_json::from_str(body).unwrap());
        }
        let mut answer = Response::new(Bytes::new());
        *answer.status_mut() = status;
        Ok(answer)
    }
}

#[async_trait]
impl Mail for Outside {
    async fn send(&self, letter: &Letter) -> Result<(), String> {
        self.letters.lock().unwrap().push(letter.clone());
        Ok(())
    }
}

async fn house() -> (House, Arc<Outside>) {
    let outside = Arc::new(Outside { status: Mutex::new(204), ..Outside::default() });
    let url = "https://hooks.test/in".parse().unwrap();
    let webhook = Some(WebhookSettings { url, secret: SECRET.into() });
    let settings = GovernanceSettings { webhook, ..settings() };
    let house = House::open_told(&settings, outside.clone(), outside.clone()).await;
    (house, outside)
}

async fn ask(house: &House, tool: &str) -> String {
    let arguments = json!({"server_id": "tickets", "tools": [tool], "reason": "line\nbreak"});
    let row = house.perform("carol", Face::Rest, "request_access", arguments).await.unwrap();
    row["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_decide_are_told_and_then_whoever_asked() {
    let (house, outside) = house().await;
    house.admin_of_tickets("dora").await;
    let id = ask(&house, "list").await;
    eventually("the webhook is told", async || !outside.of("access_request.created").is_empty())
        .await;
    let event = outside.of("access_request.created").remove(0);
    let data = &event["data"];
    assert_eq!((&data["id"], &data["for"]), (&json!(id), &json!("user:carol@example.com")));
    assert_eq!((&data["server"], &data["reason"]), (&json!("tickets"), &json!("line\nbreak")));
    eventually("three letters", async || outside.letters.lock().unwrap().len() == 3).await;
    let letter = outside.letters.lock().unwrap()[0].clone();
    assert_eq!(letter.subject, "Access of user:carol@example.com to tickets was asked for");
    assert!(
        letter.text.contains("Reason: line break\n") && letter.text.contains(&id),
        "{letter:?}"
    );
    let expected = ["dora@example.com", "root@example.com", "sec@example.com"];
    assert_eq!(outside.letters_to(), expected);

    let decision = json!({"id": id, "decision": "reject", "note": "ask your lead"});
    house.perform("dora", Face::Rest, "decide_access_request", decision).await.unwrap();
    eventually("the decision is told", async || !outside.of("access_request.rejected").is_empty())
        .await;
    eventually("by mail too", async || !outside.letters.lock().unwrap().is_empty()).await;
    assert_eq!(outside.of("access_request.rejected")[0]["data"]["note"], "ask your lead");
    assert_eq!(outside.letters_to(), ["carol@example.com"]);

    let id = ask(&house, "pay").await;
    let cancel = json!({"id": id});
    house.perform("carol", Face::Rest, "cancel_access_request", cancel).await.unwrap();
    eventually("withdrawing is told", async || !outside.of("access_request.cancelled").is_empty())
        .await;
    let id = ask(&house, "drop_all").await;
    let grant = json!({"id": id, "decision": "approve", "duration": "1m"});
    house.perform("sec", Face::Rest, "decide_access_request", grant).await.unwrap();
    house.clock.advance(90);
    eventually("the end is told", async || !outside.of("access_request.expired").is_empty()).await;

    // A call that waits for others: they are told, the caller is not, and equal calls tell nothing new.
    eventually("all letters", async || outside.letters.lock().unwrap().len() >= 8).await;
    outside.letters_to();
    let confirmations = house.a.governance.confirmations();
    confirmations.request(house.waiting("dora", &["caller"])).await.unwrap();
    let waiting = confirmations.request(house.waiting("bob", &["group:security"])).await.unwrap();
    confirmations.request(house.waiting("bob", &["group:security"])).await.unwrap();
    eventually("it is told", async || !outside.of("confirmation.requested").is_empty()).await;
    eventually("by mail", async || outside.letters.lock().unwrap().len() >= 2).await;
    let told = outside.of("confirmation.requested").remove(0);
    assert_eq!(told["data"]["id"], waiting.id.to_string());
    assert!(told["data"].get("arguments").is_none(), "{told}");
    let place = format!("https://gw.example.com/confirmations/{}", waiting.id);
    assert_eq!(told["data"]["url"], json!(place));
    assert_eq!(outside.letters_to(), ["dora@example.com", "sec@example.com"]);

    // Each once, over both replicas.
    let ids = outside.attempts.lock().unwrap().clone();
    let kinds: Vec<Value> =
        outside.events.lock().unwrap().iter().map(|e| e["type"].clone()).collect();
    let distinct: std::collections::HashSet<&String> = ids.iter().collect();
    assert_eq!((ids.len(), distinct.len(), kinds.len()), (8, 8, 8), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_arrive_is_sent_again_and_at_last_given_up() {
    let (house, outside) = house().await;
    *outside.status.lock().unwrap() = 500;
    let attempts = || -> HashMap<String, usize> {
        let mut counted = HashMap::new();
        for id in outside.attempts.lock().unwrap().iter() {
            *counted.entry(id.clone()).or_default() += 1;
        }
        counted
    };
    ask(&house, "list").await;
    eventually("a first attempt", async || attempts().values().eq([&1])).await;
    // Not before its time, then again under the same id, until it arrives.
    house.clock.advance(3);
    for replica in [&house.a, &house.b] {
        replica.governance.refresh().await.unwrap();
    }
    assert!(attempts().values().eq([&1]));
    house.clock.advance(5);
    eventually("a second attempt", async || attempts().values().eq([&2])).await;
    *outside.status.lock().unwrap() = 200;
    house.clock.advance(40);
    eventually("it arrives", async || !outside.of("access_request.created").is_empty()).await;
    assert!(attempts().values().eq([&3]));

    // A receiver that never takes one.
    *outside.status.lock().unwrap() = 410;
    outside.attempts.lock().unwrap().clear();
    ask(&house, "pay").await;
    for attempt in 1..=9usize {
        eventually("an attempt", async || attempts().values().eq([&attempt])).await;
        house.clock.advance(13 * 3600);
    }
    let failed =
        EventFilter { action_types: vec!["notice_failed".into()], ..EventFilter::default() };
    eventually("it is given up", async || house.all_rows(&failed).await.len() == 1).await;
    let row = house.all_rows(&failed).await.remove(0);
    let detail = row.detail.unwrap_or_default();
    assert!(
        detail.contains("access_request.created given up after 9 attempts: status 410"),
        "{detail}"
    );
    assert!(attempts().values().eq([&9]));
}
