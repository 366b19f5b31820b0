//! A libavfilter graph with one source and one sink, from a filter description.
//!
//! Video and audio alike: push frames, pull what comes out, flush at the end. The graph rebuilds
//! itself when the source's size or format changes on the way, as broadcast files do.

use std::collections::VecDeque;
use std::ffi::CString;
use std::ptr;
use std::sync::Arc;

use ffmpeg_sys_the_third as sys;

use crate::colour::Colour;
use crate::error::{Result, libav, out_of_memory, plain};
use crate::format::{PixelFormat, static_name};
use crate::frame::Frame;
use crate::log;
use crate::rational::Rational;

/// What a video graph is fed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoSource {
    /// Luma columns.
    pub width: u32,
    /// Luma rows.
    pub height: u32,
    /// Sample layout.
    pub format: PixelFormat,
    /// Unit of the frames' times.
    pub time_base: Rational,
    /// Frames per second, if known.
    pub frame_rate: Option<Rational>,
    /// The shape of a pixel.
    pub sample_aspect: Rational,
    /// What the samples mean.
    pub colour: Colour,
}

impl VideoSource {
    /// That of frames like this one.
    pub fn of(frame: &Frame, time_base: Rational, frame_rate: Option<Rational>) -> Self {
        Self {
            width: frame.width(),
            height: frame.height(),
            format: frame.pixel_format(),
            time_base,
            frame_rate,
            sample_aspect: frame.sample_aspect(),
            colour: frame.colour(),
        }
    }

    fn arguments(&self) -> String {
        let mut arguments = format!(
            "video_size={}x{}:pix_fmt={}:time_base={}:pixel_aspect={}",
            self.width, self.height, self.format.0, self.time_base, self.sample_aspect
        );
        if let Some(rate) = self.frame_rate {
            arguments += &format!(":frame_rate={rate}");
        }
        // Earlier releases take the colour from the frames and know no such options.
        if cfg!(ffmpeg_7_0) {
            arguments += &format!(
                ":colorspace={}:range={}",
                self.colour.space, self.colour.range
            );
        }
        arguments
    }
}

/// What an audio graph is fed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioSource {
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u32,
    /// FFmpeg's name of the layout, if known.
    pub channel_layout: Option<String>,
    sample_format: i32,
    /// Unit of the frames' times.
    pub time_base: Rational,
}

impl AudioSource {
    /// That of frames like this one.
    pub fn of(frame: &Frame, time_base: Rational) -> Self {
        let unspecified = frame.raw().ch_layout.order == sys::AVChannelOrder::UNSPEC;
        Self {
            sample_rate: frame.sample_rate(),
            channels: frame.channels(),
            channel_layout: frame.channel_layout().filter(|_| !unspecified),
            sample_format: frame.raw().format,
            time_base,
        }
    }

    fn arguments(&self) -> String {
        let layout = match &self.channel_layout {
            Some(layout) => format!("channel_layout={layout}"),
            None => format!("channels={}", self.channels),
        };
        format!(
            "time_base={}:sample_rate={}:sample_fmt={}:{layout}",
            self.time_base, self.sample_rate, self.sample_format
        )
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Video(VideoSource),
    Audio(AudioSource),
}

impl Source {
    fn arguments(&self) -> String {
        match self {
            Self::Video(source) => source.arguments(),
            Self::Audio(source) => source.arguments(),
        }
    }

