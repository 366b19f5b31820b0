//! Ioctls in any order, from several threads, on the same open files: nothing may hang or crash.
//!
//! Each thread draws operations from a table: honest ones, senseless ones and hostile ones, on video
//! and media descriptors, requests and dma-bufs that all threads share, and that any of them may
//! close while others use them. Between them it runs proper streams of its own, which must come to
//! an end whatever the others do. `--daemon` starts `responder` in that mode, and kills, stops and
//! starts it again all the time; without, whatever daemon runs is used.
//!
//! Held true: no call takes longer than `--limit` seconds; each access unit and each poll for one
//! ends within `--patience` milliseconds; nothing honest gets EFAULT; no call returns an error that
//! user space does not know; no buffer is larger than the largest picture. The kernel's own checks
//! (lockdep, KASAN) belong to whoever reads its log.

use guest_tests::arguments::Arguments;
use guest_tests::hostile::{self, Address, Arena, HostileControl};
use guest_tests::random::Random;
use guest_tests::{Result, chain, report};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::Opcode;
use rustix::process::{Pid, Signal};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use v4l2::device::Control;
use v4l2::queue::{Memory, Timestamp};
use v4l2::session::{Config, Done, Picture, Session, Submission, Target};
use v4l2::sys::{Kernel, Linux, Mapping};
use v4l2::uapi::controls::vp8::*;
use v4l2::uapi::controls::{h264::*, mpeg2::*, vp9::*};
use v4l2::uapi::media::*;
use v4l2::uapi::videodev2::*;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

const OPTIONS: &[(&str, &str)] = &[
    ("daemon", ""),
    ("limit", "5"),
    ("patience", "1500"),
    ("seconds", "10"),
    ("seed", "0"),
    ("threads", "4"),
];

/// Video descriptors that all threads share.
const NODES: usize = 4;
/// Most shared requests and dma-bufs.
const SHARED: usize = 24;
/// Bytes of the largest buffer that there can be, which is one for coded pictures: decoded ones have
/// 4096 by 4096 pixels at most here.
const LARGEST: u32 = 32 << 20;
fn main() -> ExitCode {
    report(stress())
}

fn stress() -> Result<ExitCode> {
    let arguments = Arguments::of_process(OPTIONS)?;
    let mut seed: u64 = arguments.get("seed")?;
    if seed == 0 {
        seed = Random::any_seed();
    }
    let seconds = Duration::from_secs(arguments.get("seconds")?);
    let limit = Duration::from_secs(arguments.get("limit")?);
    let threads: usize = arguments.get("threads")?;
    say(&format!("seed {seed}"));

    let mode: String = arguments.get("daemon")?;
    let daemon = Daemon::new(mode);
    daemon.start()?;
    let shared = Arc::new(Shared::new(
        threads,
        Duration::from_millis(arguments.get("patience")?),
    )?);
    let until = Instant::now() + seconds;
    let workers: Vec<_> = (0..threads)
        .map(|number| {
            let shared = Arc::clone(&shared);
            let random = Random::new(seed.wrapping_add(number as u64));
            let name = format!("stress-{number}");
            let thread = std::thread::Builder::new().name(name);
            thread.spawn(move || Actor::new(number, random, shared)?.run())
        })
        .collect::<std::io::Result<_>>()?;

    let mut random = Random::new(!seed);
    while Instant::now() < until && !shared.stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(50));
        shared.check_limits(limit)?;
        daemon.trouble(&mut random)?;
    }
    shared.stop.store(true, Ordering::Relaxed);
    while workers.iter().any(|worker| !worker.is_finished()) {
        std::thread::sleep(Duration::from_millis(20));
        shared.check_limits(limit)?;
    }
    for worker in workers {
        if let Err(error) = worker.join().map_err(|_| "a thread panicked")? {
            shared.fault(format!("thread: {}", chain(&*error)));
        }
    }
    shared.close_all();
    daemon.end()?;
    Ok(shared.tell())
}

