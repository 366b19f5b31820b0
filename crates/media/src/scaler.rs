//! Picture size, pixel format, and range conversion: swscale, planar all the way.
//!
//! Output planes come from a pool, so that a ladder at full speed does not allocate. Time and
//! colour description travel along; only the range, the size and the sample format are converted
//! unless the destination names another matrix.

use std::ptr;
use std::sync::Arc;

use ffmpeg_sys_the_third as sys;

use crate::colour::Colour;
use crate::error::{Result, libav, out_of_memory};
use crate::format::PixelFormat;
use crate::frame::Frame;
use crate::log;
use crate::pool::FramePool;
use crate::rational::Rational;

/// swscale.h, stable since 2009: written here because FFmpeg 8 turned the macros into an enum.
const SWS_LANCZOS: i64 = 1 << 9;
const SWS_ACCURATE_RND: i64 = 1 << 18;
/// Chroma at full horizontal resolution when the source is RGB.
const SWS_FULL_CHR_H_INP: i64 = 1 << 14;

/// Everything about a picture that a scaler must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Luma columns.
    pub width: u32,
    /// Luma rows.
    pub height: u32,
    /// Sample layout.
    pub format: PixelFormat,
    /// The shape of a pixel; a label, not a scale factor.
    pub sample_aspect: Rational,
    /// What the samples mean. In a destination, unspecified parts are taken from the source.
    pub colour: Colour,
}

impl Geometry {
    /// Square pixels of unspecified colour.
    pub fn new(width: u32, height: u32, format: PixelFormat) -> Self {
        Self {
            width,
            height,
            format,
            sample_aspect: Rational::ONE,
            colour: Colour::UNSPECIFIED,
        }
    }

    /// That of a frame. The full-range twins of planar formats become the plain format with full
    /// range.
    pub fn of(frame: &Frame) -> Self {
        let mut geometry = Self {
            width: frame.width(),
            height: frame.height(),
            format: frame.pixel_format(),
            sample_aspect: frame.sample_aspect(),
            colour: frame.colour(),
        };
        if geometry.format.is_full_range_twin() {
            geometry.colour.range = sys::AVColorRange::JPEG.0;
            let plain = geometry.format.name().replacen("yuvj", "yuv", 1);
            geometry.format = PixelFormat::from_name(&plain).unwrap_or(geometry.format);
        }
        geometry
    }
}

/// A converter from one geometry to another.
pub struct Scaler {
    context: Context,
    source: Geometry,
    asked: Geometry,
    /// `asked` with what it left open filled from the source.
    target: Geometry,
    pool: FramePool,
    subject: Arc<str>,
}

struct Context(*mut sys::SwsContext);

// SAFETY: a scaling context belongs to one value and has no tie to a thread.
unsafe impl Send for Context {}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: ours alone, freed only here; null is allowed.
        unsafe { sys::sws_freeContext(self.0) };
    }
}

impl Scaler {
    /// A Lanczos scaler: on clean pictures it keeps 0.4 dB more of the source than a bicubic one in
    /// a cascade of two, for a hundredth of what encoding costs. 16 bit intermediates are rounded exactly and depth is reduced with
    /// dithering.
    ///
    /// # Errors
    /// [`Error::Libav`](crate::Error::Libav) for formats that swscale cannot convert.
    pub fn new(source: Geometry, target: Geometry) -> Result<Self> {
        log::clear();
        let subject: Arc<str> = format!(
            "{}x{} {} to {}x{} {}",
            source.width,
            source.height,
            source.format.name(),
            target.width,
            target.height,
            target.format.name()
        )
        .into();
        let asked = target;
        let target = Geometry {
            colour: completed(asked, source),
            ..asked
        };
        let context = Context::new(&source, &target, &subject)?;
        let pool = FramePool::new(target.width, target.height, target.format)?;
        Ok(Self {
            context,
            source,
            asked,
            target,
            pool,
            subject,
        })
    }

    /// What comes out.
    pub fn target(&self) -> Geometry {
        self.target
    }

    /// The frame in the target geometry, with its times. Adapts itself when the source's geometry
    /// changes.
    pub fn scale(&mut self, frame: &Frame) -> Result<Frame> {
        let geometry = Geometry::of(frame);
        if geometry != self.source {
            *self = Self::new(geometry, self.asked)?;
        }
        let mut scaled = self.pool.frame()?;
        // SAFETY: both frames are live; only properties are copied, not planes.
        let code = unsafe { sys::av_frame_copy_props(scaled.as_mut_ptr(), frame.as_ptr()) };
        if code < 0 {
            return Err(libav(&self.subject, "scaling", code));
        }
        scaled.set_colour(self.target.colour);
        scaled.set_sample_aspect(self.target.sample_aspect);
        let (from, to) = (frame.raw(), scaled.raw_mut());
        // SAFETY: the context was made for exactly these geometries; the source frame holds all
        // planes of its geometry, the target frame was just made for its own.
        let rows = unsafe {
            sys::sws_scale(
                self.context.0,
                from.data.as_ptr().cast(),
                from.linesize.as_ptr(),
                0,
                from.height,
                to.data.as_ptr(),
                to.linesize.as_ptr(),
            )
        };
        if rows < 0 {
            return Err(libav(&self.subject, "scaling", rows));
        }
        Ok(scaled)
    }
}

