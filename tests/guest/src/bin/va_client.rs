//! A client of the VA driver that keeps what it was given: does a frame stay as long as somebody holds it?
//!
//! Decodes a stream of each codec through the driver's own table, exports every frame, holds the
//! dma-bufs for a while whatever becomes of the surfaces, and reads them through a mapping when it gets
//! them and when it lets them go. What was read has to be what FFmpeg's software decoder makes, also
//! over a decoder that takes no memory but its own, and by another device that imports them. Besides: displays and contexts that come and go
//! leave nothing behind, all streams go at once in one process and in several, and what the driver
//! asks of the kernel once a context is there is in a short list.
//!
//! The modules and the daemon must be there already (`modprobe vicodec multiplanar=1 && kinora-serve
//! va_client`). H.264 in fields is of the
//! media folder, if `KINORA_MEDIA` names one: no encoder of FFmpeg's makes it.

use guest_tests::arguments::Arguments;
use guest_tests::clip::{self, Encoding};
use guest_tests::importer::Importer;
use guest_tests::stream::{self, Part, Step};
use guest_tests::tally::Tally;
use guest_tests::{Result, report, va};
use md5::{Digest, Md5};
use rustix::fd::{AsFd, OwnedFd};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use v4l2::queue::{Memory, Timestamp};
use v4l2::sys::{Linux, Mapping};
use va_driver::client::kernels::OwnMemory;
use va_driver::client::{Answer, Client};
use va_driver::va::drm::*;
use va_driver::va::*;

const OPTIONS: &[(&str, &str)] = &[("only", ""), ("alone", ""), ("file", "")];

/// A stream, and what decoding it takes.
#[derive(Debug)]
struct Clip {
    name: &'static str,
    source: Source,
    /// So many frames may be referred to.
    references: usize,
}

