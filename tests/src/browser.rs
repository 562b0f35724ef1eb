//! A browser without a window: one person's cookies, pages, and forms that are sent as they stand in the page. Follows
//! nothing by itself.

use std::collections::HashMap;

use http::header::{COOKIE, LOCATION, SET_COOKIE};
use url::Url;

use crate::gateway::Gateway;

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
        let form = page.html.split("<form").skip(1).find(|form| {
            form.split('>')
                .next()
                .is_some_and(|head| head.contains(&format!("action=\"{action}\"")))
        });
        let form = form.unwrap_or_else(|| panic!("no form to {action} in {}", page.html));
        let form = form.split("</form>").next().unwrap_or_default();
        let fields = form.split("<input").skip(1).filter(|input| input.contains("type=\"hidden\""));
        let fields: Vec<(String, String)> =
            fields.map(|input| (attribute(input, "name"), attribute(input, "value"))).collect();
        self.post(action, &fields).await
    }

    /// Sends a form with these fields.
    pub async fn post(&mut self, action: &str, fields: &[(String, String)]) -> Page {
        let url = self.base.join(action).expect("an address");
        let body =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self
            .http
            .post(url.clone())
            .header("content-type", "application/x-www-form-urlencoded")
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

/// An attribute as it stands; ours need no decoding.
fn attribute(tag: &str, name: &str) -> String {
    let found = tag.split(&format!(" {name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
    found.unwrap_or_default().replace("&#38;", "&").replace("&amp;", "&")
}
