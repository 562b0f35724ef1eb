//! Addresses: spellings, translations, ranges, names that change their mind.

use std::net::SocketAddr;

use gateway_core::reason::Reason;
use gateway_governance::Fetch;
use url::Url;

use super::fixture::{Answers, Script, Upstream, guard, none, ok, post, server, settings};
use crate::upstream::leg::public_authorities;
use crate::upstream::{Guard, Leg};

/// Spellings of this machine and of places that nobody may reach; `PORT` is a listener's.
pub(super) const SPELLINGS: &[&str] = &[
    "http://127.0.0.1:PORT/",
    "http://127.0.0.1.:PORT/",
    "http://127.1:PORT/",
    "http://127.0.1:PORT/",
    "http://127.0.0.2:PORT/",
    "http://127.255.255.254:PORT/",
    "http://2130706433:PORT/",
    "http://0x7f000001:PORT/",
    "http://0x7F.0.0.1:PORT/",
    "http://0x7f.0x0.0x0.0x1:PORT/",
    "http://0177.0.0.1:PORT/",
    "http://0177.0000.0000.0001:PORT/",
    "http://017700000001:PORT/",
    "http://127.0x0.000.1:PORT/",
    "http://%31%32%37.0.0.1:PORT/",
    "http://127%2e0%2e0%2e1:PORT/",
    "http://①②⑦.⓪.⓪.①:PORT/",
    "http://１２７.０.０.１:PORT/",
    "http://127。0。0。1:PORT/",
    "http://localhost:PORT/",
    "http://LOCALHOST:PORT/",
    "http://ｌｏｃａｌｈｏｓｔ:PORT/",
    "http://[::1]:PORT/",
    "http://[0:0:0:0:0:0:0:1]:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://[::FFFF:7f00:1]:PORT/",
    "http://[0:0:0:0:0:ffff:7f00:0001]:PORT/",
    "http://[::127.0.0.1]:PORT/",
    "http://[::7f00:1]:PORT/",
    "http://[64:ff9b::7f00:1]:PORT/",
    "http://[64:ff9b::127.0.0.1]:PORT/",
    "http://[64:ff9b:1::7f00:1]:PORT/",
    "http://[2002:7f00:1::]:PORT/",
    "http://[2002:7f00:1::1]:PORT/",
    "http://[2001:0:0:0:0:0:80ff:fffe]:PORT/",
    "http://0.0.0.0:PORT/",
    "http://0:PORT/",
    "http://0x0:PORT/",
    "http://0.1.2.3:PORT/",
    "http://[::]:PORT/",
    "http://[::ffff:0.0.0.0]:PORT/",
    "http://10.0.0.1:PORT/",
    "http://167772161:PORT/",
    "http://172.16.0.1:PORT/",
    "http://172.31.255.255:PORT/",
    "http://192.168.0.1:PORT/",
    "http://100.64.0.1:PORT/",
    "http://198.18.0.1:PORT/",
    "http://240.0.0.1:PORT/",
    "http://[fc00::1]:PORT/",
    "http://[fd12:3456::1]:PORT/",
    "http://[fec0::1]:PORT/",
    "http://[2001:db8::1]:PORT/",
    "http://[::ffff:10.0.0.1]:PORT/",
    "http://[::ffff:192.168.0.1]:PORT/",
    "http://169.254.169.254:PORT/latest/meta-data/",
    "http://2852039166:PORT/",
    "http://0xa9fea9fe:PORT/",
    "http://0251.0376.0251.0376:PORT/",
    "http://[::ffff:169.254.169.254]:PORT/",
    "http://[::ffff:a9fe:a9fe]:PORT/",
    "http://[64:ff9b::a9fe:a9fe]:PORT/",
    "http://[2002:a9fe:a9fe::]:PORT/",
    "http://[fd00:ec2::254]:PORT/",
    "http://[fe80::1]:PORT/",
    "http://169.254.0.1:PORT/",
    "http://100.100.100.200:PORT/",
    "http://168.63.129.16:PORT/",
    "http://224.0.0.1:PORT/",
    "http://239.255.255.250:PORT/",
    "http://255.255.255.255:PORT/",
    "http://[ff02::1]:PORT/",
];