/// Where a stream comes from.
#[derive(Debug)]
enum Source {
    /// It is made, of this size.
    Made(Encoding, &'static str),
    /// A file of the media folder; left out where there is none.
    Media(&'static str),
}

const FRAMES: usize = 90;

const CLIPS: [Clip; 5] = [
    Clip {
        name: "MPEG-2",
        source: Source::Made(
            Encoding {
                container: "m2v",
                arguments: "-c:v mpeg2video -q:v 6 -g 15 -bf 2",
            },
            "352x288",
        ),
        references: 2,
    },
    Clip {
        name: "H.264",
        source: Source::Made(
            Encoding {
                container: "h264",
                arguments: "-c:v libx264 -preset veryfast -x264-params bframes=3:ref=4:slices=4:b-pyramid=normal",
            },
            "640x368",
        ),
        references: 5,
    },
    Clip {
        name: "H.264 in fields",
        source: Source::Media("conformance/h264/freh11.264"),
        references: 16,
    },
    // Segments, and frames that are not shown.
    Clip {
        name: "VP8",
        source: Source::Made(
            Encoding {
                container: "ivf",
                arguments: "-c:v libvpx -b:v 1M -deadline good -cpu-used 8 -auto-alt-ref 1 -lag-in-frames 12 -static-thresh 100",
            },
            "352x288",
        ),
        references: 3,
    },
    // No row of these is a multiple of 64 bytes.
    Clip {
        name: "VP9",
        source: Source::Made(
            Encoding {
                container: "ivf",
                arguments: "-c:v libvpx-vp9 -b:v 2M -deadline realtime -cpu-used 8",
            },
            "864x136",
        ),
        references: 8,
    },
];

/// Surfaces beyond those that the stream needs, and how many frames are held.
const HOLDS: [(usize, usize); 6] = [(0, 0), (0, 1), (0, FRAMES), (1, 30), (4, 60), (30, 30)];

/// Displays or contexts that come and go, and how many of them until all that stays is there.
const TIMES: usize = 200;
const WARM: usize = 20;

/// What the process may have more of after all of them.
const GROWTH_KIB: u64 = 512;

fn main() -> ExitCode {
    report(all())
}

fn all() -> Result<ExitCode> {
    let arguments = Arguments::of_process(OPTIONS)?;
    let alone: String = arguments.get("alone")?;
    if let Some(clip) = CLIPS.iter().find(|clip| clip.name == alone) {
        let file: String = arguments.get("file")?;
        let stream = Stream::of(clip, Path::new(&file))?;
        stream.play(&display()?, 4, 30, true)?;
        return Ok(ExitCode::SUCCESS);
    }
    let only: String = arguments.get("only")?;
    let media = std::env::var_os("KINORA_MEDIA").map(PathBuf::from);
    let folder = std::env::temp_dir().join(format!("va-client-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let mut streams = Vec::new();
    for clip in &CLIPS {
        let file = match &clip.source {
            Source::Made(encoding, size) => clip::make(&folder, clip.name, encoding, size, FRAMES)?,
            Source::Media(file) => match &media {
                Some(media) => media.join(file),
                None => continue,
            },
        };
        streams.push(Stream::of(clip, &file)?);
    }
    let mut tally = Tally::default();
    let mut row = |name: &str, act: &dyn Fn() -> Result<String>| {
        if name.contains(&only) {
            tally.row(name, act)
        } else {
            Ok(())
        }
    };
    for stream in &streams {
        let Clip {
            name, references, ..
        } = stream.clip;
        for (more, held) in HOLDS {
            let surfaces = references + 1 + more;
            let what = format!("{name}: {held} frames held over {surfaces} surfaces");
            row(&what, &|| stream.play(&display()?, surfaces, held, false))?;
        }
        // Of at most 32 buffers the decoder needs some, and each frame that is held takes one.
        let own_memory = || {
            asked(
                "vaInitialize",
                Client::of_kernel(Arc::new(OwnMemory(Linux))),
            )
        };
        let what = format!("{name}: 8 frames held, with memory of the decoder's only");
        row(&what, &|| {
            stream.play(&own_memory()?, references + 1, 8, false)
        })?;
        let what = format!("{name}: all frames held, with memory of the decoder's only");
        row(&what, &|| stream.exhaust(&own_memory()?))?;
        if stream.is_packed() {
            let what = format!("{name}: frames that another device imports");
            row(&what, &|| stream.import(&display()?))?;
        }
        let what = format!("{name}: {TIMES} displays made and destroyed");
        row(&what, &|| leaves_nothing(|| stream.begin(&display()?)))?;
        let what = format!("{name}: {TIMES} contexts made and destroyed");
        row(&what, &|| {
            let display = display()?;
            leaves_nothing(|| stream.begin(&display))
        })?;
    }
    row("all streams in one display", &|| {
        let display = display()?;
        at_once(&streams, |stream| stream.play(&display, 12, 30, false))
    })?;
    row(
        "each stream in a display of its own in one process",
        &|| at_once(&streams, |stream| stream.play(&display()?, 12, 30, false)),
    )?;
    row(
        "each stream in a process of its own that may ask for little",
        &|| {
            let children: Vec<Child> = streams
                .iter()
                .map(|stream| {
                    Ok(Command::new(std::env::current_exe()?)
                        .args(["--alone", stream.clip.name, "--file"])
                        .arg(&stream.file)
                        .stdin(Stdio::null())
                        .stderr(Stdio::piped())
                        .spawn()?)
                })
                .collect::<Result<_>>()?;
            for child in children {
                let done = child.wait_with_output()?;
                if !done.status.success() {
                    let said = String::from_utf8_lossy(&done.stderr);
                    return Err(format!("{}: {}", done.status, said.trim()).into());
                }
            }
            Ok("all equal".to_owned())
        },
    )?;
    std::fs::remove_dir_all(&folder)?;
    tally.end()
}

/// Each stream in a thread of its own.
fn at_once(streams: &[Stream], play: impl Fn(&Stream) -> Result<String> + Sync) -> Result<String> {
    let play = &play;
    std::thread::scope(|scope| {
        let threads: Vec<_> = streams
            .iter()
            .map(|stream| scope.spawn(move || play(stream)))
            .collect();
        let mut said = Vec::new();
        for thread in threads {
            said.push(thread.join().map_err(|_| "a thread panicked")??);
        }
        Ok(said.join("; "))
    })
}

/// An answer of the driver with what it was asked.
fn asked<T>(what: &str, answer: Answer<T>) -> Result<T> {
    answer.map_err(|status| format!("{what}: status {status:#x}").into())
}

fn display() -> Result<Client<Linux>> {
    asked("vaInitialize", Client::of_system())
}

/// A stream in a file, and the MD5 of each of its frames.
struct Stream {
    clip: &'static Clip,
    file: PathBuf,
    coded: u32,
    /// Of surfaces, and what is seen of them.
    size: (u32, u32),
    visible: (u32, u32),
    sums: BTreeSet<String>,
}

impl Stream {
    fn of(clip: &'static Clip, file: &Path) -> Result<Stream> {
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-i"])
            .arg(file)
            .args(["-fps_mode", "passthrough", "-pix_fmt", "nv12"])
            .args(["-f", "framemd5", "-"])
            .output()?;
        let text = String::from_utf8(made.stdout)?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let sum = |line: &str| Some(line.rsplit_once(',')?.1.trim().to_owned());
        let sums: BTreeSet<String> = lines.filter_map(sum).collect();
        if sums.len() < FRAMES {
            return Err(format!("{} different frames in {}", sums.len(), file.display()).into());
        }
        let mut coded = stream::Stream::open(file)?;
        let Step::Decode(first) = coded.read(0)? else {
            return Err("a stream begins with a picture".into());
        };
        let [_, _, width, height] = first.visible;
        Ok(Stream {
            clip,
            file: file.to_owned(),
            size: first.size,
            visible: (width, height),
            coded: coded.coded(),
            sums,
        })
    }

    /// Decodes all of it through so many surfaces; each frame is exported, held until as many others
    /// are, and has to be the same when it is let go.
    fn play<K>(
        &self,
        display: &Client<K>,
        surfaces: usize,
        held: usize,
        confined: bool,
    ) -> Result<String> {
        let surfaces = surfaces.max(self.clip.references + 1);
        let mut session = Session::new(self, display, surfaces)?;
        if confined {
            seccompiler::apply_filter(&few_calls()?)?;
        }
        let mut window = VecDeque::new();
        let mut seen = BTreeSet::new();
        while let Some(frame) = session.next()? {
            if self.sums.contains(&frame.sum) {
                seen.insert(frame.sum.clone());
            }
            window.push_back(frame);
            if window.len() > held {
                window
                    .pop_front()
                    .map_or(Ok(()), |frame| frame.is_as_it_was())?;
            }
        }
        session.end()?;
        for frame in window {
            frame.is_as_it_was()?;
        }
        if seen.len() != self.sums.len() {
            let count = self.sums.len();
            return Err(format!("{} of {count} frames equal", seen.len()).into());
        }
        Ok(format!("{} frames equal", seen.len()))
    }

    /// Whether nothing lies between the rows of its pictures, or between the planes.
    fn is_packed(&self) -> bool {
        self.visible == self.size && self.size.0 % 64 == 0 && self.size.1 % 16 == 0
    }

    /// Gives every frame to a device that reads it by itself, and compares what that made of it with
    /// what it makes of the frames of FFmpeg's software decoder.
    fn import<K>(&self, display: &Client<K>) -> Result<String> {
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-i"])
            .arg(&self.file)
            .args(["-fps_mode", "passthrough", "-pix_fmt", "nv12"])
            .args(["-f", "rawvideo", "-"])
            .output()?;
        let copier = Importer::new(Memory::Mmap, self.size)?;
        let (width, height) = self.size;
        let bytes = (width * height * 3 / 2) as usize;
        let mut expected = BTreeSet::new();
        for frame in made.stdout.chunks_exact(bytes) {
            expected.insert(copier.copy(frame)?);
        }
        let importer = Importer::new(Memory::DmaBuf, self.size)?;
        let mut session = Session::new(self, display, self.clip.references + 1)?;
        let mut seen = BTreeSet::new();
        while let Some(frame) = session.next()? {
            let length = frame.described.objects[0].size;
            seen.insert(importer.import(frame.fd.as_fd(), length)?);
        }
        session.end()?;
        let (count, equal) = (expected.len(), seen.intersection(&expected).count());
        if count != self.sums.len() || equal != count {
            return Err(format!("{equal} of {count} frames equal").into());
        }
        Ok(format!("{equal} frames equal"))
    }

    /// Holds every frame until there is no buffer for another: that is refused, and no frame is
    /// overwritten.
    fn exhaust<K>(&self, display: &Client<K>) -> Result<String> {
        let mut session = Session::new(self, display, self.clip.references + 1)?;
        let mut held = Vec::new();
        let refused = loop {
            match session.next() {
                Ok(Some(frame)) => held.push(frame),
                Ok(None) => return Err(format!("{} frames could be held", held.len()).into()),
                Err(error) => break error,
            }
        };
        session.end()?;
        for frame in &held {
            frame.is_as_it_was()?;
        }
        Ok(format!("{} frames held, then {refused}", held.len()))
    }

    /// Decodes the first picture and holds it until all else is gone.
    fn begin(&self, display: &Client<Linux>) -> Result<()> {
        let mut session = Session::new(self, display, 4)?;
        let frame = session.next()?.ok_or("there is no picture")?;
        session.end()?;
        frame.is_as_it_was()
    }
}

/// A context with its surfaces, on its way through a stream.
struct Session<'a, K> {
    display: &'a Client<K>,
    stream: stream::Stream,
    /// The unit that comes next.
    unit: usize,
    visible: (u32, u32),
    config: VAConfigID,
    context: VAContextID,
    /// The one that was decoded into the longest ago comes first.
    surfaces: VecDeque<VASurfaceID>,
    /// Where pictures are that others may refer to.
    places: BTreeMap<Timestamp, VASurfaceID>,
    exported: u32,
}

impl<'a, K> Session<'a, K> {
    fn new(stream: &Stream, display: &'a Client<K>, surfaces: usize) -> Result<Session<'a, K>> {
        let (width, height) = stream.size;
        let profile = va::profile(stream.coded)?;
        let config = display.config(profile, VAEntrypointVLD, &mut []);
        let config = asked("vaCreateConfig", config)?;
        let surfaces = asked(
            "vaCreateSurfaces",
            display.surfaces(width, height, surfaces),
        )?;
        let size = (width as i32, height as i32);
        let context = asked("vaCreateContext", display.context(config, size, &surfaces))?;
        Ok(Session {
            display,
            stream: stream::Stream::open(&stream.file)?,
            unit: 0,
            visible: stream.visible,
            config,
            context,
            surfaces: surfaces.into(),
            places: BTreeMap::new(),
            exported: 0,
        })
    }

    /// The next frame, when all of it is decoded.
    fn next(&mut self) -> Result<Option<Frame>> {
        let Session {
            display, context, ..
        } = *self;
        while self.unit < self.stream.len() {
            let needed = self.stream.references();
            self.places.retain(|picture, _| needed.contains(picture));
            let coded = self.stream.coded();
            let step = self.stream.read(self.unit)?;
            self.unit += 1;
            let Step::Decode(frame) = step else { continue };
            let target = match self.places.get(&frame.timestamp) {
                Some(first_field) => *first_field,
                None => {
                    let free = |one: &VASurfaceID| !self.places.values().any(|used| used == one);
                    let place = self.surfaces.iter().position(free);
                    let found = place.and_then(|place| self.surfaces.remove(place));
                    let found = found.ok_or("too few surfaces")?;
                    self.surfaces.push_back(found);
                    self.places.insert(frame.timestamp, found);
                    found
                }
            };
            let surface = |picture| self.places.get(&picture).copied();
            let buffers = va::buffers(coded, &frame, &|picture| {
                surface(picture).unwrap_or(VA_INVALID_SURFACE)
            })?;
            asked("vaBeginPicture", display.begin(context, target))?;
            for buffer in &buffers {
                let id = display.buffer(context, buffer.kind, buffer.bytes.len(), &buffer.bytes);
                let id = asked("vaCreateBuffer", id)?;
                asked("vaRenderPicture", display.render(context, &[id]))?;
                asked("vaDestroyBuffer", display.destroy_buffer(id))?;
            }
            asked("vaEndPicture", display.end(context))?;
            if frame.part == Part::FirstField {
                continue;
            }
            asked("vaSyncSurface", display.sync(target))?;
            self.exported += 1;
            let layers = match self.exported % 2 {
                0 => VA_EXPORT_SURFACE_COMPOSED_LAYERS,
                _ => VA_EXPORT_SURFACE_SEPARATE_LAYERS,
            };
            let memory = VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_2;
            let flags = layers | VA_EXPORT_SURFACE_READ_ONLY;
            let exported = display.export(target, memory, flags);
            let (described, fd) = asked("vaExportSurfaceHandle", exported)?;
            return Frame::new(self.exported, self.visible, described, fd).map(Some);
        }
        Ok(None)
    }

    fn end(self) -> Result<()> {
        let surfaces: Vec<_> = self.surfaces.into();
        let context = self.display.destroy_context(self.context);
        asked("vaDestroyContext", context)?;
        asked(
            "vaDestroySurfaces",
            self.display.destroy_surfaces(&surfaces),
        )?;
        asked("vaDestroyConfig", self.display.destroy_config(self.config))
    }
}

/// An exported frame.
struct Frame {
    number: u32,
    size: (u32, u32),
    described: VADRMPRIMESurfaceDescriptor,
    fd: OwnedFd,
    /// The MD5 that it had.
    sum: String,
}

impl Frame {
    fn new(
        number: u32,
        size: (u32, u32),
        described: VADRMPRIMESurfaceDescriptor,
        fd: OwnedFd,
    ) -> Result<Frame> {
        let sum = String::new();
        let mut frame = Frame {
            number,
            size,
            described,
            fd,
            sum,
        };
        frame.sum = frame.read()?;
        Ok(frame)
    }

    fn is_as_it_was(&self) -> Result<()> {
        if self.read()? == self.sum {
            return Ok(());
        }
        Err(format!("frame {} was overwritten", self.number).into())
    }

    /// The MD5 of what is in the memory now, as NV12 without padding.
    fn read(&self) -> Result<String> {
        let described = &self.described;
        let size = described.objects[0].size as usize;
        let mapping = Mapping::new(&self.fd, size, 0)?;
        // Chroma is the second plane of the only layer, or the only one of the second.
        let second = &described.layers[described.num_layers as usize - 1];
        let plane = second.num_planes as usize - 1;
        let first = &described.layers[0];
        let planes = [
            (first.offset[0], first.pitch[0], self.size.1),
            (second.offset[plane], second.pitch[plane], self.size.1 / 2),
        ];
        let mut row = vec![0; self.size.0 as usize];
        let mut sum = Md5::new();
        for (offset, pitch, rows) in planes {
            for number in 0..rows {
                if !mapping.read((offset + number * pitch) as usize, &mut row) {
                    return Err(format!("row {number} is beyond {size} bytes").into());
                }
                sum.update(&row);
            }
        }
        let sum = sum.finalize();
        Ok(sum.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Does a thing many times and looks what the process has more of.
fn leaves_nothing(act: impl Fn() -> Result<()>) -> Result<String> {
    let mut before = Holdings::of_process()?;
    for time in 0..TIMES {
        if time == WARM {
            before = Holdings::of_process()?;
        }
        act().map_err(|error| format!("time {time}: {error}"))?;
    }
    let after = Holdings::of_process()?;
    let grown = after.kib.saturating_sub(before.kib);
    if after.descriptors != before.descriptors || grown > GROWTH_KIB {
        return Err(format!("{before:?} before, {after:?} after").into());
    }
    Ok(format!(
        "{} descriptors, {grown} KiB more",
        after.descriptors
    ))
}

#[derive(Debug)]
struct Holdings {
    descriptors: usize,
    /// All that is mapped.
    kib: u64,
}

impl Holdings {
    fn of_process() -> Result<Holdings> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(Holdings {
            descriptors: std::fs::read_dir("/proc/self/fd")?.count(),
            kib: kib.ok_or("no VmSize")?.parse()?,
        })
    }
}

/// The calls that the driver's page names for the time after a context was made, and what ends a
/// process. Whoever makes another one is killed.
fn few_calls() -> Result<BpfProgram> {
    let free = [
        libc::SYS_poll,
        libc::SYS_ppoll,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_fstat,
        libc::SYS_newfstatat,
        libc::SYS_close,
        libc::SYS_lseek,
        libc::SYS_futex,
        // Where the vDSO does not know the time.
        libc::SYS_clock_gettime,
        // The allocator's.
        libc::SYS_brk,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        // The process's own.
        libc::SYS_exit_group,
        libc::SYS_sigaltstack,
        libc::SYS_write,
    ];
    let mut rules: BTreeMap<_, _> = free.into_iter().map(|call| (call, Vec::new())).collect();
    let word = SeccompCmpArgLen::Dword;
    // An ioctl's second byte names whose it is: V4L2's, the media controller's, dma-buf's.
    let of = |kind: u8| -> Result<SeccompRule> {
        let kinds = SeccompCmpOp::MaskedEq(0xff00);
        let condition = SeccompCondition::new(1, word.clone(), kinds, u64::from(kind) << 8)?;
        Ok(SeccompRule::new(vec![condition])?)
    };
    let ioctls = [of(b'V')?, of(b'|')?, of(b'b')?];
    rules.insert(libc::SYS_ioctl, ioctls.into());
    let duplicate = libc::F_DUPFD_CLOEXEC as u64;
    let condition = SeccompCondition::new(1, word.clone(), SeccompCmpOp::Eq, duplicate)?;
    let rule = SeccompRule::new(vec![condition])?;
    rules.insert(libc::SYS_fcntl, vec![rule]);
    let (other, named) = (SeccompAction::KillProcess, SeccompAction::Allow);
    let filter = SeccompFilter::new(rules, other, named, std::env::consts::ARCH.try_into()?)?;
    Ok(filter.try_into()?)
}
