//! What each board decodes, which board this is, and whether a file plays on it.
//!
//! One table (`boards.toml`, embedded and extendable by a user's file) says per board which
//! codec it decodes up to which size and rate, through which of mpv's hardware decoders, and
//! what a variant made for it looks like. [`detect`] names the board it runs on from files
//! under an injected root, [`verdict`] judges a probed file against one row of the table and
//! explains itself with reasons that are data. Nothing here opens a decoder, starts a process
//! or reads anything but the device tree and the user's table.
#![forbid(unsafe_code)]

mod command;
mod detect;
mod facts;
mod rate;
mod table;
mod verdict;

pub use command::{Encode, Pace, Recipe, Text, Track, quote};
pub use detect::{Detection, How, detect};
pub use facts::{Audio, Facts, Subtitle, Video};
pub use rate::{ParseRateError, Rate};
pub use table::{Board, CodecLimits, Decode, Error, Output, Size, Table, Target};
pub use verdict::{Decoder, Outcome, Policy, Reason, Variant, Verdict, verdict};
