//! `kinora completions SHELL`: a completion script on standard output.

use crate::{Cli, Outcome, stdout};
use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

/// Print a completion script for a shell
#[derive(clap::Args)]
#[command(after_help = "\
Example, for bash:
  kinora completions bash > ~/.local/share/bash-completion/completions/kinora")]
pub struct Args {
    /// The shell
    shell: Shell,
}

pub fn run(args: Args) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kinora", &mut script);
    stdout::copy(&mut script.as_slice())?;
    Ok(Outcome::Done)
}
