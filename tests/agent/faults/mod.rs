//! What the agent leaves when it is killed or when the disk is full, and that the same call goes on from there.

mod content;
mod full;
mod full_settle;
mod kill_database;
mod kill_files;
mod kill_transfer;
mod series;
