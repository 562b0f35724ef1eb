//! A section of the configuration: its keys, their comments and defaults, written once.
//!
//! The `section!` macro makes the struct, its defaults, the list of keys that unknown ones are checked
//! against, and the text of `config/gateway.toml`.

use toml::de::{DeTable, DeValue};

use super::setting::Fault;

/// One key as `config/gateway.toml` shows it.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its comment, a line each.
    pub comment: &'static [&'static str],
    /// An example in TOML, for keys that are unset by default.
    pub like: Option<&'static str>,
}

/// A table whose keys are known.
pub trait Section: Default {
    /// Every key, in the order in which it is shown.
    const KEYS: &'static [Key];
    /// What the section is about, a line each.
    const ABOUT: &'static [&'static str];

    /// Sets the key of that name from TOML; `None` when there is no such key.
    fn set(&mut self, key: &str, value: &DeValue<'_>) -> Option<Result<(), Fault>>;

    /// Sets the key of that name from an environment variable's text.
    fn set_text(&mut self, key: &str, text: &str) -> Option<Result<(), Fault>>;

    /// Every key's value as TOML, in the order of [`Section::KEYS`]; `None` where unset.
    fn shown(&self) -> Vec<Option<String>>;
}

/// The names of a section's keys.
pub(super) fn names<S: Section>() -> Vec<&'static str> {
    S::KEYS.iter().map(|key| key.name).collect()
}

/// Reads a whole table into a section that stands in an array.
pub(super) fn read_table<S: Section>(table: &DeTable<'_>) -> Result<S, Fault> {
    let mut section = S::default();
    for (key, value) in table.iter() {
        let name = key.get_ref().as_ref();
        let place = |fault: Fault| Fault {
            below: format!(".{name}{}", fault.below),
            at: fault.at.or(Some(key.span().start)),
            message: fault.message,
        };
        match section.set(name, value.get_ref()) {
            Some(set) => set.map_err(place)?,
            None => {
                let message = gateway_core::located::unknown_key(name, &names::<S>());
                return Err(place(Fault::new(message)));
            }
        }
    }
    Ok(section)
}

/// Declares a section: `key: Type = default;` or `key: Option<Type> = None, like "example";`.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $Name:ident {
            $( $(#[doc = $doc:literal])+ $key:ident: $ty:ty = $default:expr $(, like $like:literal)?; )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone)]
        pub struct $Name {
            $( $(#[doc = $doc])+ pub $key: $ty, )+
        }

        impl Default for $Name {
            fn default() -> Self {
                $Name { $( $key: $default, )+ }
            }
        }

        impl $crate::config::section::Section for $Name {
            const ABOUT: &'static [&'static str] = &[$($about),+];
            const KEYS: &'static [$crate::config::section::Key] = &[
                $( $crate::config::section::Key {
                    name: stringify!($key),
                    comment: &[$($doc),+],
                    like: $crate::config::section::section!(@like $($like)?),
                }, )+
            ];

            fn set(
                &mut self,
                key: &str,
                value: &toml::de::DeValue<'_>,
            ) -> Option<Result<(), $crate::config::setting::Fault>> {
                use $crate::config::setting::Setting;
                Some(match key {
                    $( stringify!($key) => <$ty>::read(value).map(|read| self.$key = read), )+
                    _ => return None,
                })
            }

            fn set_text(
                &mut self,
                key: &str,
                text: &str,
            ) -> Option<Result<(), $crate::config::setting::Fault>> {
                use $crate::config::setting::Setting;
                Some(match key {
                    $( stringify!($key) => <$ty>::read_text(text).map(|read| self.$key = read), )+
                    _ => return None,
                })
            }

            fn shown(&self) -> Vec<Option<String>> {
                use $crate::config::setting::Setting;
                vec![$( self.$key.show() ),+]
            }
        }
    };
    (@like) => { None };
    (@like $like:literal) => { Some($like) };
}
pub(crate) use section;
