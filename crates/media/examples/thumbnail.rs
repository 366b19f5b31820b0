//! Writes a thumbnail of FILE, at most 480 wide, to OUT.
//!
//! `cargo run --example thumbnail -- FILE OUT.jpg`

#![allow(clippy::print_stderr)]

use std::path::Path;
use std::time::Instant;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    while let (Some(file), Some(out)) = (arguments.next(), arguments.next()) {
        let start = Instant::now();
        match media::thumbnail(Path::new(&file), 480) {
            Ok(bytes) => std::fs::write(&out, bytes)?,
            Err(error) => eprintln!("{error}"),
        }
        eprintln!(
            "{}: {:.0} ms",
            file.to_string_lossy(),
            start.elapsed().as_secs_f64() * 1000.0
        );
    }
    Ok(())
}
