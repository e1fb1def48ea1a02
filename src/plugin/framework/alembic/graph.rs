//! Alembic's revisions, read off the text of `versions/*.py`. No Python runs: four assignments at the margin are all that counts.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Script;

/// Which revision follows which.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::framework) struct Graph {
    revisions: BTreeMap<String, Revision>,
}

/// A revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::framework) struct Revision {
    /// Those that it follows; several for a merge, none for a base.
    pub(in crate::framework) down: Vec<String>,
    /// Those of other branches that must be there first.
    depends: Vec<String>,
    labels: Vec<String>,
    /// Its file.
    pub(in crate::framework) path: String,
}

impl Graph {
    /// From the files of a `versions` folder; files without a revision don't count.
    pub(in crate::framework) fn parse(scripts: &[Script]) -> Self {
        let revisions = scripts.iter().filter_map(|script| {
            let assignments = assignments(&script.text);
            let get = |name: &str| assignments.get(name).cloned().unwrap_or_default();
            let id = get("revision").into_iter().next()?;
            let (down, depends, labels) = (get("down_revision"), get("depends_on"), get("branch_labels"));
            Some((id, Revision { down, depends, labels, path: script.path.clone() }))
        });
        Self { revisions: revisions.collect() }
    }

    /// Whether there are no revisions in it.
    pub(in crate::framework) fn is_empty(&self) -> bool {
        self.revisions.is_empty()
    }

    pub(in crate::framework) fn get(&self, id: &str) -> Option<&Revision> {
        self.revisions.get(id)
    }

    /// Everything that must have been applied before a revision. Dependencies count, as they do when Alembic looks for overlaps.
    pub(in crate::framework) fn ancestors(&self, id: &str) -> BTreeSet<&str> {
        let (mut found, mut open) = (BTreeSet::new(), self.parents(id));
        while let Some(next) = open.pop() {
            if found.insert(next) {
                open.extend(self.parents(next));
            }
        }
        found
    }

    fn parents(&self, id: &str) -> Vec<&str> {
        let Some(revision) = self.revisions.get(id) else { return Vec::new() };
        revision.down.iter().chain(&revision.depends).filter_map(|name| self.resolve(name)).collect()
    }

    /// A dependency may be written as a branch label, and any id by its beginning.
    fn resolve(&self, name: &str) -> Option<&str> {
        if let Some((id, _)) = self.revisions.get_key_value(name) {
            return Some(id);
        }
        let labelled = self.revisions.iter().find(|(_, revision)| revision.labels.iter().any(|label| label == name));
        let mut begins = self.revisions.keys().filter(|id| id.starts_with(name));
        labelled.map(|(id, _)| id.as_str()).or_else(|| begins.next().filter(|_| begins.next().is_none()).map(String::as_str))
    }

    /// Revisions that none follows.
    pub(in crate::framework) fn heads(&self) -> Vec<&str> {
        let followed: BTreeSet<&str> =
            self.revisions.values().flat_map(|revision| &revision.down).filter_map(|name| self.resolve(name)).collect();
        self.revisions.keys().map(String::as_str).filter(|id| !followed.contains(id)).collect()
    }

    /// All revisions, each after those that it needs.
    pub(in crate::framework) fn in_order(&self) -> Vec<(&str, &Revision)> {
        let mut listed: Vec<(&str, &Revision)> = Vec::new();
        let mut done: BTreeSet<&str> = BTreeSet::new();
        let mut open: Vec<&str> = self.revisions.keys().rev().map(String::as_str).collect();
        let mut begun: BTreeSet<&str> = BTreeSet::new();
        while let Some(&next) = open.last() {
            let missing: Vec<&str> =
                self.parents(next).into_iter().filter(|parent| !done.contains(parent) && !begun.contains(parent)).collect();
            if done.contains(next) || missing.is_empty() || !begun.insert(next) {
                open.pop();
                if done.insert(next) {
                    listed.extend(self.revisions.get_key_value(next).map(|(id, revision)| (id.as_str(), revision)));
                }
            } else {
                open.extend(missing);
            }
        }
        listed
    }
}

/// The strings that are assigned to each name at the margin: `down_revision = ("a", "b")`, `revision: str = 'c'`.
fn assignments(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        if let Some(begin) = opens_docstring(line) {
            rest = after_docstring(&rest[begin.0 + 3..], begin.1);
            continue;
        }
        match assigned(line) {
            Some((name, at)) => {
                let (strings, end) = strings(&rest[at..]);
                found.insert(name.to_owned(), strings);
                rest = rest[at + end..].split_once('\n').map_or("", |(_, after)| after);
            }
            None => rest = after,
        }
    }
    found
}

