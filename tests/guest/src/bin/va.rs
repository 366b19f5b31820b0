//! Streams through clients of VA-API, held against the same client's software decoder, frame by frame.
//!
//! FFmpeg downloads its surfaces and prints a sum of each. mpv (`mpv`) goes through the whole stream as a
//! player does, and makes images of the beginning. mpv with a window (`window`) draws what the driver
//! exports, with a Vulkan device in software that imports dma-bufs, on a screen in memory; held against each
//! other is what the window shows of the beginning. `--each N` takes only the first streams of each codec.
//!
//! Clients fall back to software and say nothing, so here they cannot: FFmpeg must hand out surfaces,
//! mpv must say which decoder it uses, and the daemon must have decoded as many access units as frames
//! came out. The decoder and a display for libva must be there already (`kinora-serve kinora-va va`).

use guest_tests::arguments::Arguments;
use guest_tests::manifest::{self, Stream};
use guest_tests::tally::Tally;
use guest_tests::{Result, machine, report};
use md5::{Digest, Md5};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const OPTIONS: &[(&str, &str)] = &[
    ("client", "ffmpeg"),
    ("daemon", "/kinora/bin/kinora-decoded"),
    ("display", "/dev/dri/renderD128"),
    ("each", "1000"),
    ("media", ""),
    ("only", ""),
    ("part", "0"),
    ("parts", "1"),
];

/// How long one pass over a stream may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// Who decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decoder {
    Software,
    VaApi,
}

/// A program that decodes files.
#[derive(Debug, Clone, Copy)]
enum Client {
    Ffmpeg,
    Mpv,
    Window,
}

/// Streams that libavcodec's own use of VA-API does not decode: its VP8 decoder asks for surfaces once,
/// and comes with them when the pictures have become larger.
const NOT_BY_LIBAVCODEC: [&str; 1] = ["conformance/vp8/vp80-03-segmentation-1425.ivf"];

/// So many frames become images; that takes longer than decoding them.
const IMAGES: u32 = 20;

/// So many frames are shown; that takes longer still.
const SHOWN: u32 = 8;

/// What mpv does with its window.
const SHOWN_SCRIPT: &str = include_str!("../shown.lua");

fn main() -> ExitCode {
    report(all())
}

fn all() -> Result<ExitCode> {
    let arguments = Arguments::of_process(OPTIONS)?;
    let client = match arguments.get::<String>("client")?.as_str() {
        "ffmpeg" => Client::Ffmpeg,
        "mpv" => Client::Mpv,
        "window" => Client::Window,
        other => return Err(format!("--client {other}: there are ffmpeg, mpv and window").into()),
    };
    let daemon: PathBuf = arguments.get("daemon")?;
    let display: String = arguments.get("display")?;
    let (only, mut media): (String, String) = (arguments.get("only")?, arguments.get("media")?);
    let (part, parts): (usize, usize) = (arguments.get("part")?, arguments.get("parts")?);
    if media.is_empty() {
        media = std::env::var("KINORA_MEDIA").unwrap_or_default();
    }
    let media = PathBuf::from(media);
    let each: usize = arguments.get("each")?;
    let mut streams = manifest::streams(&media)?;
    streams.retain(|stream| !NOT_BY_LIBAVCODEC.contains(&stream.file.as_str()));
    let mut seen = BTreeMap::new();
    streams.retain(|stream| {
        let count: &mut usize = seen.entry(stream.codec.name).or_default();
        *count += 1;
        *count <= each
    });
    let mut tally = Tally::default();
    let wanted = streams
        .iter()
        .enumerate()
        .filter(|(at, stream)| at % parts.max(1) == part && stream.file.contains(&only));
    for (_, stream) in wanted {
        let name = format!("{} {}", stream.codec.name, stream.file);
        tally.row(&name, || check(client, &media, stream, &daemon, &display))?;
    }
    tally.end()
}

