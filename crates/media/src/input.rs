//! An open media file: its streams and its packets.
//!
//! The file is hostile until shown otherwise. libav gets bytes through callbacks and no path, no
//! protocol is allowed, and each request to open something else is refused and named in the
//! error. Probing is bounded in bytes and streams, each call in time, pictures in size.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use ffmpeg_sys_the_third as sys;

use crate::codec::Parameters;
use crate::dictionary::Dictionary;
use crate::error::{Error, Result, code_text, display_name, libav, message, out_of_memory};
use crate::file::{Reader, Source, interrupt, refuse_open};
use crate::format::static_name;
use crate::headers;
use crate::log;
use crate::packet::Packet;
use crate::rational::Rational;
use crate::stream::{Kind, Stream};

/// Bytes read to learn the container; ffprobe's own bound.
const FORMAT_PROBE_BYTES: u32 = 1 << 20;
/// Bytes read to learn the streams' codecs; ffprobe's own bound.
pub(crate) const STREAM_PROBE_BYTES: i64 = 5_000_000;
/// The most of a file that is taken for one picture.
const MAX_PICTURE_BYTES: u64 = 1 << 28;
/// A camera's file has a few streams; each costs memory and decoding while probing.
pub(crate) const MAX_STREAMS: i32 = 100;

/// Demuxers that only point elsewhere (playlists, session descriptions, numbered pictures,
/// scripts), or that take any text for pictures. None of them reads media from its own file.
const REFERRING: &[(&str, &str)] = &[
    ("avisynth", "an AviSynth script"),
    ("concat", "a list of files"),
    ("dash", "a DASH manifest"),
    ("hls", "an HLS playlist"),
    ("hls,applehttp", "an HLS playlist"),
    ("imf", "an IMF composition"),
    ("rtsp", "an RTSP session"),
    ("sdp", "a session description of network streams"),
    ("vapoursynth", "a VapourSynth script"),
    ("vobsub", "an index of another file"),
    ("webm_dash_manifest", "a DASH manifest"),
];
const TEXT: &[&str] = &["adf", "bin", "idf", "tty", "xbin", "ffmetadata"];

/// Bounds on what a file may cost.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The longest that one call (open, read, seek) may take. `None` waits for ever.
    pub deadline: Option<Duration>,
    /// The longest side of a picture, in pixels. Default 16384.
    pub max_side: u32,
    /// The largest picture, in pixels. Default 150 million.
    pub max_pixels: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            deadline: Some(Duration::from_secs(30)),
            max_side: limits.max_side,
            max_pixels: limits.max_pixels,
        }
    }
}

/// Picture limits, carried to the decoders.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub max_side: u32,
    pub max_pixels: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_side: 16_384,
            max_pixels: 150_000_000,
        }
    }
}

impl Limits {
    pub fn check(self, file: &Arc<str>, width: u32, height: u32) -> Result<()> {
        let pixels = u64::from(width) * u64::from(height);
        if width > self.max_side || height > self.max_side || pixels > self.max_pixels {
            return Err(self.exceeded(file, width, height));
        }
        Ok(())
    }

    pub fn exceeded(self, file: &Arc<str>, width: u32, height: u32) -> Error {
        Error::TooLarge {
            file: Arc::clone(file),
            width,
            height,
            max_side: self.max_side,
            max_pixels: self.max_pixels,
        }
    }

    /// libav refuses a picture before it allocates it, and says the size only in its log.
    pub fn exceeded_in_log(self, file: &Arc<str>, lines: &[String]) -> Option<Error> {
        let (width, height) = lines.iter().find_map(|line| logged_size(line))?;
        self.check(file, width, height).err()
    }
}

/// The size in libavutil's "Picture size WxH is invalid" and "… exceeds specified max pixel count".
fn logged_size(line: &str) -> Option<(u32, u32)> {
    let size = line.strip_prefix("Picture size ")?.split(' ').next()?;
    let (width, height) = size.split_once('x')?;
    Some((width.parse().ok()?, height.parse().ok()?))
}

/// An open media file.
pub struct Input {
    /// Dropped before `reader`, which it reads from.
    context: Context,
    reader: Reader,
    file: Arc<str>,
    size: u64,
    streams: Vec<Stream>,
    /// Per stream, whether its packets are given out.
    selected: Vec<bool>,
}

// SAFETY: the context, the reader and the file belong to this value alone; libav keeps no
// thread of its own for a demuxer and has no tie to the one that opened it.
unsafe impl Send for Input {}