/// Not an address for HTTP at all.
const NO_ADDRESS: &[&str] = &[
    "",
    "127.0.0.1:PORT",
    "//127.0.0.1:PORT/",
    "file:///etc/passwd",
    "ftp://127.0.0.1:PORT/",
    "gopher://127.0.0.1:PORT/",
    "unix:/run/docker.sock",
    "http://",
    "http://user@127.0.0.1:PORT/",
    "http://user:word@127.0.0.1:PORT/",
    "http://example.com@127.0.0.1:PORT/",
    "http://[::1",
    "http://[fe80::1%25eth0]:PORT/",
    "http://127.0.0.1:99999/",
    "http://256.0.0.1:PORT/",
    "http://1.2.3.4.5:PORT/",
];

#[tokio::test]
async fn no_spelling_reaches_what_is_not_allowed() {
    let canary = Upstream::start(Script::Answer(ok("{}"))).await;
    let leg = Leg::new(guard(&[]), settings());
    let spell = |url: &str| url.replace("PORT", &canary.address.port().to_string());
    for url in SPELLINGS.iter().map(|url| spell(url)) {
        let error = leg.send(None, &server(&url), &none(), post("{}")).await.unwrap_err();
        assert_eq!(error.reason, Reason::UpstreamAddressRefused, "{url}: {error}");
        assert!(!error.sent, "{url}");
        let fetched = leg.get(&Url::parse(&url).unwrap(), 100).await;
        assert!(fetched.unwrap_err().contains("allow"), "{url}");
    }
    for url in NO_ADDRESS.iter().map(|url| spell(url)) {
        let error = leg.send(None, &server(&url), &none(), post("{}")).await.unwrap_err();
        assert!(!error.sent && error.detail.starts_with("url: "), "{url}: {error}");
    }
    assert_eq!(canary.connections(), 0);
}

#[test]
fn some_addresses_are_refused_whatever_is_allowed() {
    let guard = guard(&["0.0.0.0/0", "::/0"]);
    for address in [
        "169.254.169.254:80",
        "169.254.170.2:80",
        "169.254.0.1:80",
        "100.100.100.200:80",
        "168.63.129.16:80",
        "192.0.0.192:80",
        "[fd00:ec2::254]:80",
        "[fd20:ce::254]:80",
        "[fe80::1]:80",
        "[febf::1]:80",
        "[::ffff:169.254.169.254]:80",
        "[::169.254.169.254]:80",
        "[64:ff9b::169.254.169.254]:80",
        "[2002:a9fe:a9fe::]:80",
        "[2001:0:0:0:0:0:5601:5601]:80",
        "0.0.0.0:80",
        "0.0.0.1:80",
        "224.0.0.1:80",
        "239.1.1.1:80",
        "255.255.255.255:80",
        "[::]:80",
        "[ff02::1]:80",
        "[ff0e::1]:80",
    ] {
        let address: SocketAddr = address.parse().unwrap();
        let refused = guard.check(address).unwrap_err();
        assert!(refused.what.contains("never"), "{refused}");
    }
}

#[test]
fn the_operators_list_opens_exactly_what_it_names() {
    let guard = guard(&["10.1.0.0/16", "127.0.0.1/32", "fd12::/16", "64:ff9b::/96"]);
    let cases = [
        ("10.1.2.3:80", true),
        ("[::ffff:10.1.2.3]:80", true),
        ("10.2.0.1:80", false),
        ("127.0.0.1:80", true),
        ("127.0.0.2:80", false),
        ("[::1]:80", false),
        ("[fd12::1]:80", true),
        ("[fd13::1]:80", false),
        ("[64:ff9b::10.1.2.3]:80", true),
        ("[64:ff9b::10.2.0.1]:80", false),
        ("[64:ff9b::8.8.8.8]:80", true),
        ("[2002:0a01:0203::]:80", false),
        ("8.8.8.8:443", true),
        ("1.1.1.1:443", true),
        ("172.15.0.1:443", true),
        ("172.32.0.1:443", true),
        ("192.167.0.1:443", true),
        ("100.63.255.255:443", true),
        ("100.128.0.1:443", true),
        ("[2606:4700::1111]:443", true),
        ("[2a00:1450:4001::200e]:443", true),
        ("[3fff::1]:443", false),
        ("[4000::1]:443", false),
    ];
    for (address, passes) in cases {
        let address: SocketAddr = address.parse().unwrap();
        assert_eq!(guard.check(address).is_ok(), passes, "{address}");
    }
    let mapped = "[::ffff:10.1.2.3]:80".parse().unwrap();
    assert_eq!(guard.check(mapped), Ok("10.1.2.3:80".parse().unwrap()));
}

