//! Calls about files, holes and names.

mod attributes;
mod names;
mod plain;
mod punch;
mod replace;
mod since;
mod transfer;
