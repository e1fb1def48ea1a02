//! `cargo xtask check`: rules of this repository that no other tool checks. Changes nothing.

use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::process::{capture, root, say};

/// Longest file of the product or its tests, in lines.
const MOST_LINES: usize = 600;

pub(crate) fn run() -> Outcome {
    let listing =
        capture(Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root()))?;
    let mut found = Vec::new();
    for name in listing.lines() {
        let Ok(text) = std::fs::read_to_string(root().join(name)) else { continue };
        found.extend(in_file(name, &text));
    }
    found.extend(readme()?);
    for finding in &found {
        say(finding);
    }
    if found.is_empty() { Ok(()) } else { Err(format!("{} findings, see above", found.len())) }
}

/// What a file's own text shows.
fn in_file(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let rust = Path::new(name).extension().is_some_and(|e| e == "rs");
    if rust && text.lines().count() > MOST_LINES {
        found.push(format!("{name}: {} lines, more than {MOST_LINES}: split it by what it does", text.lines().count()));
    }
    if rust && !text.starts_with("//!") {
        found.push(format!("{name}: no `//!` line saying what the file is for"));
    }
    for (at, line) in text.lines().enumerate() {
        if machine_paths().iter().any(|path| line.contains(path.as_str())) {
            found.push(format!("{name}:{}: a path of one machine", at + 1));
        }
    }
    found
}

/// Put together here, so that this file does not find itself.
fn machine_paths() -> Vec<String> {
    ["root/", "work/", "home/"].iter().map(|dir| format!("/{dir}")).collect()
}

/// README must list every exit code with its meaning, as src/plugin/exit.rs has them.
fn readme() -> Outcome<Vec<String>> {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).map_err(|e| format!("{name}: {e}"));
    let (readme, exit) = (read("README.md")?, read("src/plugin/exit.rs")?);
    let mut found = Vec::new();
    for line in exit.lines().filter(|line| line.trim_start().starts_with("(Self::")) {
        let meaning = line.split('"').nth(1).unwrap_or_default();
        if !readme.contains(meaning) {
            found.push(format!("README.md: exit codes lack `{meaning}`"));
        }
    }
    Ok(found)
}
