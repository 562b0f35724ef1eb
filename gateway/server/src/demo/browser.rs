//! The browser's part of a sign-in, played with plain form posts: the pages are fetched, their forms sent as they
//! stand there, with the one cookie that they set. Knows nothing of tokens; a person does the same with clicks.

use std::collections::HashMap;

use anyhow::{Context, bail, ensure};
use reqwest::header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Client, Request, Response};
use url::Url;

/// Where the client waits for the answer. Nobody listens: the browser hands the answer over itself.
pub(super) const REDIRECT: &str = "http://127.0.0.1:33418/callback";
/// More redirects than there are.
const STEPS: usize = 10;

/// One person's browser.
pub(super) struct Browser<'a> {
    http: Client,
    cookies: HashMap<String, String>,
    email: &'a str,
    password: &'a str,
}

/// Where a visit ends.
enum Landed {
    /// On a page.
    Page(Page),
    /// At the client, with its answer.
    Client(Url),
}

struct Page {
    url: Url,
    html: String,
}

impl<'a> Browser<'a> {
    /// The browser of a person with that password.
    pub(super) fn of(email: &'a str, password: &'a str) -> anyhow::Result<Browser<'a>> {
        let http = Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        Ok(Browser { http: http.build()?, cookies: HashMap::new(), email, password })
    }

    /// Opens the address that a client gave, signs in, approves; gives the address with the client's answer.
    pub(super) async fn approve(&mut self, address: &str) -> anyhow::Result<Url> {
        let sign_in = self.open(self.http.get(address).build()?).await?;
        let person = [("email", self.email), ("password", self.password)];
        let consent = self.submit(sign_in, "/sign-in", &person).await?;
        let yes = [("decision", "approve")];
        match self.submit(consent, "/api/v1/oauth/authorize", &yes).await? {
            Landed::Client(answer) => Ok(answer),
            Landed::Page(page) => bail!("the sign-in ended at {}", page.url.path()),
        }
    }

    /// Sends the form that goes to `action`, with these fields besides its hidden ones.
    async fn submit(
        &mut self,
        landed: Landed,
        action: &str,
        fields: &[(&str, &str)],
    ) -> anyhow::Result<Landed> {
        let Landed::Page(page) = landed else { bail!("no page with a form to {action}") };
        let hidden = page.hidden(action)?;
        let hidden = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let form: Vec<(&str, &str)> = hidden.chain(fields.iter().copied()).collect();
        let post = self.http.post(page.url.join(action)?).form(&form);
        let post = post.header(ORIGIN, page.url.origin().ascii_serialization());
        self.open(post.build()?).await
    }

    /// Sends a request and follows where it leads.
    async fn open(&mut self, mut request: Request) -> anyhow::Result<Landed> {
        for _ in 0..STEPS {
            let url = request.url().clone();
            let cookies: Vec<String> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request.headers_mut().insert(COOKIE, cookies.join("; ").parse()?);
            let answer = self.http.execute(request).await?;
            self.keep_cookies(&answer);
            let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let Some(location) = location else {
                ensure!(answer.status().is_success(), "{}: {}", url.path(), answer.status());
                return Ok(Landed::Page(Page { url, html: answer.text().await? }));
            };
            let next = url.join(location)?;
            if next.as_str().starts_with(REDIRECT) {
                return Ok(Landed::Client(next));
            }
            request = self.http.get(next).build()?;
        }
        bail!("more than {STEPS} redirects")
    }

    fn keep_cookies(&mut self, answer: &Response) {
        let lines = answer.headers().get_all(SET_COOKIE).iter();
        let pairs = lines.filter_map(|line| line.to_str().ok()?.split(';').next()?.split_once('='));
        self.cookies.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}

impl Page {
    /// The hidden fields of the form that goes to `action`.
    fn hidden(&self, action: &str) -> anyhow::Result<Vec<(String, String)>> {
        let wanted = format!("action=\"{action}\"");
        let mut forms = self.html.split("<form").skip(1).filter_map(|form| form.split_once('>'));
        let form = forms.find(|(head, _)| head.contains(&wanted)).map(|(_, body)| body);
        let form = form.with_context(|| format!("{}: no form to {action}", self.url.path()))?;
        let form = form.split("</form>").next().unwrap_or_default();
        let inputs = form.split("<input").skip(1).filter_map(|rest| rest.split('>').next());
        let hidden = inputs.filter(|input| input.contains("type=\"hidden\""));
        Ok(hidden.map(|input| (attribute(input, "name"), attribute(input, "value"))).collect())
    }
}

/// An attribute as it stands; ours need no decoding.
fn attribute(tag: &str, name: &str) -> String {
    let found = tag.split_once(&format!(" {name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
    found.map(|(value, _)| value.to_owned()).unwrap_or_default()
}
