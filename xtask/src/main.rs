//! Project chores, run as `cargo xtask <chore>`.
//!
//! A chore is something that the project needs and no user does. Each has a file of its own; this
//! one only chooses between them and turns an error into an exit code.

mod bench;
mod house;
mod tidy;
mod vm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Kinora's project chores")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Hold the tree against the house rules: who may use whom, where unsafe stands, how files begin
    Tidy,
    /// Measure Kinora beside its peers and print the ratios
    Bench(bench::Args),
    /// Build and boot machines in which the decode path is tested
    Vm(vm::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().chore {
        Chore::Tidy => tidy::run(),
        Chore::Bench(args) => bench::run(&args),
        // Its status is that of a command in a machine.
        Chore::Vm(args) => return vm::run_chore(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("xtask: {error:#}\n"),
            );
            ExitCode::FAILURE
        }
    }
}
