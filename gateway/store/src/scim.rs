//! People and groups as a provisioning system sees and sets them (SCIM). What it does not speak of, such
//! as roles, stays as it is.

mod groups;
mod users;

pub use groups::{GroupChange, NewGroup, ProvisionedGroup};
pub use users::{NewPerson, PersonChange, Provisioned};

use uuid::Uuid;

/// Which of them to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of that id.
    pub id: Option<Uuid>,
    /// Of that user name or display name.
    pub name: Option<String>,
    /// Of that id of the provisioning system's own.
    pub external_id: Option<String>,
    /// How many to leave out first.
    pub skip: u32,
    /// How many to give at most.
    pub count: u32,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// How many there are in all.
    pub total: u64,
    /// Those of the page.
    pub rows: Vec<T>,
}

/// What came of making or changing one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written<T> {
    /// As it is now.
    Done(T),
    /// Its name or external id is another one's.
    Taken,
    /// No such person or group, or a member that is none.
    Absent,
    /// It is the desired state's, which alone removes it.
    Foreign,
}

/// Something else with the same name or external id is there.
fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|refusal| refusal.is_unique_violation())
}
