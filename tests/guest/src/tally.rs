//! The rows of a program: a line for each as soon as it is done, and their count as the last line.

use crate::{Result, chain};
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

/// What became of the rows so far.
#[derive(Debug, Default)]
pub struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    /// Does a row; what it says of itself stands in its line.
    ///
    /// # Errors
    /// stdout is closed.
    pub fn row(&mut self, name: &str, act: impl FnOnce() -> Result<String>) -> Result<()> {
        let began = Instant::now();
        let result = act();
        let took = began.elapsed().as_secs_f64();
        let mut out = std::io::stdout().lock();
        match result {
            Ok(said) => {
                self.passed += 1;
                writeln!(out, "ok     {name}: {said} ({took:.1} s)")?;
            }
            Err(error) => {
                self.failed += 1;
                writeln!(out, "FAILED {name}: {} ({took:.1} s)", chain(&*error))?;
            }
        }
        Ok(out.flush()?)
    }

    /// Says the count; success only if there was a row and none failed.
    ///
    /// # Errors
    /// stdout is closed.
    pub fn end(self) -> Result<ExitCode> {
        let Tally { passed, failed } = self;
        writeln!(std::io::stdout(), "{passed} passed, {failed} failed")?;
        Ok(if failed == 0 && passed > 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