struct Context(*mut sys::AVFormatContext);

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: ours alone, freed only here; null is allowed. A byte source of ours is marked as
        // custom, so it is left to its owner; one of libav's own goes with the context.
        unsafe { sys::avformat_close_input(&mut self.0) };
    }
}

impl Input {
    /// Opens `path` and learns its streams.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Empty`], [`Error::NotMedia`], [`Error::Truncated`],
    /// [`Error::Reference`], [`Error::TooLarge`], [`Error::Timeout`].
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self> {
        Self::open_with(path, options, false)
    }

    /// As [`Input::open`], for who will not decode: the first pictures are not decoded either
    /// where their headers can be read alone.
    pub(crate) fn open_headers(path: &Path, options: &OpenOptions) -> Result<Self> {
        Self::open_with(path, options, true)
    }

    /// An input over a context that was opened by other means (`live`).
    pub(crate) fn of_context(
        context: *mut sys::AVFormatContext,
        reader: Reader,
        file: Arc<str>,
        limits: Limits,
    ) -> Result<Self> {
        let mut input = Self {
            context: Context(context),
            reader,
            file,
            size: 0,
            streams: Vec::new(),
            selected: Vec::new(),
        };
        input.check_sizes(limits)?;
        input.find_stream_info(limits, &[])?;
        input.check_sizes(limits)?;
        input.read_streams(limits)?;
        Ok(input)
    }

    /// Sets the longest that one call may take.
    pub(crate) fn set_patience(&mut self, patience: Duration) {
        self.reader.source().set_patience(patience);
    }

    fn open_with(path: &Path, options: &OpenOptions, headers_only: bool) -> Result<Self> {
        log::clear();
        let file = display_name(path);
        let io = |source| Error::Io {
            file: Arc::clone(&file),
            source,
        };
        let handle = File::open(path).map_err(io)?;
        let metadata = handle.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(io(std::io::Error::other("not a regular file")));
        }
        let size = metadata.len();
        if size == 0 {
            return Err(Error::Empty { file });
        }
        let mut reader = Reader::new(Source::new(handle, size, options.deadline), &file)?;
        reader.source().restart_clock();

