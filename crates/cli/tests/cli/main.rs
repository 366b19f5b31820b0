//! The `kinora` program as its users meet it: real processes, real files, real servers.
//!
//! One test program with a module per subject, because each links all of Kinora. Clips are made
//! with the `ffmpeg` command; what a room does inside is tested in that room.

mod bad_input;
mod cars;
mod doctor;
mod forms;
mod help;
mod hostile_worker;
mod ladder;
mod process;
mod resume;
mod store;
mod testpack;
mod upload;
mod watch;
