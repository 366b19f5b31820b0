//! `cargo xtask vm test`: does the decode path do in the machines what it is for?
//!
//! Each row boots a machine and runs one command in it, most of them under `kinora-serve`, which has
//! the module and the daemon at work meanwhile. A row passes when the command ends with 0 and the
//! kernel has nothing to complain of. Programs that count (`N passed, N failed`) are counted.

use std::ffi::OsString;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::kernel::Built;
use super::machine::{self, Machine};
use super::{Bench, TIMED_OUT, status_of, tail};

/// So many machines run at once at most: each may use 2 GiB of memory.
const AT_ONCE: usize = 4;

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

/// What befalls a daemon; a busy host may take its time.
const FAULTS: &str = "kinora-load && rmmod kinora_dec && faults --module $KINORA_MODULE --slower 3 \
     --daemon kinora-decoded --clip /kinora/src/fixtures/media/decode/cars_320x240.h264";

/// The same for the module alone, with the stand-in: where every step is checked the daemon itself
/// takes seconds for a session's first picture, and the module waits for 0.9.
const MODULE_FAULTS: &str =
    "kinora-load && rmmod kinora_dec && faults --module $KINORA_MODULE --slower 10";

/// What the checkout has of each codec.
const STREAMS: &str = "kinora-serve exact --media /kinora/src/fixtures/media";

/// The same by the client that waits as long as it takes, four sessions at once.
const PATIENT_STREAMS: &str = "
    set -e
    media=/kinora/src/fixtures/media/decode
    cd $(mktemp -d)
    ffmpeg -v error -i $media/vp8.webm -c copy vp8.ivf
    ffmpeg -v error -i $media/bear-vp9-odd-dimensions.webm -c copy vp9.ivf
    ffmpeg -v error -i $media/sample_h262_mpeg_audio.ts -c copy -an mpeg2.m2v
    cp $media/cars_320x240.h264 h264.h264
    for file in vp8.ivf vp9.ivf mpeg2.m2v h264.h264; do
        sum=$(ffmpeg -v error -i $file -fps_mode passthrough -pix_fmt yuv420p -f rawvideo - | md5sum)
        echo md5=${sum%% *} $file
    done | sort > expected
    kinora-serve client *.* | tee said
    sed -E 's/.*(md5=[0-9a-f]+) .* /\\1 /' said | sort | diff - expected
";

/// What FFmpeg and the VA driver ask of the kernel from the first buffer on, and whether any of it failed.
/// Before it lists are read to their ends, which the kernel tells by an error.
const TRACED: &str = "
    kinora-serve kinora-va strace -f -e trace=ioctl -o /tmp/trace ffmpeg -v error \
        -init_hw_device vaapi=va:/dev/dri/renderD128 -hwaccel vaapi -hwaccel_device va \
        -hwaccel_output_format vaapi -i $KINORA_MEDIA/bench/long_1080p_lowbitrate.mp4 -t 90 -an -f null - &&
    sed '1,/VIDIOC_QBUF/d' /tmp/trace > /tmp/streaming &&
    test $(grep -c VIDIOC_QBUF /tmp/streaming) -gt 4000 &&
    ! grep -E '(VIDIOC|MEDIA_|DMA_BUF).* = -1 ' /tmp/streaming
";

/// What another decoder was told, by its own trace: the carried streams, and all others.
const VISL: &str = "
    mount -t tracefs tracefs /sys/kernel/tracing && modprobe visl &&
    kinora-va va_controls --on visl --media /kinora/src/fixtures/media &&
    kinora-va va_controls --on visl
";

