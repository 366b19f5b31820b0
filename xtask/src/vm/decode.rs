//! `cargo xtask vm test`: does the decode path do in the machines what it is for?
//!
//! Each row boots a machine and runs one command in it, most of them under `kinora-serve`, which has
//! the module and the daemon at work meanwhile. A row passes when the command ends with 0 and the
//! kernel has nothing to complain of. Programs that count (`N passed, N failed`) are counted.

use std::ffi::OsString;
use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::kernel::Built;
use super::machine::Machine;
use super::{Bench, status_of, tail};

/// So many processors are kept busy: machines that have as many run alone.
const PROCESSORS: u32 = 2;

const FAST: &[&str] = &["uml"];
const CHECKED: &[&str] = &["uml-debug"];
const STOCK: &[&str] = &["6.1", "6.12", "7.2"];

/// A command for machines.
struct Row {
    what: &'static str,
    kernels: &'static [&'static str],
    /// For `bash -c`. `$PART` is 0 to `parts` - 1.
    command: &'static str,
    seconds: u64,
    /// Split over so many machines.
    parts: usize,
    time_travel: bool,
    /// Left out of a quick run.
    long: bool,
    /// Reads the media folder.
    media: bool,
}

const fn row(what: &'static str, kernels: &'static [&'static str], command: &'static str) -> Row {
    Row {
        what,
        kernels,
        command,
        seconds: 300,
        parts: 1,
        time_travel: false,
        long: false,
        media: false,
    }
}

impl Row {
    const fn within(mut self, seconds: u64) -> Self {
        self.seconds = seconds;
        self
    }

    const fn in_parts(mut self, parts: usize) -> Self {
        self.parts = parts;
        self
    }

    const fn skipping_time(mut self) -> Self {
        self.time_travel = true;
        self
    }

    const fn long(mut self) -> Self {
        self.long = true;
        self
    }

    const fn with_media(mut self) -> Self {
        self.media = true;
        self
    }
}

/// One short stream of each codec.
const ONE_OF_EACH: &str = "kinora-serve bash -c 'set -e; for name in h264/BA_MW_D.264 \
     mpeg2/sample_h262 vp80-00-comprehensive-001 vp90-2-02-size-66x66; do exact --only $name; done'";

/// What befalls a daemon; a busy host may take its time.
const FAULTS: &str = "kinora-load && rmmod kinora_dec && faults --slower 3 --module $KINORA_MODULE \
     --daemon kinora-decoded --clip $KINORA_MEDIA/conformance/vp8/vp80-00-comprehensive-001.ivf";

const ROWS: &[Row] = &[
    row("v4l2-compliance", FAST, "kinora-serve kinora-compliance").skipping_time(),
    row("v4l2-compliance", CHECKED, "kinora-serve kinora-compliance")
        .within(600)
        .long(),
    row("v4l2-compliance", STOCK, "kinora-serve kinora-compliance")
        .within(600)
        .long(),
    row("a daemon's faults", FAST, FAULTS).with_media(),
    row(
        "ioctls in any order",
        FAST,
        "kinora-load && stress --daemon random --seconds 15 --limit 20 --patience 20000 && rmmod kinora_dec",
    ),
    row(
        "ioctls in any order",
        CHECKED,
        "kinora-load && stress --daemon random --seconds 60 --limit 60 --patience 60000 && rmmod kinora_dec",
    )
    .long(),
    row("one stream of each codec", CHECKED, ONE_OF_EACH)
        .with_media()
        .long(),
    row("one stream of each codec", STOCK, ONE_OF_EACH)
        .within(600)
        .with_media()
        .long(),
    row("seeks", FAST, "kinora-serve seeks").with_media().long(),
    row(
        "several streams at once",
        FAST,
        "kinora-serve bash -c 'exact --quick --shard 1/6 --at-once 2 && exact --quick --shard 1/6 --at-once 4'",
    )
    .within(600)
    .with_media()
    .long(),
    row(
        "a damaged stream",
        FAST,
        "kinora-load timeout=10000 && damaged && rmmod kinora_dec",
    ),
    row(
        "a daemon killed under eight streams",
        FAST,
        "kinora-load timeout=10000 && killed && rmmod kinora_dec",
    )
    .long(),
    row(
        "1800 frames of 1080p",
        FAST,
        "kinora-load timeout=10000 && endurance && rmmod kinora_dec",
    )
    .within(900)
    .long(),
    row("every stream", FAST, "kinora-serve exact --shard $PART/2")
        .within(1500)
        .in_parts(2)
        .with_media()
        .long(),
];

/// Runs the rows for these kernels; gives how many things failed.
pub fn test(bench: &Bench, quick: bool, only: Option<&str>) -> Result<usize> {
    let media = std::env::var_os("KINORA_MEDIA").is_some();
    let counts = Mutex::new((0, 0));
    for built in &bench.built {
        let mut jobs = Vec::new();
        for row in ROWS
            .iter()
            .filter(|row| row.kernels.contains(&built.kernel.name))
        {
            if quick && row.long || only.is_some_and(|only| !row.what.contains(only)) {
                continue;
            }
            if row.media && !media {
                writeln!(
                    io::stdout(),
                    "{}: not run: KINORA_MEDIA names no folder",
                    row.what
                )?;
                continue;
            }
            jobs.extend((0..row.parts).map(|part| (row, part)));
        }
        let next = AtomicUsize::new(0);
        let work = || -> Result<()> {
            while let Some((row, part)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (passed, failed) = run(bench, row, built, *part)?;
                let mut counts = counts.lock().expect("no thread panics with it");
                counts.0 += passed;
                counts.1 += failed;
            }
            Ok(())
        };
        let at_once = (PROCESSORS / built.kernel.cpus.0).max(1);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().expect("a worker panicked"))
        })?;
    }
    let (passed, failed) = counts.into_inner().expect("no thread panics with it");
    writeln!(
        io::stdout(),
        "decode path: {passed} passed, {failed} failed"
    )?;
    Ok(failed)
}

