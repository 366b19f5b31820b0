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
mod credentials;
mod data_folder;
mod database;
mod doctor;
mod fsck;
mod guard;
mod ladder;
mod login;
mod logs;
mod ls;
mod man;
mod outcome;
mod pictures;
mod playlist;
mod probe;
mod publish;
mod quiet;
mod rm;
mod rungs;
mod serve;
mod show;
mod shown;
mod stdout;
mod store;
mod stream;
mod table;
mod talk;
mod testpack;
mod token;
mod units;
mod variants;
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
    Ladder(Box<ladder::Args>),
    Doctor(doctor::Args),
    Add(add::Args),
    Ls(ls::Args),
    Show(show::Args),
    Rm(rm::Args),
    Stream(stream::Args),
    Variants(variants::Args),
    Store(store::Args),
    Fsck(fsck::Args),
    Testpack(testpack::Args),
    Playlist(playlist::Args),
    Token(token::Args),
    Login(login::Args),
    Completions(completions::Args),
    Man(man::Args),
    Worker(worker::Args),
}

fn main() -> ExitCode {
    quiet::libraries();
    let outcome: anyhow::Result<Outcome> = match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Probe(args) => probe::run(args),
        Command::Check(args) => check::run(args),
        Command::Boards(args) => boards::run(args),
        Command::Board(args) => board::run(args),
        Command::Ladder(args) => ladder::run(*args),
        Command::Doctor(args) => doctor::run(args),
        Command::Add(args) => add::run(args),
        Command::Ls(args) => ls::run(args),
        Command::Show(args) => show::run(args),
        Command::Rm(args) => rm::run(args),
        Command::Stream(args) => stream::run(args),
        Command::Variants(args) => variants::run(args),
        Command::Store(args) => store::run(args),
        Command::Fsck(args) => fsck::run(args),
        Command::Testpack(args) => testpack::run(args),
        Command::Playlist(args) => playlist::run(args),
        Command::Token(args) => token::run(args),
        Command::Login(args) => login::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
        Command::Worker(args) => return worker::run(args),
    };
    outcome::exit(outcome)
}