        let hint = name_hint(path);
        let mut opening = Opening {
            reader,
            file,
            size,
            hint,
        };
        let demuxer = opening.find_demuxer()?;
        let context = opening.open_demuxer(demuxer)?;
        let Opening { reader, file, .. } = opening;
        let limits = Limits {
            max_side: options.max_side,
            max_pixels: options.max_pixels,
        };
        let mut input = Self {
            context,
            reader,
            file,
            size,
            streams: Vec::new(),
            selected: Vec::new(),
        };
        input.check_sizes(limits)?;
        let complete = if headers_only {
            input.read_headers(limits)
        } else {
            Vec::new()
        };
        input.find_stream_info(limits, &complete)?;
        input.check_sizes(limits)?;
        input.read_streams(limits)?;
        Ok(input)
    }

    /// Refuses sizes that the container or the codec headers state, before a decoder acts on them.
    fn check_sizes(&self, limits: Limits) -> Result<()> {
        self.raw_streams().try_for_each(|stream| {
            // SAFETY: a live stream has parameters.
            let parameters = unsafe { &*stream.codecpar };
            let side = |value| u32::try_from(value).unwrap_or(0);
            limits.check(&self.file, side(parameters.width), side(parameters.height))
        })
    }

    fn raw_streams(&self) -> impl Iterator<Item = &sys::AVStream> {
        // SAFETY: the context is live; it holds `nb_streams` pointers to live streams, none of
        // which changes while `self` is borrowed.
        let streams = unsafe {
            let context = &*self.context.0;
            match context.nb_streams as usize {
                0 => &[],
                count => std::slice::from_raw_parts(context.streams, count),
            }
        };
        // SAFETY: as above.
        streams.iter().map(|stream| unsafe { &**stream })
    }

    /// Completes what can be known from codec headers alone; the indices of those streams.
    fn read_headers(&mut self, limits: Limits) -> Vec<usize> {
        let samples: Vec<_> = self
            .raw_streams()
            .enumerate()
            .filter_map(|(index, stream)| {
                Some((index, stream.codecpar, headers::first_sample(stream)?))
            })
            .collect();
        let mut complete = Vec::new();
        for (index, parameters, (position, size)) in samples {
            let mut sample = vec![0; size];
            // SAFETY: the parameters belong to a stream of our context, which nothing else uses
            // between calls.
            let known = self.reader.source().read_at(position, &mut sample).is_ok()
                && unsafe { headers::complete(parameters, &sample, limits) };
            if known {
                complete.push(index);
            }
        }
        complete
    }

    /// libav's own examination: reads packets until all is known, decoding where it must. Streams
    /// in `complete` need no decoding.
    fn find_stream_info(&mut self, limits: Limits, complete: &[usize]) -> Result<()> {
        let max_pixels = limits.max_pixels.to_string();
        // What is decoded here is not shown: the costly last steps can be left out.
        let pairs = [
            ("max_pixels", max_pixels.as_str()),
            ("threads", "1"),
            ("skip_loop_filter", "all"),
            ("skip_idct", "all"),
        ];
        let skip_all = Some(("skip_frame", "all"));
        let mut options: Vec<Dictionary> = (0..self.raw_streams().count())
            .map(|index| skip_all.filter(|_| complete.contains(&index)))
            .map(|skip| Dictionary::from_pairs(pairs.into_iter().chain(skip)))
            .collect();
        let mut raw: Vec<*mut sys::AVDictionary> =
            // SAFETY: each dictionary's address is read while it is alive.
            options.iter_mut().map(|dictionary| unsafe { *dictionary.as_mut_ptr() }).collect();
        self.reader.source().restart_clock();
        // SAFETY: the context is live; there is one dictionary per stream it has now, which is
        // how many the call reads.
        let code = unsafe { sys::avformat_find_stream_info(self.context.0, raw.as_mut_ptr()) };
        for (dictionary, raw) in options.iter_mut().zip(raw) {
            // SAFETY: the call may have replaced a dictionary; ours takes over what it left.
            unsafe { *dictionary.as_mut_ptr() = raw };
        }
        self.refusal()?;
        if let Some(error) = limits.exceeded_in_log(&self.file, &log::peek()) {
            return Err(error);
        }
        if code < 0 {
            return Err(self.failure("reading the streams", code));
        }
        // A call that was cut off may still report success with half of the streams known.
        if self.reader.source().expired {
            return Err(self.failure("reading the streams", sys::AVERROR_EXIT));
        }
        Ok(())
    }

    fn read_streams(&mut self, limits: Limits) -> Result<()> {
        let single = self.is_single_picture();
        let streams = self
            .raw_streams()
            .map(|stream| {
                // SAFETY: the stream and its parameters are live.
                unsafe {
                    let parameters =
                        Parameters::copied(stream.codecpar, Arc::clone(&self.file), limits)?;
                    Ok(Stream::read(stream, parameters, single))
                }
            })
            .collect::<Result<_>>()?;
        self.streams = streams;
        self.selected = vec![true; self.streams.len()];
        Ok(())
    }

    /// Whether the demuxer is one of those that read one picture and make up a rate for it.
    pub fn is_single_picture(&self) -> bool {
        let container = self.container();
        container.ends_with("_pipe") || matches!(container, "image2pipe" | "ico")
    }

    /// FFmpeg's full name of the container family: "mov,mp4,m4a,3gp,3g2,mj2".
    pub fn container(&self) -> &'static str {
        // SAFETY: an open context has an input format, a constant of the library.
        unsafe { static_name((*(*self.context.0).iformat).name) }.unwrap_or("unknown")
    }

    /// How error texts name the file.
    pub fn name(&self) -> &str {
        &self.file
    }

    /// The file's bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The streams, in the container's order; [`Packet::stream`] is an index into them.
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// The video to play: the default one, else the largest; never a cover picture.
    ///
    /// # Errors
    /// [`Error::NoVideo`].
    pub fn best_video(&self) -> Result<&Stream> {
        self.streams
            .iter()
            .filter(|stream| stream.kind == Kind::Video && !stream.attached_picture)
            .filter(|stream| stream.width() > 0 && stream.height() > 0)
            .max_by_key(|stream| {
                let pixels = u64::from(stream.width()) * u64::from(stream.height());
                (stream.default, pixels, std::cmp::Reverse(stream.index))
            })
            .ok_or_else(|| Error::NoVideo {
                file: Arc::clone(&self.file),
            })
    }

    /// The sound to play: the default one, else the one with most channels.
    pub fn best_audio(&self) -> Option<&Stream> {
        self.streams
            .iter()
            .filter(|stream| stream.kind == Kind::Audio && stream.parameters.channels() > 0)
            .max_by_key(|stream| {
                let channels = stream.parameters.channels();
                (stream.default, channels, std::cmp::Reverse(stream.index))
            })
    }

    /// How long the whole file lasts, in seconds.
    pub fn duration_s(&self) -> Option<f64> {
        // SAFETY: the context is live.
        let duration = unsafe { (*self.context.0).duration };
        (duration > 0).then(|| duration as f64 / f64::from(sys::AV_TIME_BASE))
    }

    /// When its first stream starts, in seconds; players call this zero.
    pub fn start_s(&self) -> Option<f64> {
        // SAFETY: the context is live.
        let start = unsafe { (*self.context.0).start_time };
        (start != sys::AV_NOPTS_VALUE).then(|| start as f64 / f64::from(sys::AV_TIME_BASE))
    }

    /// Bits per second over the whole file.
    pub fn bit_rate(&self) -> Option<u64> {
        // SAFETY: the context is live.
        let rate = unsafe { (*self.context.0).bit_rate };
        u64::try_from(rate).ok().filter(|rate| *rate > 0)
    }

    /// Leaves out all packets of streams that `wanted` does not name. The demuxer skips them,
    /// except those that it already read while learning the streams; [`Input::read`] drops these.
    pub fn select(&mut self, wanted: &[usize]) {
        for index in 0..self.streams.len() {
            self.selected[index] = wanted.contains(&index);
            let discard = if self.selected[index] {
                sys::AVDiscard::DEFAULT
            } else {
                sys::AVDiscard::ALL
            };
            // SAFETY: the context is live and has at least as many streams as were read from it.
            unsafe { (**(*self.context.0).streams.add(index)).discard = discard };
        }
    }

    /// The next packet of a selected stream in the file's order; `None` at its end. Streams that
    /// appear only while reading are never selected.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Io`], [`Error::Reference`], [`Error::Truncated`].
    pub fn read(&mut self) -> Result<Option<Packet>> {
        log::clear();
        self.reader.source().restart_clock();
        loop {
            let mut packet = Packet::empty(Rational::ONE)?;
            // SAFETY: the context is live and the packet empty.
            let code = unsafe { sys::av_read_frame(self.context.0, packet.as_mut_ptr()) };
            self.refusal()?;
            if code == sys::AVERROR_EOF {
                let failed = self.reader.source().failure.is_some();
                return if failed {
                    Err(self.failure("reading", code))
                } else {
                    Ok(None)
                };
            }
            if code == sys::AVERROR(libc::EAGAIN) {
                let source = self.reader.source();
                if source.expired || source.stopped() {
                    return Err(self.failure("reading", sys::AVERROR_EXIT));
                }
                continue;
            }
            if code < 0 {
                return Err(self.failure("reading", code));
            }
            let index = packet.stream();
            if self.selected.get(index) == Some(&true) {
                packet.assume_time_base(self.streams[index].time_base);
                return Ok(Some(packet));
            }
        }
    }

    /// The times of a stream's packets as the container's index lists them, in decode order and
    /// without reading anything; empty where there is no complete index.
    pub(crate) fn indexed_times(&self, stream: usize) -> Vec<i64> {
        let Some(wanted) = self.streams.get(stream) else {
            return Vec::new();
        };
        let mut times = Vec::new();
        // SAFETY: the context is live and has that stream; entries live as long as it and are
        // looked at one by one between calls.
        unsafe {
            let raw = *(*self.context.0).streams.add(stream);
            let count = sys::avformat_index_get_entries_count(raw);
            for index in 0..count {
                match sys::avformat_index_get_entry(raw, index).as_ref() {
                    Some(entry) => times.push(entry.timestamp),
                    None => break,
                }
            }
        }
        // An index of key frames alone says nothing about the frames between.
        let complete = wanted
            .frames
            .is_some_and(|frames| times.len() as u64 >= frames);
        if complete { times } else { Vec::new() }
    }

    /// Goes to the last place at or before `seconds` (on the file's own clock, see
    /// [`Input::start_s`]) from which `stream` can be decoded. Decoders must be flushed.
    ///
    /// # Errors
    /// [`Error::Libav`] where the container cannot seek.
    pub fn seek(&mut self, stream: usize, seconds: f64) -> Result<()> {
        log::clear();
        self.reader.source().restart_clock();
        let Some(wanted) = self.streams.get(stream) else {
            return Err(libav(&self.file, "seeking", sys::AVERROR_STREAM_NOT_FOUND));
        };
        let target = (seconds / wanted.time_base.to_f64()).round() as i64;
        let index = i32::try_from(stream).unwrap_or(-1);
        // SAFETY: the context is live and has that stream.
        let code =
            unsafe { sys::av_seek_frame(self.context.0, index, target, sys::AVSEEK_FLAG_BACKWARD) };
        if code < 0 {
            return Err(self.failure("seeking", code));
        }
        Ok(())
    }

    fn refusal(&mut self) -> Result<()> {
        refusal(&mut self.reader, &self.file)
    }

    fn failure(&mut self, operation: &'static str, code: i32) -> Error {
        failure(&mut self.reader, &self.file, operation, code)
    }
}