/// Where a text of several lines begins, and the quotes that end it.
fn opens_docstring(line: &str) -> Option<(usize, &'static str)> {
    let comment = line.find('#').unwrap_or(line.len());
    ["\"\"\"", "'''"].into_iter().filter_map(|quotes| Some((line[..comment].find(quotes)?, quotes))).min()
}

/// What follows such a text, from the line after its end.
fn after_docstring<'a>(text: &'a str, quotes: &str) -> &'a str {
    text.split_once(quotes).and_then(|(_, after)| after.split_once('\n')).map_or("", |(_, after)| after)
}

/// `name = …` or `name: type = …` at the margin: the name, and where the value begins.
fn assigned(line: &str) -> Option<(&str, usize)> {
    let equals = line.find('=').filter(|at| !line[at + 1..].starts_with('='))?;
    let name = line[..equals].split(':').next()?.trim_end();
    let wanted = ["revision", "down_revision", "branch_labels", "depends_on"].contains(&name);
    wanted.then_some((name, equals + 1))
}

/// The quoted strings of an expression that ends with its line, or with its last bracket; and where it ends.
fn strings(text: &str) -> (Vec<String>, usize) {
    let (mut found, mut depth, mut open) = (Vec::new(), 0_usize, None::<(char, usize)>);
    let mut comment = false;
    for (at, c) in text.char_indices() {
        match (open, c) {
            (_, '\n') if comment => comment = false,
            (_, _) if comment => continue,
            (Some((quote, from)), _) if c == quote => {
                found.push(text[from..at].to_owned());
                open = None;
            }
            (Some(_), _) => {}
            (None, '\'' | '"') => open = Some((c, at + 1)),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, '#') => comment = true,
            (None, _) => {}
        }
        if c == '\n' && depth == 0 {
            return (found, at);
        }
    }
    (found, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(files: &[&str]) -> Graph {
        let script = |(at, text): (usize, &&str)| Script { path: format!("versions/{at}.py"), text: (*text).to_owned() };
        Graph::parse(&files.iter().enumerate().map(script).collect::<Vec<_>>())
    }

    #[test]
    fn the_usual_template_is_read_in_its_old_and_new_form() {
        let old = "\"\"\"first\n\nRevision ID: aaa1\nrevision = 'wrong'\n\"\"\"\nfrom alembic import op\n\n# revision identifiers\nrevision = 'aaa1'\ndown_revision = None\nbranch_labels = None\ndepends_on = None\n\n\ndef upgrade():\n    revision = 'inner'\n";
        let new = "revision: str = \"bbb2\"  # 'this' one\ndown_revision: Union[str, Sequence[str], None] = \"aaa1\"\n";
        let graph = graph(&[old, new]);
        assert_eq!(graph.heads(), ["bbb2"]);
        assert_eq!(graph.ancestors("bbb2").into_iter().collect::<Vec<_>>(), ["aaa1"]);
    }

    #[test]
    fn merges_over_several_lines_labels_and_dependencies_are_followed() {
        let graph = graph(&[
            "revision = 'a'\ndown_revision = None\n",
            "revision = 'b'\ndown_revision = 'a'\n",
            "revision = 'c'\ndown_revision = 'a'\nbranch_labels = ('side',)\n",
            "revision = 'm'\ndown_revision = (\n    'b',  # one\n    'c',\n)\n",
            "revision = 'other'\ndown_revision = None\ndepends_on = 'side'\n",
        ]);
        assert_eq!(graph.ancestors("m").into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(graph.ancestors("other").into_iter().collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(graph.heads(), ["m", "other"]);
        let order: Vec<&str> = graph.in_order().into_iter().map(|(id, _)| id).collect();
        let at = |id: &str| order.iter().position(|one| *one == id).unwrap();
        assert!(at("a") < at("b") && at("b") < at("m") && at("c") < at("m") && at("c") < at("other"), "{order:?}");
        assert_eq!(order.len(), 5);
    }

    #[test]
    fn a_circle_ends() {
        let graph = graph(&["revision = 'a'\ndown_revision = 'b'\n", "revision = 'b'\ndown_revision = 'a'\n", "nothing = 1\n"]);
        assert!(graph.heads().is_empty());
        assert_eq!(graph.in_order().len(), 2);
        assert_eq!(graph.ancestors("a").len(), 2);
    }
}
