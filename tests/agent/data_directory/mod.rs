//! A PostgreSQL data directory at rest: real servers of Debian's version, a primary and a standby that streams from it.

mod back;
mod control;
mod cut;
mod files;
mod primary;
mod refused;
mod server;
