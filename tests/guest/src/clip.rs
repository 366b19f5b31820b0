//! Clips made for a test: a moving picture that never repeats, as the encoders of FFmpeg write it.

use crate::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a clip is encoded.
#[derive(Debug)]
pub struct Encoding {
    /// What `ffmpeg` is told about the encoder.
    pub arguments: &'static str,
    /// The container, by the end of the file's name.
    pub container: &'static str,
}

/// Makes a clip in a folder; the noise in it is so strong that every prediction shows.
///
/// # Errors
/// `ffmpeg` says no.
pub fn make(
    folder: &Path,
    name: &str,
    encoding: &Encoding,
    size: &str,
    frames: usize,
) -> Result<PathBuf> {
    let file = folder.join(format!("{name}.{}", encoding.container));
    let source = format!("testsrc2=size={size}:rate=30,noise=alls=8:allf=t:all_seed=1");
    run(ffmpeg()
        .args(["-f", "lavfi", "-i", &source, "-frames:v"])
        .arg(frames.to_string())
        .args(["-pix_fmt", "yuv420p", "-threads", "1"])
        .args(encoding.arguments.split_whitespace())
        .arg(&file))?;
    Ok(file)
}

/// Makes a clip that plays another one so many times.
///
/// # Errors
/// `ffmpeg` says no.
pub fn repeat(clip: &Path, times: usize) -> Result<PathBuf> {
    let name = clip.file_name().ok_or("a clip is a file")?;
    let file = clip.with_file_name(format!("{times}-times-{}", name.to_string_lossy()));
    run(ffmpeg()
        .args(["-stream_loop", &(times - 1).to_string(), "-i"])
        .arg(clip)
        .args(["-c", "copy"])
        .arg(&file))?;
    Ok(file)
}

fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-y", "-nostdin", "-v", "error"]);
    command
}

fn run(command: &mut Command) -> Result<()> {
    let done = command
        .output()
        .map_err(|error| format!("ffmpeg: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(format!("ffmpeg: {}: {}", done.status, said.trim()).into())
}