/// One line on stdout.
fn say(line: &str) {
    // Who started this may have stopped listening; the work goes on.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these is whole at any time, whoever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The daemon's stand-in, and what befalls it.
struct Daemon {
    mode: String,
    child: Mutex<Option<(Child, bool)>>,
}

impl Daemon {
    fn new(mode: String) -> Daemon {
        Daemon {
            mode,
            child: Mutex::new(None),
        }
    }

    /// Starts it and waits until it is ready.
    fn start(&self) -> Result<()> {
        if self.mode.is_empty() {
            return Ok(());
        }
        let program = std::env::current_exe()?.with_file_name("responder");
        let mut child = Command::new(&program)
            .args(["--mode", &self.mode])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let mut out = child.stdout.take().ok_or("the responder has no stdout")?;
        let mut said = [0; 6];
        std::io::Read::read_exact(&mut out, &mut said)
            .map_err(|error| format!("the responder did not get ready: {error}"))?;
        // What it says later is of no use; it must not wait for a reader.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        *lock(&self.child) = Some((child, true));
        Ok(())
    }

    /// Now and then: stop, continue, or kill and start again.
    fn trouble(&self, random: &mut Random) -> Result<()> {
        let mut child = lock(&self.child);
        let Some((process, is_running)) = child.as_mut() else {
            return Ok(());
        };
        let pid = Pid::from_child(process);
        match random.below(60) {
            0 => {
                process.kill()?;
                process.wait()?;
                *child = None;
                drop(child);
                self.start()
            }
            1 | 2 => {
                let signal = if *is_running {
                    Signal::STOP
                } else {
                    Signal::CONT
                };
                *is_running = !*is_running;
                Ok(rustix::process::kill_process(pid, signal)?)
            }
            // It is not kept stopped for long: streams should get somewhere.
            3..=10 if !*is_running => {
                *is_running = true;
                Ok(rustix::process::kill_process(pid, Signal::CONT)?)
            }
            _ => Ok(()),
        }
    }

    fn end(&self) -> Result<()> {
        if let Some((mut process, _)) = lock(&self.child).take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }
}

/// What all threads share.
struct Shared {
    video: PathBuf,
    media: PathBuf,
    nodes: Vec<Mutex<Option<Arc<OwnedFd>>>>,
    medias: Mutex<Vec<Arc<OwnedFd>>>,
    requests: Mutex<Vec<Arc<OwnedFd>>>,
    dma_bufs: Mutex<Vec<Arc<OwnedFd>>>,
    /// What each thread does, and since when.
    doing: Vec<Mutex<Option<(&'static str, Instant)>>>,
    tallies: Mutex<BTreeMap<(&'static str, i32), u64>>,
    faults: Mutex<Vec<String>>,
    access_units: AtomicU64,
    pictures: AtomicU64,
    stop: AtomicBool,
    /// What an access unit may take once it is its turn: more than the module waits.
    patience: Duration,
}

impl Shared {
    fn new(threads: usize, patience: Duration) -> Result<Shared> {
        let kernel: Arc<dyn Kernel> = Arc::new(Linux);
        let found = v4l2::find::decoders(&kernel, Path::new("/"));
        let node = found.iter().find(|node| node.driver == "kinora_dec");
        let node = node.or(found.first()).ok_or("there is no decoder")?;
        say(&format!("{} of {}", node.video.display(), node.driver));
        Ok(Shared {
            video: node.video.clone(),
            media: node.media.clone(),
            nodes: (0..NODES).map(|_| Mutex::new(None)).collect(),
            medias: Mutex::default(),
            requests: Mutex::default(),
            dma_bufs: Mutex::default(),
            doing: (0..threads).map(|_| Mutex::new(None)).collect(),
            tallies: Mutex::default(),
            faults: Mutex::default(),
            access_units: AtomicU64::new(0),
            pictures: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            patience,
        })
    }

    fn fault(&self, what: String) {
        say(&format!("fault: {what}"));
        lock(&self.faults).push(what);
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Ends the program when a call hangs: its thread would never be joined.
    fn check_limits(&self, limit: Duration) -> Result<()> {
        for (number, doing) in self.doing.iter().enumerate() {
            if let Some((what, since)) = *lock(doing) {
                if since.elapsed() > limit {
                    return Err(format!("thread {number} hangs in {what} for {limit:?}").into());
                }
            }
        }
        Ok(())
    }

    fn close_all(&self) {
        for node in &self.nodes {
            lock(node).take();
        }
        for pool in [&self.medias, &self.requests, &self.dma_bufs] {
            lock(pool).clear();
        }
    }

    fn tell(&self) -> ExitCode {
        let mut calls = 0;
        for ((name, error), count) in lock(&self.tallies).iter() {
            calls += count;
            let error = match error {
                0 => "done".into(),
                number => Errno::from_raw_os_error(*number).to_string(),
            };
            say(&format!("{name:22} {count:8} {error}"));
        }
        let faults = lock(&self.faults);
        for what in faults.iter() {
            say(&format!("fault: {what}"));
        }
        say(&format!(
            "calls={calls} access_units={} pictures={} faults={}",
            self.access_units.load(Ordering::Relaxed),
            self.pictures.load(Ordering::Relaxed),
            faults.len(),
        ));
        if faults.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// An operation on a shared video descriptor.
struct Operation {
    name: &'static str,
    weight: u64,
    run: fn(&mut Actor, &OwnedFd) -> rustix::io::Result<()>,
}

const fn operation(
    name: &'static str,
    weight: u64,
    run: fn(&mut Actor, &OwnedFd) -> rustix::io::Result<()>,
) -> Operation {
    Operation { name, weight, run }
}

const OPERATIONS: &[Operation] = &[
    operation("prepare a stream", 10, Actor::prepare),
    operation("access unit", 40, Actor::access_unit),
    operation("S_FMT", 4, Actor::set_format),
    operation("REQBUFS", 4, Actor::request_buffers),
    operation("CREATE_BUFS", 4, Actor::create_buffers),
    operation("REMOVE_BUFS", 3, Actor::remove_buffers),
    operation("QUERYBUF", 3, Actor::query_buffer),
    operation("QBUF OUTPUT", 16, Actor::queue_output),
    operation("QBUF CAPTURE", 16, Actor::queue_capture),
    operation("DQBUF", 16, Actor::dequeue),
    operation("STREAMON", 6, Actor::stream_on),
    operation("STREAMOFF", 3, Actor::stream_off),
    operation("EXPBUF", 4, Actor::export),
    operation("mmap", 4, Actor::map),
    operation("munmap", 4, Actor::unmap),
    operation("controls", 6, Actor::controls),
    operation("controls of a request", 16, Actor::request_controls),
    operation("request queue", 16, Actor::request_queue),
    operation("request reinit", 10, Actor::request_reinit),
    operation("request alloc", 4, Actor::request_allocate),
    operation("request close", 2, Actor::request_close),
    operation("poll", 6, Actor::poll),
    operation("DECODER_CMD", 3, Actor::decoder_command),
    operation("events", 3, Actor::events),
    operation("questions", 5, Actor::questions),
    operation("media", 2, Actor::media_questions),
    operation("hostile", 8, Actor::hostile),
];

/// One thread.
struct Actor {
    number: usize,
    random: Random,
    shared: Arc<Shared>,
    arena: Arena,
    mappings: Vec<Mapping>,
    /// Whether the call under way has an address or a length that is not true: it may get EFAULT.
    may_fault: bool,
    weights: u64,
}

impl Actor {
    fn new(number: usize, random: Random, shared: Arc<Shared>) -> Result<Actor> {
        Ok(Actor {
            number,
            random,
            shared,
            arena: Arena::new()?,
            mappings: Vec::new(),
            may_fault: false,
            weights: OPERATIONS.iter().map(|operation| operation.weight).sum(),
        })
    }

    fn run(mut self) -> Result<()> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            match self.random.below(200) {
                0 => self.stream()?,
                1 => self.close(),
                _ => self.any_operation(),
            }
        }
        Ok(())
    }

    /// Says what is done, so that a hang is noticed, does it, and counts how it ended.
    fn timed<T>(
        &mut self,
        name: &'static str,
        run: impl FnOnce(&mut Actor) -> rustix::io::Result<T>,
    ) -> Option<T> {
        self.may_fault = false;
        *lock(&self.shared.doing[self.number]) = Some((name, Instant::now()));
        let result = run(self);
        *lock(&self.shared.doing[self.number]) = None;
        let error = result
            .as_ref()
            .err()
            .map_or(0, |error| error.raw_os_error());
        *lock(&self.shared.tallies).entry((name, error)).or_default() += 1;
        // From 512 on errors are the kernel's own; none of them may leave it.
        if error == Errno::FAULT.raw_os_error() && !self.may_fault || error >= 512 {
            self.shared.fault(format!("{name}: error {error}"));
        }
        result.ok()
    }

    fn any_operation(&mut self) {
        let slot = self.random.below(NODES as u64) as usize;
        let Some(node) = self.node(slot) else {
            return;
        };
        let mut drawn = self.random.below(self.weights);
        let operation = OPERATIONS.iter().find(|operation| {
            let is_it = drawn < operation.weight;
            drawn = drawn.wrapping_sub(operation.weight);
            is_it
        });
        if let Some(operation) = operation {
            // Another thread may have closed the slot: then this is the last one to have it, and
            // the release is a part of what is timed.
            self.timed(operation.name, move |actor| (operation.run)(actor, &node));
        }
    }

    /// The descriptor in a slot, opened if there is none.
    fn node(&mut self, slot: usize) -> Option<Arc<OwnedFd>> {
        if let Some(node) = lock(&self.shared.nodes[slot]).as_ref() {
            return Some(Arc::clone(node));
        }
        let path = self.shared.video.clone();
        let Some(node) = self.timed("open", |_| open(&path)).map(Arc::new) else {
            // No daemon. Others may have something left to do meanwhile.
            std::thread::sleep(Duration::from_millis(2));
            return None;
        };
        *lock(&self.shared.nodes[slot]) = Some(Arc::clone(&node));
        Some(node)
    }

    fn close(&mut self) {
        let slot = self.random.below(NODES as u64) as usize;
        let node = lock(&self.shared.nodes[slot]).take();
        self.timed("close", move |_| {
            drop(node);
            Ok(())
        });
    }

    fn media(&mut self) -> rustix::io::Result<Arc<OwnedFd>> {
        let mut medias = lock(&self.shared.medias);
        if medias.len() < 2 || self.random.once_in(50) {
            let media = Arc::new(open(&self.shared.media)?);
            medias.push(media);
            if medias.len() > 3 {
                medias.remove(0);
            }
        }
        Ok(Arc::clone(self.random.pick(&medias)))
    }

    /// Formats, buffers and both queues running, as far as the descriptor's state allows it.
    fn prepare(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        for buf_type in [
            V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE,
            V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE,
        ] {
            if buf_type == V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE {
                let mut planes = v4l2_pix_format_mplane::new_zeroed();
                (planes.width, planes.height, planes.num_planes) = (64, 64, 1);
                planes.pixelformat = V4L2_PIX_FMT_VP8_FRAME;
                planes.plane_fmt[0].sizeimage = 4096;
                let mut format = v4l2_format::new_zeroed();
                format.r#type = buf_type;
                let bytes = planes.as_bytes();
                format.fmt.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
                // It may have buffers of another one, which is as good.
                let _ = self.arena.plain(node, VIDIOC_S_FMT, &mut format);
            }
            let mut buffers = v4l2_requestbuffers::new_zeroed();
            (buffers.count, buffers.r#type) = (4, buf_type);
            buffers.memory = V4L2_MEMORY_MMAP;
            let _ = self.arena.plain(node, VIDIOC_REQBUFS, &mut buffers);
            self.arena
                .plain(node, VIDIOC_STREAMON, &mut (buf_type as i32))?;
        }
        Ok(())
    }

    /// All that an access unit needs, in the right order, while others do as they like.
    fn access_unit(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        for buf_type in [
            V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE,
            V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE,
        ] {
            // What is done is taken out, so that it can be queued again.
            let mut buffer = v4l2_buffer::new_zeroed();
            (buffer.r#type, buffer.memory, buffer.length) = (buf_type, V4L2_MEMORY_MMAP, 1);
            let mut plane = v4l2_plane::new_zeroed();
            let _ = self
                .arena
                .buffer(node, VIDIOC_DQBUF, &mut buffer, &mut plane, Address::True);
        }
        let request = self.shared_request().ok_or(Errno::NOENT)?;
        self.arena.none(&*request, MEDIA_REQUEST_IOC_REINIT)?;
        let mut frame = vp8_frame();
        frame.last_frame_ts = self.random.below(50) * 1000;
        let control = HostileControl {
            id: V4L2_CID_STATELESS_VP8_FRAME,
            bytes: frame.as_bytes().to_vec(),
            size: size_of_val(&frame) as u32,
            address: Some(Address::True),
        };
        let mut head = v4l2_ext_controls::new_zeroed();
        (head.which, head.count) = (V4L2_CTRL_WHICH_REQUEST_VAL, 1);
        head.request_fd = request.as_raw_fd();
        self.arena.controls(
            node,
            VIDIOC_S_EXT_CTRLS,
            &mut head,
            &[control],
            Address::True,
        )?;
        for buf_type in [
            V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE,
            V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE,
        ] {
            let mut buffer = v4l2_buffer::new_zeroed();
            (buffer.index, buffer.r#type) = (self.random.below(4) as u32, buf_type);
            (buffer.memory, buffer.length) = (V4L2_MEMORY_MMAP, 1);
            let mut plane = v4l2_plane::new_zeroed();
            if buf_type == V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE {
                buffer.flags = V4L2_BUF_FLAG_REQUEST_FD;
                buffer.request_fd = request.as_raw_fd();
                buffer.timestamp.tv_usec = self.random.below(50) as isize;
                plane.bytesused = 100;
                if self.random.once_in(4) {
                    buffer.flags |= V4L2_BUF_FLAG_M2M_HOLD_CAPTURE_BUF;
                }
            }
            self.arena
                .buffer(node, VIDIOC_QBUF, &mut buffer, &mut plane, Address::True)?;
        }
        self.arena.none(&*request, MEDIA_REQUEST_IOC_QUEUE)
    }

    /// A queue's type: now and then one that there is not.
    fn buf_type(&mut self) -> u32 {
        if self.random.once_in(40) {
            return self.random.draw() as u32 % 20;
        }
        *self.random.pick(&[
            V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE,
            V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE,
        ])
    }

    fn memory(&mut self) -> u32 {
        match self.random.below(20) {
            0 => V4L2_MEMORY_USERPTR,
            1 => self.random.draw() as u32,
            2..=4 => V4L2_MEMORY_DMABUF,
            _ => V4L2_MEMORY_MMAP,
        }
    }

    fn index(&mut self) -> u32 {
        if self.random.once_in(40) {
            self.random.draw() as u32
        } else {
            self.random.below(6) as u32
        }
    }

    fn any_format(&mut self, buf_type: u32) -> v4l2_format {
        let fourcc = match self.random.below(16) {
            0 => self.random.draw() as u32,
            1 => V4L2_PIX_FMT_H264_SLICE,
            2 => V4L2_PIX_FMT_MPEG2_SLICE,
            3 => V4L2_PIX_FMT_VP9_FRAME,
            _ if buf_type == V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE => V4L2_PIX_FMT_NV12,
            _ => V4L2_PIX_FMT_VP8_FRAME,
        };
        let sizes = [16, 17, 64, 96, 128];
        let size = |random: &mut Random| match random.below(30) {
            0 => random.draw() as u32,
            1 => 0,
            _ => *random.pick(&sizes),
        };
        let mut planes = v4l2_pix_format_mplane::new_zeroed();
        planes.width = size(&mut self.random);
        planes.height = size(&mut self.random);
        planes.pixelformat = fourcc;
        planes.num_planes = if self.random.once_in(20) { 9 } else { 1 };
        planes.plane_fmt[0].sizeimage = match self.random.below(20) {
            0 => self.random.draw() as u32,
            1 => 0,
            _ => 4096,
        };
        let mut format = v4l2_format::new_zeroed();
        format.r#type = buf_type;
        format.fmt.as_mut_bytes()[..size_of_val(&planes)].copy_from_slice(planes.as_bytes());
        format
    }

    fn set_format(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        let buf_type = self.buf_type();
        let mut format = self.any_format(buf_type);
        let opcodes = [VIDIOC_S_FMT, VIDIOC_S_FMT, VIDIOC_TRY_FMT, VIDIOC_G_FMT];
        let opcode = *self.random.pick(&opcodes);
        self.arena.plain(node, opcode, &mut format)?;
        // A size without bounds is tried and not left: buffers of it would take all the memory.
        if opcode == VIDIOC_S_FMT && is_large(&format) {
            let mut small = v4l2_format::new_zeroed();
            small.r#type = buf_type;
            self.arena.plain(node, opcode, &mut small)?;
        }
        Ok(())
    }

    fn request_buffers(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        let mut buffers = v4l2_requestbuffers::new_zeroed();
        buffers.count = match self.random.below(20) {
            0 => self.random.draw() as u32,
            1..=4 => 0,
            _ => self.random.below(5) as u32 + 1,
        };
        buffers.r#type = self.buf_type();
        buffers.memory = self.memory();
        buffers.flags = self.random.below(2) as u8;
        self.arena.plain(node, VIDIOC_REQBUFS, &mut buffers)
    }

    fn create_buffers(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        let mut buffers = v4l2_create_buffers::new_zeroed();
        buffers.count = self.random.below(3) as u32;
        buffers.memory = self.memory();
        let buf_type = self.buf_type();
        buffers.format = self.any_format(buf_type);
        if self.random.once_in(2) {
            // As most clients do: in the format that is set.
            let mut format = v4l2_format::new_zeroed();
            format.r#type = buf_type;
            self.arena.plain(node, VIDIOC_G_FMT, &mut format)?;
            buffers.format = format;
        }
        self.arena.plain(node, VIDIOC_CREATE_BUFS, &mut buffers)?;
        let size = planes(&buffers.format).plane_fmt[0].sizeimage;
        if buffers.count > 0 && size > LARGEST {
            self.shared
                .fault(format!("CREATE_BUFS: buffers of {size} bytes"));
        }
        Ok(())
    }

    fn remove_buffers(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        let mut buffers = v4l2_remove_buffers::new_zeroed();
        (buffers.index, buffers.r#type) = (self.index(), self.buf_type());
        buffers.count = self.random.below(3) as u32;
        self.arena.plain(node, VIDIOC_REMOVE_BUFS, &mut buffers)
    }

    fn query_buffer(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        let mut buffer = self.any_buffer();
        let mut plane = v4l2_plane::new_zeroed();
        let opcode = *self.random.pick(&[VIDIOC_QUERYBUF, VIDIOC_PREPARE_BUF]);
        if opcode == VIDIOC_PREPARE_BUF && buffer.memory == V4L2_MEMORY_DMABUF {
            self.import(&mut plane);
        }
        self.arena
            .buffer(node, opcode, &mut buffer, &mut plane, Address::True)
    }

    fn any_buffer(&mut self) -> v4l2_buffer {
        let mut buffer = v4l2_buffer::new_zeroed();
        (buffer.index, buffer.r#type) = (self.index(), self.buf_type());
        buffer.memory = self.memory();
        buffer.length = if self.random.once_in(40) { 0 } else { 1 };
        buffer
    }

    /// Somebody's dma-buf, or any descriptor at all.
    fn import(&mut self, plane: &mut v4l2_plane) {
        let dma_bufs = lock(&self.shared.dma_bufs);
        plane.m = match self.random.below(10) {
            0 => self.random.below(3) as usize,
            _ if dma_bufs.is_empty() => usize::MAX,
            _ => self.random.pick(&dma_bufs).as_raw_fd() as usize,
        };
        // With the wrong length the kernel calls a dma-buf that is shorter a bad address.
        self.may_fault = self.random.once_in(4);
        plane.length = if self.may_fault { 1 << 16 } else { 0 };
        plane.data_offset = if self.random.once_in(20) { 64 } else { 0 };
    }

    fn queue_output(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        let mut buffer = self.any_buffer();
        buffer.r#type = V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE;
        buffer.timestamp.tv_usec = self.random.below(50) as isize;
        if self.random.once_in(4) {
            buffer.flags |= V4L2_BUF_FLAG_M2M_HOLD_CAPTURE_BUF;
        }
        if self.random.once_in(30) {
            buffer.flags |= self.random.draw() as u32;
        }
        // Without a request every now and then, which a stateless decoder refuses.
        let request = self.shared_request();
        if let Some(request) = request.as_ref().filter(|_| !self.random.once_in(10)) {
            buffer.flags |= V4L2_BUF_FLAG_REQUEST_FD;
            buffer.request_fd = request.as_raw_fd();
        }
        let mut plane = v4l2_plane::new_zeroed();
        plane.bytesused = match self.random.below(20) {
            0 => self.random.draw() as u32,
            1 => 0,
            _ => self.random.below(4096) as u32,
        };
        if buffer.memory == V4L2_MEMORY_DMABUF {
            self.import(&mut plane);
        }
        self.arena
            .buffer(node, VIDIOC_QBUF, &mut buffer, &mut plane, Address::True)
    }

    fn queue_capture(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        let mut buffer = self.any_buffer();
        buffer.r#type = V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
        let mut plane = v4l2_plane::new_zeroed();
        if buffer.memory == V4L2_MEMORY_DMABUF {
            self.import(&mut plane);
        }
        self.arena
            .buffer(node, VIDIOC_QBUF, &mut buffer, &mut plane, Address::True)
    }

    fn dequeue(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        let mut buffer = self.any_buffer();
        let mut plane = v4l2_plane::new_zeroed();
        self.arena
            .buffer(node, VIDIOC_DQBUF, &mut buffer, &mut plane, Address::True)
    }

    fn stream_on(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        let mut buf_type = self.buf_type() as i32;
        self.arena.plain(node, VIDIOC_STREAMON, &mut buf_type)
    }

    fn stream_off(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        let mut buf_type = self.buf_type() as i32;
        self.arena.plain(node, VIDIOC_STREAMOFF, &mut buf_type)
    }

    fn export(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        let mut export = v4l2_exportbuffer::new_zeroed();
        (export.r#type, export.index) = (self.buf_type(), self.index());
        export.plane = u32::from(self.random.once_in(30));
        export.flags = (OFlags::CLOEXEC | OFlags::RDWR).bits();
        let dma_buf = Arc::new(hostile::export(node, &mut export)?);
        if self.random.once_in(2) {
            self.keep_mapping(Mapping::new(&dma_buf, 4096, 0)?);
        }
        self.share_dma_buf(dma_buf);
        Ok(())
    }

    fn share_dma_buf(&mut self, dma_buf: Arc<OwnedFd>) {
        let mut dma_bufs = lock(&self.shared.dma_bufs);
        dma_bufs.push(dma_buf);
        if dma_bufs.len() > SHARED {
            let at = self.random.below(SHARED as u64) as usize;
            dma_bufs.swap_remove(at);
        }
    }

    /// Maps what may be a buffer, and writes there, whoever uses it.
    fn map(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        let mut buffer = self.any_buffer();
        let mut plane = v4l2_plane::new_zeroed();
        let mut offset = self.random.below(1 << 32) & !0xfff;
        let known = self.arena.buffer(
            node,
            VIDIOC_QUERYBUF,
            &mut buffer,
            &mut plane,
            Address::True,
        );
        if known.is_ok() {
            offset = plane.m as u64 & 0xffff_ffff;
        }
        self.keep_mapping(Mapping::new(node, 4096, offset)?);
        Ok(())
    }

    fn keep_mapping(&mut self, mapping: Mapping) {
        mapping.fill(self.random.draw() as u8);
        self.mappings.push(mapping);
    }

    fn unmap(&mut self, _: &OwnedFd) -> rustix::io::Result<()> {
        while self.mappings.len() > self.random.below(16) as usize {
            let at = self.random.below(self.mappings.len() as u64) as usize;
            self.mappings.swap_remove(at);
        }
        Ok(())
    }

    /// A control's identifier and value: most times one that is as it should be.
    fn any_control(&mut self) -> HostileControl {
        let mut frame = vp8_frame();
        frame.last_frame_ts = self.random.below(50) * 1000;
        let (id, bytes) = match self.random.below(10) {
            0 => (
                V4L2_CID_STATELESS_VP9_FRAME,
                v4l2_ctrl_vp9_frame::new_zeroed().as_bytes().to_vec(),
            ),
            1 => (
                V4L2_CID_STATELESS_H264_DECODE_PARAMS,
                v4l2_ctrl_h264_decode_params::new_zeroed()
                    .as_bytes()
                    .to_vec(),
            ),
            2 => (
                V4L2_CID_STATELESS_MPEG2_PICTURE,
                v4l2_ctrl_mpeg2_picture::new_zeroed().as_bytes().to_vec(),
            ),
            3 => (self.random.draw() as u32, vec![0; 64]),
            _ => (V4L2_CID_STATELESS_VP8_FRAME, frame.as_bytes().to_vec()),
        };
        let mut control = HostileControl {
            id,
            size: bytes.len() as u32,
            bytes,
            address: Some(Address::True),
        };
        match self.random.below(30) {
            0 => self.random.fill(&mut control.bytes),
            1 => control.size = self.random.draw() as u32,
            2 => control.size -= 1,
            3 => control.size += 8,
            _ => {}
        }
        // The kernel calls a value that is too short a bad address when it is set.
        self.may_fault |= (control.size as usize) < control.bytes.len();
        control
    }

    fn controls(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        let mut head = v4l2_ext_controls::new_zeroed();
        head.which = *self.random.pick(&[
            V4L2_CTRL_WHICH_CUR_VAL,
            V4L2_CTRL_WHICH_DEF_VAL,
            0x00a4_0000,
        ]);
        self.set_or_get(node, &mut head)
    }

    fn request_controls(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        let mut head = v4l2_ext_controls::new_zeroed();
        head.which = V4L2_CTRL_WHICH_REQUEST_VAL;
        let request = self.shared_request();
        head.request_fd = match &request {
            Some(request) if !self.random.once_in(30) => request.as_raw_fd(),
            // Whatever is no request. Any number would do to streams that are another thread's own
            // what nobody but themselves may do.
            _ => *self.random.pick(&[-1, 0, 1, node.as_raw_fd(), i32::MAX]),
        };
        self.set_or_get(node, &mut head)
    }

    fn set_or_get(
        &mut self,
        node: &OwnedFd,
        head: &mut v4l2_ext_controls,
    ) -> rustix::io::Result<()> {
        let opcode = *self.random.pick(&[
            VIDIOC_S_EXT_CTRLS,
            VIDIOC_S_EXT_CTRLS,
            VIDIOC_S_EXT_CTRLS,
            VIDIOC_G_EXT_CTRLS,
            VIDIOC_TRY_EXT_CTRLS,
        ]);
        let count = 1 + self.random.below(3) as usize;
        let controls: Vec<_> = (0..count).map(|_| self.any_control()).collect();
        head.count = count as u32;
        if self.random.once_in(40) {
            head.count = self.random.draw() as u32;
            // Rows that nobody wrote are read, and null is where their values are.
            self.may_fault = true;
        }
        self.arena
            .controls(node, opcode, head, &controls, Address::True)
    }

    fn shared_request(&mut self) -> Option<Arc<OwnedFd>> {
        let requests = lock(&self.shared.requests);
        if requests.is_empty() {
            return None;
        }
        Some(Arc::clone(self.random.pick(&requests)))
    }

    fn request_allocate(&mut self, _: &OwnedFd) -> rustix::io::Result<()> {
        let media = self.media()?;
        let request = Arc::new(hostile::allocate_request(&*media)?);
        let mut requests = lock(&self.shared.requests);
        requests.push(request);
        if requests.len() > SHARED {
            let at = self.random.below(SHARED as u64) as usize;
            requests.swap_remove(at);
        }
        Ok(())
    }

    fn request_close(&mut self, _: &OwnedFd) -> rustix::io::Result<()> {
        let mut requests = lock(&self.shared.requests);
        if requests.len() > 4 {
            let at = self.random.below(requests.len() as u64) as usize;
            let request = requests.swap_remove(at);
            drop(requests);
            drop(request);
        }
        Ok(())
    }

    fn request_queue(&mut self, _: &OwnedFd) -> rustix::io::Result<()> {
        let request = self.shared_request().ok_or(Errno::NOENT)?;
        self.arena.none(&*request, MEDIA_REQUEST_IOC_QUEUE)
    }

    fn request_reinit(&mut self, _: &OwnedFd) -> rustix::io::Result<()> {
        let request = self.shared_request().ok_or(Errno::NOENT)?;
        self.arena.none(&*request, MEDIA_REQUEST_IOC_REINIT)
    }

    /// A short poll: on a shared descriptor nothing need ever come.
    fn poll(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        let request = self.shared_request();
        let all = PollFlags::IN | PollFlags::OUT | PollFlags::PRI;
        let mut fds = vec![PollFd::new(node, all)];
        fds.extend(request.as_ref().map(|request| PollFd::new(request, all)));
        let timeout = Duration::from_millis(self.random.below(30));
        let timeout = Timespec::try_from(timeout).map_err(|_| Errno::INVAL)?;
        rustix::event::poll(&mut fds, Some(&timeout)).map(drop)
    }

    fn decoder_command(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        let mut command = v4l2_decoder_cmd::new_zeroed();
        command.cmd = match self.random.below(8) {
            0 => self.random.draw() as u32,
            1 => V4L2_DEC_CMD_STOP,
            _ => V4L2_DEC_CMD_FLUSH,
        };
        command.flags = u32::from(self.random.once_in(10));
        let opcode = *self
            .random
            .pick(&[VIDIOC_DECODER_CMD, VIDIOC_TRY_DECODER_CMD]);
        self.arena.plain(node, opcode, &mut command)
    }

    fn events(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        let mut subscription = v4l2_event_subscription::new_zeroed();
        subscription.r#type = self.random.below(8) as u32;
        subscription.id = self.any_control().id;
        match self.random.below(3) {
            0 => self
                .arena
                .plain(node, VIDIOC_SUBSCRIBE_EVENT, &mut subscription),
            1 => self
                .arena
                .plain(node, VIDIOC_UNSUBSCRIBE_EVENT, &mut subscription),
            _ => self
                .arena
                .plain(node, VIDIOC_DQEVENT, &mut v4l2_event::new_zeroed()),
        }
    }

    fn questions(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        let index = self.index();
        let next = V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND;
        let id = self.any_control().id | if self.random.once_in(2) { next } else { 0 };
        match self.random.below(7) {
            0 => {
                let mut format = v4l2_fmtdesc::new_zeroed();
                (format.index, format.r#type) = (index, self.buf_type());
                self.arena.plain(node, VIDIOC_ENUM_FMT, &mut format)
            }
            1 => {
                let mut sizes = v4l2_frmsizeenum::new_zeroed();
                (sizes.index, sizes.pixel_format) = (index, V4L2_PIX_FMT_VP8_FRAME);
                self.arena.plain(node, VIDIOC_ENUM_FRAMESIZES, &mut sizes)
            }
            2 => {
                let mut query = v4l2_query_ext_ctrl::new_zeroed();
                query.id = id;
                self.arena.plain(node, VIDIOC_QUERY_EXT_CTRL, &mut query)
            }
            3 => {
                let mut query = v4l2_queryctrl::new_zeroed();
                query.id = id;
                self.arena.plain(node, VIDIOC_QUERYCTRL, &mut query)
            }
            4 => {
                let mut entry = v4l2_querymenu::new_zeroed();
                (entry.id, entry.index) = (V4L2_CID_MPEG_VIDEO_H264_PROFILE, index);
                self.arena.plain(node, VIDIOC_QUERYMENU, &mut entry)
            }
            5 => {
                let mut control = v4l2_control::new_zeroed();
                control.id = id & !next;
                control.value = index as i32;
                self.arena.plain(node, VIDIOC_G_CTRL, &mut control)
            }
            _ => self
                .arena
                .plain(node, VIDIOC_QUERYCAP, &mut v4l2_capability::new_zeroed()),
        }
    }

    fn media_questions(&mut self, _: &OwnedFd) -> rustix::io::Result<()> {
        let media = self.media()?;
        let rows = self.random.below(20) as u32;
        self.arena.topology(&*media, rows, Address::True)
    }

    /// Structs, rows, values and planes where there is nothing.
    fn hostile(&mut self, node: &OwnedFd) -> rustix::io::Result<()> {
        self.may_fault = true;
        let address = *self
            .random
            .pick(&[Address::Null, Address::Unmapped, Address::ReadOnly]);
        match self.random.below(5) {
            0 => {
                let opcode = *self.random.pick(ALL_OPCODES);
                self.arena.nowhere(node, opcode, address)
            }
            1 => {
                let mut control = self.any_control();
                control.address = Some(address);
                let mut head = v4l2_ext_controls::new_zeroed();
                head.count = 1;
                let opcode = *self.random.pick(&[VIDIOC_S_EXT_CTRLS, VIDIOC_G_EXT_CTRLS]);
                self.arena
                    .controls(node, opcode, &mut head, &[control], Address::True)
            }
            2 => {
                let mut head = v4l2_ext_controls::new_zeroed();
                head.count = 1 + self.random.below(100) as u32;
                let opcode = *self.random.pick(&[VIDIOC_S_EXT_CTRLS, VIDIOC_G_EXT_CTRLS]);
                self.arena.controls(node, opcode, &mut head, &[], address)
            }
            3 => {
                let mut buffer = self.any_buffer();
                buffer.length = self.random.below(16) as u32;
                let opcode = *self
                    .random
                    .pick(&[VIDIOC_QBUF, VIDIOC_DQBUF, VIDIOC_QUERYBUF]);
                let mut plane = v4l2_plane::new_zeroed();
                self.arena
                    .buffer(node, opcode, &mut buffer, &mut plane, address)
            }
            _ => {
                let media = self.media()?;
                self.arena.topology(&*media, 20, address)
            }
        }
    }

    /// A stream of its own, as a client would run it: whatever happens, it comes to an end.
    fn stream(&mut self) -> Result<()> {
        let name = "stream of its own";
        *lock(&self.shared.doing[self.number]) = None;
        let result = Own::start(self).and_then(|own| match own {
            None => Ok(()),
            Some(mut own) => own.run(self),
        });
        let error = match &result {
            Ok(()) => 0,
            Err(error) => error
                .errno()
                .map_or(Errno::PROTO, |errno| errno)
                .raw_os_error(),
        };
        *lock(&self.shared.tallies).entry((name, error)).or_default() += 1;
        match result {
            // The daemon may be away at any moment, and memory may be short.
            Err(error)
                if matches!(error.errno(), Some(Errno::NODEV | Errno::NOMEM | Errno::IO)) =>
            {
                Ok(())
            }
            Err(error) => {
                self.shared.fault(format!("{name}: {}", chain(&error)));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

fn planes(format: &v4l2_format) -> v4l2_pix_format_mplane {
    let read = v4l2_pix_format_mplane::read_from_prefix(format.fmt.as_bytes());
    read.expect("the union is larger").0
}

/// Whether buffers of a format would be larger than a megabyte.
fn is_large(format: &v4l2_format) -> bool {
    let planes = planes(format);
    let pixels = u64::from(planes.width) * u64::from(planes.height);
    pixels.max(planes.plane_fmt[0].sizeimage.into()) > 1 << 20
}

/// Every ioctl that a video node could be asked.
const ALL_OPCODES: &[Opcode] = &[
    VIDIOC_QUERYCAP,
    VIDIOC_ENUM_FMT,
    VIDIOC_G_FMT,
    VIDIOC_S_FMT,
    VIDIOC_REQBUFS,
    VIDIOC_QUERYBUF,
    VIDIOC_QBUF,
    VIDIOC_EXPBUF,
    VIDIOC_DQBUF,
    VIDIOC_STREAMON,
    VIDIOC_STREAMOFF,
    VIDIOC_G_CTRL,
    VIDIOC_S_CTRL,
    VIDIOC_QUERYCTRL,
    VIDIOC_QUERYMENU,
    VIDIOC_TRY_FMT,
    VIDIOC_G_EXT_CTRLS,
    VIDIOC_S_EXT_CTRLS,
    VIDIOC_TRY_EXT_CTRLS,
    VIDIOC_ENUM_FRAMESIZES,
    VIDIOC_DQEVENT,
    VIDIOC_SUBSCRIBE_EVENT,
    VIDIOC_UNSUBSCRIBE_EVENT,
    VIDIOC_CREATE_BUFS,
    VIDIOC_PREPARE_BUF,
    VIDIOC_DECODER_CMD,
    VIDIOC_TRY_DECODER_CMD,
    VIDIOC_QUERY_EXT_CTRL,
    VIDIOC_REMOVE_BUFS,
];

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// A frame header that the kernel takes.
fn vp8_frame() -> v4l2_ctrl_vp8_frame {
    let mut frame = v4l2_ctrl_vp8_frame::new_zeroed();
    (frame.width, frame.height) = (64, 64);
    frame.num_dct_parts = 1;
    frame.flags = V4L2_VP8_FRAME_FLAG_SHOW_FRAME;
    frame
}

/// A stream of one thread's own.
struct Own {
    session: Session,
    free: Vec<Picture>,
    in_flight: usize,
    held: Option<Timestamp>,
    next: u64,
}

impl Own {
    fn start(actor: &mut Actor) -> std::result::Result<Option<Own>, v4l2::Error> {
        let kernel: Arc<dyn Kernel> = Arc::new(Linux);
        let node = v4l2::find::DecoderNode {
            media: actor.shared.media.clone(),
            video: actor.shared.video.clone(),
            driver: String::new(),
            model: String::new(),
        };
        let frame = vp8_frame();
        let config = Config {
            coded: V4L2_PIX_FMT_VP8_FRAME,
            width: 64,
            height: 64,
            input_size: 4096,
            inputs: 1 + actor.random.below(4) as u32,
            controls: &[Control::compound(V4L2_CID_STATELESS_VP8_FRAME, &frame)],
            raw: V4L2_PIX_FMT_NV12,
            memory: Memory::Mmap,
            pictures: 2 + actor.random.below(4) as u32,
        };
        match Session::start(&kernel, &node, &config) {
            Ok((session, free)) => Ok(Some(Own {
                session,
                free,
                in_flight: 0,
                held: None,
                next: 0,
            })),
            // No daemon.
            Err(error) if error.errno() == Some(Errno::NODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn run(&mut self, actor: &mut Actor) -> std::result::Result<(), v4l2::Error> {
        for _ in 0..actor.random.below(40) {
            match actor.random.below(16) {
                0 => {
                    // A seek, with whatever is in flight.
                    self.free.extend(self.session.flush()?);
                    (self.in_flight, self.held) = (0, None);
                }
                1 => {
                    let more = self.session.add_pictures(1)?;
                    self.free.extend(more);
                }
                2 if self.free.len() > 2 => {
                    if let Some(picture) = self.free.pop() {
                        self.session.remove_picture(picture)?;
                    }
                }
                3 => {
                    if let Some(picture) = self.free.pop() {
                        let (picture, dma_buf) = self.session.export(picture)?;
                        self.free.push(picture);
                        actor.share_dma_buf(Arc::new(dma_buf));
                    }
                }
                4 if self.held.take().is_some() => self.session.device().flush_held()?,
                5..=7 => self.wait(actor)?,
                _ => self.submit(actor)?,
            }
        }
        if actor.random.once_in(3) {
            // Closed with access units in flight.
            return Ok(());
        }
        if self.held.take().is_some() {
            self.session.device().flush_held()?;
        }
        while self.session.is_busy() {
            self.wait(actor)?;
        }
        Ok(())
    }

    fn submit(&mut self, actor: &mut Actor) -> std::result::Result<(), v4l2::Error> {
        let Some(mut input) = self.session.input() else {
            return self.wait(actor);
        };
        let target = match (self.held.is_some(), self.free.pop()) {
            (true, picture) => {
                self.free.extend(picture);
                Target::Held
            }
            (false, Some(picture)) => Target::Picture(picture),
            (false, None) => {
                self.session.release(input);
                return self.wait(actor);
            }
        };
        actor.random.fill(&mut input.bytes_mut()[..256]);
        self.next += 1;
        let timestamp = match self.held.take() {
            Some(first) => first,
            None => Timestamp::from_micros(self.next),
        };
        let hold = matches!(target, Target::Picture(_)) && actor.random.once_in(4);
        let mut frame = vp8_frame();
        let earlier = Timestamp::from_micros(actor.random.below(self.next));
        frame.last_frame_ts = earlier.nanos();
        let submission = Submission {
            input,
            length: 256,
            timestamp,
            controls: &[Control::compound(V4L2_CID_STATELESS_VP8_FRAME, &frame)],
            target,
            hold,
        };
        self.session
            .submit(submission)
            .map_err(|refused| refused.source)?;
        actor.shared.access_units.fetch_add(1, Ordering::Relaxed);
        self.in_flight += 1;
        self.held = hold.then_some(timestamp);
        Ok(())
    }

    /// Waits for one thing, if there is anything to wait for; it must come.
    fn wait(&mut self, actor: &mut Actor) -> std::result::Result<(), v4l2::Error> {
        if !self.session.is_busy() {
            return Ok(());
        }
        let patience = actor.shared.patience * self.in_flight.max(1) as u32;
        match self.session.wait(patience)? {
            Some(Done::Input { .. }) => self.in_flight -= 1,
            Some(Done::Picture { picture, .. }) => {
                actor.shared.pictures.fetch_add(1, Ordering::Relaxed);
                self.free.push(picture);
            }
            None => {
                let what = format!(
                    "{} access units did not end in {patience:?}",
                    self.in_flight
                );
                actor.shared.fault(what);
                self.free.extend(self.session.flush()?);
                (self.in_flight, self.held) = (0, None);
            }
        }
        Ok(())
    }
}
