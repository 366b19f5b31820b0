//! A piece of a coded stream: usually one access unit or one audio frame.
//!
//! Cloning takes another reference to the same bytes. A packet carries its time base, so that
//! moving it from an input to a muxer needs no arithmetic outside this room.

use std::fmt;
use std::sync::Arc;

use ffmpeg_sys_the_third as sys;

use crate::error::{Result, out_of_memory};
use crate::rational::Rational;

/// A coded packet.
pub struct Packet {
    raw: *mut sys::AVPacket,
    time_base: Rational,
}

// SAFETY: the structure belongs to this value alone; its bytes are shared with clones through
// libav's atomically counted buffers and never written through a packet.
unsafe impl Send for Packet {}
// SAFETY: through a shared reference the packet is only read, or its atomic counter raised.
unsafe impl Sync for Packet {}

impl Packet {
    pub(crate) fn empty(time_base: Rational) -> Result<Self> {
        // SAFETY: allocates; null is checked below.
        let raw = unsafe { sys::av_packet_alloc() };
        if raw.is_null() {
            return Err(out_of_memory(&Arc::from("packet"), "allocating a packet"));
        }
        Ok(Self { raw, time_base })
    }

    /// A key packet holding a copy of `data`, without timestamps, for stream 0.
    pub fn from_data(data: &[u8], time_base: Rational) -> Result<Self> {
        let mut packet = Self::empty(time_base)?;
        let out = || out_of_memory(&Arc::from("packet"), "allocating a packet");
        let size = i32::try_from(data.len()).map_err(|_| out())?;
        // SAFETY: the packet is live and empty; on success it holds `size` writable bytes of its
        // own, which `data` cannot overlap.
        unsafe {
            if sys::av_new_packet(packet.raw, size) < 0 {
                return Err(out());
            }
            std::ptr::copy_nonoverlapping(data.as_ptr(), (*packet.raw).data, data.len());
        }
        packet.raw_mut().flags |= sys::AV_PKT_FLAG_KEY;
        Ok(packet)
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut sys::AVPacket {
        self.raw
    }

    pub(crate) fn as_ptr(&self) -> *const sys::AVPacket {
        self.raw
    }

    pub(crate) fn raw(&self) -> &sys::AVPacket {
        // SAFETY: never null after construction and changed only through `&mut self`.
        unsafe { &*self.raw }
    }

    fn raw_mut(&mut self) -> &mut sys::AVPacket {
        // SAFETY: never null, and `self` is borrowed exclusively.
        unsafe { &mut *self.raw }
    }

    pub(crate) fn assume_time_base(&mut self, time_base: Rational) {
        self.time_base = time_base;
    }

    /// The stream it belongs to: an index into [`Input::streams`](crate::Input::streams) or into
    /// the muxer's streams.
    pub fn stream(&self) -> usize {
        usize::try_from(self.raw().stream_index).unwrap_or(0)
    }

    /// Moves the packet to another stream.
    pub fn set_stream(&mut self, stream: usize) {
        self.raw_mut().stream_index = i32::try_from(stream).unwrap_or(i32::MAX);
    }

    /// The unit of `pts`, `dts` and `duration`.
    pub fn time_base(&self) -> Rational {
        self.time_base
    }

    /// When to show it.
    pub fn pts(&self) -> Option<i64> {
        ticks(self.raw().pts)
    }

    /// When to decode it.
    pub fn dts(&self) -> Option<i64> {
        ticks(self.raw().dts)
    }

    /// How long it lasts; 0 when unknown.
    pub fn duration(&self) -> i64 {
        self.raw().duration
    }

    /// Whether decoding can start here.
    pub fn is_key(&self) -> bool {
        self.raw().flags & sys::AV_PKT_FLAG_KEY != 0
    }

    /// Whether the container marks it as not to be shown (before an edit list's start).
    pub fn is_discarded(&self) -> bool {
        self.raw().flags & sys::AV_PKT_FLAG_DISCARD != 0
    }

    /// Whether the bytes are known to be damaged.
    pub fn is_corrupt(&self) -> bool {
        self.raw().flags & sys::AV_PKT_FLAG_CORRUPT != 0
    }

    /// Sets both timestamps, in this packet's time base.
    pub fn set_timestamps(&mut self, pts: Option<i64>, dts: Option<i64>) {
        let raw = self.raw_mut();
        raw.pts = raw_ticks(pts);
        raw.dts = raw_ticks(dts);
    }

    /// Sets the duration, in this packet's time base.
    pub fn set_duration(&mut self, duration: i64) {
        self.raw_mut().duration = duration;
    }

    /// Moves both timestamps by `ticks` of this packet's time base.
    pub fn shift(&mut self, ticks: i64) {
        let (pts, dts) = (self.pts(), self.dts());
        self.set_timestamps(
            pts.map(|pts| pts.saturating_add(ticks)),
            dts.map(|dts| dts.saturating_add(ticks)),
        );
    }

    /// Expresses timestamps and duration in another time base.
    pub fn rescale(&mut self, to: Rational) {
        let from = self.time_base;
        let (pts, dts, duration) = (self.pts(), self.dts(), self.duration());
        let scale = |ticks| from.rescale(ticks, to);
        self.set_timestamps(pts.map(scale), dts.map(scale));
        self.set_duration(scale(duration));
        self.time_base = to;
    }

    /// The coded bytes.
    pub fn data(&self) -> &[u8] {
        let raw = self.raw();
        let length = usize::try_from(raw.size).unwrap_or(0);
        if raw.data.is_null() || length == 0 {
            return &[];
        }
        // SAFETY: libav keeps `size` bytes there; they live as long as `self` holds a reference
        // and are never written while packets share them.
        unsafe { std::slice::from_raw_parts(raw.data, length) }
    }
}

pub(crate) fn ticks(raw: i64) -> Option<i64> {
    (raw != sys::AV_NOPTS_VALUE).then_some(raw)
}

pub(crate) fn raw_ticks(ticks: Option<i64>) -> i64 {
    ticks.unwrap_or(sys::AV_NOPTS_VALUE)
}

impl Clone for Packet {
    fn clone(&self) -> Self {
        // SAFETY: `self.raw` is live; this takes a reference, or copies bytes that have no counter.
        let raw = unsafe { sys::av_packet_clone(self.raw) };
        assert!(!raw.is_null(), "memory for a packet");
        Self {
            raw,
            time_base: self.time_base,
        }
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("stream", &self.stream())
            .field("pts", &self.pts())
            .field("dts", &self.dts())
            .field("duration", &self.duration())
            .field("key", &self.is_key())
            .field("bytes", &self.data().len())
            .finish_non_exhaustive()
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: ours alone, freed only here; the bytes live on in clones.
        unsafe { sys::av_packet_free(&mut self.raw) };
    }
}
