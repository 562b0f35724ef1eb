//! How pages go out: nothing but our own stylesheet and forms, in no frame, in no cache.

use askama::Template;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::exchange::{self, Reply};

const PERMISSIONS: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const NO_POWERS: &str = "accelerometer=(), camera=(), geolocation=(), gyroscope=(), microphone=(), \
                         payment=(), usb=()";

/// The stylesheet of every page.
const STYLE: &str = include_str!("../../../templates/style.css");

/// The sign in the browser's tab.
const ICON: &str = include_str!("../../../templates/icon.svg");

/// A page of HTML whose forms come back to us.
pub fn page(status: StatusCode, html: String) -> Reply {
    page_towards(status, html, None)
}

/// The same; a form's answer may lead on to `origin`, because browsers hold redirects to `form-action` too.
pub(super) fn page_towards(status: StatusCode, html: String, origin: Option<&str>) -> Reply {
    let mut reply = http::Response::new(exchange::full(html));
    *reply.status_mut() = status;
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    reply.headers_mut().insert(CONTENT_TYPE, html);
    guard(&mut reply, origin);
    reply
}

/// A page made of a template.
pub fn show(status: StatusCode, template: &impl Template) -> Reply {
    show_towards(status, template, None)
}

/// The same, with forms whose answers may lead on to `origin`.
pub(super) fn show_towards(
    status: StatusCode,
    template: &impl Template,
    origin: Option<&str>,
) -> Reply {
    match template.render() {
        Ok(html) => page_towards(status, html, origin),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            page(StatusCode::INTERNAL_SERVER_ERROR, "The page could not be shown.".to_owned())
        }
    }
}

/// Sends the browser on with GET. `address` is one of ours or one that was checked; what no header can hold
/// leads to the account page.
pub fn see_other(address: &str) -> Reply {
    let mut reply = exchange::empty(StatusCode::SEE_OTHER);
    let location = HeaderValue::try_from(address);
    let location = location.unwrap_or_else(|_| HeaderValue::from_static("/account"));
    reply.headers_mut().insert(LOCATION, location);
    guard(&mut reply, None);
    reply
}

/// The stylesheet.
pub(super) fn style() -> Reply {
    asset(STYLE, "text/css; charset=utf-8")
}

/// The sign in the browser's tab.
pub(super) fn icon() -> Reply {
    asset(ICON, "image/svg+xml")
}

fn asset(text: &'static str, kind: &'static str) -> Reply {
    let mut reply = http::Response::new(exchange::full(text));
    guard(&mut reply, None);
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    reply
}

/// Says which methods an address has.
pub(super) fn allow(reply: &mut Reply, methods: &[&str]) {
    if let Ok(value) = HeaderValue::try_from(methods.join(", ")) {
        reply.headers_mut().insert(ALLOW, value);
    }
}

fn guard(reply: &mut Reply, origin: Option<&str>) {
    let fixed = [
        (X_FRAME_OPTIONS, "DENY"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not no-referrer: browsers would then send "Origin: null" with our own forms.
        (REFERRER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
        (PERMISSIONS, NO_POWERS),
        (OPENER, "same-origin"),
    ];
    for (name, value) in fixed {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let policy = HeaderValue::try_from(content_policy(origin));
    // What no header can hold is no origin of anybody's.
    let policy = policy.or_else(|_| HeaderValue::try_from(content_policy(None)));
    if let Ok(policy) = policy {
        reply.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
}

fn content_policy(origin: Option<&str>) -> String {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/[]+".contains(&b);
    let more = origin.filter(|origin| origin.bytes().all(legal)).unwrap_or_default();
    let more = if more.is_empty() { String::new() } else { format!(" {more}") };
    format!(
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'{more}; \
         frame-ancestors 'none'; base-uri 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
        reply.headers().get(name).map_or("(absent)", |value| value.to_str().unwrap())
    }

    #[test]
    fn every_page_goes_out_with_the_same_guards() {
        for reply in [page(StatusCode::OK, "x".into()), see_other("/account")] {
            assert_eq!(
                header(&reply, "content-security-policy"),
                "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
                 frame-ancestors 'none'; base-uri 'none'"
            );
            assert_eq!(header(&reply, "x-frame-options"), "DENY");
            assert_eq!(header(&reply, "x-content-type-options"), "nosniff");
            assert_eq!(header(&reply, "referrer-policy"), "same-origin");
            assert_eq!(header(&reply, "cache-control"), "no-store");
            assert!(header(&reply, "permissions-policy").contains("camera=()"));
        }
    }

    #[test]
    fn a_form_may_lead_to_one_more_origin_and_nothing_else_gets_into_the_policy() {
        let towards = |origin: &str| content_policy(Some(origin));
        assert!(
            towards("http://127.0.0.1:3000").contains("form-action 'self' http://127.0.0.1:3000;")
        );
        assert!(towards("cursor:").contains("form-action 'self' cursor:;"));
        for bad in
            ["https://a; script-src *", "https://a b", "'unsafe-inline'", "x\r\ny: z", "*", ""]
        {
            assert_eq!(towards(bad), content_policy(None), "{bad}");
        }
    }

    #[test]
    fn what_no_header_can_hold_leads_nowhere() {
        assert_eq!(header(&see_other("/a\r\nset-cookie: x"), "location"), "/account");
        assert_eq!(header(&see_other("/device"), "location"), "/device");
    }
}
