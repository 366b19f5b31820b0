//! `kinora testpack`: the clips that boards are tried with, and what each board should do with each.

use crate::boards::Rows;
use crate::table::Table;
use crate::{Outcome, stdout, talk};
use anyhow::{Context, Result};
use boards::{Board, Facts, Outcome as Verdict, Policy};
use media::{Input, OpenOptions, Probe, TestClip};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Make the eight clips that boards are tried with, and say what each board should do with each
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora testpack -o clips/
  kinora testpack -o clips/ --seconds 5

H.264 and HEVC in 1920x1080 and 3840x2160 at 30 and 60 frames per second. Everything in them
moves, and each frame shows its number and its time. Clips that are there stay as they are;
README.md in the folder holds the table.")]
pub struct Args {
    /// The folder
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Length of each clip
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    #[command(flatten)]
    rows: Rows,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const CODECS: [&str; 2] = ["h264", "hevc"];
const SIZES: [(u32, u32); 2] = [(1920, 1080), (3840, 2160)];
const RATES: [u32; 2] = [30, 60];

pub fn run(args: Args) -> Result<Outcome> {
    let table = args.rows.read()?;
    fs::create_dir_all(&args.output)
        .with_context(|| format!("cannot make the folder {}", args.output.display()))?;
    let mut judged = Vec::new();
    for clip in clips(args.seconds) {
        let name = name(clip);
        let probe = made(&args.output.join(&name), clip)?;
        let facts: Facts = serde_json::from_value(serde_json::to_value(&probe)?)?;
        let verdicts: Vec<Verdict> = table
            .boards()
            .iter()
            .map(|board| boards::verdict(&facts, board, Policy::default(), &name).verdict)
            .collect();
        judged.push((name, verdicts));
    }
    let rows = rows(&judged, table.boards());
    whole(&args.output.join("README.md"), page(&rows).as_bytes())?;
    if args.json {
        let clips = judged.iter().map(|(name, verdicts)| {
            let boards = table.boards().iter().zip(verdicts);
            let boards = boards.map(|(board, verdict)| (board.id.clone(), json!(verdict)));
            json!({ "file": name, "boards": boards.collect::<serde_json::Map<_, _>>() })
        });
        stdout::json(&json!({ "folder": args.output, "clips": clips.collect::<Vec<_>>() }))?;
    } else {
        stdout::text(&Table::of(rows).to_string())?;
    }
    Ok(Outcome::Done)
}

fn clips(seconds: u32) -> impl Iterator<Item = TestClip> {
    CODECS.into_iter().flat_map(move |codec| {
        SIZES.into_iter().flat_map(move |(width, height)| {
            RATES.into_iter().map(move |fps| TestClip {
                codec,
                width,
                height,
                fps,
                seconds,
            })
        })
    })
}

fn name(clip: TestClip) -> String {
    format!("{}-{}p{}.mp4", clip.codec, clip.height, clip.fps)
}

/// The clip's probe, of the one that is there if it is whole and as it should be.
fn made(path: &Path, clip: TestClip) -> Result<Probe> {
    if let Ok(probe) = media::probe(path, &OpenOptions::default()) {
        if is_clip(&probe, clip) && frames(path)? == clip.fps * clip.seconds {
            return Ok(probe);
        }
    }
    let growing = path.with_extension("part");
    let length = u64::from(clip.fps * clip.seconds);
    let bar = talk::bar(length, "{msg} {wide_bar} {percent:>3} % {eta}").with_message(name(clip));
    media::test_clip(&growing, clip, &mut |frame| {
        bar.set_position(u64::from(frame))
    })?;
    bar.finish_and_clear();
    fs::File::open(&growing)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&growing, path))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(media::probe(path, &OpenOptions::default())?)
}

/// How many frames can be read: the header of a file that was cut short tells of all of them.
fn frames(path: &Path) -> Result<u32> {
    let mut input = Input::open(path, &OpenOptions::default())?;
    let mut frames = 0;
    while let Ok(Some(_)) = input.read() {
        frames += 1;
    }
    Ok(frames)
}

fn is_clip(probe: &Probe, clip: TestClip) -> bool {
    let seconds = probe.duration_s.unwrap_or(0.0);
    let [video] = probe.video.as_slice() else {
        return false;
    };
    video.codec == clip.codec
        && (video.width, video.height) == (clip.width, clip.height)
        && video.frames == Some(u64::from(clip.fps * clip.seconds))
        && (seconds - f64::from(clip.seconds)).abs() < 0.1
}

/// All of it or what was there before.
fn whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let growing = path.with_extension("part");
    fs::write(&growing, bytes)
        .and_then(|()| fs::rename(&growing, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Plays => "plays",
        Verdict::Render => "render",
        Verdict::Reject => "reject",
    }
}

/// The table's rows, the head first.
fn rows(judged: &[(String, Vec<Verdict>)], boards: &[Board]) -> Vec<Vec<String>> {
    let ids = boards.iter().map(|board| board.id.clone());
    let head = std::iter::once("CLIP".to_owned()).chain(ids).collect();
    let rows = judged.iter().map(|(name, verdicts)| {
        let cells = verdicts.iter().map(|verdict| word(*verdict).to_owned());
        std::iter::once(name.clone()).chain(cells).collect()
    });
    std::iter::once(head).chain(rows).collect()
}

/// The table in Markdown.
fn page(rows: &[Vec<String>]) -> String {
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = "# Clips to try boards with\n\nMade by `kinora testpack`. Each frame shows its \
        number and its time: minutes, seconds, frames.\n\n"
        .to_owned();
    for (place, cells) in rows.iter().enumerate() {
        text += &row(cells);
        if place == 0 {
            text += &row(&vec!["---".to_owned(); cells.len()]);
        }
    }
    text
}
