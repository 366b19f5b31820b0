//! Packets into container bytes: in memory, one muxer per segment, or into a file.
//!
//! Where the bytes go, and when a segment ends, is the caller's to decide. Packets may come in any
//! order between streams (but in decode order within one); they are interleaved here.

use std::ffi::{CString, c_int, c_void};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use ffmpeg_sys_the_third as sys;

use crate::codec::Parameters;
use crate::dictionary::Dictionary;
use crate::error::{Error, Result, libav, out_of_memory, plain};
use crate::format::static_name;
use crate::log;
use crate::packet::Packet;
use crate::rational::Rational;
use crate::stream::{SideData, Stream};

const BUFFER_BYTES: c_int = 64 * 1024;

/// A stream to be muxed: an encoder's output, or an input's stream copied.
#[derive(Clone, Debug)]
pub struct MuxerStream {
    /// What the codec needs to be known beforehand.
    pub parameters: Parameters,
    /// The wished unit of timestamps; a container may choose another.
    pub time_base: Rational,
    /// Shown frames per second, where the container writes it.
    pub frame_rate: Option<Rational>,
    /// What the container says beside the codec: how to turn pictures, how bright they were meant.
    pub(crate) side_data: Vec<SideData>,
    /// How a player offers it.
    pub(crate) label: Label,
}

impl MuxerStream {
    /// A stream to be copied with all that its container says of it: the shape of its pixels, how
    /// to turn it for display, the bounds of its dynamic range, how it is offered.
    pub fn kept(stream: &Stream) -> Self {
        let mut kept = Self::from(stream);
        if let Some(aspect) = stream.sample_aspect {
            kept.parameters.set_sample_aspect(aspect);
        }
        kept.side_data.clone_from(&stream.side_data);
        kept.offered_as(stream)
    }

    /// Offered to whoever plays it as another stream is.
    pub(crate) fn offered_as(mut self, stream: &Stream) -> Self {
        self.label = Label::of(stream);
        self
    }

    /// MP4's own text, made of another stream's.
    pub(crate) fn text_of(stream: &Stream) -> Result<Self> {
        let subject = Arc::clone(&stream.parameters.subject);
        Ok(Self {
            parameters: Parameters::timed_text(subject)?,
            ..Self::from(stream)
        }
        .offered_as(stream))
    }
}

impl From<&Stream> for MuxerStream {
    fn from(stream: &Stream) -> Self {
        Self {
            parameters: stream.parameters.clone(),
            time_base: stream.time_base,
            frame_rate: stream.frame_rate(),
            side_data: Vec::new(),
            label: Label::default(),
        }
    }
}

/// How a container offers one of several streams of a kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Label {
    /// Three-letter code of what is spoken or written.
    language: Option<String>,
    title: Option<String>,
    /// libav's flags.
    disposition: c_int,
}

impl Label {
    fn of(stream: &Stream) -> Self {
        Self {
            language: stream.language.clone(),
            title: stream.title.clone(),
            disposition: stream.disposition,
        }
    }

    /// In libav's words. MP4 has two places for a title; players read the one or the other.
    fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        let title = self.title.as_deref();
        [
            ("language", self.language.as_deref()),
            ("title", title),
            ("handler_name", title),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
    }
}

/// A container being written.
pub struct Muxer {
    /// Dropped before `output`, which it writes to.
    context: Context,
    output: Output,
    time_bases: Vec<Rational>,
    subject: Arc<str>,
}

// SAFETY: context and output belong to this value alone; libav keeps no thread for a muxer.
unsafe impl Send for Muxer {}

struct Context(*mut sys::AVFormatContext);

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: ours alone, freed only here; null is allowed. The byte sink is its owner's.
        unsafe { sys::avformat_free_context(self.0) };
    }
}

impl Muxer {
    /// Opens FFmpeg's muxer `format` ("mpegts", "mp4") and writes its header. `options` are the
    /// muxer's and libavformat's own ("movflags", "avoid_negative_ts", …).
    ///
    /// # Errors
    /// [`Error::Libav`](crate::Error::Libav) for an unknown muxer or option, or for a codec that
    /// the container cannot hold.
    pub fn memory(format: &str, streams: &[MuxerStream], options: &[(&str, &str)]) -> Result<Self> {
        let subject: Arc<str> = format!("{format} muxer").into();
        let output = Output::memory(&subject)?;
        Self::open(format, c"", output, streams, options, subject)
    }

    /// As [`Muxer::memory`], into a new file: for containers that go back to what they wrote, and
    /// for what is larger than memory. [`Muxer::take`] and [`Muxer::finish`] give no bytes.
    ///
    /// # Errors
    /// As there; [`Error::Write`](crate::Error::Write) where the file cannot be written.
    pub fn file(
        path: &Path,
        format: &str,
        streams: &[MuxerStream],
        options: &[(&str, &str)],
    ) -> Result<Self> {
        let subject: Arc<str> = path.display().to_string().into();
        // The protocol is named, or a colon in the path would name one.
        let url = [b"file:", path.as_os_str().as_bytes()].concat();
        let url = CString::new(url).unwrap_or_default();
        let output = Output::file(&url, &subject)?;
        Self::open(format, &url, output, streams, options, subject)
    }

