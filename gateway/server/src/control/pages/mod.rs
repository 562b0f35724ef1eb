//! The pages that people see in a browser: server-rendered, without script. A page decodes what the browser sent,
//! calls governance, and encodes; it decides nothing and holds no SQL.
//!
//! [`routes`] has every address, [`browser`] the cookie and who is signed in, [`form`] what a form may send,
//! [`reply`] the headers that every page goes out with.

pub mod browser;
pub mod reply;
mod shell;

pub use browser::{Browser, SignedIn};
pub use reply::page;
pub use shell::Shell;
