//! Liquibase's changelogs: which changesets a file has, in XML, YAML, JSON or SQL. Which of them a run takes depends on contexts, labels
//! and preconditions, and that is not weighed here.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde_json::Value;

use crate::framework::available::file_name;
use crate::framework::{Available, Script, State};

/// What the identity of a changeset is made of.
const BETWEEN: &str = "::";

/// The changesets of all files, each file's in its own order.
pub(super) fn changesets(scripts: &[Script]) -> Vec<Available> {
    scripts.iter().flat_map(of).collect()
}

/// The same with the ids that the table has for them: it tells a file by the path that Liquibase was given, and these are told by where
/// they were found.
pub(in crate::framework) fn as_written(state: &State, available: &[Available]) -> Vec<Available> {
    let failed = state.failed.iter().map(|failed| failed.id.as_str());
    let written: Vec<&str> = state.applied.iter().map(|applied| applied.id.as_str()).chain(failed).collect();
    let same = |one: &Available| written.iter().find(|id| is_same(id, &one.id)).map(|id| (*id).to_owned());
    available.iter().map(|one| Available { id: same(one).unwrap_or_else(|| one.id.clone()), ..one.clone() }).collect()
}

fn is_same(left: &str, right: &str) -> bool {
    let (Some((left, its)), Some((right, other))) = (left.split_once(BETWEEN), right.split_once(BETWEEN)) else { return false };
    let plain = |path: &str| path.trim_start_matches("classpath:").trim_start_matches('/').replace('\\', "/");
    let (left, right) = (plain(left), plain(right));
    let within = |long: &str, short: &str| long.strip_suffix(short).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
    its == other && (within(&left, &right) || within(&right, &left))
}

fn of(script: &Script) -> Vec<Available> {
    let found = match script.path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("xml") => of_xml(&script.text),
        Some("yaml" | "yml") => of_yaml(serde_saphyr::from_str(&script.text).ok().as_ref()),
        Some("json") => of_yaml(serde_json::from_str(&script.text).ok().as_ref()),
        Some("sql") => of_sql(&script.text),
        _ => Vec::new(),
    };
    let one = |found: Found| {
        let file = found.file.as_deref().unwrap_or(&script.path);
        let id = [file, &found.id, &found.author].join(BETWEEN);
        Available {
            id,
            name: format!("{} of {}", found.id, file_name(&script.path)),
            path: script.path.clone(),
            ..Available::default()
        }
    };
    found.into_iter().map(one).collect()
}

/// A changeset as a file has it.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    id: String,
    author: String,
    /// What the file calls itself, where that is not its path.
    file: Option<String>,
}

fn of_xml(text: &str) -> Vec<Found> {
    let (mut reader, mut found, mut file) = (Reader::from_str(text), Vec::new(), None);
    loop {
        match reader.read_event() {
            Ok(Event::Start(tag) | Event::Empty(tag)) => match tag.local_name().as_ref() {
                "databaseChangeLog" => file = attribute(&tag, "logicalFilePath"),
                "changeSet" => {
                    let (id, author) = (attribute(&tag, "id"), attribute(&tag, "author"));
                    let file = attribute(&tag, "logicalFilePath").or_else(|| file.clone());
                    found.extend(id.zip(author).map(|(id, author)| Found { id, author, file }));
                }
                _ => {}
            },
            // What can't be read ends here: it is no changelog, or none that Liquibase would take either.
            Ok(Event::Eof) | Err(_) => return found,
            Ok(_) => {}
        }
    }
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = tag.try_get_attribute(name).ok()??;
    Some(attribute.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned())
}

fn of_yaml(document: Option<&Value>) -> Vec<Found> {
    let entries = document.and_then(|document| document["databaseChangeLog"].as_array());
    let entries = entries.map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let file = entries.iter().find_map(|entry| text(&entry["logicalFilePath"]));
    let of = |entry: &Value| {
        let set = &entry["changeSet"];
        let file = text(&set["logicalFilePath"]).or_else(|| file.clone());
        Some(Found { id: text(&set["id"])?, author: text(&set["author"])?, file })
    };
    entries.iter().filter_map(of).collect()
}

