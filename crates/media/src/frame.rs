//! A decoded picture, or a run of audio samples.
//!
//! Cloning takes another reference to the same planes (`av_frame_ref`); nothing is copied until
//! somebody writes to shared planes.

use std::fmt;
use std::sync::Arc;

use ffmpeg_sys_the_third as sys;

use crate::codec::describe_layout;
use crate::colour::Colour;
use crate::error::{Result, libav, out_of_memory, plain};
use crate::format::PixelFormat;
use crate::packet::{raw_ticks, ticks};
use crate::rational::Rational;
use crate::stream::Orientation;

/// A decoded frame.
pub struct Frame {
    raw: *mut sys::AVFrame,
}

// SAFETY: the structure belongs to this value alone; planes are shared with clones through
// libav's atomically counted buffers and written only after `av_frame_make_writable`.
unsafe impl Send for Frame {}
// SAFETY: through a shared reference the frame is only read, or its atomic counters raised.
unsafe impl Sync for Frame {}

impl Frame {
    pub(crate) fn empty() -> Result<Self> {
        // SAFETY: allocates; null is checked below.
        let raw = unsafe { sys::av_frame_alloc() };
        if raw.is_null() {
            return Err(out_of_memory(&Arc::from("frame"), "allocating a frame"));
        }
        Ok(Self { raw })
    }

    /// A picture with planes of its own, whose samples are not set yet beyond being valid memory.
    pub fn video(width: u32, height: u32, format: PixelFormat) -> Result<Self> {
        let subject: Arc<str> = format!("{width}x{height} {}", format.name()).into();
        let mut frame = Self::empty()?;
        let size = |side| {
            i32::try_from(side).map_err(|_| plain(&subject, "allocating a picture", "too large"))
        };
        let raw = frame.raw_mut();
        raw.width = size(width)?;
        raw.height = size(height)?;
        raw.format = format.0;
        // SAFETY: the frame is live, has no planes yet and describes a picture.
        let code = unsafe { sys::av_frame_get_buffer(frame.raw, 0) };
        if code < 0 {
            return Err(libav(&subject, "allocating a picture", code));
        }
        for plane in 0..frame.planes() {
            if let Some((bytes, _)) = frame.plane_mut(plane) {
                bytes.fill(0);
            }
        }
        Ok(frame)
    }

