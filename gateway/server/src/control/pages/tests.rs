//! The pages over a real governance: who gets through, what a forged form does, what a browser is told. Every address is
//! tried, from the table of addresses.

use std::net::IpAddr;

use gateway_core::decision::Approver;
use gateway_governance::operations::sign_in::CreateSignInLink;
use gateway_governance::{Face, Operation, command_line};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http_body_util::BodyExt;
use url::form_urlencoded;

use super::super::testing::Organisation;
use super::routes::{Access, ROUTES, Route};
use super::*;
use crate::exchange::Early;

/// What came back.
#[derive(Debug)]
struct Seen {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Seen {
    fn location(&self) -> &str {
        self.headers.get(LOCATION).map_or("", |value| value.to_str().unwrap())
    }

    /// A hidden field of the page.
    fn hidden(&self, name: &str) -> String {
        let start = format!("name=\"{name}\" value=\"");
        let rest = self.body.split(&start).nth(1).unwrap_or_else(|| panic!("no {name}: {self:?}"));
        rest.split('"').next().unwrap().to_owned()
    }
}

struct House {
    organisation: Organisation,
    pages: Pages,
}

/// A browser: it keeps the cookie that it was given last.
struct Visitor<'a> {
    house: &'a House,
    cookie: Option<String>,
}

impl House {
    async fn start() -> House {
        let organisation = Organisation::start().await;
        let pages = Pages::new(organisation.governance.clone());
        House { organisation, pages }
    }

    fn visitor(&self) -> Visitor<'_> {
        Visitor { house: self, cookie: None }
    }

    async fn link(&self, email: &str) -> String {
        let governance = &self.organisation.governance;
        let create = CreateSignInLink { user: email.into(), confirm: Some(true) };
        let origin = governance.command_line_origin();
        let operation = Operation::CreateSignInLink(create);
        let made = governance.perform(&command_line(), &origin, operation).await.unwrap();
        let url = made.value["url"].as_str().unwrap().to_owned();
        url.strip_prefix("https://mcp.example.com").unwrap().to_owned()
    }

    async fn signed_in(&self, email: &str) -> Visitor<'_> {
        let mut visitor = self.visitor();
        let page = visitor.get(&self.link(email).await).await;
        let token = page.hidden("token");
        let done = visitor.post("/sign-in/link", &[("token", &token)], &page).await;
        assert_eq!((done.status, done.location()), (303, "/account"));
        visitor
    }
}

impl Visitor<'_> {
    async fn send(
        &mut self,
        method: &str,
        target: &str,
        mut headers: HeaderMap,
        body: String,
    ) -> Seen {
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        if let Some(cookie) = &self.cookie {
            headers.insert(COOKIE, format!("__Host-runlayer={cookie}").parse().unwrap());
        }
        let exchange = Exchange {
            method: method.parse().unwrap(),
            path: path.into(),
            query: query.map(Into::into),
            headers,
            peer: IpAddr::from([127, 0, 0, 1]),
            body: body.into(),
            early: Early::closed(),
            turn: Default::default(),
        };
        assert!(self.house.pages.owns(&exchange), "{method} {target}");
        let (parts, body) = self.house.pages.handle(exchange).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        for told in parts.headers.get_all(SET_COOKIE) {
            let told = told.to_str().unwrap();
            let rest = told.strip_prefix("__Host-runlayer=").unwrap();
            assert!(rest.contains("; Path=/; HttpOnly; SameSite=Lax; Secure"), "{told}");
            self.cookie = rest.split(';').next().map(str::to_owned).filter(|name| !name.is_empty());
        }
        let body = String::from_utf8(body.to_vec()).unwrap();
        Seen { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn get(&mut self, target: &str) -> Seen {
        self.send("GET", target, HeaderMap::new(), String::new()).await
    }

    /// Sends a form of `page`.
    async fn post(&mut self, target: &str, fields: &[(&str, &str)], page: &Seen) -> Seen {
        let token = page.hidden("form_token");
        self.post_with(target, fields, &token, form_headers()).await
    }

    async fn post_with(
        &mut self,
        target: &str,
        fields: &[(&str, &str)],
        token: &str,
        headers: HeaderMap,
    ) -> Seen {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields).append_pair("form_token", token);
        self.send("POST", target, headers, form.finish()).await
    }
}

fn form_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
    headers
}