    /// The same for a frame that may differ from what was promised.
    fn adapted(&self, frame: &Frame) -> Self {
        match self {
            Self::Video(source) => Self::Video(VideoSource {
                sample_aspect: source.sample_aspect,
                // Filters take colour from each frame where the source cannot say it.
                colour: if cfg!(ffmpeg_7_0) {
                    frame.colour()
                } else {
                    source.colour
                },
                ..VideoSource::of(frame, source.time_base, source.frame_rate)
            }),
            Self::Audio(source) => Self::Audio(AudioSource::of(frame, source.time_base)),
        }
    }
}

/// A running filter graph.
pub struct Graph {
    filters: Filters,
    source: Source,
    description: String,
    frame_size: Option<u32>,
    /// What a replaced graph still held.
    pending: VecDeque<Frame>,
}

/// The graph and its two ends, which it owns.
struct Filters {
    graph: *mut sys::AVFilterGraph,
    input: *mut sys::AVFilterContext,
    output: *mut sys::AVFilterContext,
    subject: Arc<str>,
}

// SAFETY: the graph and its filters belong to this value alone and have no tie to a thread.
unsafe impl Send for Filters {}

impl Drop for Filters {
    fn drop(&mut self) {
        // SAFETY: ours alone, freed only here, with all its filters.
        unsafe { sys::avfilter_graph_free(&mut self.graph) };
    }
}

impl Graph {
    /// A video graph from FFmpeg's filter syntax ("bwdif,transpose=clock"); "null" changes
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Libav`](crate::Error::Libav) when a filter does not exist or refuses the source.
    pub fn video(description: &str, source: &VideoSource) -> Result<Self> {
        Self::new(description, Source::Video(source.clone()), None)
    }

    /// An audio graph from FFmpeg's filter syntax. With `frame_size`, each frame that comes out
    /// holds exactly that many samples, but for the last.
    ///
    /// # Errors
    /// As [`Graph::video`].
    pub fn audio(description: &str, source: &AudioSource, frame_size: Option<u32>) -> Result<Self> {
        Self::new(description, Source::Audio(source.clone()), frame_size)
    }

    fn new(description: &str, source: Source, frame_size: Option<u32>) -> Result<Self> {
        let filters = Filters::new(description, &source, frame_size)?;
        let description = description.to_owned();
        Ok(Self {
            filters,
            source,
            description,
            frame_size,
            pending: VecDeque::new(),
        })
    }

    /// The unit of the times that come out.
    pub fn time_base(&self) -> Rational {
        // SAFETY: the sink of a configured graph is live.
        Rational::from_raw(unsafe { sys::av_buffersink_get_time_base(self.filters.output) })
    }

    /// The frame rate that comes out, if known.
    pub fn frame_rate(&self) -> Option<Rational> {
        // SAFETY: the sink of a configured graph is live.
        Rational::known(unsafe { sys::av_buffersink_get_frame_rate(self.filters.output) })
    }

    /// Width and height that come out; zeros for audio.
    pub fn size(&self) -> (u32, u32) {
        // SAFETY: the sink of a configured graph is live.
        let (width, height) = unsafe {
            (
                sys::av_buffersink_get_w(self.filters.output),
                sys::av_buffersink_get_h(self.filters.output),
            )
        };
        (
            u32::try_from(width).unwrap_or(0),
            u32::try_from(height).unwrap_or(0),
        )
    }

    /// Feeds a frame (by reference, nothing is copied), or says with `None` that no more come.
    pub fn push(&mut self, frame: Option<&Frame>) -> Result<()> {
        log::clear();
        if let Some(frame) = frame {
            let source = self.source.adapted(frame);
            if source != self.source {
                self.rebuild(source, frame)?;
            }
        }
        self.filters.push(frame)
    }

    /// The next frame that is ready; `None` when more must be pushed, or after the last.
    pub fn pull(&mut self) -> Result<Option<Frame>> {
        if let Some(frame) = self.pending.pop_front() {
            return Ok(Some(frame));
        }
        self.filters.pull()
    }

    fn rebuild(&mut self, source: Source, frame: &Frame) -> Result<()> {
        self.filters.push(None)?;
        while let Some(frame) = self.filters.pull()? {
            self.pending.push_back(frame);
        }
        // Padding from zero belongs to the first graph only; the next one starts where the
        // frame does.
        let description = match (&source, frame.pts()) {
            (Source::Audio(audio), Some(pts)) => {
                let rate = self.sample_rate();
                let start = audio.time_base.rescale(pts, Rational::new(1, rate));
                self.description
                    .replace("first_pts=0", &format!("first_pts={start}"))
            }
            _ => self.description.clone(),
        };
        self.filters = Filters::new(&description, &source, self.frame_size)?;
        self.source = source;
        Ok(())
    }

    fn sample_rate(&self) -> i32 {
        // SAFETY: the sink of a configured graph is live.
        unsafe { sys::av_buffersink_get_sample_rate(self.filters.output) }.max(1)
    }
}

impl Filters {
    fn new(description: &str, source: &Source, frame_size: Option<u32>) -> Result<Self> {
        log::clear();
        let subject: Arc<str> = format!("filter graph {description}").into();
        // SAFETY: allocates; null is checked.
        let graph = unsafe { sys::avfilter_graph_alloc() };
        if graph.is_null() {
            return Err(out_of_memory(&subject, "opening"));
        }
        let mut filters = Self {
            graph,
            input: ptr::null_mut(),
            output: ptr::null_mut(),
            subject,
        };
        // SAFETY: the graph is live. One thread: parallelism belongs to the caller, and slices
        // would change nothing in the result.
        unsafe { (*graph).nb_threads = 1 };
        let (buffer, sink) = match source {
            Source::Video(_) => ("buffer", "buffersink"),
            Source::Audio(_) => ("abuffer", "abuffersink"),
        };
        filters.input = filters.create(buffer, "in", &source.arguments())?;
        filters.output = filters.create(sink, "out", "")?;
        filters.link(description)?;
        // SAFETY: the graph is live with all its filters linked.
        let code = unsafe { sys::avfilter_graph_config(graph, ptr::null_mut()) };
        if code < 0 {
            return Err(libav(&filters.subject, "opening", code));
        }
        if let Some(size) = frame_size {
            // SAFETY: the sink of a configured graph is live.
            unsafe { sys::av_buffersink_set_frame_size(filters.output, size) };
        }
        Ok(filters)
    }

    fn create(
        &self,
        filter: &str,
        name: &str,
        arguments: &str,
    ) -> Result<*mut sys::AVFilterContext> {
        let text = |text: &str| CString::new(text).unwrap_or_default();
        let (filter_name, name, arguments) = (text(filter), text(name), text(arguments));
        let mut context = ptr::null_mut();
        // SAFETY: the graph is live and owns what is created; the strings are zero-ended.
        let code = unsafe {
            let filter = sys::avfilter_get_by_name(filter_name.as_ptr());
            if filter.is_null() {
                sys::AVERROR_FILTER_NOT_FOUND
            } else {
                sys::avfilter_graph_create_filter(
                    &mut context,
                    filter,
                    name.as_ptr(),
                    arguments.as_ptr(),
                    ptr::null_mut(),
                    self.graph,
                )
            }
        };
        if code < 0 {
            return Err(libav(&self.subject, "opening", code));
        }
        Ok(context)
    }

    /// Parses the description between our two ends. In libav's words, the description's open
    /// inputs are fed by our outputs and the other way round.
    fn link(&self, description: &str) -> Result<()> {
        let description = CString::new(description)
            .map_err(|_| plain(&self.subject, "opening", "a zero byte in the description"))?;
        let mut outputs = open_end(c"in", self.input);
        let mut inputs = open_end(c"out", self.output);
        // SAFETY: the graph is live; both ends are ours or null, and libav replaces them by what
        // is left open, which is freed after.
        let code = unsafe {
            let code = if inputs.is_null() || outputs.is_null() {
                sys::AVERROR(libc::ENOMEM)
            } else {
                sys::avfilter_graph_parse_ptr(
                    self.graph,
                    description.as_ptr(),
                    &mut inputs,
                    &mut outputs,
                    ptr::null_mut(),
                )
            };
            sys::avfilter_inout_free(&mut inputs);
            sys::avfilter_inout_free(&mut outputs);
            code
        };
        if code < 0 {
            return Err(libav(&self.subject, "opening", code));
        }
        Ok(())
    }

    fn push(&mut self, frame: Option<&Frame>) -> Result<()> {
        let frame = frame.map_or(ptr::null_mut(), |frame| frame.as_ptr().cast_mut());
        // SAFETY: the source is live; with this flag the frame is only read and referenced.
        let code = unsafe {
            sys::av_buffersrc_add_frame_flags(
                self.input,
                frame,
                sys::AV_BUFFERSRC_FLAG_KEEP_REF.0 as i32,
            )
        };
        if code < 0 && code != sys::AVERROR_EOF {
            return Err(libav(&self.subject, "filtering", code));
        }
        Ok(())
    }

    fn pull(&mut self) -> Result<Option<Frame>> {
        let mut frame = Frame::empty()?;
        // SAFETY: the sink is live and the frame empty.
        let code = unsafe { sys::av_buffersink_get_frame(self.output, frame.as_mut_ptr()) };
        if code == sys::AVERROR(libc::EAGAIN) || code == sys::AVERROR_EOF {
            return Ok(None);
        }
        if code < 0 {
            return Err(libav(&self.subject, "filtering", code));
        }
        Ok(Some(frame))
    }
}

/// A named open end that leads to the first pad of a filter; null when memory is out.
fn open_end(name: &std::ffi::CStr, filter: *mut sys::AVFilterContext) -> *mut sys::AVFilterInOut {
    // SAFETY: allocates; null is checked. The name is copied by libav's allocator, with which it
    // is freed.
    unsafe {
        let end = sys::avfilter_inout_alloc();
        if !end.is_null() {
            (*end).name = sys::av_strdup(name.as_ptr());
            (*end).filter_ctx = filter;
            (*end).pad_idx = 0;
            (*end).next = ptr::null_mut();
        }
        end
    }
}

/// Whether this FFmpeg was built with a filter of that name.
pub fn has_filter(name: &str) -> bool {
    let Ok(name) = CString::new(name) else {
        return false;
    };
    // SAFETY: a look-up by a zero-ended string.
    let filter = unsafe { sys::avfilter_get_by_name(name.as_ptr()) };
    // SAFETY: a filter and its name are constants of the library.
    !filter.is_null() && unsafe { static_name((*filter).name) }.is_some()
}