    fn open(
        format: &str,
        url: &std::ffi::CStr,
        output: Output,
        streams: &[MuxerStream],
        options: &[(&str, &str)],
        subject: Arc<str>,
    ) -> Result<Self> {
        log::clear();
        let name = CString::new(format).unwrap_or_default();
        let mut context = Context(ptr::null_mut());
        // SAFETY: name and address are zero-ended strings; on success the context is ours.
        let code = unsafe {
            sys::avformat_alloc_output_context2(
                &mut context.0,
                ptr::null(),
                name.as_ptr(),
                url.as_ptr(),
            )
        };
        if code < 0 || context.0.is_null() {
            return Err(libav(&subject, "opening", code));
        }
        // SAFETY: the context is live; it is told that the sink is not its own to close.
        unsafe {
            (*context.0).pb = output.context;
            (*context.0).flags |= sys::AVFMT_FLAG_CUSTOM_IO;
        }
        for stream in streams {
            add_stream(&context, stream, &subject)?;
        }
        let mut dictionary = Dictionary::from_pairs(options.iter().copied());
        // SAFETY: the context is live with all its streams; what libav knows is taken from the
        // dictionary.
        let code = unsafe { sys::avformat_write_header(context.0, dictionary.as_mut_ptr()) };
        if code < 0 {
            return Err(failed(&subject, "writing the header", code));
        }
        if let Some(option) = dictionary.first_key() {
            return Err(plain(
                &subject,
                "opening",
                format!("unknown option {option}"),
            ));
        }
        // The header may have changed the streams' time bases.
        let time_bases = (0..streams.len())
            // SAFETY: the context is live and has exactly the streams added above.
            .map(|index| unsafe {
                Rational::from_raw((**(*context.0).streams.add(index)).time_base)
            })
            .collect();
        Ok(Self {
            context,
            output,
            time_bases,
            subject,
        })
    }

    /// Takes a packet; its [`Packet::stream`] names one of the streams given at opening.
    pub fn write(&mut self, packet: &Packet) -> Result<()> {
        log::clear();
        let mut packet = packet.clone();
        let Some(&time_base) = self.time_bases.get(packet.stream()) else {
            return Err(plain(
                &self.subject,
                "writing",
                "the packet's stream does not exist",
            ));
        };
        packet.rescale(time_base);
        // SAFETY: the header is written; libav takes over the packet's reference and leaves an
        // empty packet.
        let code = unsafe { sys::av_interleaved_write_frame(self.context.0, packet.as_mut_ptr()) };
        if code < 0 {
            return Err(failed(&self.subject, "writing", code));
        }
        Ok(())
    }

    /// Ends the interleaving so far (and, with `frag_custom`, the fragment) and gives the bytes
    /// written since the last call.
    pub fn flush(&mut self) -> Result<Vec<u8>> {
        log::clear();
        // SAFETY: the header is written; null asks to flush.
        let code = unsafe {
            match sys::av_interleaved_write_frame(self.context.0, ptr::null_mut()) {
                0.. => sys::av_write_frame(self.context.0, ptr::null_mut()),
                code => code,
            }
        };
        if code < 0 {
            return Err(libav(&self.subject, "flushing", code));
        }
        Ok(self.take())
    }

    /// The bytes written since the last call, without flushing anything held back. Right after
    /// opening this is the header: for fragmented MP4 with `empty_moov` the init section.
    pub fn take(&mut self) -> Vec<u8> {
        self.output.take()
    }

    /// Writes what is held back and the trailer; gives the bytes since the last call.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        log::clear();
        // SAFETY: the header is written and the trailer is written once, as `self` ends here.
        let code = unsafe { sys::av_write_trailer(self.context.0) };
        if code < 0 {
            return Err(failed(&self.subject, "writing the trailer", code));
        }
        self.output.close(&self.subject)?;
        Ok(self.take())
    }
}

/// What the operating system refuses is told apart: a full disk is nobody's mistake.
fn failed(subject: &Arc<str>, operation: &'static str, code: c_int) -> Error {
    const REFUSALS: [c_int; 5] = [
        libc::ENOSPC,
        libc::EDQUOT,
        libc::EFBIG,
        libc::EIO,
        libc::EACCES,
    ];
    if REFUSALS.contains(&-code) {
        return Error::Write {
            file: Arc::clone(subject),
            source: io::Error::from_raw_os_error(-code),
        };
    }
    libav(subject, operation, code)
}

