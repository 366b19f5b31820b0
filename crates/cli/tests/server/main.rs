//! `kinora serve` with its real workers, over a real socket: whole streams, kills at any moment,
//! files that are no videos, and a full disk.
//!
//! Clips are made with the `ffmpeg` command. What the server does without media is tested in the
//! server's own room.

#[path = "../../../server/tests/http/mod.rs"]
mod http;

#[path = "../../../catalog/tests/postgres/mod.rs"]
mod postgres;
#[path = "../../../store/tests/servers/mod.rs"]
mod servers;

mod access;
mod bad_media;
mod faults;
mod full_disk;
mod kills;
mod live;
mod process;
mod screens;
mod several;
mod streams;
mod tls;
mod variants;