/// An input on its way: bytes and a name, no demuxer yet.
struct Opening {
    reader: Reader,
    file: Arc<str>,
    size: u64,
    hint: CString,
}

impl Opening {
    /// Which demuxer knows these bytes. Those that read no media from the file are refused here.
    fn find_demuxer(&mut self) -> Result<*const sys::AVInputFormat> {
        let hint = self.hint.clone();
        let mut demuxer = self.probe_format(&hint)?;
        // By its extension alone the image sequence demuxer claims a picture, only to open files
        // by number; without a name the picture's bytes decide. Some pictures (TGA) have nothing
        // to be known by: these are read as one piece, by their extension's codec.
        if self.demuxer_name(demuxer) == "image2" {
            let by_bytes = self.probe_format(c"").ok();
            let picture = by_bytes.filter(|found| self.demuxer_name(*found).ends_with("_pipe"));
            // SAFETY: a look-up by a zero-ended string; what is found is a constant.
            demuxer = picture
                .unwrap_or_else(|| unsafe { sys::av_find_input_format(c"image2pipe".as_ptr()) });
            if demuxer.is_null() {
                return Err(self.not_media("no container format matches".to_owned()));
            }
        }
        let name = self.demuxer_name(demuxer);
        if TEXT.contains(&name) {
            return Err(self.not_media("text".to_owned()));
        }
        // SAFETY: a demuxer is a constant of the library.
        let reads_itself = unsafe { (*demuxer).flags } & sys::AVFMT_NOFILE == 0;
        if !reads_itself && !REFERRING.iter().any(|(referring, _)| *referring == name) {
            return Err(Error::Reference {
                file: Arc::clone(&self.file),
                target: format!("{name} opens its media by itself"),
            });
        }
        Ok(demuxer)
    }

