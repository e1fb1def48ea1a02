//! What is sent through the relay and through `kubectl port-forward`: rows as PostgreSQL writes them, which is what a database says,
//! and noise, which is what it says through TLS.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::PathBuf;
use std::process::Stdio;

use super::Bench;
use crate::Outcome;
use crate::process::{capture, run as run_command};

/// Bytes that are sent each way.
pub(super) const BYTES: u64 = 64 << 20;
/// Its table is larger than that.
const ORDERS: &str = include_str!("orders.sql");

#[derive(Clone, Copy)]
pub(super) enum Traffic {
    Rows,
    Noise,
}

impl Traffic {
    pub(super) const ALL: [Self; 2] = [Self::Rows, Self::Noise];

    fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Noise => "noise",
        }
    }

    /// Where it is on this machine.
    pub(super) fn file(self, bench: &Bench) -> PathBuf {
        bench.dir.path().join(self.name())
    }

    /// Where it is in the pod.
    pub(super) fn there(self) -> String {
        format!("/tmp/{}", self.name())
    }

    /// Makes it and copies it into the pod.
    pub(super) fn prepare(self, bench: &Bench) -> Outcome {
        let path = self.file(bench);
        let failed = |e: std::io::Error| format!("{}: {e}", path.display());
        let mut file = File::create(&path).map_err(failed)?;
        match self {
            Self::Rows => {
                bench.psql("postgres", ORDERS)?;
                let copy =
                    ["exec", "db", "--", "psql", "-h", "/sock", "-U", "postgres", "-c", "COPY orders TO STDOUT", "postgres"];
                run_command(bench.kubectl(&copy).stdout(Stdio::from(file)))?;
                let length = fs::metadata(&path).map_err(failed)?.len();
                if length < BYTES {
                    return Err(format!("the table has only {length} bytes of text"));
                }
                File::options().write(true).open(&path).and_then(|file| file.set_len(BYTES)).map_err(failed)?;
            }
            Self::Noise => {
                let mut noise = File::open("/dev/urandom").map_err(failed)?.take(BYTES);
                std::io::copy(&mut noise, &mut file).map_err(failed)?;
            }
        }
        let there = self.there();
        run_command(bench.kubectl(&["cp", &path.to_string_lossy(), &format!("app:{there}")]).stdout(Stdio::null()))?;
        let counted = capture(&mut bench.kubectl(&["exec", "app", "--", "sh", "-c", &format!("wc -c <{there}")]))?;
        match counted.trim() == BYTES.to_string() {
            true => Ok(()),
            false => Err(format!("{there} has {} bytes", counted.trim())),
        }
    }
}
