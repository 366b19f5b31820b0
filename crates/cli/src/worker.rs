//! `kinora worker …`, hidden: a job of the server in a process of its own. The server starts it and
//! reads its standard output; its arguments and form are the server's own.

use std::ffi::OsString;
use std::process::ExitCode;

/// A job of the server, in a process of its own
#[derive(clap::Args)]
#[command(hide = true, disable_help_flag = true)]
pub struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    job: Vec<OsString>,
}

pub fn run(args: Args) -> ExitCode {
    server::worker::main(args.job)
}
