//! What the container's programs were told by their environment. Changes nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;

use dbmig_wire::{Environment, Variables};

use crate::error::Result;
use crate::report::Report;

/// Answers [`Environment`]. Variables that are no UTF-8 are left out.
///
/// # Errors
/// Only when asked to stop: a first process of another user, which can't be looked into, is none.
pub fn environment(call: &Environment, report: &dyn Report) -> Result<Variables> {
    report.check()?;
    let wanted = |name: &String| {
        let name = name.to_uppercase();
        call.about.iter().any(|part| name.contains(part.as_str()))
    };
    let own = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let container = own.filter(|(name, _)| wanted(name)).collect();
    let first_process = fs::read("/proc/1/environ").ok().map(|bytes| {
        let all: BTreeMap<String, String> = bytes.split(|byte| *byte == 0).filter_map(variable).collect();
        all.into_iter().filter(|(name, _)| wanted(name)).collect()
    });
    Ok(Variables { container, first_process })
}

fn variable(entry: &[u8]) -> Option<(String, String)> {
    let text = OsString::from_vec(entry.to_vec()).into_string().ok()?;
    let (name, value) = text.split_once('=')?;
    Some((name.to_owned(), value.to_owned()))
}
