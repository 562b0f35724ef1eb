//! A browser without a window: one person's cookies, pages, and forms that are sent as they stand in the page. Follows
//! nothing by itself.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use serde_json::{Value, json};
use url::Url;

use crate::gateway::Gateway;

/// Where a person is asked about a program.
const AUTHORIZE: &str = "/api/v1/oauth/authorize";
const FORM: &str = "application/x-www-form-urlencoded";

/// A page, or the way to another.
#[derive(Debug, Clone)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// The page's HTML.
    pub html: String,
}

/// One person's browser at one gateway.
#[derive(Debug)]
pub struct Browser {
    http: reqwest::Client,
    base: Url,
    cookies: HashMap<String, String>,
}

impl Browser {
    /// A browser that nobody has signed in at.
    pub fn new(gateway: &Gateway) -> Browser {
        crate::install_crypto();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        Browser {
            http: http.no_proxy().build().expect("a client can be made"),
            base: gateway.base.parse().expect("the gateway has an address"),
            cookies: HashMap::new(),
        }
    }

    /// Signs in with a one-time link; the gateway must have `sign_in.local = true`.
    pub async fn signed_in(gateway: &Gateway, email: &str) -> Browser {
        let mut browser = Browser::new(gateway);
        let made = gateway.cli(&["user", "link"], &["--user", email]);
        let link = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        assert!(link.starts_with("http"), "{}", String::from_utf8_lossy(&made.stderr));
        let page = browser.open(&link).await;
        let page = browser.submit(&page, "/sign-in/link").await;
        assert_eq!(page.status, 303, "{}", page.html);
        browser
    }

    /// Looks at an address, ours or another's.
    pub async fn open(&mut self, address: &str) -> Page {
        let url = self.base.join(address).expect("an address");
        let request = self.http.get(url.clone());
        self.send(url, request).await
    }

    /// Sends the page's form that goes to `action`, with its hidden fields.
    pub async fn submit(&mut self, page: &Page, action: &str) -> Page {
        self.post(action, &hidden(page, action)).await
    }