/// Streams whose size changes every second, both ways, through FFmpeg: surfaces that are downloaded, so
/// that it cannot have been software after all, against the software decoder.
const OTHER_SIZES: &str = "
    kinora-serve kinora-va bash -c '
    set -e
    cd $(mktemp -d)
    sums() { ffmpeg -nostdin -v error \"$@\" -f framemd5 - | grep -v ^#; }
    clip() { # SIZE NUMBER
        ffmpeg -nostdin -v error -t 1 -f lavfi -i testsrc2=size=$1:rate=25,noise=alls=8:allf=t:all_seed=$2 \
            -pix_fmt yuv420p -c:v libx264 -preset ultrafast -bf 2 $2.h264 \
            -pix_fmt yuv420p -c:v libvpx-vp9 -deadline realtime -cpu-used 8 $2.ivf
        echo file $2.ivf >>list
    }
    number=0
    for size in 320x180 640x360 176x144 864x480 320x180; do
        number=$((number + 1))
        clip $size $number
    done
    cat ?.h264 >all.h264
    ffmpeg -nostdin -v error -f concat -i list -c copy all.ivf
    for file in all.h264 all.ivf; do
        every=(-i $file -noautoscale -fps_mode passthrough)
        sums ${every[@]} -vf format=nv12 >software
        test $(cut -d, -f5 software | sort -u | wc -l) = 4
        test $(wc -l <software) = 125
        sums -init_hw_device vaapi=va:/dev/dri/renderD128 -hwaccel vaapi -hwaccel_device va \
            -hwaccel_output_format vaapi ${every[@]} -vf hwdownload,format=nv12 | diff software -
    done'
";

/// What the checkout has of each codec, by VA-API, and MPEG-2 with every tool that FFmpeg's encoder has.
const KINDS: &str = "
    kinora-serve kinora-va bash -c '
    set -e
    media=$(mktemp -d)
    echo head >$media/MANIFEST.tsv
    clip() { # NAME SIZE OPTION...
        ffmpeg -nostdin -v error -f lavfi -i testsrc2=size=$2:rate=25,noise=alls=8:all_seed=1:allf=t \
            -pix_fmt yuv420p -frames:v 8 -c:v mpeg2video -q:v 3 ${@:3} -f mpegts $media/$1.ts
        printf \"%s\\tmpeg2video/Main\\t%s\\t8 yuv420p\\t8\\n\" $1.ts $2 >>$media/MANIFEST.tsv
    }
    fields=\"-flags +ildct+ilme\"
    clip odd 174x142 -bf 2
    clip least 16x16
    clip high 64x3000 -strict -2
    clip top 176x144 $fields -top 1 -bf 2
    clip bottom 176x144 $fields -top 0 -bf 2 -alternate_scan 1 -intra_vlc 1
    clip steps 176x144 -non_linear_quant 1 -qmax 28
    clip coarse 176x144 -q:v 31 -bf 2
    clip precise 176x144 -dc 10 -intra_vlc 1
    clip closed 176x144 -flags +cgop -g 4 -bf 2 -sc_threshold 1000000000
    clip matrices 176x144 -bf 2 -intra_matrix $(echo {8..71} | tr \" \" ,) -inter_matrix $(echo {16..79} | tr \" \" ,)
    for folder in $media /kinora/src/fixtures/media; do
        exact --media $folder
        exact --media $folder --through va
        va --media $folder
    done'
";

/// `vainfo` lists what decodes: nothing without a decoder, and all of it with either of two; nothing is said
/// on the way unless it is asked for.
const SHOWN: &str = r#"
    set -e
    export LIBVA_MESSAGING_LEVEL=0
    list() {
        kinora-va vainfo --display drm --device /dev/dri/renderD128 2>/tmp/said |
            sed -n 's/^ *VAProfile\([^ :]*\) *:\tVAEntrypointVLD$/\1/p' | sort | xargs
    }
    export -f list
    all="H264ConstrainedBaseline H264High H264Main MPEG2Main MPEG2Simple VP8Version0_3 VP9Profile0"
    test -z "$(list)"
    test "$(kinora-serve bash -c list)" = "$all"
    test ! -s /tmp/said
    modprobe visl
    test "$(list)" = "$all"
    test ! -s /tmp/said
    test "$(KINORA_VA_DEVICE=/dev/media0 list)" = "$all"
    test -z "$(KINORA_VA_DEVICE=/dev/video1 list)"
    KINORA_VA_LOG=debug list
    grep -q "kinora-va: /dev/video0 (visl)" /tmp/said
"#;

/// Compliance and one stream of each codec, without booting twice.
macro_rules! all_of_it {
    ($parameters:literal) => {
        concat!(
            "kinora-serve ",
            $parameters,
            " bash -c 'kinora-compliance && exact --media /kinora/src/fixtures/media'"
        )
    };
}

/// In this order they begin: what takes long does so early.
const ROWS: &[Row] = &[
    row("v4l2-compliance", FAST, "kinora-serve kinora-compliance").skipping_time(),
    row("a stream of each codec", FAST, STREAMS),
    row("a daemon's faults", FAST, FAULTS),
    row(
        "ioctls in any order",
        FAST,
        "kinora-load && stress --daemon random --seconds 15 --limit 20 --patience 20000 && rmmod kinora_dec",
    ),
    row(
        "a damaged stream",
        FAST,
        "kinora-load timeout=10000 && damaged && rmmod kinora_dec",
    ),
    row("a stream of each codec", CHECKED, PATIENT_STREAMS)
        .within(600)
        .long(),
    // Where every step is checked the daemon may not have made a process for a session, let alone its
    // first picture, in the two seconds that v4l2-compliance waits or the one that GStreamer does.
    row(
        "v4l2-compliance",
        CHECKED,
        "KINORA_DAEMON=responder kinora-serve kinora-compliance",
    )
    .within(600)
    .long(),
    row(
        "ioctls in any order",
        CHECKED,
        "kinora-load && stress --daemon random --seconds 60 --limit 60 --patience 60000 && rmmod kinora_dec",
    )
    .long(),
    row("a daemon's faults", CHECKED, MODULE_FAULTS)
        .within(600)
        .long(),
    row("every stream", FAST, "kinora-serve exact --shard $PART/2")
        .within(1500)
        .in_parts(2)
        .with_media()
        .long(),
    row(
        "1800 frames of 1080p",
        FAST,
        "kinora-load timeout=10000 && endurance && rmmod kinora_dec",
    )
    .within(900)
    .long(),
    row("v4l2-compliance and a stream of each codec", STOCK, all_of_it!(""))
        .within(900)
        .long(),
    // User Mode Linux has no driver that would bring this memory along.
    row("memory of pages, one by one", &["6.12"], all_of_it!("memory=dma-sg"))
        .within(900)
        .long(),
    row(
        "every stream by VA-API, in FFmpeg",
        FAST,
        "kinora-serve kinora-va va --part $PART --parts 2",
    )
    .within(1500)
    .in_parts(2)
    .with_media()
    .long(),
    row(
        "every stream by VA-API, in GStreamer",
        FAST,
        "kinora-serve kinora-va exact --through va --shard $PART/2",
    )
    .within(1500)
    .in_parts(2)
    .with_media()
    .long(),
    row(
        "streams by VA-API, in mpv",
        FAST,
        "kinora-serve kinora-va va --client mpv --each 10",
    )
    .within(900)
    .with_media()
    .long(),
    row(
        "what mpv's window shows by VA-API",
        FAST,
        "kinora-serve kinora-va va --client window --media /kinora/src/fixtures/media",
    ),
    row("90 s of 1080p by VA-API without a failed ioctl", FAST, TRACED)
        .within(900)
        .with_media()
        .long(),
    row(
        "frames that a client of VA-API holds",
        FAST,
        "modprobe vicodec multiplanar=1 && kinora-serve kinora-va va_client",
    ),
    row(
        "streams by VA-API that change size every second",
        FAST,
        OTHER_SIZES,
    ),
    row("kinds of MPEG-2, and streams by VA-API", FAST, KINDS),
    row(
        "controls by VA-API and of GStreamer",
        FAST,
        "kinora-load && kinora-va va_controls && rmmod kinora_dec",
    )
    .within(900)
    .with_media()
    .long(),
    row("controls by VA-API and of GStreamer, in visl's trace", FAST, VISL)
        .within(900)
        .with_media()
        .long(),
    row("what vainfo shows", FAST, SHOWN),
    row("seeks", FAST, "kinora-serve seeks").with_media().long(),
    row(
        "a daemon killed under eight streams",
        FAST,
        "kinora-load timeout=10000 && killed && rmmod kinora_dec",
    )
    .long(),
    row(
        "several streams at once",
        FAST,
        "kinora-serve bash -c 'exact --quick --shard 1/6 --at-once 2 && exact --quick --shard 1/6 --at-once 4'",
    )
    .within(600)
    .with_media()
    .long(),
];

/// Runs the rows for these kernels; gives how many things failed.
pub fn test(bench: &Bench, quick: bool, only: Option<&str>) -> Result<usize> {
    let media = std::env::var_os("KINORA_MEDIA").is_some();
    let mut jobs = Vec::new();
    for row in ROWS {
        if quick && row.long || only.is_some_and(|only| !row.what.contains(only)) {
            continue;
        }
        let kernels = bench.built.iter();
        let kernels: Vec<_> = kernels
            .filter(|built| row.kernels.contains(&built.kernel.name))
            .collect();
        if row.media && !media && !kernels.is_empty() {
            writeln!(
                io::stdout(),
                "{}: not run: KINORA_MEDIA names no folder",
                row.what
            )?;
            continue;
        }
        for built in kernels {
            jobs.extend((0..row.parts).map(|part| Job { row, built, part }));
        }
    }
    let processors = Processors::of_host()?;
    let at_once = processors.count;
    let next = Mutex::new(jobs.into_iter());
    let work = || -> Result<(usize, usize)> {
        let mut counts = (0, 0);
        loop {
            // The lock is held until there is room for the job, so that large ones are not passed by.
            let mut queue = next.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(job) = queue.next() else {
                return Ok(counts);
            };
            let taken = processors.take(job.built.kernel.cpus.0 as usize);
            drop(queue);
            let (passed, failed) = run(bench, &job, &taken.numbers)?;
            counts = (counts.0 + passed, counts.1 + failed);
        }
    };
    let (passed, failed) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_fold((0, 0), |sum, worker| {
            let counts = worker.join().expect("a worker panicked")?;
            anyhow::Ok((sum.0 + counts.0, sum.1 + counts.1))
        })
    })?;
    writeln!(
        io::stdout(),
        "decode path: {passed} passed, {failed} failed"
    )?;
    Ok(failed)
}

