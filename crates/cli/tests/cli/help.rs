//! The help texts: `docs/ref/cli.md` is made of them, and this test keeps the two the same.
//!
//! `KINORA_BLESS=1 cargo test -p cli` writes the page anew.

use crate::process::run;
use std::fmt::Write;
use std::path::Path;

const HEAD: &str = "\
# All commands

What `kinora --help` and each subcommand's `--help` print. Made by a test of `crates/cli`; to renew
it: `KINORA_BLESS=1 cargo test -p cli`.
";

#[test]
fn the_reference_is_what_help_prints() {
    let mut page = HEAD.to_owned();
    describe(&[], &mut page);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ref/cli.md");
    if std::env::var_os("KINORA_BLESS").is_some() {
        std::fs::write(&file, &page).expect("write the page");
    }
    let held = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        held == page,
        "docs/ref/cli.md is not what --help prints: renew it with KINORA_BLESS=1"
    );
}

/// The help of one command and, through the list in it, of those below it.
fn describe(path: &[&str], page: &mut String) {
    let help = run(path.iter().chain(&["--help"])).done();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let name = ["kinora"]
        .iter()
        .chain(path)
        .copied()
        .collect::<Vec<_>>()
        .join(" ");
    write!(page, "\n## {name}\n\n```text\n{}\n```\n", lines.join("\n")).expect("write to a string");
    let below = lines
        .iter()
        .skip_while(|line| **line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // What does not fit goes on in the next line, further in.
        .filter(|line| !line.starts_with("   "));
    for line in below {
        let command = line.split_whitespace().next().expect("a command's name");
        if command != "help" {
            describe(&[path, &[command]].concat(), page);
        }
    }
}

#[test]
fn completions_and_the_manual_name_every_command() {
    let manual = run(["man"]).done();
    let bash = run(["completions", "bash"]).done();
    for command in ["serve", "probe", "check", "ladder", "store", "completions"] {
        assert!(
            manual.contains(&format!("KINORA {}", command.to_uppercase())),
            "{command}"
        );
        assert!(
            bash.contains(&format!("kinora__{command}"))
                || bash.contains(&format!("kinora__subcmd__{command}")),
            "{command}"
        );
    }
    assert!(
        !manual.contains("WORKER"),
        "the server's own form is nobody else's"
    );
}
