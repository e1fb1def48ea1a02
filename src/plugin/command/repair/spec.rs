//! What a repair was decided to do: all that its steps are built from, on any machine. No password goes in.

use serde::{Deserialize, Serialize};

use crate::database::find::Named;
use crate::database::url::Location;
use crate::failure::Result;
use crate::framework::{LockKind, Repair};

/// A repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    /// What the user named, as TYPE/NAME.
    pub(super) target: String,
    /// The container that counts.
    pub(super) container: String,
    /// Image of the helper pod, where one is needed.
    pub(super) helper_image: String,
    /// How the database is found again.
    pub(super) which: Which,
    /// The database, as the application knows it, without its password.
    pub(super) location: String,
    /// The bookkeeping table.
    pub(super) table: String,
    /// What is done.
    pub(super) repair: Repair,
    /// What tells that it was done.
    pub(super) aim: Aim,
    /// The user insisted.
    pub(super) force: bool,
}

/// How a database is found again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) enum Which {
    /// The pod is told of it, or has it on a volume.
    Found,
    /// The Secret or ConfigMap that was named.
    Reference(String),
    /// The path of a file that was named.
    Path(String),
    /// A URL of a server was typed. It may hold what is secret, so it is not kept.
    Typed,
}

impl Which {
    /// As the user named it.
    pub(in crate::command) fn of(named: Option<&Named>, location: &Location) -> Self {
        match (named, location) {
            (None, _) => Self::Found,
            (Some(Named::Reference(reference)), _) => Self::Reference(reference.to_string()),
            (Some(Named::Url(_)), Location::File(path)) => Self::Path(path.clone()),
            (Some(Named::Url(_)), Location::Server(_)) => Self::Typed,
        }
    }

    /// As the look takes it; `None` looks for it.
    ///
    /// # Errors
    /// The record comes from another version.
    pub(in crate::command) fn named(&self) -> Result<Option<Named>> {
        match self {
            Self::Found | Self::Typed => Ok(None),
            Self::Reference(reference) => Ok(Some(Named::Reference(reference.parse()?))),
            Self::Path(path) => Ok(Some(Named::Url(format!("sqlite:{path}")))),
        }
    }
}

/// What tells that a repair was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Aim {
    /// The problem is not found any more.
    Gone,
    /// A lock that is a row is free.
    Free,
    /// This session is gone.
    #[serde(rename_all = "camelCase")]
    Ended {
        /// The server's number for it.
        id: i64,
        /// When it began, as the server writes it.
        began: Option<String>,
    },
    /// This migration is written down as applied.
    Stamped(String),
}

impl Aim {
    /// Of freeing a lock.
    pub(super) fn of_lock(kind: &LockKind) -> Self {
        match kind {
            LockKind::Row { .. } => Self::Free,
            LockKind::Session { id, began } => Self::Ended { id: *id, began: began.clone() },
        }
    }

    /// It is about a lock, which another migration may not be in the way of.
    pub(super) fn is_about_a_lock(&self) -> bool {
        matches!(self, Self::Free | Self::Ended { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_found_again_by_what_is_no_secret() {
        let file = Location::parse("sqlite:/data/shop.db").unwrap();
        let server = Location::parse("postgres://app:hunter2@db/shop").unwrap();
        let typed = Named::Url("postgres://app:hunter2@db/shop".to_owned());
        let reference = Named::Reference("secret/app:url".parse().unwrap());
        for (named, location, kept, again) in [
            (None, &file, r#""found""#, None),
            (Some(&typed), &server, r#""typed""#, None),
            (Some(&reference), &server, r#"{"reference":"secret/app:url"}"#, Some(reference.clone())),
            (
                Some(&Named::Url("/data/shop.db".to_owned())),
                &file,
                r#"{"path":"/data/shop.db"}"#,
                Some(Named::Url("sqlite:/data/shop.db".to_owned())),
            ),
        ] {
            let which = Which::of(named, location);
            assert_eq!(serde_json::to_string(&which).unwrap(), kept);
            assert!(which.named().unwrap() == again, "{kept}");
        }
    }
}
