//! `cargo xtask vm check`: do the machines do what they are for?
//!
//! Rows of a command and what must come of it, on real machines: exit status and streams as the
//! command made them, an end in time, and every kind of fault noticed by the kernel that is for it. The
//! faults are those of a module made for this (`xtask/vm/faults`).

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::guest::FAULTS;
use super::kernel::Built;
use super::machine::Machine;
use super::{Bench, KERNEL_COMPLAINED, MACHINE_DIED, TIMED_OUT, status_of};

/// Which machines a row is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    All,
    /// User Mode Linux, which has visl.
    Uml,
    /// The one that can skip time, which it does then.
    Fast,
    /// The one that checks memory and locks.
    Debug,
    /// Debian's own, under QEMU.
    Stock,
}

/// A command and what must come of it.
struct Row {
    what: &'static str,
    on: On,
    command: &'static [&'static str],
    seconds: u64,
    /// As `vm run` would end.
    status: u8,
    /// The whole stdout.
    out: &'static str,
    /// Words of stderr or of the kernel's log.
    said: &'static [&'static str],
}

const fn row(
    what: &'static str,
    on: On,
    command: &'static [&'static str],
    status: u8,
    out: &'static str,
) -> Row {
    Row {
        what,
        on,
        command,
        seconds: 120,
        status,
        out,
        said: &[],
    }
}

impl Row {
    const fn says(mut self, said: &'static [&'static str]) -> Self {
        self.said = said;
        self
    }

    const fn within(mut self, seconds: u64) -> Self {
        self.seconds = seconds;
        self
    }

    fn is_for(&self, built: &Built) -> bool {
        match self.on {
            On::All => true,
            On::Uml => built.kernel.is_uml(),
            On::Fast => built.kernel.time_travel,
            On::Debug => built.kernel.name == "uml-debug",
            On::Stock => !built.kernel.is_uml(),
        }
    }
}

/// A row that loads the module with a fault.
macro_rules! fault {
    ($name:literal, $on:expr, $status:expr) => {
        row(
            concat!("fault: ", $name),
            $on,
            &["insmod", "/share/faults.ko", concat!("fault=", $name)],
            $status,
            "",
        )
    };
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("exit status", On::All, &["bash", "-c", "exit 7"], 7, ""),
    row("exit status of a signal", On::Uml, &["bash", "-c", "kill -KILL $$"], 137, ""),
    row("no such command", On::Uml, &["no-such-command"], 127, "").says(&["no-such-command"]),
    row("arguments as they are", On::All, &["printf", "%s|", "a b", "", "$x '\"\n*", "-n"], 0, "a b||$x '\"\n*|-n|"),
    row("streams apart, and the log", On::All,
        &["bash", "-c", "echo out; echo error >&2; echo a message >/dev/kmsg"], 0, "out\n")
        .says(&["error", "a message"]),
    row("no terminal", On::Uml, &["bash", "-c", "[[ ! -t 0 && ! -t 1 && ! -t 2 ]] && wc -c"], 0, "0\n"),
    row("what is left running", On::Uml, &["bash", "-c", "trap '' TERM; sleep 1000 & echo done"], 0, "done\n").within(60),
    row("folders", On::All, &["bash", "-c", "cp /share/in /share/out && cat /share/out && touch /tmp/a /run/a /dev/shm/a && ! touch /a"],
        0, "shared").says(&["Read-only"]),
    row("variables", On::Uml, &["bash", "-c", "echo $KINORA_CHECK && [[ $KINORA_KERNEL ]]"], 0, "a b\n"),
    row("modules", On::All, &["bash", "-c", "modprobe -a videobuf2-v4l2 vgem && test -c /dev/dri/renderD128"], 0, ""),
    row("clients", On::Uml, &["bash", "-c", "ffmpeg -v error -f lavfi -i testsrc=d=0.2:s=64x64 -f null - && ffprobe -version >/dev/null && vainfo --version 2>/dev/null >&2 && mpv --no-config --version >/dev/null && gst-inspect-1.0 filesrc >/dev/null"], 0, ""),
    row("requests on visl", On::Fast, &["bash", "-c", "modprobe visl && v4l2-compliance -d /dev/video0 | grep -o 'Failed: .*'"],
        0, "Failed: 0, Warnings: 0\n").within(30),
    row("GStreamer on visl", On::Uml, &["bash", "-c", "modprobe visl && for c in h264 mpeg2 vp8 vp9; do gst-inspect-1.0 v4l2sl${c}dec >/dev/null && echo $c; done"],
        0, "h264\nmpeg2\nvp8\nvp9\n"),
    row("skipped time", On::Fast, &["sleep", "1000"], 0, "").within(30),
    row("two CPUs", On::Debug, &["nproc"], 0, "2\n"),
    row("failing allocations", On::Debug, &["bash", "-c", "test -d /sys/kernel/debug/failslab || exit 1; echo 1 >/proc/self/fail-nth; test -e /; exit 0"], 0, "")
        .says(&["forcing a failure"]),
    row("the time is over", On::Uml, &["sleep", "1000"], TIMED_OUT, "").within(8).says(&["sleep"]),
    row("the time is over", On::Stock, &["bash", "-c", "sleep 1000 & wait"], TIMED_OUT, "").within(25),
    fault!("warn", On::All, KERNEL_COMPLAINED).says(&["as asked for"]),
    fault!("panic", On::All, MACHINE_DIED).says(&["as asked for"]),
    fault!("oops", On::Uml, MACHINE_DIED),
    fault!("hang", On::Uml, TIMED_OUT).within(10).says(&["faults"]),
    fault!("use-after-free", On::Debug, KERNEL_COMPLAINED).says(&["slab-use-after-free"]),
    fault!("out-of-bounds", On::Debug, KERNEL_COMPLAINED).says(&["slab-out-of-bounds"]),
    fault!("sleep-in-atomic", On::Debug, KERNEL_COMPLAINED).says(&["invalid context"]),
    fault!("lock-order", On::Debug, KERNEL_COMPLAINED).says(&["possible circular locking"]),
];