    fn demuxer_name(&self, demuxer: *const sys::AVInputFormat) -> &'static str {
        // SAFETY: a demuxer and its name are constants of the library.
        unsafe { static_name((*demuxer).name) }.unwrap_or("unknown")
    }

    fn probe_format(&mut self, name: &CStr) -> Result<*const sys::AVInputFormat> {
        let mut demuxer = ptr::null();
        // SAFETY: the reader's context is live; the demuxer found is a constant of the library.
        let code = unsafe {
            sys::av_probe_input_buffer2(
                self.reader.context(),
                &mut demuxer,
                name.as_ptr(),
                ptr::null_mut(),
                0,
                FORMAT_PROBE_BYTES,
            )
        };
        if code >= 0 && !demuxer.is_null() {
            return Ok(demuxer);
        }
        let source = self.reader.source();
        if source.expired || source.failure.is_some() {
            return Err(failure(&mut self.reader, &self.file, "recognising", code));
        }
        Err(self.not_media("no container format matches".to_owned()))
    }

    fn not_media(&self, message: String) -> Error {
        Error::NotMedia {
            file: Arc::clone(&self.file),
            message,
        }
    }

    fn open_demuxer(&mut self, demuxer: *const sys::AVInputFormat) -> Result<Context> {
        let name = self.demuxer_name(demuxer);
        let nobody = c"none";
        // SAFETY: allocates; null is checked. The fields set are the documented ones for custom
        // bytes; the whitelist is a string of libav's own allocator, freed with the context.
        let mut context = unsafe {
            let context = sys::avformat_alloc_context();
            if context.is_null() {
                return Err(out_of_memory(&self.file, "opening"));
            }
            let raw = &mut *context;
            raw.pb = self.reader.context();
            raw.flags |= sys::AVFMT_FLAG_CUSTOM_IO;
            raw.interrupt_callback.callback = Some(interrupt);
            raw.interrupt_callback.opaque = self.reader.opaque();
            raw.io_open = Some(refuse_open);
            raw.protocol_whitelist = sys::av_strdup(nobody.as_ptr());
            raw.max_streams = MAX_STREAMS;
            raw.probesize = STREAM_PROBE_BYTES;
            context
        };
        // External references of QuickTime tracks are followed, into our refusal: without this
        // libav would read such a track's samples from the wrong place of this file.
        let mut options =
            Dictionary::from_pairs([("enable_drefs", "1"), ("use_absolute_path", "1")]);
        if name == "image2pipe" {
            options.set("frame_size", &self.size.min(MAX_PICTURE_BYTES).to_string());
        }
        log::clear();
        // SAFETY: the context is live and passes to libav, which frees it on failure and then
        // leaves null; the hint is a zero-ended string.
        let code = unsafe {
            sys::avformat_open_input(
                &mut context,
                self.hint.as_ptr(),
                demuxer,
                options.as_mut_ptr(),
            )
        };
        let context = Context(context);
        refusal(&mut self.reader, &self.file)?;
        if let Some((_, what)) = REFERRING.iter().find(|(referring, _)| *referring == name) {
            let said = log::take().join("; ");
            let target = if said.is_empty() {
                (*what).to_owned()
            } else {
                format!("{what}: {said}")
            };
            return Err(Error::Reference {
                file: Arc::clone(&self.file),
                target,
            });
        }
        if code < 0 {
            return Err(self.open_failure(code));
        }
        Ok(context)
    }

    /// A demuxer may have been chosen by the extension alone; if nothing in the bytes speaks for
    /// it, the file is not damaged media but no media at all.
    fn open_failure(&mut self, code: i32) -> Error {
        let error = failure(&mut self.reader, &self.file, "opening", code);
        if let Error::Truncated { message, .. } = &error {
            // SAFETY: the reader's context is live and its demuxer gone.
            unsafe { sys::avio_seek(self.reader.context(), 0, libc::SEEK_SET) };
            if self.probe_format(c"").is_err() {
                return self.not_media(message.clone());
            }
        }
        error
    }
}