/// Runs a row and says how it went: how many things passed and failed.
fn run(bench: &Bench, row: &Row, built: &Built, part: usize) -> Result<(usize, usize)> {
    let begun = Instant::now();
    let mut machine = Machine::new(bench, built);
    machine.timeout = Duration::from_secs(row.seconds);
    machine.time_travel = row.time_travel;
    machine.env = vec![("PART".to_owned(), part.to_string())];
    let (mut out, mut talk) = (Vec::new(), Vec::new());
    let command = ["bash", "-c", row.command].map(OsString::from);
    let outcome = machine.run(&command, &mut out, &mut talk)?;
    let status = status_of(&outcome, false, &mut talk);

    let out = String::from_utf8_lossy(&out);
    let (passed, failed) = match counted(&out) {
        (0, 0) => (usize::from(status == 0), usize::from(status != 0)),
        // What ended badly has failed, even if all that was counted has not.
        (passed, 0) if status != 0 => (passed, 1),
        counted => counted,
    };
    let part = if row.parts > 1 {
        format!(" (part {part})")
    } else {
        String::new()
    };
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    let took = begun.elapsed().as_secs();
    let mut report = format!(
        "{}: {}{part}: {verdict}, {passed} passed, {failed} failed ({took} s)\n",
        built.kernel.name, row.what
    );
    if failed > 0 {
        report += &format!(
            "ended with {status}\n{}\n",
            tail(&String::from_utf8_lossy(&talk), 60)
        );
        let bad = out
            .lines()
            .filter(|line| !line.contains("equal"))
            .collect::<Vec<_>>();
        report += &format!("{}\n", tail(&bad.join("\n"), 60));
    }
    io::stdout().write_all(report.as_bytes())?;
    Ok((passed, failed))
}

/// The sum of all lines `N passed, N failed`.
fn counted(out: &str) -> (usize, usize) {
    let counts = out.lines().filter_map(|line| {
        let (passed, rest) = line.split_once(" passed, ")?;
        let failed = rest.strip_suffix(" failed")?;
        Some((passed.parse::<usize>().ok()?, failed.parse::<usize>().ok()?))
    });
    counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn counts_add_up() {
        assert_eq!(
            counted("a\n3 passed, 1 failed\nb: 9 passed, 9 failed\n2 passed, 0 failed\n"),
            (5, 1)
        );
        assert_eq!(counted("nothing"), (0, 0));
    }
}
