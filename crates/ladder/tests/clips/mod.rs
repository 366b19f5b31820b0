//! Clips for the tests, each made by one `ffmpeg` command in well under a second.

use std::path::{Path, PathBuf};
use std::process::Command;

/// How to make a clip.
pub struct Clip {
    /// File name with the container's ending, for messages.
    pub name: &'static str,
    /// Arguments of the `testsrc2` source: `s=160x90:r=25:d=2`.
    pub picture: &'static str,
    /// Filter on the pictures; empty for none.
    pub filter: &'static str,
    /// Arguments of the `sine` source; empty for no sound.
    pub sound: &'static str,
    /// Further output arguments.
    pub arguments: &'static [&'static str],
    /// Whether the source may be copied.
    pub copy: bool,
}

impl Clip {
    /// H.264 with sound of the same length.
    pub const fn new(name: &'static str, picture: &'static str) -> Clip {
        Clip {
            name,
            picture,
            filter: "",
            sound: "r=48000",
            arguments: &[],
            copy: false,
        }
    }
}

/// Makes the clip in the folder.
pub fn make(folder: &Path, clip: &Clip) -> PathBuf {
    let name = if clip.name.contains('.') {
        clip.name.to_string()
    } else {
        format!("{}.mp4", clip.name)
    };
    let path = folder.join(name);
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-f", "lavfi", "-i"]);
    command.arg(format!("testsrc2={}", clip.picture));
    if !clip.sound.is_empty() {
        command.args([
            "-f",
            "lavfi",
            "-i",
            &format!("sine={}", clip.sound),
            "-shortest",
        ]);
    }
    if !clip.filter.is_empty() {
        command.args(["-vf", clip.filter]);
    }
    command.args([
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-pix_fmt",
        "yuv420p",
    ]);
    command.args(clip.arguments).arg(&path);
    let output = command.output().expect("ffmpeg must be installed");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {text}");
    path
}

/// Decodes everything and gives what ffmpeg complained about.
pub fn decode_quietly(playlist: &Path) -> String {
    let output = Command::new("ffmpeg")
        .args(["-v", "warning", "-allowed_extensions", "ALL", "-i"])
        .arg(playlist)
        .args(["-f", "null", "-"])
        .output()
        .expect("ffmpeg must be installed");
    String::from_utf8_lossy(&output.stderr).into_owned()
}
