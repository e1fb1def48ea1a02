//! Real database servers that only a pod can reach, asked through the agent in another pod.

mod doctor;
mod everywhere;
mod find;
pub(crate) mod image;
pub(crate) mod mariadb;
pub(crate) mod postgres;
mod relay;
pub(crate) mod server;
pub(crate) mod stuck;