fn add_stream(context: &Context, stream: &MuxerStream, subject: &Arc<str>) -> Result<()> {
    let mut parameters = stream.parameters.clone();
    parameters.set_tag(tag(context, parameters.codec()));
    // SAFETY: the context is live; a new stream has parameters of its own to copy into.
    unsafe {
        let raw = sys::avformat_new_stream(context.0, ptr::null());
        if raw.is_null() || sys::avcodec_parameters_copy((*raw).codecpar, parameters.as_ptr()) < 0 {
            return Err(out_of_memory(subject, "adding a stream"));
        }
        (*raw).time_base = stream.time_base.raw();
        if let Some(rate) = stream.frame_rate {
            (*raw).avg_frame_rate = rate.raw();
        }
        (*raw).sample_aspect_ratio = (*(*raw).codecpar).sample_aspect_ratio;
        let mut metadata = Dictionary::from_pairs(stream.label.tags());
        std::ptr::swap(&mut (*raw).metadata, metadata.as_mut_ptr());
        (*raw).disposition = stream.label.disposition;
        if stream.side_data.iter().any(|data| !data.add_to(raw)) {
            return Err(out_of_memory(subject, "adding a stream"));
        }
    }
    Ok(())
}

/// The four-character code; 0 leaves it to the muxer. Apple's players take HEVC in MP4 by one of
/// two only, which FFmpeg does not choose by itself.
fn tag(context: &Context, codec: &str) -> u32 {
    // SAFETY: a live output context has a format, a constant of the library.
    let format = unsafe { static_name((*(*context.0).oformat).name) };
    match (format, codec) {
        (Some("mp4"), "hevc") => u32::from_le_bytes(*b"hvc1"),
        _ => 0,
    }
}

/// libav's writer over a growing vector, or over a file.
struct Output {
    context: *mut sys::AVIOContext,
    /// From a box, so that its address is fixed while libav holds it; freed after `context`. Null
    /// for a file.
    bytes: *mut Vec<u8>,
}

impl Output {
    fn file(url: &std::ffi::CStr, subject: &Arc<str>) -> Result<Self> {
        let mut context = ptr::null_mut();
        log::clear();
        // SAFETY: a zero-ended string; on success the context is ours.
        let code =
            unsafe { sys::avio_open(&mut context, url.as_ptr(), sys::AVIO_FLAG_WRITE as c_int) };
        if code < 0 {
            return Err(failed(subject, "opening", code));
        }
        Ok(Self {
            context,
            bytes: ptr::null_mut(),
        })
    }

    /// Ends a file: what could not be written is known only now.
    fn close(&mut self, subject: &Arc<str>) -> Result<()> {
        if self.bytes.is_null() {
            // SAFETY: the context is of libav's own making and becomes null; null is allowed.
            let code = unsafe { sys::avio_closep(&mut self.context) };
            if code < 0 {
                return Err(failed(subject, "writing", code));
            }
        }
        Ok(())
    }

    fn memory(subject: &Arc<str>) -> Result<Self> {
        let bytes = Box::into_raw(Box::<Vec<u8>>::default());
        let mut output = Self {
            context: ptr::null_mut(),
            bytes,
        };
        // SAFETY: allocates; null is checked before use. The buffer passes to the context.
        unsafe {
            let buffer = sys::av_malloc(BUFFER_BYTES as usize);
            if !buffer.is_null() {
                output.context = sys::avio_alloc_context(
                    buffer.cast(),
                    BUFFER_BYTES,
                    1,
                    bytes.cast(),
                    None,
                    Some(write_packet),
                    None,
                );
            }
            if output.context.is_null() {
                sys::av_free(buffer);
                return Err(out_of_memory(subject, "allocating a write buffer"));
            }
        }
        Ok(output)
    }

    fn take(&mut self) -> Vec<u8> {
        if self.bytes.is_null() {
            return Vec::new();
        }
        // SAFETY: the context is live; after the flush nothing writes to the vector until the
        // next call into libav, so it can be taken.
        unsafe {
            sys::avio_flush(self.context);
            std::mem::take(&mut *self.bytes)
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.bytes.is_null() {
            // SAFETY: of libav's own making, closed only here or in `close`; null is allowed.
            unsafe { sys::avio_closep(&mut self.context) };
            return;
        }
        // SAFETY: both are ours alone and freed only here; the context's own buffer pointer is
        // the current one. Nothing calls back any more.
        unsafe {
            if !self.context.is_null() {
                sys::av_freep((&raw mut (*self.context).buffer).cast());
                sys::avio_context_free(&mut self.context);
            }
            drop(Box::from_raw(self.bytes));
        }
    }
}

/// FFmpeg 7 made the callback's bytes constant.
#[cfg(ffmpeg_7_0)]
type Written = *const u8;
#[cfg(not(ffmpeg_7_0))]
type Written = *mut u8;

/// libav gives bytes.
unsafe extern "C" fn write_packet(opaque: *mut c_void, data: Written, size: c_int) -> c_int {
    let Ok(length) = usize::try_from(size) else {
        return sys::AVERROR(libc::EINVAL);
    };
    // SAFETY: `opaque` is the vector given to the context, used by this call alone; libav gives
    // `size` readable bytes.
    unsafe {
        let bytes = &mut *opaque.cast::<Vec<u8>>();
        if bytes.try_reserve(length).is_err() {
            return sys::AVERROR(libc::ENOMEM);
        }
        if length > 0 {
            bytes.extend_from_slice(std::slice::from_raw_parts(data, length));
        }
    }
    size
}
