//! Every address of the pages, once, and who gets through. Tests walk it: every POST refuses forged forms, every
//! person's page sends strangers to the sign-in.

use http::Method;

use super::super::rest::routes::name_of;

/// An address.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path; a segment in braces is a parameter.
    pub path: &'static str,
    /// What is there.
    pub page: Page,
    /// Who gets through.
    pub access: Access,
}

/// What is at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The stylesheet.
    Style,
    /// The sign in the browser's tab.
    Icon,
    /// The ways to sign in; with `provider`, off to it.
    SignIn,
    /// A password.
    SignInByPassword,
    /// Back from a provider.
    Callback,
    /// A one-time link, looked at.
    Link,
    /// A one-time link, used.
    SignInByLink,
    /// Out.
    SignOut,
    /// A program asks to act for a person.
    Consent,
    /// The decision about it.
    DecideConsent,
    /// A device's code is asked for.
    Device,
    /// A device's request is shown.
    DeviceAsked,
    /// A device's request is decided.
    DecideDevice,
    /// A call that waits for people.
    Confirmation,
    /// The decision about it.
    DecideConfirmation,
    /// What is a person's own.
    Account,
    /// A new API key.
    CreateKey,
    /// The end of what a program was given.
    RevokeProgram,
    /// An API key's end.
    RevokeKey,
    /// A browser session's end.
    EndBrowser,
    /// An account at a server: what it is for, and whether it is there.
    Connect,
    /// Off to the issuer.
    BeginConnecting,
    /// Back from the issuer.
    Connected,
    /// The account is given back.
    Disconnect,
}

/// Who gets through at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Anybody,
    /// Whoever is signed in; others are sent to the sign-in and come back to this address.
    Person {
        /// Where they come back to: a page that GET shows. Empty: where they are.
        back: &'static str,
    },
}

const PERSON: Access = Access::Person { back: "" };
const TO_ACCOUNT: Access = Access::Person { back: "/account" };

/// The addresses.
pub const ROUTES: &[Route] = &[
    route("GET", "/assets/style.css", Page::Style, Access::Anybody),
    route("GET", "/assets/icon.svg", Page::Icon, Access::Anybody),
    route("GET", "/sign-in", Page::SignIn, Access::Anybody),
    route("POST", "/sign-in", Page::SignInByPassword, Access::Anybody),
    route("GET", "/sign-in/callback", Page::Callback, Access::Anybody),
    route("GET", "/sign-in/link", Page::Link, Access::Anybody),
    route("POST", "/sign-in/link", Page::SignInByLink, Access::Anybody),
    route("POST", "/sign-out", Page::SignOut, Access::Anybody),
    // Anybody's: who is to be asked is looked at first, and strangers sign in on the way.
    route("GET", "/api/v1/oauth/authorize", Page::Consent, Access::Anybody),
    route("POST", "/api/v1/oauth/authorize", Page::DecideConsent, Access::Anybody),
    route("GET", "/device", Page::Device, PERSON),
    route("POST", "/device", Page::DeviceAsked, PERSON),
    route("POST", "/device/decision", Page::DecideDevice, Access::Person { back: "/device" }),
    route("GET", "/confirmations/{id}", Page::Confirmation, PERSON),
    route("POST", "/confirmations/{id}", Page::DecideConfirmation, PERSON),
    route("GET", "/account", Page::Account, PERSON),
    route("POST", "/account/programs/{id}/revoke", Page::RevokeProgram, TO_ACCOUNT),
    route("POST", "/account/keys", Page::CreateKey, TO_ACCOUNT),
    route("POST", "/account/keys/{id}/revoke", Page::RevokeKey, TO_ACCOUNT),
    route("POST", "/account/browsers/{id}/end", Page::EndBrowser, TO_ACCOUNT),
    route("GET", "/connect/callback", Page::Connected, PERSON),
    route("GET", "/connect/{server_id}", Page::Connect, PERSON),
    route("POST", "/connect/{server_id}", Page::BeginConnecting, PERSON),
    route("POST", "/connect/{server_id}/disconnect", Page::Disconnect, TO_ACCOUNT),
];

const fn route(method: &'static str, path: &'static str, page: Page, access: Access) -> Route {
    Route { method, path, page, access }
}

/// What is at an address.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A route, and its parameter if it has one.
    Route(&'static Route, &'a str),
    /// Only other methods: these.
    OtherMethods(Vec<&'static str>),
    /// Nothing.
    Nothing,
}

/// Looks up an address.
pub(super) fn find<'a>(method: &Method, path: &'a str) -> Found<'a> {
    let mut others = Vec::new();
    for route in ROUTES {
        let Some(parameter) = parameter(route.path, path) else { continue };
        if route.method == method.as_str() {
            return Found::Route(route, parameter);
        }
        others.push(route.method);
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
}

/// The parameter, empty where there is none, if `path` is of the form of `template`.
fn parameter<'a>(template: &'static str, path: &'a str) -> Option<&'a str> {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    let mut parameter = "";
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(parameter),
            (Some(want), Some(have)) => match name_of(want) {
                Some(_) if !have.is_empty() => parameter = have,
                Some(_) => return None,
                None if want == have => {}
                None => return None,
            },
            (Some(_), None) | (None, Some(_)) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_with_their_parameter() {
        let found = |method: &str, path: &'static str| match find(&method.parse().unwrap(), path) {
            Found::Route(route, parameter) => format!("{:?} {parameter}", route.page),
            Found::OtherMethods(methods) => format!("{methods:?}"),
            Found::Nothing => "nothing".into(),
        };
        assert_eq!(found("GET", "/account"), "Account ");
        assert_eq!(found("POST", "/account/keys/7/revoke"), "RevokeKey 7");
        assert_eq!(found("GET", "/account/keys"), r#"["POST"]"#);
        assert_eq!(found("PUT", "/sign-in"), r#"["GET", "POST"]"#);
        for path in ["/account/", "//account", "/confirmations/", "/confirmations/a/b", "/", ""] {
            assert_eq!(found("GET", path), "nothing", "{path}");
        }
    }
}