/// A part of a row, for one kernel.
struct Job<'a> {
    row: &'static Row,
    built: &'a Built,
    part: usize,
}

/// Processors of the host, which machines take and give back.
struct Processors {
    count: usize,
    free: Mutex<Vec<usize>>,
    freed: Condvar,
}

/// What one machine has taken.
struct Taken<'a> {
    from: &'a Processors,
    numbers: Vec<usize>,
}

impl Processors {
    fn of_host() -> Result<Self> {
        let mut free = machine::allowed_processors()?;
        free.truncate(AT_ONCE);
        Ok(Self {
            count: free.len(),
            free: Mutex::new(free),
            freed: Condvar::new(),
        })
    }

    /// Waits until so many are free, or all that there are.
    fn take(&self, wanted: usize) -> Taken<'_> {
        let wanted = wanted.min(self.count);
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .freed
            .wait_while(free, |free| free.len() < wanted)
            .unwrap_or_else(PoisonError::into_inner);
        let rest = free.len() - wanted;
        Taken {
            from: self,
            numbers: free.split_off(rest),
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let free = self.from.free.lock();
        free.unwrap_or_else(PoisonError::into_inner)
            .append(&mut self.numbers);
        self.from.freed.notify_all();
    }
}

/// Runs a row and says how it went: how many things passed and failed.
fn run(bench: &Bench, job: &Job<'_>, processors: &[usize]) -> Result<(usize, usize)> {
    let Job { row, built, part } = job;
    let begun = Instant::now();
    let mut machine = Machine::new(bench, built);
    processors.clone_into(&mut machine.processors);
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
        let count = if status == TIMED_OUT { 3000 } else { 60 };
        report += &format!(
            "ended with {status}\n{}\n",
            tail(&String::from_utf8_lossy(&talk), count)
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
    use super::{Processors, counted};

    #[test]
    fn processors_are_given_back() {
        let all = Processors::of_host().unwrap();
        let taken = all.take(usize::MAX);
        assert_eq!(taken.numbers.len(), all.count);
        drop(taken);
        let (one, count) = (all.take(1), all.count);
        assert_eq!(one.numbers.len(), 1);
        let rest = all.free.lock().unwrap();
        assert_eq!(rest.len(), count - 1);
        assert!(!rest.contains(&one.numbers[0]));
    }

    #[test]
    fn counts_add_up() {
        assert_eq!(
            counted("a\n3 passed, 1 failed\nb: 9 passed, 9 failed\n2 passed, 0 failed\n"),
            (5, 1)
        );
        assert_eq!(counted("nothing"), (0, 0));
    }
}
