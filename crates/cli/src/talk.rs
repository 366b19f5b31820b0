//! Standard error: what a person is told meanwhile, in lines and progress bars.
//!
//! Bars show themselves on a terminal only; in a pipe or a log there is nothing of them.

use crate::shown;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;

/// One line, made safe to print. That nobody reads it is no error.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", shown::text(line));
}

/// A bar of the given length, in indicatif's template language.
pub fn bar(length: u64, template: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template(template).expect("the templates are this program's own");
    ProgressBar::new(length).with_style(style.progress_chars("━━─"))
}
