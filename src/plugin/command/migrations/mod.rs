//! The files of migrations, for whoever compares them with a database: from a folder of this computer, or from the
//! application's image. Reads only.

mod folder;
mod image;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::OnceCell;

pub(super) use self::image::migrator;
use super::reach::Reach;
use crate::cluster::Cluster;
use crate::failure::Result;
use crate::framework::{Framework, Script, State};
use crate::shutdown::Stop;

/// Where the files come from.
pub(super) enum Files {
    /// From nowhere: nobody wants to know.
    Unread,
    /// From a folder that the user named.
    Folder(Arc<[Script]>),
    /// From the image of the application, read when it is known which frameworks a database has, and once for it.
    Image(OnceCell<FromImage>),
}

/// What was found in an image.
#[derive(Default)]
pub(super) struct FromImage {
    scripts: HashMap<Framework, Vec<Script>>,
    /// Where, or why not, for people.
    pub(super) notes: Vec<String>,
}

impl FromImage {
    /// The files of an image that takes the place of that of the pod.
    pub(super) async fn other(cluster: &Cluster, stop: &Stop, reach: &Reach, state: &State, image: Option<&str>) -> Self {
        image::read(cluster, stop, reach, std::slice::from_ref(state), image).await
    }

    /// The files of a framework.
    pub(super) fn of(&self, framework: Framework) -> &[Script] {
        self.scripts.get(&framework).map_or(&[], Vec::as_slice)
    }
}

impl Files {
    /// Those of the folder that was named, or else those of the image.
    ///
    /// # Errors
    /// The folder can't be read.
    pub(super) fn of(named: Option<&Path>) -> Result<Self> {
        Ok(match named {
            Some(named) => Self::Folder(folder::read(named)?.into()),
            None => Self::Image(OnceCell::new()),
        })
    }

    /// From the same place for another database, which may be another framework's.
    pub(super) fn for_another(&self) -> Self {
        match self {
            Self::Unread => Self::Unread,
            Self::Folder(scripts) => Self::Folder(Arc::clone(scripts)),
            Self::Image(_) => Self::Image(OnceCell::new()),
        }
    }

    /// Reads what has to be read for these states.
    pub(super) async fn fetch(&self, cluster: &Cluster, stop: &Stop, reach: &Reach, states: &[State]) {
        if let Self::Image(cell) = self {
            cell.get_or_init(|| image::read(cluster, stop, reach, states, None)).await;
        }
    }

    /// The files of a framework, as far as [`Files::fetch`] has read them.
    pub(super) fn scripts(&self, framework: Framework) -> &[Script] {
        match self {
            Self::Unread => &[],
            Self::Folder(scripts) => scripts,
            Self::Image(cell) => cell.get().map_or(&[], |read| read.of(framework)),
        }
    }

    /// Where in the image they were, or why there are none; for people.
    pub(super) fn notes(&self) -> &[String] {
        match self {
            Self::Image(cell) => cell.get().map_or(&[], |read| &read.notes),
            Self::Unread | Self::Folder(_) => &[],
        }
    }
}
