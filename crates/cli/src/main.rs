//! The `kinora` command.
//!
//! Each subcommand is one file: its name, help, arguments and work together. This file only
//! chooses between them; `outcome.rs` turns what came of it into an exit code. Standard output is
//! for data, standard error for talk.
#![deny(unsafe_code)]

mod add;
mod board;
mod boards;
mod check;
mod client;
mod completions;
mod data_folder;
mod guard;
mod ladder;
mod logs;
mod ls;
mod man;
mod outcome;
mod probe;
mod rm;
mod serve;
mod show;
mod shown;
mod stdout;
mod store;
mod table;
mod talk;
mod units;
mod worker;

use clap::{Parser, Subcommand};
use outcome::Outcome;
use std::process::ExitCode;

/// From upload to every screen: what each board can play, and an adaptive stream of it
#[derive(Parser)]
#[command(
    name = "kinora",
    bin_name = "kinora",
    version,
    after_help = "\
Exit codes: 0 done, 1 failed, 2 wrong usage; `check` ends with 3 when a board that was asked
about rejects the file.

Start with `kinora serve` and open the address that it prints, or ask without a server:
  kinora check holiday.mp4
  kinora ladder holiday.mp4 -o stream/"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Args),
    Probe(probe::Args),
    Check(check::Args),
    Boards(boards::Args),
    Board(board::Args),
    Ladder(ladder::Args),
    Add(add::Args),
    Ls(ls::Args),
    Show(show::Args),
    Rm(rm::Args),
    Store(store::Args),
    Completions(completions::Args),
    Man(man::Args),
    Worker(worker::Args),
}

fn main() -> ExitCode {
    let outcome: anyhow::Result<Outcome> = match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Probe(args) => probe::run(args),
        Command::Check(args) => check::run(args),
        Command::Boards(args) => boards::run(args),
        Command::Board(args) => board::run(args),
        Command::Ladder(args) => ladder::run(args),
        Command::Add(args) => add::run(args),
        Command::Ls(args) => ls::run(args),
        Command::Show(args) => show::run(args),
        Command::Rm(args) => rm::run(args),
        Command::Store(args) => store::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
        Command::Worker(args) => return worker::run(args),
    };
    outcome::exit(outcome)
}
