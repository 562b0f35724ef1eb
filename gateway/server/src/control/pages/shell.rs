//! What surrounds every page: `templates/base.html` shows who is signed in, and the way out.

use super::browser::SignedIn;

/// The field `shell` of every template that extends `base.html`.
#[derive(Debug, Clone, Default)]
pub struct Shell {
    /// Who is signed in.
    pub person: Option<Person>,
}

/// Who is signed in, as the page's head shows it.
#[derive(Debug, Clone)]
pub struct Person {
    /// Their e-mail address.
    pub email: String,
    /// The proof that a form came from one of our pages in this browser.
    pub form_token: String,
}

impl Shell {
    /// Around a page for somebody who is signed in, or nobody.
    pub fn of(signed_in: Option<&SignedIn>) -> Shell {
        let person = signed_in.map(|signed_in| Person {
            email: signed_in.user.email.clone(),
            form_token: signed_in.form_token.clone(),
        });
        Shell { person }
    }
}
