//! `kinora man`: the manual page, one page for all subcommands, made from the same text as `--help`.

use crate::{Cli, Outcome, stdout};
use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_mangen::Man;

/// Print the manual page
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora man | man -l -
  kinora man > ~/.local/share/man/man1/kinora.1")]
pub struct Args {}

pub fn run(_: Args) -> Result<Outcome> {
    let page = page().context("write the manual page")?;
    stdout::copy(&mut page.as_slice())?;
    Ok(Outcome::Done)
}

fn page() -> std::io::Result<Vec<u8>> {
    let mut command = Cli::command();
    // Subcommands get their full names ("kinora store add") only when the tree is built.
    command.build();
    let mut page = Vec::new();
    let whole = Man::new(command.clone());
    whole.render_title(&mut page)?;
    whole.render_name_section(&mut page)?;
    whole.render_synopsis_section(&mut page)?;
    whole.render_description_section(&mut page)?;
    for subcommand in command.get_subcommands() {
        render(subcommand, &mut page)?;
    }
    if let Some(text) = command.get_after_help() {
        page.extend_from_slice(b".SH \"EXIT CODES\"\n");
        page.extend_from_slice(as_typed(&text.to_string()).as_bytes());
    }
    Ok(page)
}

/// Text whose lines are kept, as examples must be; man(7) calls it no-fill mode.
fn as_typed(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        // A dot or an apostrophe at the beginning would be a request of roff's.
        let guard = if line.starts_with(['.', '\'']) {
            "\\&"
        } else {
            ""
        };
        format!("{guard}{line}\n")
    });
    format!(".PP\n.nf\n{}.fi\n", lines.collect::<String>())
}

fn render(command: &clap::Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    if command.is_hide_set() || command.get_name() == "help" {
        return Ok(());
    }
    let name = command
        .get_bin_name()
        .unwrap_or(command.get_name())
        .to_uppercase();
    page.extend_from_slice(format!(".SH \"{name}\"\n").as_bytes());
    let one = Man::new(command.clone());
    let mut sections = Vec::new();
    one.render_description_section(&mut sections)?;
    one.render_synopsis_section(&mut sections)?;
    one.render_options_section(&mut sections)?;
    // A section of a subcommand is a part of that subcommand's section.
    let nested = String::from_utf8_lossy(&sections).replace(".SH ", ".SS ");
    page.extend_from_slice(nested.as_bytes());
    if let Some(examples) = command.get_after_help() {
        page.extend_from_slice(as_typed(&examples.to_string()).as_bytes());
    }
    for subcommand in command.get_subcommands() {
        render(subcommand, page)?;
    }
    Ok(())
}