/// Runs the rows that are for the bench's kernels and gives the number that failed.
pub fn check(bench: &Bench, only: Option<&str>) -> Result<usize> {
    let mut out = io::stdout();
    let (mut passed, mut failed) = (0, 0);
    for built in &bench.built {
        let lock = bench.guest.lock()?;
        bench
            .guest
            .build_module(&lock, FAULTS, &bench.root, built)?;
        drop(lock);
        let is_wanted = |row: &&Row| only.is_none_or(|only| row.what.contains(only));
        for row in ROWS
            .iter()
            .filter(|row| row.is_for(built))
            .filter(is_wanted)
        {
            let begun = Instant::now();
            let wrong = wrong_with(row, bench, built)?;
            let verdict = if wrong.is_empty() { "ok" } else { "FAILED" };
            let took = begun.elapsed().as_secs_f64();
            writeln!(
                out,
                "{}: {}: {verdict} ({took:.1} s)",
                built.kernel.name, row.what
            )?;
            for line in &wrong {
                writeln!(out, "    {line}")?;
            }
            *if wrong.is_empty() {
                &mut passed
            } else {
                &mut failed
            } += 1;
        }
    }
    writeln!(out, "machines: {passed} passed, {failed} failed")?;
    Ok(failed)
}

/// What came otherwise than the row says.
fn wrong_with(row: &Row, bench: &Bench, built: &Built) -> Result<Vec<String>> {
    let share = tempfile::tempdir()?;
    fs::write(share.path().join("in"), "shared")?;
    if let Some((folder, name)) = bench.guest.module(FAULTS, built) {
        fs::copy(folder.join(name), share.path().join("faults.ko"))?;
    }
    let mut machine = machine(row, bench, built, share.path());
    machine.env = vec![("KINORA_CHECK".to_owned(), "a b".to_owned())];
    let command: Vec<OsString> = row.command.iter().map(OsString::from).collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let outcome = machine.run(&command, &mut out, &mut err)?;
    let err = String::from_utf8_lossy(&err);
    let mut wrong = Vec::new();
    let status = status_of(&outcome, false, &mut io::sink());
    if status != row.status {
        wrong.push(format!(
            "status {status}, not {}: {:?}",
            row.status, outcome.end
        ));
    }
    if out != row.out.as_bytes() {
        wrong.push(format!(
            "stdout {:?}, not {:?}",
            String::from_utf8_lossy(&out),
            row.out
        ));
    }
    for word in row.said {
        if !err.contains(word) && !outcome.log.contains(word) {
            wrong.push(format!("neither stderr nor the log has {word:?}"));
        }
    }
    if !wrong.is_empty() {
        wrong.extend(err.lines().map(|line| format!("stderr: {line}")));
        wrong.extend(outcome.log.lines().map(|line| format!("log: {line}")));
    }
    Ok(wrong)
}

fn machine<'a>(row: &Row, bench: &'a Bench, built: &'a Built, share: &Path) -> Machine<'a> {
    let mut machine = Machine::new(bench, built);
    machine.share = Some(share.to_owned());
    // What checks everything takes its time, also to boot.
    let slower = if built.kernel.name == "uml-debug" {
        4
    } else {
        1
    };
    machine.timeout = Duration::from_secs(row.seconds * slower);
    machine.time_travel = row.on == On::Fast;
    machine
}
