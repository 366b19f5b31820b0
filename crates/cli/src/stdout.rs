//! Standard output: data for the next program or for the reader, written whole or with an error.
//!
//! `println!` panics when the disk behind it is full and hides when it is a closed pipe; these
//! functions tell the two apart.

use anyhow::{Context, Result};
use serde::Serialize;
use std::io::{self, ErrorKind, IsTerminal, Write};

/// Whoever read our output closed it.
#[derive(Debug)]
pub struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("standard output is closed")
    }
}

impl std::error::Error for Closed {}

/// Writes the text as it is; the caller ends its lines.
pub fn text(text: &str) -> Result<()> {
    copy(&mut text.as_bytes())
}

/// Writes one JSON value, indented, and a line end.
pub fn json(value: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_string_pretty(value).context("write JSON")?;
    line.push('\n');
    text(&line)
}

/// Writes everything that the source gives.
pub fn copy(source: &mut impl io::Read) -> Result<()> {
    let mut out = io::stdout().lock();
    match io::copy(source, &mut out).and_then(|_| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        Err(error) => Err(error).context("standard output"),
    }
}

/// A colour of the terminal, by its number in SGR.
#[derive(Clone, Copy)]
pub enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
}

/// The text in a colour, where colours are wanted: on a terminal, and not with NO_COLOR set.
pub fn paint(colour: Colour, text: &str) -> String {
    let plain = !io::stdout().is_terminal()
        || std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    if plain {
        text.to_owned()
    } else {
        format!("\x1b[{}m{text}\x1b[0m", colour as u8)
    }
}
