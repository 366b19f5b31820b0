//! The border to the shell: what came of a subcommand becomes an exit code and, when it failed, one
//! line on standard error.

use crate::stdout::Closed;
use crate::talk;
use std::process::ExitCode;

/// How a subcommand ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was asked for is done.
    Done,
    /// Some board that was asked about rejects the file.
    Rejected,
    /// Ctrl-C; what was finished before it is kept.
    Interrupted,
}

pub fn exit(outcome: anyhow::Result<Outcome>) -> ExitCode {
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Rejected) => ExitCode::from(3),
        // What shells use for a command that SIGINT ended.
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    // Usage errors that only the values show (a board of no such name) look like clap's own.
    if let Some(usage) = error.downcast_ref::<clap::Error>() {
        let _ = usage.print();
        return ExitCode::from(2);
    }
    // The reader has seen enough (`kinora ls | head`): nothing went wrong.
    if error.downcast_ref::<Closed>().is_some() {
        return ExitCode::SUCCESS;
    }
    talk::say(&format!("kinora: {error:#}"));
    ExitCode::FAILURE
}
