//! The `vardr` command: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    let exit = vardr::cli::run(std::env::args_os(), vardr::server::run);
    ExitCode::from(exit.code())
}