/// `--liquibase formatted sql`, and then `--changeset AUTHOR:ID` before each.
fn of_sql(text: &str) -> Vec<Found> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let comment = |line: &str| Some(line.strip_prefix("--")?.trim_start().to_owned());
    let Some(first) = lines.next().and_then(comment).filter(|first| first.to_lowercase().starts_with("liquibase formatted sql"))
    else {
        return Vec::new();
    };
    let file = logical(&first);
    let of = |line: &str| {
        let comment = comment(line)?;
        let (word, rest) = comment.split_once(char::is_whitespace)?;
        let rest = rest.trim_start();
        // A colon may be within an author's quotes.
        let colon = match rest.strip_prefix('"').and_then(|rest| rest.find('"')) {
            Some(end) => end + 2,
            None => rest.find(':')?,
        };
        let id = rest.get(colon..)?.strip_prefix(':')?.split_whitespace().next()?;
        let plain = |text: &str| text.trim_matches('"').to_owned();
        let found = || Found { id: plain(id), author: plain(&rest[..colon]), file: logical(rest).or_else(|| file.clone()) };
        word.eq_ignore_ascii_case("changeset").then(found)
    };
    lines.filter_map(of).collect()
}

fn logical(line: &str) -> Option<String> {
    line.split_whitespace().find_map(|word| word.strip_prefix("logicalFilePath:")).map(|path| path.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(path: &str, text: &str) -> Vec<String> {
        let script = Script { path: path.to_owned(), text: text.to_owned() };
        changesets(&[script]).into_iter().map(|one| one.id).collect()
    }

    #[test]
    fn changesets_are_read_out_of_every_kind_of_changelog() {
        let xml = "<?xml version=\"1.0\"?><databaseChangeLog xmlns=\"http://www.liquibase.org/xml/ns/dbchangelog\">\n\
            <!-- <changeSet id=\"0\" author=\"nobody\"/> --><include file=\"b.xml\"/>\n\
            <changeSet author=\"a&amp;b\" id=\"1\" context=\"prod\"><createTable tableName=\"t\"/></changeSet><changeSet id='2' author='c'/>\n\
            <changeSet id=\"3\" author=\"c\" logicalFilePath=\"old/a.xml\"/></databaseChangeLog>";
        assert_eq!(ids("changelog/a.xml", xml), ["changelog/a.xml::1::a&b", "changelog/a.xml::2::c", "old/a.xml::3::c"]);
        let yaml = "databaseChangeLog:\n- include: {file: b.yaml}\n- changeSet:\n    id: 1\n    author: anna\n    changes:\n    - tagDatabase: {tag: x}\n\
            - changeSet: {id: two, author: ben}\n";
        assert_eq!(ids("changelog/a.yaml", yaml), ["changelog/a.yaml::1::anna", "changelog/a.yaml::two::ben"]);
        let json = r#"{"databaseChangeLog": [{"logicalFilePath": "x.json"}, {"changeSet": {"id": "1", "author": "anna"}}]}"#;
        assert_eq!(ids("changelog/a.json", json), ["x.json::1::anna"]);
        let sql = "\n--liquibase formatted sql\n\n--changeset anna:1 runOnChange:true\nCREATE TABLE t (a int);\n--rollback DROP TABLE t;\n\
            -- ChangeSet \"ben: b\":two-b logicalFilePath:old.sql\nSELECT 1; --changeset no:3\n";
        assert_eq!(ids("changelog/a.sql", sql), ["changelog/a.sql::1::anna", "old.sql::two-b::ben: b"]);
        for (path, text) in
            [("a.sql", "--changeset anna:1\nSELECT 1"), ("a.xml", "<changeSet id=\"1\"/>"), ("a.yaml", "a: ["), ("a.txt", "")]
        {
            assert_eq!(ids(path, text), [""; 0], "{path}: {text}");
        }
    }

    #[test]
    fn a_file_is_the_same_by_whatever_part_of_its_path_it_is_told() {
        for (written, found) in [
            ("db/changelog/1.0/tables.xml", "changelog/1.0/tables.xml"),
            ("1.0/tables.xml", "changelog/1.0/tables.xml"),
            ("classpath:/db/changelog/1.0/tables.xml", "changelog/1.0/tables.xml"),
        ] {
            assert!(is_same(&format!("{written}::1::anna"), &format!("{found}::1::anna")), "{written} {found}");
        }
        for (written, found) in [
            ("2.0/tables.xml::1::anna", "changelog/1.0/tables.xml::1::anna"),
            ("tables.xml::1::anna", "changelog/old-tables.xml::1::anna"),
            ("tables.xml::1::anna", "tables.xml::1::ben"),
            ("tables.xml", "tables.xml"),
        ] {
            assert!(!is_same(written, found), "{written} {found}");
        }
    }
}
