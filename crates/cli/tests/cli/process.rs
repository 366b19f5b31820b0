//! Starting `kinora`, making clips for it, and reading what came of it.

use serde_json::Value;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What a run of `kinora` ended with.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A `kinora` that nothing of the tester's own environment reaches.
pub fn kinora<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinora"));
    command.args(arguments).stdin(Stdio::null());
    for name in [
        "KINORA_DATA",
        "KINORA_SERVER",
        "KINORA_LISTEN",
        "KINORA_LOG",
        "DEVICE_TYPE",
        "COLUMNS",
        "CLICOLOR_FORCE",
    ] {
        command.env_remove(name);
    }
    command
}

/// Runs `kinora` to its end.
pub fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ended {
    Ended::from(kinora(arguments).output().expect("start kinora"))
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("standard output is text"),
            stderr: String::from_utf8(output.stderr).expect("standard error is text"),
        }
    }
}

impl Ended {
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    #[track_caller]
    pub fn json(self) -> Value {
        serde_json::from_str(&self.done()).expect("JSON")
    }

    /// Ended with 1, said nothing on standard output and one line on standard error.
    #[track_caller]
    pub fn failed(self) -> String {
        assert_eq!(self.code, Some(1), "{}{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "");
        assert_eq!(self.stderr.lines().count(), 1, "{:?}", self.stderr);
        self.stderr
    }
}

/// Makes a clip with the `ffmpeg` command. The arguments come between the program and the file.
pub fn clip(folder: &Path, name: &str, arguments: &str) -> PathBuf {
    let file = folder.join(name);
    let made = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"])
        .args(arguments.split_whitespace())
        .arg(&file)
        .status()
        .expect("the ffmpeg command is needed for tests");
    assert!(made.success(), "ffmpeg {arguments}");
    file
}

/// H.264 with sound, 640x360 at 25 pictures a second, under the bit rate of such a rung.
pub fn small_clip(folder: &Path, seconds: u32) -> PathBuf {
    clip(
        folder,
        "small.mp4",
        &format!(
            "-f lavfi -i testsrc2=size=640x360:rate=25:duration={seconds} \
             -f lavfi -i sine=duration={seconds} \
             -c:v libx264 -preset ultrafast -crf 34 -pix_fmt yuv420p -c:a aac"
        ),
    )
}

/// Waits for something another process does. A minute without it is a failure.
#[track_caller]
pub fn until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "waited a minute for nothing"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A server of its own on a free port; it ends with this value.
pub struct Served {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub address: String,
}

pub fn serve(data: &Path, more: &[&str]) -> Served {
    let mut child = kinora(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .args(more)
        .env("KINORA_LOG", "error")
        .stdout(Stdio::piped())
        .spawn()
        .expect("start kinora serve");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout
        .read_line(&mut line)
        .expect("the server's first line");
    let address = line
        .strip_prefix("listening on ")
        .expect("where it listens")
        .trim_end()
        .to_owned();
    Served {
        child,
        stdout,
        address,
    }
}

impl Served {
    /// Asks it to end as a service manager does; gives its exit code and what else it said.
    pub fn end(mut self) -> (Option<i32>, String) {
        terminate(&self.child, "TERM");
        let mut rest = String::new();
        self.stdout
            .read_to_string(&mut rest)
            .expect("standard output");
        (self.child.wait().expect("wait").code(), rest)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal by its name, with the shell's own `kill`.
pub fn terminate(child: &Child, signal: &str) {
    let sent = Command::new("sh")
        .args([
            "-c",
            "kill -s \"$0\" \"$1\"",
            signal,
            &child.id().to_string(),
        ])
        .status()
        .expect("start sh");
    assert!(sent.success());
}