fn check(
    client: Client,
    media: &Path,
    stream: &Stream,
    daemon: &Path,
    display: &str,
) -> Result<String> {
    let file = media.join(&stream.file);
    let frames = |decoder| match client {
        Client::Ffmpeg => made_by_ffmpeg(&file, stream, decoder, display),
        Client::Mpv => made_by_mpv(&file, decoder, display),
        Client::Window => made_by_window(&file, decoder),
    };
    let before = machine::jobs(daemon)?;
    let got = frames(Decoder::VaApi)?;
    let jobs = machine::jobs(daemon)? - before;
    let count = got.frames.len();
    if stream.damaged {
        // No signal ended it, and it came to an end.
        return Ok(format!("ended with {count} frames, {jobs} jobs"));
    }
    if !got.status.success() {
        return Err(format!("{}: {}", got.status, last_line(&got.said)).into());
    }
    let hardware = match client {
        Client::Ffmpeg => true,
        Client::Mpv => got.said.contains("Using hardware decoding (vaapi-copy)"),
        Client::Window => got.said.contains("Using hardware decoding (vaapi)"),
    };
    // Two frames may be fields of one, and some streams show frames twice.
    if !hardware || jobs < count as u64 / 2 {
        return Err(format!("{count} frames, of which the device decoded {jobs}").into());
    }
    let expected = frames(Decoder::Software)?;
    if expected.frames.is_empty() {
        return Err(format!("the software decoder: {}", last_line(&expected.said)).into());
    }
    if got.frames != expected.frames {
        let pairs = got.frames.iter().zip(&expected.frames);
        let first = pairs.clone().position(|(got, expected)| got != expected);
        let equal = pairs.filter(|(got, expected)| got == expected).count();
        return Err(format!(
            "{count} frames, the software decoder {}, first other frame {first:?}, {equal} equal; {}",
            expected.frames.len(),
            last_line(&got.said)
        )
        .into());
    }
    let driver_said = |line: &&str| line.contains("kinora") || line.starts_with("libva");
    if let Some(line) = got.said.lines().find(driver_said) {
        return Err(format!("the driver talks: {line}").into());
    }
    Ok(format!("{count} frames equal, {jobs} jobs"))
}

fn ffmpeg(file: &Path, stream: &Stream, decoder: Decoder, display: &str) -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-loglevel", "warning"]);
    if decoder == Decoder::VaApi {
        // Surfaces that are downloaded: were it software after all, there would be none to download.
        // Baseline without its own constraint flag is decoded if nothing but flags speaks against it.
        command
            .args(["-init_hw_device", &format!("vaapi=va:{display}")])
            .args(["-hwaccel", "vaapi", "-hwaccel_device", "va"])
            .args(["-hwaccel_output_format", "vaapi"])
            .args(["-hwaccel_flags", "+allow_profile_mismatch"]);
    }
    let filter = match decoder {
        Decoder::Software => "format=nv12",
        Decoder::VaApi => "hwdownload,format=nv12",
    };
    command
        .args(["-noautorotate", "-i"])
        .arg(file)
        .args(["-map", "0:v:0"]);
    if let Some(first) = stream.first {
        command.args(["-frames:v", &first.to_string()]);
    }
    command
        .args(["-vf", filter, "-noautoscale", "-fps_mode", "passthrough"])
        .args(["-f", "framemd5", "-"]);
    command
}

fn mpv(file: &Path) -> Command {
    let mut command = Command::new("mpv");
    command.args(["--no-config", "--msg-level=all=warn,vd=v", "--msg-color=no"]);
    command.args(["--no-audio", "--sid=no", "--hwdec-codecs=all"]);
    command.arg(file);
    command
}

fn mpv_that_copies(file: &Path, decoder: Decoder, display: &str) -> Command {
    let mut command = mpv(file);
    command.args(["--untimed", &format!("--vaapi-device={display}")]);
    command.arg(match decoder {
        Decoder::Software => "--hwdec=no",
        Decoder::VaApi => "--hwdec=vaapi-copy",
    });
    command
}

/// mpv with a window that Vulkan draws, paused at the first frame.
fn mpv_with_window(file: &Path, decoder: Decoder) -> Command {
    let mut command = mpv(file);
    command.args(["--vo=gpu-next", "--gpu-api=vulkan", "--gpu-context=x11vk"]);
    // In software, with nothing in the window but the picture, and no noise in that.
    command.args([
        "--gpu-sw",
        "--dither-depth=no",
        "--osc=no",
        "--osd-level=0",
        "--pause",
    ]);
    command.args(match decoder {
        // Chroma as the driver's surfaces have it, so that it is scaled in the same way.
        Decoder::Software => &["--hwdec=no", "--vf=format=nv12"][..],
        Decoder::VaApi => &["--hwdec=vaapi"],
    });
    command
}

/// What a client made of a stream.
struct Made {
    /// The MD5 of each frame.
    frames: Vec<String>,
    /// All that it said of itself.
    said: String,
    status: ExitStatus,
}

