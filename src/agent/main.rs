//! argv to exit code; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    dbmig_agent::session::run(&args)
}
