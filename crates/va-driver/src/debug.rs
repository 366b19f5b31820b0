//! `KINORA_VA_LOG=debug`: what was decided and why, on standard error. Without it nothing is written
//! there, whatever happens: errors go through libva's own callbacks.

use std::fmt::Arguments;
use std::io::Write;
use std::sync::OnceLock;

/// Whether it was asked for when the driver was initialised first.
pub fn is_on() -> bool {
    static IS_ON: OnceLock<bool> = OnceLock::new();
    *IS_ON.get_or_init(|| std::env::var_os("KINORA_VA_LOG").is_some_and(|level| level == "debug"))
}

/// Writes one line.
pub fn write(text: Arguments<'_>) {
    let text = format!("kinora-va: {}\n", text.to_string().trim_end());
    // Nobody could be told if this failed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Writes a line when that was asked for; its text is made only then.
#[macro_export]
macro_rules! debug {
    ($($text:tt)*) => {
        if $crate::debug::is_on() {
            $crate::debug::write(::core::format_args!($($text)*));
        }
    };
}
