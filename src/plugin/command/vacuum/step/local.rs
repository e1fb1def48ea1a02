//! Copies on the disk of the machine the plugin runs on: `--scratch local`, `--keep-old local`.
//!
//! The helper pod's own disk is where files are worked on; the durable copy is the one here.

use std::path::{Path, PathBuf};

use dbmig_wire::{Proof, Stat};
use serde::{Deserialize, Serialize};

use super::Desk;
use crate::cluster::agent::Agent;
use crate::cluster::transfer::{download, upload};
use crate::failure::{Failure, Result};
use crate::plan::Run;

/// A copy on a machine, as the record names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LocalCopy {
    /// Absolute path.
    path: String,
    /// Its length and digest.
    proof: Proof,
}

impl Desk {
    /// Brings a file here and remembers where, under a name of the memory.
    pub(super) async fn bring_here(&self, agent: &Agent, run: &Run, file: &str, name: &str, proof: &Proof) -> Result<String> {
        let folder = folder(&run.id)?;
        let path = folder.join(file.rsplit('/').next().unwrap_or(file).trim_start_matches('.'));
        download(agent, file, &path, proof, &run.events).await?;
        run.memory.keep(name, &LocalCopy { path: path.display().to_string(), proof: proof.clone() })?;
        Ok(format!("kept in {} on this machine", path.display()))
    }

    /// Removes a copy from this machine that is not needed any more. One on another machine stays there.
    pub(super) async fn forget_here(&self, run: &Run, name: &str) -> Result<()> {
        let Some(copy) = run.memory.recall::<LocalCopy>(name)? else { return Ok(()) };
        let path = Path::new(&copy.path);
        match tokio::fs::remove_file(path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::failed(format!("cannot remove {}", copy.path)).fact(error.to_string()));
            }
            _ => {}
        }
        if let Some(folder) = path.parent() {
            // It goes with its last copy.
            let _ = tokio::fs::remove_dir(folder).await;
        }
        run.memory.forget(name);
        Ok(())
    }

    /// Where the old file is kept on the user's machine.
    pub(super) fn old_here(&self, run: &Run) -> Result<String> {
        Ok(run.memory.need::<LocalCopy>(super::OLD_HERE)?.path)
    }

    /// Sees to it that a file is on the helper's disk, from the copy on this machine if the helper pod lost it.
    pub(super) async fn have_on_helper(&self, agent: &Agent, run: &Run, file: &str, name: &str) -> Result<()> {
        let call = Stat { paths: vec![file.to_owned()], hash: false };
        let there = agent.ask(call, None).await.map_err(|error| error.into_failure("look at the helper's disk"))?;
        let Some(copy) = run.memory.recall::<LocalCopy>(name)? else { return Ok(()) };
        if there.files.first().is_some_and(|file| file.as_ref().is_some_and(|file| file.bytes == copy.proof.bytes)) {
            return Ok(());
        }
        let path = Path::new(&copy.path);
        if !path.exists() {
            return Err(Failure::failed(format!("the copy in {} is not on this machine", copy.path))
                .fact("it was kept on the machine that the operation was started on; kubectl dbmig history -o wide names it")
                .state("the database was left as it is"));
        }
        upload(agent, path, file, &copy.proof, &run.events).await
    }
}

/// A folder of the operation's own, where the user is.
fn folder(id: &str) -> Result<PathBuf> {
    let cannot = |error: std::io::Error| {
        Failure::failed(format!("cannot make a folder for the copy on this machine: {error}")).take_back()
    };
    let folder = std::env::current_dir().map_err(cannot)?.join(format!("dbmig-{id}"));
    std::fs::create_dir_all(&folder).map_err(cannot)?;
    Ok(folder)
}