    /// Silent stereo audio in 32 bit float, one plane per channel.
    pub fn silence(samples: u32, sample_rate: u32) -> Result<Self> {
        let subject: Arc<str> = "audio frame".into();
        let mut frame = Self::empty()?;
        let raw = frame.raw_mut();
        raw.nb_samples = i32::try_from(samples)
            .map_err(|_| plain(&subject, "allocating samples", "too many"))?;
        raw.sample_rate = i32::try_from(sample_rate)
            .map_err(|_| plain(&subject, "allocating samples", "rate too high"))?;
        raw.format = sys::AVSampleFormat::FLTP.0;
        // SAFETY: the layout lies inside our frame; the default one for two channels holds no
        // memory of its own.
        unsafe { sys::av_channel_layout_default(&mut raw.ch_layout, 2) };
        // SAFETY: the frame is live, has no planes yet and describes audio.
        let code = unsafe { sys::av_frame_get_buffer(frame.raw, 0) };
        if code < 0 {
            return Err(libav(&subject, "allocating samples", code));
        }
        for channel in 0..2 {
            if let Some(samples) = frame.samples_mut(channel) {
                samples.fill(0.0);
            }
        }
        Ok(frame)
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut sys::AVFrame {
        self.raw
    }

    pub(crate) fn as_ptr(&self) -> *const sys::AVFrame {
        self.raw
    }

    pub(crate) fn raw(&self) -> &sys::AVFrame {
        // SAFETY: never null after construction and changed only through `&mut self`.
        unsafe { &*self.raw }
    }

    pub(crate) fn raw_mut(&mut self) -> &mut sys::AVFrame {
        // SAFETY: never null, and `self` is borrowed exclusively.
        unsafe { &mut *self.raw }
    }

    /// Luma columns; 0 for audio.
    pub fn width(&self) -> u32 {
        u32::try_from(self.raw().width).unwrap_or(0)
    }

    /// Luma rows; 0 for audio.
    pub fn height(&self) -> u32 {
        u32::try_from(self.raw().height).unwrap_or(0)
    }

    /// The pixel format; meaningless for audio.
    pub fn pixel_format(&self) -> PixelFormat {
        PixelFormat(self.raw().format)
    }

    /// Samples per channel; 0 for pictures.
    pub fn samples(&self) -> u32 {
        u32::try_from(self.raw().nb_samples).unwrap_or(0)
    }

    /// Samples per second; 0 for pictures.
    pub fn sample_rate(&self) -> u32 {
        u32::try_from(self.raw().sample_rate).unwrap_or(0)
    }

    /// Audio channels; 0 for pictures.
    pub fn channels(&self) -> u32 {
        u32::try_from(self.raw().ch_layout.nb_channels).unwrap_or(0)
    }

    pub(crate) fn channel_layout(&self) -> Option<String> {
        describe_layout(&self.raw().ch_layout)
    }

    /// When to show it, in the time base of whoever made it: the best that the decoder can say.
    pub fn pts(&self) -> Option<i64> {
        ticks(self.raw().pts)
    }

    /// Sets when to show it.
    pub fn set_pts(&mut self, pts: Option<i64>) {
        self.raw_mut().pts = raw_ticks(pts);
    }

    /// How long it lasts, in the same time base; 0 when unknown.
    pub fn duration(&self) -> i64 {
        #[cfg(ffmpeg_6_0)]
        return self.raw().duration;
        #[cfg(not(ffmpeg_6_0))]
        return self.raw().pkt_duration;
    }

    /// Sets how long it lasts.
    pub fn set_duration(&mut self, duration: i64) {
        #[cfg(ffmpeg_6_0)]
        {
            self.raw_mut().duration = duration;
        }
        #[cfg(not(ffmpeg_6_0))]
        {
            self.raw_mut().pkt_duration = duration;
        }
    }

    /// The shape of a pixel; square when unknown.
    pub fn sample_aspect(&self) -> Rational {
        Rational::known(self.raw().sample_aspect_ratio).unwrap_or(Rational::ONE)
    }

    /// The colour description.
    pub fn colour(&self) -> Colour {
        let raw = self.raw();
        Colour {
            primaries: raw.color_primaries.0,
            transfer: raw.color_trc.0,
            space: raw.colorspace.0,
            range: raw.color_range.0,
        }
    }

    /// Says what the samples mean, without touching them.
    pub fn set_colour(&mut self, colour: Colour) {
        let raw = self.raw_mut();
        raw.color_primaries = sys::AVColorPrimaries(colour.primaries);
        raw.color_trc = sys::AVColorTransferCharacteristic(colour.transfer);
        raw.colorspace = sys::AVColorSpace(colour.space);
        raw.color_range = sys::AVColorRange(colour.range);
    }

    /// Whether the samples are in a device's memory.
    pub(crate) fn is_in_device(&self) -> bool {
        !self.raw().hw_frames_ctx.is_null()
    }

    /// The same picture in main memory, in the layout that the device gives out.
    pub(crate) fn downloaded(&self, file: &Arc<str>) -> Result<Self> {
        let mut copy = Self::empty()?;
        // SAFETY: both frames are live; the new one is empty and becomes a picture of its own.
        let code = unsafe {
            match sys::av_hwframe_transfer_data(copy.raw, self.raw, 0) {
                0.. => sys::av_frame_copy_props(copy.raw, self.raw),
                code => code,
            }
        };
        if code < 0 {
            return Err(libav(file, "fetching a picture from the device", code));
        }
        // Copied properties do not hold the guess that decoders add.
        copy.raw_mut().best_effort_timestamp = self.raw().best_effort_timestamp;
        Ok(copy)
    }

    /// The same picture under the plain name of its format: the twins for full range name the same
    /// planes, and the colour says what they mean.
    pub(crate) fn with_format(mut self, plain: PixelFormat) -> Self {
        if self.pixel_format().is_full_range_twin() {
            self.set_colour(Colour {
                range: Colour::FULL_RANGE.range,
                ..self.colour()
            });
            self.raw_mut().format = plain.0;
        }
        self
    }

    pub(crate) fn set_sample_aspect(&mut self, aspect: Rational) {
        self.raw_mut().sample_aspect_ratio = aspect.raw();
    }

    /// How to turn the picture for display, if it says so itself (JPEG's EXIF, H.264's SEI).
    pub fn orientation(&self) -> Option<Orientation> {
        // SAFETY: the frame is live; side data lives as long as it and is only read.
        let data = unsafe {
            sys::av_frame_get_side_data(self.raw, sys::AVFrameSideDataType::DISPLAYMATRIX).as_ref()
        }?;
        // SAFETY: libav keeps `size` bytes at `data`.
        unsafe { Orientation::from_side_data(data.data, data.size) }
    }

    /// The ICC profile that came with it.
    pub(crate) fn profile(&self) -> Option<Vec<u8>> {
        self.side_data(sys::AVFrameSideDataType::ICC_PROFILE)
    }

    /// What came with it, as libav has it.
    pub(crate) fn side_data(&self, kind: sys::AVFrameSideDataType) -> Option<Vec<u8>> {
        // SAFETY: the frame is live; side data lives as long as it and is only read.
        let data = unsafe { sys::av_frame_get_side_data(self.raw, kind).as_ref() }?;
        if data.data.is_null() || data.size == 0 {
            return None;
        }
        // SAFETY: libav keeps `size` bytes at `data`.
        Some(unsafe { std::slice::from_raw_parts(data.data, data.size) }.to_vec())
    }

    /// Memory held by the planes, in bytes. Clones share it.
    pub fn bytes(&self) -> usize {
        let raw = self.raw();
        raw.buf
            .iter()
            // SAFETY: each entry is null or a live buffer reference of this frame.
            .filter_map(|buffer| unsafe { buffer.as_ref() })
            .map(|buffer| buffer.size)
            .sum()
    }

    /// How many planes hold samples.
    pub fn planes(&self) -> usize {
        self.raw()
            .data
            .iter()
            .take_while(|plane| !plane.is_null())
            .count()
    }

    /// The bytes of a picture's plane, first row to the end of the last, and its stride in bytes.
    /// `None` for planes that are not there, for audio, for pictures in a device's memory, and
    /// for pictures stored bottom up.
    pub fn plane(&self, plane: usize) -> Option<(&[u8], usize)> {
        let (length, stride) = self.plane_extent(plane)?;
        // SAFETY: `plane_extent` gives the rows that libav allocated; they live as long as `self`
        // and are not written while shared.
        let bytes = unsafe { std::slice::from_raw_parts(self.raw().data[plane], length) };
        Some((bytes, stride))
    }

    /// The same plane to write to; planes that are shared with clones are copied first.
    pub fn plane_mut(&mut self, plane: usize) -> Option<(&mut [u8], usize)> {
        // SAFETY: the frame is live; on success its buffers have no other owner.
        if unsafe { sys::av_frame_make_writable(self.raw) } < 0 {
            return None;
        }
        let (length, stride) = self.plane_extent(plane)?;
        // SAFETY: as in `plane`, and `self` is borrowed exclusively with unshared buffers.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.raw().data[plane], length) };
        Some((bytes, stride))
    }

    fn plane_extent(&self, plane: usize) -> Option<(usize, usize)> {
        let raw = self.raw();
        if raw.width <= 0 || plane >= self.planes() {
            return None;
        }
        let stride = usize::try_from(raw.linesize[plane])
            .ok()
            .filter(|stride| *stride > 0)?;
        let (row, rows) = self
            .pixel_format()
            .plane(plane, self.width(), self.height())?;
        Some((stride * rows.saturating_sub(1) + row.min(stride), stride))
    }

    /// One channel of planar float audio.
    pub fn samples_of(&self, channel: usize) -> Option<&[f32]> {
        let (data, length) = self.samples_extent(channel)?;
        // SAFETY: `samples_extent` checked format, channel and count; libav aligns planes to at
        // least 16 bytes; they live as long as `self` and are not written while shared.
        Some(unsafe { std::slice::from_raw_parts(data, length) })
    }

    /// One channel of planar float audio to write to; shared planes are copied first.
    pub fn samples_mut(&mut self, channel: usize) -> Option<&mut [f32]> {
        // SAFETY: the frame is live; on success its buffers have no other owner.
        if unsafe { sys::av_frame_make_writable(self.raw) } < 0 {
            return None;
        }
        let (data, length) = self.samples_extent(channel)?;
        // SAFETY: as in `samples_of`, and `self` is borrowed exclusively with unshared buffers.
        Some(unsafe { std::slice::from_raw_parts_mut(data, length) })
    }

    fn samples_extent(&self, channel: usize) -> Option<(*mut f32, usize)> {
        let raw = self.raw();
        let planar = raw.nb_samples > 0 && raw.format == sys::AVSampleFormat::FLTP.0;
        // The first eight planes are in `data` itself; more channels are mixed down before use.
        let data = *raw.data.get(channel)?;
        (planar && channel < self.channels() as usize && !data.is_null())
            .then_some((data.cast(), raw.nb_samples as usize))
    }
}

impl Clone for Frame {
    fn clone(&self) -> Self {
        // SAFETY: `self.raw` is live; this takes references to its buffers.
        let raw = unsafe { sys::av_frame_clone(self.raw) };
        assert!(!raw.is_null(), "memory for a frame");
        Self { raw }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Frame");
        if self.width() > 0 {
            debug
                .field("width", &self.width())
                .field("height", &self.height())
                .field("pixel_format", &self.pixel_format());
        } else {
            debug
                .field("samples", &self.samples())
                .field("sample_rate", &self.sample_rate());
        }
        debug.field("pts", &self.pts()).finish_non_exhaustive()
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: ours alone, freed only here; planes live on in clones.
        unsafe { sys::av_frame_free(&mut self.raw) };
    }
}
