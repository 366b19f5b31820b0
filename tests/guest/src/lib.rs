//! Programs that run inside the test machines, against the module `kinora_dec` and its daemon.
//!
//! `responder` stands in for the daemon and misbehaves on order; `stress` sends ioctls in any order
//! from several threads; `faults` goes through everything that can befall a daemon; `client` decodes
//! a file. The others have GStreamer as the client: `exact` decodes a whole folder, `seeks` goes back
//! and forth in streams, `damaged` breaks them, `endurance` decodes long ones, and `killed` kills the
//! daemon under several. This library holds what they share. They run as root in a machine that is
//! thrown away.

pub mod arguments;
pub mod chardev;
pub mod clip;
pub mod decode;
pub mod gstreamer;
pub mod hostile;
pub mod importer;
pub mod machine;
pub mod manifest;
pub mod random;
pub mod stream;
pub mod tally;
pub mod va;
pub mod visl;

use std::io::Write;

/// What a program ends with: a message for who started it.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A program's end: its error and all that caused it, in one line on stderr.
pub fn report(result: Result<std::process::ExitCode>) -> std::process::ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            let _ = writeln!(std::io::stderr(), "{}", chain(&*error));
            std::process::ExitCode::FAILURE
        }
    }
}

/// An error and all that caused it.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}
