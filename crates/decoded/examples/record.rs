//! Makes a record of jobs from a file, as `kinora-decoded --record` makes one from a client: for
//! replaying without a machine that has the module, and for the fuzzer to start from.
//!
//! ```text
//! cargo run -p decoded --example record -- [--jobs N] stream.h264 stream.jobs
//! ```

// Tests use more of it.
#[allow(dead_code)]
#[path = "../tests/client/mod.rs"]
mod client;

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut most = usize::MAX;
    if arguments.first().is_some_and(|first| first == "--jobs") {
        most = arguments
            .get(1)
            .ok_or("--jobs: a number is missing")?
            .parse()?;
        arguments.drain(..2);
    }
    let [from, to] = &arguments[..] else {
        return Err("usage: record [--jobs N] STREAM RECORD".into());
    };
    let stream = client::read(Path::new(from))
        .ok_or_else(|| format!("{from}: no MPEG-2, H.264, VP8 or VP9"))?;
    let mut file = File::options().create(true).append(true).open(to)?;
    file.write_all(&decoded::record::header())?;
    for message in stream.messages.iter().take(most) {
        decoded::record::append(&file, message)?;
    }
    Ok(())
}
