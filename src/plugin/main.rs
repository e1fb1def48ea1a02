//! argv in, exit code out; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    dbmig::run(std::env::args_os()).into()
}
