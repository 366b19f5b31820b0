//! Clips for the tests, each made by one `ffmpeg` command in well under a second.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How to make a clip.
#[derive(Clone)]
pub struct Clip {
    /// File name; its ending says which container.
    pub name: &'static str,
    /// Arguments of the `testsrc2` source: `s=160x90:r=25:d=2`.
    pub picture: &'static str,
    /// Filter on the pictures; empty for none.
    pub filter: &'static str,
    /// Arguments of the `sine` source; empty for no sound.
    pub sound: &'static str,
    /// Seconds by which the sound starts later.
    pub late: &'static str,
    /// Encoder and further output arguments.
    pub arguments: &'static str,
    /// Degrees clockwise to turn for display, written into the file afterwards.
    pub rotation: u16,
}

/// H.264 with sound of its own length, what the others differ from.
pub const CLIP: Clip = Clip {
    name: "plain.mp4",
    picture: "s=160x90:r=25:d=2",
    filter: "",
    sound: "d=2",
    late: "0",
    arguments: "-c:v libx264 -preset ultrafast -pix_fmt yuv420p",
    rotation: 0,
};

/// Makes the clip in the folder.
pub fn make(folder: &Path, clip: &Clip) -> PathBuf {
    let path = folder.join(clip.name);
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-f", "lavfi", "-i"]);
    command.arg(format!("testsrc2={}", clip.picture));
    if !clip.sound.is_empty() {
        command.args(["-itsoffset", clip.late, "-f", "lavfi", "-i"]);
        command.arg(format!("sine=r=48000:{}", clip.sound));
    }
    if !clip.filter.is_empty() {
        command.args(["-vf", clip.filter]);
    }
    command.args(clip.arguments.split_whitespace()).arg(&path);
    let output = command.output().expect("ffmpeg must be installed");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    if clip.rotation != 0 {
        turn(&path, clip.rotation);
    }
    path
}

/// Writes the display matrix into the first track header (ISO/IEC 14496-12 8.3.2), which FFmpeg's
/// releases do by options of different names.
fn turn(path: &Path, rotation: u16) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(4).position(|name| name == b"tkhd").unwrap() + 4 + 40;
    let (one, minus) = (0x1_0000u32, 0xffff_0000u32);
    let [a, b, c, d] = match rotation {
        90 => [0, one, minus, 0],
        180 => [minus, 0, 0, minus],
        _ => [0, minus, one, 0],
    };
    for (place, value) in [(0, a), (1, b), (3, c), (4, d)] {
        bytes[at + 4 * place..at + 4 * place + 4].copy_from_slice(&value.to_be_bytes());
    }
    fs::write(path, bytes).unwrap();
}
