//! Audience isolation: a token for one server is none for another, nor for the gateway's own interfaces.

use super::{Flow, GATEWAY, parameters, text, value};
use crate::oauth::Unasked;

fn proxy(name: &str) -> String {
    format!("{GATEWAY}/api/v1/proxy/{name}/mcp")
}

#[tokio::test]
async fn a_token_is_good_where_it_was_asked_for() {
    let flow = Flow::open().await;
    let snapshot = flow.house.a.governance.snapshot();
    let id = |slug: &str| snapshot.server(slug).unwrap().id.to_string();
    let places = [
        proxy("tickets"),
        proxy(&id("tickets")),
        proxy("vault"),
        proxy(&id("vault")),
        proxy("runlayer"),
        GATEWAY.to_owned(),
        format!("{GATEWAY}/"),
    ];
    for (resource, good) in [
        ("", &[0, 1, 2, 3, 4, 5, 6][..]),
        (GATEWAY, &[0, 1, 2, 3, 4, 5, 6]),
        ("https://gw.example.com:443/", &[0, 1, 2, 3, 4, 5, 6]),
        ("HTTPS://GW.example.com", &[0, 1, 2, 3, 4, 5, 6]),
        (&proxy("tickets"), &[0, 1]),
        (&proxy(&id("tickets")), &[0, 1]),
        (&proxy("runlayer"), &[4]),
    ] {
        let tokens = flow.tokens(&[("resource", resource)]).await;
        for (number, place) in places.iter().enumerate() {
            for replica in [&flow.house.a, &flow.house.b] {
                let got = flow.at(replica, text(&tokens, "access_token"), place).await;
                assert_eq!(got.is_ok(), good.contains(&number), "{resource:?} at {place}");
            }
        }
    }
}

#[tokio::test]
async fn resources_that_are_not_ours_are_refused() {
    let flow = Flow::open().await;
    for resource in [
        "https://evil.example/api/v1/proxy/tickets/mcp",
        "http://gw.example.com",
        "https://gw.example.com:444",
        "https://gw.example.com.evil.example",
        "https://user@gw.example.com",
        "https://gw.example.com/#x",
        "https://gw.example.com/?x=1",
        "https://gw.example.com/api/v1",
        "https://gw.example.com/api/v1/proxy/tickets",
        "https://gw.example.com/api/v1/proxy/tickets/mcp/",
        "https://gw.example.com/api/v1/proxy/a/b/mcp",
        "https://gw.example.com/api/v1/proxy/%74ickets/mcp",
        "https://gw.example.com/api/v1/proxy//mcp",
        "tickets",
        "*",
    ] {
        let Err(Unasked::Redirect(url)) = flow.ask(&[("resource", resource)]).await else {
            panic!("{resource} was taken");
        };
        let error = value(&parameters(&url), "error");
        assert_eq!(error.as_deref(), Some("invalid_target"), "{resource}");
    }
    let two = [("resource", GATEWAY), ("resource", &*proxy("tickets"))];
    let Err(Unasked::Redirect(url)) = flow.ask(&two).await else { panic!("two were taken") };
    assert_eq!(value(&parameters(&url), "error").as_deref(), Some("invalid_target"));
    // The same one twice is one.
    assert!(flow.ask(&[("resource", GATEWAY), ("resource", GATEWAY)]).await.is_ok());
}

#[tokio::test]
async fn scopes_are_known_ones() {
    let flow = Flow::open().await;
    let id = flow.house.a.governance.snapshot().server("tickets").unwrap().id;
    let one = format!("mcp:proxy:{id}");
    for (asked, granted) in [
        ("", "mcp:proxy"),
        ("mcp:proxy", "mcp:proxy"),
        ("offline_access", "mcp:proxy offline_access"),
        ("mcp:proxy  offline_access mcp:proxy", "mcp:proxy offline_access"),
        (&one, &one),
    ] {
        assert_eq!(flow.ask(&[("scope", asked)]).await.unwrap().scope, granted, "{asked}");
    }
    for unknown in
        ["openid", "mcp", "mcp:proxy:", "mcp:proxy:tickets", "mcp:proxy admin", "MCP:PROXY"]
    {
        let Err(Unasked::Redirect(url)) = flow.ask(&[("scope", unknown)]).await else {
            panic!("{unknown} was taken");
        };
        let error = value(&parameters(&url), "error");
        assert_eq!(error.as_deref(), Some("invalid_scope"), "{unknown}");
    }
    // A token of that scope is good there alone, although it is for the whole gateway.
    let tokens = flow.tokens(&[("scope", &one)]).await;
    let token = text(&tokens, "access_token");
    flow.at(&flow.house.a, token, &proxy("tickets")).await.unwrap();
    for place in [proxy("vault"), GATEWAY.to_owned()] {
        assert!(flow.at(&flow.house.a, token, &place).await.is_err(), "{place}");
    }
}