fn made_by_ffmpeg(file: &Path, stream: &Stream, decoder: Decoder, display: &str) -> Result<Made> {
    let (output, said, status) = run(&mut ffmpeg(file, stream, decoder, display))?;
    let lines = output.lines().filter(|line| !line.starts_with('#'));
    let sum = |line: &str| Some(line.rsplit_once(',')?.1.trim().to_owned());
    Ok(Made {
        frames: lines.filter_map(sum).collect(),
        said,
        status,
    })
}

fn made_by_mpv(file: &Path, decoder: Decoder, display: &str) -> Result<Made> {
    let folder = image_folder()?;
    let mut images = mpv_that_copies(file, decoder, display);
    images
        .args([
            "--vo=image",
            "--vo-image-format=png",
            "--vo-image-png-compression=0",
        ])
        .args(["--vf=format=yuv420p", &format!("--frames={IMAGES}")])
        .arg(format!("--vo-image-outdir={}", folder.display()));
    let (mut said, errors, mut status) = run(&mut images)?;
    said += &errors;
    let frames = image_sums(&folder)?;
    if decoder == Decoder::VaApi {
        let (output, errors, end) = run(mpv_that_copies(file, decoder, display).arg("--vo=null"))?;
        said += &output;
        said += &errors;
        if !end.success() {
            status = end;
        }
    }
    Ok(Made {
        frames,
        said,
        status,
    })
}

fn made_by_window(file: &Path, decoder: Decoder) -> Result<Made> {
    let folder = image_folder()?;
    let script = folder.with_extension("lua");
    std::fs::write(&script, SHOWN_SCRIPT)?;
    let screen = Screen::new()?;
    let mut shown = mpv_with_window(file, decoder);
    shown
        .env("DISPLAY", &screen.name)
        .args([
            "--screenshot-png-compression=0",
            "--screenshot-high-bit-depth=no",
        ])
        .arg(format!("--script={}", script.display()))
        .arg(format!(
            "--script-opts=folder={},count={SHOWN}",
            folder.display()
        ));
    let (mut said, errors, status) = run(&mut shown)?;
    said += &errors;
    std::fs::remove_file(script)?;
    let mut frames = image_sums(&folder)?;
    // At its end a stream's last frame is seen once or twice.
    frames.dedup();
    Ok(Made {
        frames,
        said,
        status,
    })
}

/// An empty folder for a client's images.
fn image_folder() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("va-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    Ok(folder)
}

/// The MD5 of each file of the folder, by name; the folder goes.
fn image_sums(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.push(entry?.path());
    }
    names.sort();
    let mut sums = Vec::new();
    for name in names {
        let sum = Md5::digest(std::fs::read(name)?);
        sums.push(sum.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    std::fs::remove_dir_all(folder)?;
    Ok(sums)
}

/// An X server that draws into memory.
struct Screen {
    server: Child,
    name: String,
}

impl Screen {
    fn new() -> Result<Self> {
        // It says by a line which number it took, once it serves.
        let server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1280x1024x24"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("Xvfb: {error}"))?;
        let mut screen = Self {
            server,
            name: String::new(),
        };
        let mut number = String::new();
        if let Some(said) = screen.server.stdout.take() {
            BufReader::new(said).read_line(&mut number)?;
        }
        if number.trim().is_empty() {
            return Err("Xvfb ended".into());
        }
        screen.name = format!(":{}", number.trim());
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        end(&mut self.server);
    }
}

/// Runs a client to its end; gives what it wrote to stdout and stderr.
fn run(command: &mut Command) -> Result<(String, String, ExitStatus)> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{name}: {error}"))?;
    let (output, errors) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let Ok(output) = output.recv_timeout(LIMIT) else {
        end(&mut child);
        return Err(format!("{name}: no end after {} s", LIMIT.as_secs()).into());
    };
    let errors = errors.recv().unwrap_or_default();
    let status = child.wait()?;
    if status.code().is_none() {
        return Err(format!("{name}: {status}: {}", last_line(&errors)).into());
    }
    Ok((output, errors, status))
}

fn end(child: &mut Child) {
    // Both fail only when it has ended by itself meanwhile.
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads a pipe to its end on a thread of its own.
fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is all there is.
            let _ = pipe.read_to_end(&mut bytes);
        }
        let _ = send.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receive
}

fn last_line(text: &str) -> &str {
    text.trim().lines().last().unwrap_or("no message").trim()
}