fn refusal(reader: &mut Reader, file: &Arc<str>) -> Result<()> {
    match reader.source().refused.take() {
        Some(target) => Err(Error::Reference {
            file: Arc::clone(file),
            target,
        }),
        None => Ok(()),
    }
}

/// The one place where a demuxer's return code becomes an error.
pub(crate) fn failure(
    reader: &mut Reader,
    file: &Arc<str>,
    operation: &'static str,
    code: i32,
) -> Error {
    let file = Arc::clone(file);
    let source = reader.source();
    if source.expired {
        let seconds = source.patience().unwrap_or_default().as_secs_f64();
        return Error::Timeout {
            file,
            operation,
            seconds,
        };
    }
    if let Some(source) = source.failure.take() {
        return Error::Io { file, source };
    }
    // Once a container is recognised, unreadable bytes mean that the rest is missing or damaged.
    if matches!(code, sys::AVERROR_INVALIDDATA | sys::AVERROR_EOF) {
        let lines = log::take();
        let message = if lines.is_empty() {
            code_text(code)
        } else {
            lines.join("; ")
        };
        return Error::Truncated { file, message };
    }
    Error::Libav {
        subject: file,
        operation,
        message: message(code),
    }
}

/// A harmless name that keeps only the extension, which some demuxers need as a hint. libav would
/// find number patterns and globs in a real name, and would resolve references against its folder.
fn name_hint(path: &Path) -> CString {
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .filter(|extension| extension.len() <= 8)
        .filter(|extension| extension.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let name = match extension {
        Some(extension) => format!("input.{}", extension.to_ascii_lowercase()),
        None => "input".to_owned(),
    };
    CString::new(name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_carry_nothing_but_an_extension() {
        let rows = [
            ("/a/b/clip.MP4", "input.mp4"),
            ("frame%03d.png", "input.png"),
            ("list.m3u8\n", "input"),
            ("noext", "input"),
            ("../../x.averylongextension", "input"),
        ];
        for (path, hint) in rows {
            assert_eq!(name_hint(Path::new(path)).to_str(), Ok(hint), "{path}");
        }
    }

    #[test]
    fn sizes_in_the_log() {
        let rows = [
            (
                "Picture size 20000x20000 is invalid",
                Some((20_000, 20_000)),
            ),
            (
                "Picture size 9x8 exceeds specified max pixel count 5",
                Some((9, 8)),
            ),
            ("moov atom not found", None),
        ];
        for (line, size) in rows {
            assert_eq!(logged_size(line), size, "{line}");
        }
    }
}