fn example(route: &Route) -> String {
    route.path.replace("{id}", "0198c5b2-7d5e-7c1a-8f00-3f1f5a1d2c3b")
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_sent_to_sign_in_and_come_back_to_a_page() {
    let house = House::start().await;
    for route in ROUTES.iter().filter(|route| route.access != Access::Anybody) {
        let mut stranger = house.visitor();
        let page = stranger.get("/sign-in").await;
        let target = example(route);
        let seen = match route.method {
            "GET" => stranger.get(&target).await,
            _ => stranger.post(&target, &[("decision", "approve")], &page).await,
        };
        assert_eq!(seen.status, 303, "{} {target}", route.method);
        let next = seen.location().strip_prefix("/sign-in?next=").unwrap();
        let page = stranger.get(seen.location()).await;
        assert_eq!(page.hidden("next"), next);
        let address = house.organisation.governance.sign_in().open(b"next", next).unwrap();
        let address = String::from_utf8(address).unwrap();
        let shown = ROUTES.iter().any(|r| r.method == "GET" && example(r) == address);
        assert!(shown, "{} {target} comes back to {address}", route.method);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_not_from_one_of_our_pages_in_this_browser_does_nothing() {
    let house = House::start().await;
    let mut bob = house.signed_in("bob@example.com").await;
    let mut other = house.signed_in("carol@example.com").await;
    let page = bob.get("/account").await;
    let (own, foreign) =
        (page.hidden("form_token"), other.get("/account").await.hidden("form_token"));
    let mut cross = form_headers();
    cross.insert("sec-fetch-site", "cross-site".parse().unwrap());
    let mut site = form_headers();
    site.insert("sec-fetch-site", "same-site".parse().unwrap());
    let mut text = HeaderMap::new();
    text.insert(CONTENT_TYPE, "text/plain".parse().unwrap());
    let cases: [(&str, &str, HeaderMap); 9] = [
        ("no token", "", form_headers()),
        ("another browser's token", &foreign, form_headers()),
        ("half a token", &own[..20], form_headers()),
        ("a longer token", &format!("{own}A"), form_headers()),
        ("other letters", &own.to_lowercase(), form_headers()),
        ("another site", &own, cross),
        ("a sister site", &own, site),
        ("no form", &own, text),
        ("no kind", &own, HeaderMap::new()),
    ];
    for route in ROUTES.iter().filter(|route| route.method == "POST") {
        for (what, token, headers) in &cases {
            let fields = [("name", "forged"), ("decision", "approve")];
            let seen = bob.post_with(&example(route), &fields, token, headers.clone()).await;
            assert!(matches!(seen.status, 400 | 403), "{} with {what}: {seen:?}", route.path);
        }
        let mut without = house.visitor();
        let seen = without.post_with(&example(route), &[], &own, form_headers()).await;
        assert_eq!(seen.status, 403, "{} without a cookie", route.path);
    }
    assert!(!bob.get("/account").await.body.contains("forged"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_goes_out_guarded() {
    let house = House::start().await;
    let mut bob = house.signed_in("bob@example.com").await;
    for route in ROUTES.iter().filter(|route| route.method == "GET") {
        for visitor in [&mut house.visitor(), &mut bob] {
            let seen = visitor.get(&example(route)).await;
            let header = |name| seen.headers.get(name).map_or("", |value| value.to_str().unwrap());
            let policy = header("content-security-policy");
            assert!(policy.starts_with("default-src 'none'; style-src 'self';"), "{}", route.path);
            assert!(policy.contains("frame-ancestors 'none'; base-uri 'none'"), "{}", route.path);
            assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
            assert_eq!(header("x-frame-options"), "DENY", "{}", route.path);
            assert_eq!(header("x-content-type-options"), "nosniff", "{}", route.path);
            assert_eq!(header("referrer-policy"), "same-origin", "{}", route.path);
            if !route.path.starts_with("/assets/") {
                assert_eq!(header("cache-control"), "no-store", "{}", route.path);
            }
        }
    }
    let seen = bob.send("DELETE", "/account", HeaderMap::new(), String::new()).await;
    assert_eq!((seen.status, seen.headers["allow"].to_str().unwrap()), (405, "GET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_browser_gets_a_new_name_when_somebody_signs_in_and_when_they_leave() {
    let house = House::start().await;
    let mut visitor = house.visitor();
    let page = visitor.get(&house.link("bob@example.com").await).await;
    let planted = visitor.cookie.clone().unwrap();
    let token = page.hidden("token");
    visitor.post("/sign-in/link", &[("token", &token)], &page).await;
    let signed_in = visitor.cookie.clone().unwrap();
    assert_ne!(planted, signed_in);
    let mut thief = Visitor { house: &house, cookie: Some(planted) };
    assert_eq!(thief.get("/account").await.status, 303, "who planted the cookie is not signed in");
    let page = visitor.get("/account").await;
    let out = visitor.post("/sign-out", &[], &page).await;
    assert_eq!((out.location(), visitor.cookie.as_deref()), ("/sign-in", None));
    let mut thief = Visitor { house: &house, cookie: Some(signed_in) };
    assert_eq!(thief.get("/account").await.status, 303, "the session is over, not only the cookie");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_next_leads_anywhere_but_to_us() {
    let house = House::start().await;
    let sign_in = house.organisation.governance.sign_in();
    let sealed = |context: &[u8], address: &str| sign_in.seal(context, address.as_bytes());
    let cases = [
        String::new(),
        "/account".into(),
        "//evil.example".into(),
        "https://evil.example".into(),
        "AAAA".into(),
        sealed(b"other", "/device"),
        sealed(b"next", "//evil.example"),
        sealed(b"next", "/\\evil.example"),
        sealed(b"next", "https://evil.example"),
        sealed(b"next", "/a\r\nset-cookie: x=1"),
    ];
    let mut bob = house.signed_in("bob@example.com").await;
    for next in cases {
        let query =
            form_urlencoded::Serializer::new(String::new()).append_pair("next", &next).finish();
        let seen = bob.get(&format!("/sign-in?{query}")).await;
        assert_eq!((seen.status, seen.location()), (303, "/account"), "{next}");
    }
    let next = sealed(b"next", "/device?user_code=A");
    let seen = bob.get(&format!("/sign-in?next={next}")).await;
    assert_eq!(seen.location(), "/device?user_code=A");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_is_asked_sees_and_decides_a_call() {
    let house = House::start().await;
    let organisation = &house.organisation;
    let id = organisation.waiting(r#"{"id":7}"#, Approver::Caller).await;
    let path = format!("/confirmations/{id}");
    let mut carol = house.signed_in("carol@example.com").await;
    let foreign = carol.get(&path).await;
    let absent = carol.get("/confirmations/0198c5b2-7d5e-7c1a-8f00-3f1f5a1d2c3b").await;
    let odd = carol.get("/confirmations/x").await;
    let told = |seen: &Seen| seen.body.split("Reference").next().unwrap().to_owned();
    assert_eq!((foreign.status, told(&foreign)), (404, told(&absent)));
    assert_eq!((odd.status, told(&odd)), (404, told(&absent)));
    let token = carol.get("/account").await.hidden("form_token");
    let tried = carol.post_with(&path, &[("decision", "approve")], &token, form_headers()).await;
    assert_eq!(tried.status, 404);
    // An administrator may read it, and is not asked either.
    let mut alice = house.signed_in("alice@example.com").await;
    let page = alice.get(&path).await;
    assert_eq!((page.status, page.body.contains("name=\"decision\"")), (200, false));
    let token = alice.get("/account").await.hidden("form_token");
    let tried = alice.post_with(&path, &[("decision", "approve")], &token, form_headers()).await;
    assert_eq!(tried.status, 404);
    let mut bob = house.signed_in("bob@example.com").await;
    let page = bob.get(&path).await;
    for decision in ["", "yes", "APPROVE", "true"] {
        assert_eq!(bob.post(&path, &[("decision", decision)], &page).await.status, 400);
    }
    let done = bob.post(&path, &[("decision", "approve")], &page).await;
    assert_eq!((done.status, done.location()), (303, path.as_str()));
    let again = bob.post(&path, &[("decision", "refuse")], &page).await;
    assert_ne!(again.status, 303, "what is decided is decided");
    let seen = bob.get(&path).await;
    assert!(seen.body.contains("<strong>Approved.</strong>"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_ends_what_is_anothers_from_their_account() {
    let house = House::start().await;
    let mut bob = house.signed_in("bob@example.com").await;
    let page = bob.get("/account").await;
    let made = bob.post("/account/keys", &[("name", "laptop")], &page).await;
    let key = made.body.split("<code>").nth(1).unwrap().split('<').next().unwrap().to_owned();
    assert!(key.starts_with("rl_"), "{made:?}");
    let page = bob.get("/account").await;
    assert!(page.body.contains("laptop") && !page.body.contains(&key), "shown once");
    let between = |start: &str, end: &str| {
        let rest = page.body.split(start).nth(1).unwrap_or_else(|| panic!("no {start}"));
        rest.split(end).next().unwrap().to_owned()
    };
    let (key_id, browser) =
        (between("/account/keys/", "/revoke"), between("/account/browsers/", "/end"));
    // Alice administers keys elsewhere; from her own page she ends her own only.
    for email in ["carol@example.com", "alice@example.com"] {
        let mut other = house.signed_in(email).await;
        let own = other.get("/account").await;
        assert!(!own.body.contains(&key_id) && !own.body.contains(&browser), "{email}");
        other.post(&format!("/account/keys/{key_id}/revoke"), &[], &own).await;
        other.post(&format!("/account/browsers/{browser}/end"), &[], &own).await;
    }
    let still = bob.get("/account").await;
    assert!(still.body.contains(&key_id) && still.body.contains(&browser));
    bob.post(&format!("/account/keys/{key_id}/revoke"), &[], &still).await;
    assert!(!bob.get("/account").await.body.contains(&key_id));
    bob.post(&format!("/account/browsers/{browser}/end"), &[], &still).await;
    assert_eq!(bob.get("/account").await.status, 303, "they signed themselves out");
}

/// The elements and attributes of a page: what markup in a text would change.
fn skeleton(html: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = html;
    while let Some((_, tag)) = rest.split_once('<') {
        let (mut end, mut quote) = (tag.len(), None);
        for (place, c) in tag.char_indices() {
            match (quote, c) {
                (None, '>') => {
                    end = place;
                    break;
                }
                (None, '"' | '\'') => quote = Some(c),
                (Some(open), c) if c == open => quote = None,
                (None | Some(_), _) => {}
            }
        }
        let names = tag[..end].split('"').step_by(2).collect::<Vec<_>>().join("\"");
        found.push(names);
        rest = &tag[end..];
    }
    found
}

const ATTACKS: [&str; 14] = [
    "<script>alert(1)</script>",
    "\"><script>alert(1)</script>",
    "'><img src=x onerror=alert(1)>",
    "\" onfocus=\"alert(1)\" autofocus=\"",
    "' onmouseover='alert(1)",
    "<svg/onload=alert(1)>",
    "</code></pre><iframe srcdoc='<script>alert(1)</script>'>",
    "</title><script>alert(1)</script>",
    "<!--<img src=\"--><img src=x onerror=alert(1)//\">",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "javascript:alert(1)",
    "{{7*7}}${7*7}<%=7*7%>",
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_text_of_anybodys_becomes_markup() {
    let house = House::start().await;
    let organisation = &house.organisation;
    let mut plain = None;
    for attack in ["harmless"].iter().chain(&ATTACKS) {
        let arguments = serde_json::json!({"text": attack}).to_string();
        let id = organisation.waiting(&arguments, Approver::Caller).await;
        // The browser's own description, too.
        let mut bob = house.signed_in_as("bob@example.com", attack).await;
        let call = bob.get(&format!("/confirmations/{id}")).await;
        let page = bob.get("/account").await;
        let key = bob.post("/account/keys", &[("name", attack)], &page).await;
        let account = bob.get("/account").await;
        let device = bob.get(&format!("/device?{}", query("user_code", attack))).await;
        let mut stranger = house.visitor();
        let page = stranger.get("/sign-in").await;
        let fields = [("email", *attack), ("password", "x"), ("next", attack)];
        let sign_in = stranger.post("/sign-in", &fields, &page).await;
        let provider = stranger.get(&format!("/sign-in?{}", query("provider", attack))).await;
        // Away with what they have made, so that the next account looks alike.
        let id = account.body.split("/account/keys/").nth(1).unwrap().split('/').next().unwrap();
        bob.post(&format!("/account/keys/{id}/revoke"), &[], &account).await;
        bob.post("/sign-out", &[], &account).await;
        let pages = [call, key, account, device, sign_in, provider];
        assert!(pages[0].body.contains("alert") || !attack.contains("alert"), "it is shown");
        let shapes = pages.each_ref().map(|page| skeleton(&page.body));
        let expected = plain.get_or_insert_with(|| shapes.clone());
        assert_eq!(&shapes, expected, "{attack}");
    }
}

fn query(name: &str, value: &str) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
}

impl House {
    async fn signed_in_as(&self, email: &str, agent: &str) -> Visitor<'_> {
        let mut visitor = self.visitor();
        let page = visitor.get(&self.link(email).await).await;
        let (token, form_token) = (page.hidden("token"), page.hidden("form_token"));
        let mut headers = form_headers();
        headers.insert("user-agent", agent.parse().unwrap());
        visitor.post_with("/sign-in/link", &[("token", &token)], &form_token, headers).await;
        visitor
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_belongs_to_the_browser_that_was_asked() {
    let house = House::start().await;
    let governance = &house.organisation.governance;
    let metadata = serde_json::json!({"client_name": "\"><script>alert(1)</script>",
        "redirect_uris": ["http://127.0.0.1:4000/callback"], "token_endpoint_auth_method": "none"});
    let origin = house.organisation.origin(Face::Rest);
    let registered = governance.oauth().register(metadata.to_string().as_bytes(), &origin).await;
    let client: serde_json::Value = serde_json::from_str(&registered.unwrap().json()).unwrap();
    let request = form_urlencoded::Serializer::new(String::new())
        .append_pair("response_type", "code")
        .append_pair("client_id", client["client_id"].as_str().unwrap())
        .append_pair("redirect_uri", "http://127.0.0.1:4000/callback")
        .append_pair("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
        .append_pair("code_challenge_method", "S256")
        .append_pair("state", "the-state")
        .finish();
    let target = format!("/api/v1/oauth/authorize?{request}");
    let mut stranger = house.visitor();
    let seen = stranger.get(&target).await;
    assert!(seen.location().starts_with("/sign-in?next="), "{seen:?}");
    let mut bob = house.signed_in("bob@example.com").await;
    let page = bob.get(&target).await;
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("form-action 'self' http://127.0.0.1:4000;"), "{policy}");
    assert!(!page.body.contains("the-state") && !page.body.contains("<script"), "{}", page.body);
    let sealed = page.hidden("request");
    let decide = [("request", sealed.as_str()), ("decision", "approve")];
    // Somebody else's browser, signed in as themselves or not.
    let mut carol = house.signed_in("carol@example.com").await;
    let own = carol.get("/account").await;
    let seen = carol.post("/api/v1/oauth/authorize", &decide, &own).await;
    assert_eq!((seen.status, seen.location()), (400, ""));
    let own = stranger.get("/sign-in").await;
    let seen = stranger.post("/api/v1/oauth/authorize", &decide, &own).await;
    assert_eq!((seen.status, seen.location()), (403, ""));
    let other = [("request", sealed.as_str()), ("decision", "maybe")];
    assert_eq!(bob.post("/api/v1/oauth/authorize", &other, &page).await.status, 200, "asked again");
    let forged = [("request", &sealed[1..]), ("decision", "approve")];
    assert_eq!(bob.post("/api/v1/oauth/authorize", &forged, &page).await.status, 400);
    let seen = bob.post("/api/v1/oauth/authorize", &decide, &page).await;
    assert_eq!(seen.status, 303);
    assert!(seen.location().starts_with("http://127.0.0.1:4000/callback?"), "{seen:?}");
    assert!(seen.location().contains("state=the-state") && seen.location().contains("code="));
}

#[test]
fn templates_hold_no_script_no_style_and_no_unescaped_text() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let mut seen = 0;
    for folder in [folder.clone(), folder.join("pages")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|e| e != "html") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            seen += 1;
            for bad in [
                "<script", "<style", " style=", " onclick", " onload", "|safe", "| safe", "escape",
                "http:", "https:", "<iframe", "target=",
            ] {
                assert!(!text.contains(bad), "{bad} in {}", path.display());
            }
            let forms = text.matches("<form").count();
            let tokens = text.matches("name=\"form_token\"").count();
            assert_eq!(forms, tokens, "a form without its token in {}", path.display());
            assert_eq!(forms, text.matches("method=\"post\"").count(), "{}", path.display());
        }
    }
    assert!(seen > 8, "only {seen} templates");
}
