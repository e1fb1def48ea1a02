//! What a command has found or done, in all the ways it can be shown. Lays out; prints nothing.

use serde::Serialize;

use super::table::Table;
use crate::failure::{Failure, Result};

/// The version of every object that `-o json` and `-o yaml` print.
pub const API_VERSION: &str = "dbmig.dev/v1alpha1";

/// How a result is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Columns that fit a terminal.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// For programs; where progress is told too, one object per line.
    Json,
    /// For people who edit.
    Yaml,
    /// One name per line.
    Name,
}

/// A result. Its fields are the machine output; table and names come from the same struct, so they cannot differ.
pub trait Report: Serialize {
    /// Kind of the object in JSON and YAML, like `VacuumReport`.
    fn kind(&self) -> &'static str;
    /// The result for a person; `wide` asks for more columns.
    fn table(&self, wide: bool) -> Table;
    /// The names in it, like `operation/vacuum-7kx2pq`.
    fn names(&self) -> Vec<String>;
}

/// An object of ours: `apiVersion` and `kind`, then the fields of the thing itself.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Object<'a, T: Serialize + ?Sized> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    fields: &'a T,
}

impl<'a, T: Serialize + ?Sized> Object<'a, T> {
    pub(super) fn new(kind: &'static str, fields: &'a T) -> Self {
        Self { api_version: API_VERSION, kind, fields }
    }
}

/// How JSON is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Json {
    /// Indented: the object stands alone.
    Alone,
    /// One line: the object is one of many.
    Line,
}

/// The report as text, each line ended. `head` is whether a table shows its head.
pub(super) fn rendered<R: Report>(report: &R, format: Format, head: bool, json: Json) -> Result<String> {
    let object = Object::new(report.kind(), report);
    let text = match format {
        Format::Table => return Ok(report.table(false).render(head)),
        Format::Wide => return Ok(report.table(true).render(head)),
        Format::Name => return Ok(report.names().iter().map(|name| format!("{name}\n")).collect()),
        Format::Yaml => return serde_saphyr::to_string(&object).map_err(|error| unwritable(report.kind(), &error)),
        Format::Json if json == Json::Line => serde_json::to_string(&object),
        Format::Json => serde_json::to_string_pretty(&object),
    };
    text.map(|text| text + "\n").map_err(|error| unwritable(report.kind(), &error))
}

fn unwritable(kind: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("cannot write the {kind}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Pod {
        name: &'static str,
        ready: bool,
    }

    impl Report for Pod {
        fn kind(&self) -> &'static str {
            "Pod"
        }
        fn table(&self, wide: bool) -> Table {
            let head = if wide { vec!["NAME", "READY"] } else { vec!["NAME"] };
            let cells = [self.name.to_owned(), self.ready.to_string()];
            Table::new(head.clone()).row(cells.into_iter().take(head.len()))
        }
        fn names(&self) -> Vec<String> {
            vec![format!("pod/{}", self.name)]
        }
    }

    #[test]
    fn one_struct_is_shown_in_every_format() {
        let shown = |format, json| rendered(&Pod { name: "a", ready: true }, format, true, json).expect("it can be shown");
        assert_eq!(shown(Format::Table, Json::Alone), "NAME\na\n");
        assert_eq!(shown(Format::Wide, Json::Alone), "NAME   READY\na      true\n");
        assert_eq!(shown(Format::Name, Json::Alone), "pod/a\n");
        assert_eq!(shown(Format::Yaml, Json::Alone), "apiVersion: dbmig.dev/v1alpha1\nkind: Pod\nname: a\nready: true\n");
        let line = r#"{"apiVersion":"dbmig.dev/v1alpha1","kind":"Pod","name":"a","ready":true}"#;
        assert_eq!(shown(Format::Json, Json::Line), format!("{line}\n"));
        let alone: serde_json::Value = serde_json::from_str(&shown(Format::Json, Json::Alone)).expect("valid JSON");
        assert_eq!(alone.to_string(), serde_json::from_str::<serde_json::Value>(line).expect("valid JSON").to_string());
        assert!(shown(Format::Json, Json::Alone).lines().count() > 1);
    }
}