    /// The same, with what a person fills in or presses.
    pub async fn fill(&mut self, page: &Page, action: &str, filled: &[(&str, &str)]) -> Page {
        let mut fields = hidden(page, action);
        fields.extend(filled.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        self.post(action, &fields).await
    }

    /// Follows redirects to addresses of ours; stops at a page, or at a redirect that leads elsewhere.
    pub async fn follow(&mut self, mut page: Page) -> Page {
        for _ in 0..10 {
            let Some(to) = page.location.clone() else { return page };
            if !to.starts_with(self.base.as_str()) {
                return page;
            }
            page = self.open(&to).await;
        }
        panic!("more than ten redirects, the last to {:?}", page.location);
    }

    /// Sends a form with these fields.
    pub async fn post(&mut self, action: &str, fields: &[(String, String)]) -> Page {
        let url = self.base.join(action).expect("an address");
        let body = encoded(fields.iter());
        let request = self
            .http
            .post(url.clone())
            .header(CONTENT_TYPE, FORM)
            .header("origin", self.base.origin().ascii_serialization())
            .body(body);
        self.send(url, request).await
    }

    /// Connects the account at a server, agreeing to everything. The error is the page that says why not.
    pub async fn connect(&mut self, server: &str) -> Result<Page, Page> {
        let address = format!("/connect/{server}");
        let page = self.open(&address).await;
        if page.status != 200 {
            return Err(page);
        }
        let out = self.submit(&page, &address).await;
        let Some(consent) = out.location.clone() else { return Err(out) };
        let agreed = self.open(&consent).await;
        let Some(back) = agreed.location.clone() else { return Err(agreed) };
        self.come_back(&back).await
    }

    /// Lets a program of this machine act for whoever is signed in: registers it, agrees on the page, redeems the
    /// code. `asked` is added to the request. Gives the token endpoint's answer.
    pub async fn authorize(&mut self, asked: &[(&str, &str)]) -> Value {
        let redirect = "http://127.0.0.1:9/callback";
        let client = json!({"client_name": "rig", "redirect_uris": [redirect],
            "token_endpoint_auth_method": "none"});
        let client =
            self.say("/api/v1/oauth/register", "application/json", client.to_string()).await;
        let id = client["client_id"].as_str().unwrap_or_else(|| panic!("{client}"));
        let verifier = "rig-verifier-".repeat(4);
        let digest = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(digest);
        let query = [
            ("response_type", "code"),
            ("client_id", id),
            ("redirect_uri", redirect),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("state", "rig"),
        ];
        let page = self.open(&format!("{AUTHORIZE}?{}", encoded(query.iter().chain(asked)))).await;
        let mut fields = hidden(&page, AUTHORIZE);
        fields.push(("decision".into(), "approve".into()));
        let agreed = self.post(AUTHORIZE, &fields).await;
        let back: Url = agreed.location.unwrap_or(agreed.html).parse().expect("a redirect");
        let code = back.query_pairs().find(|(name, _)| name == "code").expect("a code").1;
        let redeemed = [
            ("grant_type", "authorization_code"),
            ("client_id", id),
            ("redirect_uri", redirect),
            ("code", &code),
            ("code_verifier", &verifier),
        ];
        self.say("/api/v1/oauth/token", FORM, encoded(redeemed.iter())).await
    }

    /// Says something as a program does, without the browser's cookies; gives the answer.
    async fn say(&self, path: &str, content_type: &str, body: String) -> Value {
        let url = self.base.join(path).expect("an address");
        let request = self.http.post(url).header(CONTENT_TYPE, content_type).body(body);
        let answer = request.send().await.expect("it answers");
        answer.json().await.expect("the answer is JSON")
    }

    /// Follows the issuer's redirect.
    pub async fn come_back(&mut self, back: &str) -> Result<Page, Page> {
        let done = self.open(back).await;
        match done.location.clone() {
            Some(page) => Ok(self.open(&page).await),
            None => Err(done),
        }
    }

    async fn send(&mut self, url: Url, request: reqwest::RequestBuilder) -> Page {
        let ours = url.origin() == self.base.origin();
        let cookies: Vec<String> = self.cookies.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let request = match ours {
            true => request.header(COOKIE, cookies.join("; ")),
            false => request,
        };
        let answer = request.send().await.expect("it answers");
        for cookie in answer.headers().get_all(SET_COOKIE).iter().filter(|_| ours) {
            let cookie = cookie.to_str().expect("a cookie is text");
            let pair = cookie.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').expect("a cookie has a value");
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.map(|to| url.join(to).map_or(to.to_owned(), String::from));
        let status = answer.status().as_u16();
        Page { status, location, html: answer.text().await.unwrap_or_default() }
    }
}

/// The hidden fields of the page's form that goes to `action`.
fn hidden(page: &Page, action: &str) -> Vec<(String, String)> {
    let goes_there = format!("action=\"{action}\"");
    let mut forms = page.html.split("<form").skip(1);
    let form = forms.find(|form| form.split('>').next().is_some_and(|f| f.contains(&goes_there)));
    let form = form.unwrap_or_else(|| panic!("no form to {action} in {}", page.html));
    let form = form.split("</form>").next().unwrap_or_default();
    let fields = form.split("<input").skip(1).filter(|input| input.contains("type=\"hidden\""));
    fields.map(|input| (attribute(input, "name"), attribute(input, "value"))).collect()
}

/// Form-encoded.
fn encoded<'a, T: AsRef<str> + 'a>(pairs: impl Iterator<Item = &'a (T, T)>) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// An attribute as it stands; ours need no decoding.
fn attribute(tag: &str, name: &str) -> String {
    let found = tag.split(&format!(" {name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
    found.unwrap_or_default().replace("&#38;", "&").replace("&amp;", "&")
}
