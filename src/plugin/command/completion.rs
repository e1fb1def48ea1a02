//! `kubectl dbmig completion`: static scripts, and the link by which kubectl finds our completion. Completes nothing itself.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::{Context, complete};
use crate::cli::completion::{Install, What};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::ui::human::harmless;

/// Prints a script, or makes the link.
///
/// # Errors
/// Nobody can be asked, the user says no, the link's place is taken, or the folder cannot be written.
pub async fn run(what: What, ctx: &Context) -> Result<Exit> {
    let script = match what {
        What::Bash => include_str!("scripts/kubectl-dbmig.bash"),
        What::Zsh => include_str!("scripts/kubectl-dbmig.zsh"),
        What::Fish => include_str!("scripts/kubectl-dbmig.fish"),
        What::Install(args) => return install(&args, ctx).await,
    };
    ctx.ui.print_text(script)?;
    Ok(Exit::Done)
}

async fn install(args: &Install, ctx: &Context) -> Result<Exit> {
    let plugin = place_on_path(&ctx.program)?;
    let link = plugin.with_file_name(format!("{}{}", complete::PROGRAM, std::env::consts::EXE_SUFFIX));
    let shown = harmless(&link.to_string_lossy()).into_owned();
    match occupant(&link, &plugin) {
        Occupant::Ours => {
            ctx.ui.say(&format!("{shown} is there already"));
            return Ok(Exit::Done);
        }
        Occupant::Other => {
            return Err(Failure::refused(format!("{shown} is there and leads to something else"))
                .state("nothing was changed")
                .next(format!("remove {shown}, then kubectl dbmig completion install")));
        }
        Occupant::Nobody => {}
    }
    if !args.yes && !ctx.ui.confirm(&ctx.stop, &format!("Make the link {shown}?")).await? {
        return Err(Failure::refused("not confirmed").state("nothing was changed"));
    }
    make_link(&plugin, &link)
        .map_err(|error| Failure::failed(format!("cannot make the link {shown}: {error}")).state("nothing was changed"))?;
    ctx.ui.say(&format!("made {shown}; kubectl 1.26 and newer completes kubectl dbmig with it once its folder is in the PATH"));
    Ok(Exit::Done)
}

/// Where this program was found, symbolic links not resolved: krew's link is what is on the PATH, not the file behind it.
fn place_on_path(program: &Path) -> Result<PathBuf> {
    if program.parent().is_some_and(|folder| folder != Path::new("")) {
        return std::path::absolute(program)
            .map_err(|error| Failure::failed(format!("cannot tell where this program is: {error}")));
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|file| file.is_file());
    let own = || std::env::current_exe().map_err(|error| Failure::failed(format!("cannot tell where this program is: {error}")));
    found.map_or_else(own, Ok)
}

/// What is at the link's place.
enum Occupant {
    Nobody,
    Ours,
    Other,
}

fn occupant(link: &Path, plugin: &Path) -> Occupant {
    match (link.symlink_metadata(), link.canonicalize(), plugin.canonicalize()) {
        (Err(error), ..) if error.kind() == io::ErrorKind::NotFound => Occupant::Nobody,
        (_, Ok(behind), Ok(own)) if behind == own => Occupant::Ours,
        _ => Occupant::Other,
    }
}

/// A relative link, so that it still holds when the folder is moved and when the plugin is upgraded.
#[cfg(unix)]
fn make_link(plugin: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(plugin.file_name().map_or(plugin.as_os_str(), OsStr::new), link)
}

/// Symbolic links need a privilege on Windows; a second name of the file does not.
#[cfg(windows)]
fn make_link(plugin: &Path, link: &Path) -> io::Result<()> {
    std::fs::hard_link(plugin, link)
}
