//! Principals and names as policies write them, for what else is said of them (limits on calls).

use gateway_core::caller::User;

use crate::check::{self, Principal};
use crate::glob::Glob;
use crate::slice;

/// Whom a list of principals means, in the forms that policies have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who(Vec<Principal>);

impl Who {
    /// Reads the list; else the place of a wrong one in it, and what was expected there.
    pub fn parse(texts: &[String]) -> Result<Who, (usize, String)> {
        let read = |(at, text): (usize, &String)| check::principal(text).map_err(|why| (at, why));
        texts.iter().enumerate().map(read).collect::<Result<_, _>>().map(Who)
    }

    /// Whether that principal is among them.
    pub fn has(&self, user: &User) -> bool {
        self.0.iter().any(slice::meant(user))
    }
}

/// Globs on names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(Vec<Glob>);

impl Names {
    /// Reads the globs; else the place of a wrong one, and what was expected there.
    pub fn parse(texts: &[String]) -> Result<Names, (usize, String)> {
        let read = |(at, text): (usize, &String)| Glob::parse(text).map_err(|why| (at, why));
        texts.iter().enumerate().map(read).collect::<Result<_, _>>().map(Names)
    }

    /// Whether one of them stands for `name`.
    pub fn have(&self, name: &str) -> bool {
        self.0.iter().any(|glob| glob.matches(name))
    }
}
