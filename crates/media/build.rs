//! Passes on which FFmpeg the binding crate found, so that this room can follow the few places
//! where the libraries' interface changed between 5.1 and 8.
//!
//! The binding crate exports one metadata key per release it reached; each becomes a `cfg` here.

/// The releases at which something that this room touches changed.
const RELEASES: [&str; 3] = ["ffmpeg_6_0", "ffmpeg_6_1", "ffmpeg_7_0"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(fuzzing)");
    for release in RELEASES {
        println!("cargo::rustc-check-cfg=cfg({release})");
        let reached = format!("DEP_FFMPEG_{}", release.to_uppercase());
        println!("cargo::rerun-if-env-changed={reached}");
        if std::env::var_os(reached).is_some() {
            println!("cargo::rustc-cfg={release}");
        }
    }
}
