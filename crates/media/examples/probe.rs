//! Prints what is in each file given, as JSON on one line, and how long it took to find out.
//!
//! `cargo run --example probe -- FILE…`

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::Path;
use std::time::Instant;

fn main() {
    let options = media::OpenOptions::default();
    for file in std::env::args_os().skip(1) {
        let start = Instant::now();
        let probe = media::probe(Path::new(&file), &options);
        let elapsed = start.elapsed().as_secs_f64() * 1000.0;
        match probe.map(|probe| serde_json::to_string(&probe)) {
            Ok(Ok(json)) => println!("{json}"),
            Ok(Err(error)) => eprintln!("{error}"),
            Err(error) => eprintln!("{error}"),
        }
        eprintln!("{}: {elapsed:.1} ms", file.to_string_lossy());
    }
}