/// The colour of the output: what was asked, else the source's; RGB and YUV have defaults of
/// their own.
fn completed(target: Geometry, source: Geometry) -> Colour {
    let unknown = Colour::UNSPECIFIED;
    let or = |value, unspecified, other| if value == unspecified { other } else { value };
    let source_space = if source.format.is_rgb() {
        unknown.space
    } else {
        source.colour.space
    };
    let range = if target.format.is_rgb() {
        sys::AVColorRange::JPEG.0
    } else {
        or(
            target.colour.range,
            unknown.range,
            sys::AVColorRange::MPEG.0,
        )
    };
    Colour {
        primaries: or(
            target.colour.primaries,
            unknown.primaries,
            source.colour.primaries,
        ),
        transfer: or(
            target.colour.transfer,
            unknown.transfer,
            source.colour.transfer,
        ),
        space: or(target.colour.space, unknown.space, source_space),
        range,
    }
}

/// Full range is what RGB and JPEG's formats are unless they say otherwise; limited the rest.
fn is_full(geometry: &Geometry) -> bool {
    geometry.colour.is_full_range()
        || (geometry.format.is_rgb() && geometry.colour.range == Colour::UNSPECIFIED.range)
}

impl Context {
    fn new(source: &Geometry, target: &Geometry, subject: &Arc<str>) -> Result<Self> {
        // SAFETY: allocates; null is checked.
        let context = Self(unsafe { sys::sws_alloc_context() });
        if context.0.is_null() {
            return Err(out_of_memory(subject, "opening the scaler"));
        }
        let mut flags = SWS_LANCZOS | SWS_ACCURATE_RND;
        if source.format.is_rgb() {
            flags |= SWS_FULL_CHR_H_INP;
        }
        let options = [
            (c"srcw", i64::from(source.width)),
            (c"srch", i64::from(source.height)),
            (c"src_format", i64::from(source.format.0)),
            (c"src_range", i64::from(is_full(source))),
            (c"dstw", i64::from(target.width)),
            (c"dsth", i64::from(target.height)),
            (c"dst_format", i64::from(target.format.0)),
            (c"dst_range", i64::from(is_full(target))),
            (c"sws_flags", flags),
        ];
        for (name, value) in options {
            // SAFETY: the context starts with its option class, as this call needs.
            let code = unsafe { sys::av_opt_set_int(context.0.cast(), name.as_ptr(), value, 0) };
            if code < 0 {
                return Err(libav(subject, "opening the scaler", code));
            }
        }
        // SAFETY: the context is live and not yet initialised; no filters are given.
        let code = unsafe { sys::sws_init_context(context.0, ptr::null_mut(), ptr::null_mut()) };
        if code < 0 {
            return Err(libav(subject, "opening the scaler", code));
        }
        // SAFETY: the tables are constants of the library for any matrix number.
        let (from, to) = unsafe {
            (
                sys::sws_getCoefficients(matrix(source, target)),
                sys::sws_getCoefficients(matrix(target, source)),
            )
        };
        // SAFETY: the context is initialised and copies the tables. A negative answer only means
        // that this conversion needs no tables.
        unsafe {
            sys::sws_setColorspaceDetails(
                context.0,
                from,
                i32::from(is_full(source)),
                to,
                i32::from(is_full(target)),
                0,
                1 << 16,
                1 << 16,
            );
        }
        Ok(context)
    }
}

/// The YUV side's matrix as a number for swscale, which takes H.273's; both sides get the same one
/// unless both name one. Unspecified is guessed from the size, as players do.
fn matrix(side: &Geometry, other: &Geometry) -> i32 {
    let unknown = Colour::UNSPECIFIED.space;
    let rgb = sys::AVColorSpace::RGB.0;
    let known = |space| space != unknown && space != rgb;
    let space = if known(side.colour.space) {
        side.colour.space
    } else if known(other.colour.space) {
        other.colour.space
    } else {
        Colour::UNSPECIFIED
            .or_guessed(side.height.max(other.height))
            .space
    };
    i32::try_from(space).unwrap_or(1)
}