#[test]
fn our_own_listeners_and_database_are_refused() {
    let guard = guard(&["127.0.0.0/8", "::1/128"]);
    guard.forbid("127.0.0.1:8080".parse().unwrap());
    guard.forbid("[::ffff:127.0.0.1]:5432".parse().unwrap());
    guard.forbid("0.0.0.0:9090".parse().unwrap());
    let refused = |guard: &Guard, address: &str| guard.check(address.parse().unwrap()).is_err();
    assert!(refused(&guard, "127.0.0.1:8080"));
    assert!(refused(&guard, "[::ffff:127.0.0.1]:8080"));
    assert!(refused(&guard, "127.0.0.1:5432"));
    for host in ["127.0.0.1", "127.0.0.9", "[::1]"] {
        assert!(refused(&guard, &format!("{host}:9090")), "{host}: a wildcard listener is there");
    }
    assert!(!refused(&guard, "127.0.0.1:8081"));
    assert!(!refused(&guard, "8.8.8.8:9090"), "somebody else's port");
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_checked_each_time() {
    let upstream = Upstream::start(Script::Once(
        ok("{}").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"),
    ))
    .await;
    let port = upstream.address.port();
    let at = |host: [u8; 4]| SocketAddr::from((host, port));
    let resolver = Answers::new(vec![
        vec![at([127, 0, 0, 1])],
        vec![at([127, 0, 0, 2])],
        vec![at([169, 254, 169, 254])],
        vec![at([10, 0, 0, 1]), at([127, 0, 0, 1])],
        vec![],
    ]);
    let leg = Leg::with(guard(&["127.0.0.1/32"]), settings(), resolver, public_authorities());
    let server = server(format!("http://rebinding.test:{port}/mcp"));
    let mut outcomes = Vec::new();
    for _ in 0..5 {
        let outcome = leg.send(None, &server, &none(), post("{}")).await;
        outcomes.push(outcome.map(|answer| answer.status().as_u16()).map_err(|error| error.reason));
    }
    assert_eq!(
        outcomes,
        [
            Ok(200),
            Err(Reason::UpstreamAddressRefused),
            Err(Reason::UpstreamAddressRefused),
            Ok(200),
            Err(Reason::UpstreamUnreachable)
        ]
    );
    assert_eq!(upstream.received().iter().filter(|r| r.starts_with("POST")).count(), 2);
}

/// The same on the way to key sets, metadata and tokens: each fetch asks anew, and each answer is checked.
#[tokio::test]
async fn a_name_that_changes_its_mind_is_checked_at_each_fetch() {
    let upstream = Upstream::start(Script::Once(
        ok("{}").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"),
    ))
    .await;
    let port = upstream.address.port();
    let at = |host: [u8; 4]| SocketAddr::from((host, port));
    let resolver = Answers::new(vec![
        vec![at([127, 0, 0, 1])],
        vec![at([127, 0, 0, 2])],
        vec![at([169, 254, 169, 254])],
    ]);
    let leg = Leg::with(guard(&["127.0.0.1/32"]), settings(), resolver, public_authorities());
    let url = Url::parse(&format!("http://rebinding.test:{port}/jwks")).unwrap();
    let mut came = Vec::new();
    for _ in 0..4 {
        came.push(leg.get(&url, 100).await.is_ok());
    }
    assert_eq!(came, [true, false, false, false]);
    assert_eq!(upstream.connections(), 1);
}
