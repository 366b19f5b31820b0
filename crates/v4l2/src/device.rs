//! A decoder's video node: what it is, which formats, sizes and controls it has.
//!
//! Only decoders with multi-planar formats of a single memory plane are driven: NV12 and its
//! relatives in one buffer, as all clients of the stateless API take them.

use crate::error::Error;
use crate::find::text;
use crate::media::Request;
use crate::node::Node;
use crate::sys::Kernel;
use crate::uapi::controls::{h264, mpeg2, vp8, vp9};
use crate::uapi::videodev2::*;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::io::Errno;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// One of a decoder's two queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Coded data go in.
    Output,
    /// Pictures come out.
    Capture,
}

impl Queue {
    /// The queue's `V4L2_BUF_TYPE_*`.
    pub fn buf_type(self) -> u32 {
        match self {
            Queue::Output => V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE,
            Queue::Capture => V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE,
        }
    }
}

/// A queue's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// A `V4L2_PIX_FMT_*`.
    pub fourcc: u32,
    /// Samples of a line.
    pub width: u32,
    /// Lines; on CAPTURE those that are allocated, so chroma begins at `stride * height`.
    pub height: u32,
    /// Bytes from one line to the next; 0 for coded data.
    pub stride: u32,
    /// Bytes of a buffer.
    pub size: u32,
}

impl Format {
    /// A coded format, to be set on OUTPUT.
    pub fn coded(fourcc: u32, width: u32, height: u32, size: u32) -> Format {
        Format {
            fourcc,
            width,
            height,
            stride: 0,
            size,
        }
    }

    pub(crate) fn to_uapi(self, queue: Queue) -> v4l2_format {
        let mut planes = v4l2_pix_format_mplane::new_zeroed();
        (planes.pixelformat, planes.width, planes.height) = (self.fourcc, self.width, self.height);
        planes.field = V4L2_FIELD_NONE;
        planes.num_planes = 1;
        planes.plane_fmt[0].sizeimage = self.size;
        planes.plane_fmt[0].bytesperline = self.stride;
        let mut format = v4l2_format::new_zeroed();
        format.r#type = queue.buf_type();
        let bytes = planes.as_bytes();
        format.fmt.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        format
    }

    /// The format that the driver returned; none when it has not exactly one memory plane.
    fn from_uapi(format: &v4l2_format) -> Option<Format> {
        let (planes, _) = v4l2_pix_format_mplane::read_from_prefix(format.fmt.as_bytes()).ok()?;
        (planes.num_planes == 1).then_some(Format {
            fourcc: planes.pixelformat,
            width: planes.width,
            height: planes.height,
            stride: planes.plane_fmt[0].bytesperline,
            size: planes.plane_fmt[0].sizeimage,
        })
    }
}

/// The frame sizes of a coded format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameSizes {
    /// Smallest, largest and step.
    pub width: (u32, u32, u32),
    /// Smallest, largest and step.
    pub height: (u32, u32, u32),
}

impl FrameSizes {
    /// Whether frames of this size are decoded.
    pub fn holds(&self, width: u32, height: u32) -> bool {
        let fits = |size: u32, (min, max, step): (u32, u32, u32)| {
            (min..=max).contains(&size) && (size - min) % step.max(1) == 0
        };
        fits(width, self.width) && fits(height, self.height)
    }
}

/// A control as the driver describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlInfo {
    /// A `V4L2_CID_*`.
    pub id: u32,
    /// A `V4L2_CTRL_TYPE_*`.
    pub kind: u32,
    /// For people.
    pub name: String,
    /// Smallest value.
    pub minimum: i64,
    /// Largest value.
    pub maximum: i64,
    /// The value that it has until it is set.
    pub default: i64,
    /// `V4L2_CTRL_FLAG_*`.
    pub flags: u32,
    /// Bytes of one element.
    pub element_size: u32,
    /// Elements.
    pub elements: u32,
}

/// A control and a value for it.
#[derive(Debug, Clone, Copy)]
pub struct Control<'a> {
    /// A `V4L2_CID_*`.
    pub id: u32,
    /// The value.
    pub value: Value<'a>,
}

/// What a control is set to.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// An integer, a boolean or an entry of a menu.
    Integer(i32),
    /// The bytes of the control's struct, or of several.
    Bytes(&'a [u8]),
}

impl<'a> Control<'a> {
    /// A control of one integer.
    pub fn integer(id: u32, value: i32) -> Control<'a> {
        Control {
            id,
            value: Value::Integer(value),
        }
    }

    /// A control whose value is a struct.
    pub fn compound<T: IntoBytes + zerocopy::Immutable>(id: u32, value: &'a T) -> Control<'a> {
        Control {
            id,
            value: Value::Bytes(value.as_bytes()),
        }
    }
}

/// The menu of profiles that belongs to a coded format.
pub fn profile_menu(coded: u32) -> Option<u32> {
    let row = PROFILE_MENUS.iter().find(|(fourcc, _)| *fourcc == coded);
    row.map(|(_, id)| *id)
}

const PROFILE_MENUS: &[(u32, u32)] = &[
    (
        V4L2_PIX_FMT_MPEG2_SLICE,
        mpeg2::V4L2_CID_MPEG_VIDEO_MPEG2_PROFILE,
    ),
    (
        V4L2_PIX_FMT_H264_SLICE,
        h264::V4L2_CID_MPEG_VIDEO_H264_PROFILE,
    ),
    (V4L2_PIX_FMT_VP8_FRAME, vp8::V4L2_CID_MPEG_VIDEO_VP8_PROFILE),
    (V4L2_PIX_FMT_VP9_FRAME, vp9::V4L2_CID_MPEG_VIDEO_VP9_PROFILE),
];

/// Most controls of an access unit; no codec has half as many.
const MAX_CONTROLS: usize = 16;

/// What a device has done; when it is broken, both, and whoever takes them learns why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// A CAPTURE buffer.
    pub picture: bool,
    /// An OUTPUT buffer.
    pub input: bool,
}

impl Ready {
    /// Whether there is nothing.
    pub fn is_none(self) -> bool {
        !self.picture && !self.input
    }
}

/// An open video node of a memory-to-memory decoder.
#[derive(Debug)]
pub struct Device {
    pub(crate) node: Node,
    driver: String,
}

impl Device {
    /// Opens a `/dev/videoN`. What is opened has its own queues, formats and controls: each stream
    /// needs one of its own.
    ///
    /// # Errors
    /// It cannot be opened, or is no multi-planar memory-to-memory device.
    pub fn open(kernel: Arc<dyn Kernel>, path: &Path) -> Result<Device, Error> {
        let node = Node::open(kernel, path)?;
        let mut capability = v4l2_capability::new_zeroed();
        // SAFETY: the ioctl takes this struct, which holds no address.
        unsafe { node.call(VIDIOC_QUERYCAP, &mut capability) }
            .map_err(|source| node.failed("VIDIOC_QUERYCAP", source))?;
        let needed = V4L2_CAP_VIDEO_M2M_MPLANE | V4L2_CAP_STREAMING;
        if capability.device_caps & needed != needed {
            let what = format!(
                "no multi-planar memory-to-memory device: capabilities {:#x}",
                capability.device_caps
            );
            return Err(node.unsuited(what));
        }
        let driver = text(&capability.driver);
        Ok(Device { node, driver })
    }

    /// The driver's name.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// The node's path.
    pub fn path(&self) -> &Path {
        self.node.path()
    }

    /// The fourccs of a queue. On CAPTURE they are those for what is set on OUTPUT.
    ///
    /// # Errors
    /// The driver says something else than that there are no more.
    pub fn formats(&self, queue: Queue) -> Result<Vec<u32>, Error> {
        let mut found = Vec::new();
        for index in 0.. {
            let mut format = v4l2_fmtdesc::new_zeroed();
            (format.index, format.r#type) = (index, queue.buf_type());
            // SAFETY: the ioctl takes this struct, which holds no address.
            match unsafe { self.node.call(VIDIOC_ENUM_FMT, &mut format) } {
                Ok(()) => found.push(format.pixelformat),
                Err(Errno::INVAL) => break,
                Err(source) => return Err(self.node.failed("VIDIOC_ENUM_FMT", source)),
            }
        }
        Ok(found)
    }

    /// The frame sizes of a coded format; none when the driver does not tell.
    ///
    /// # Errors
    /// The driver says something else than that there are no more.
    pub fn frame_sizes(&self, fourcc: u32) -> Result<Vec<FrameSizes>, Error> {
        let mut found = Vec::new();
        for index in 0.. {
            let mut sizes = v4l2_frmsizeenum::new_zeroed();
            (sizes.index, sizes.pixel_format) = (index, fourcc);
            // SAFETY: the ioctl takes this struct, which holds no address.
            match unsafe { self.node.call(VIDIOC_ENUM_FRAMESIZES, &mut sizes) } {
                Ok(()) => found.push(frame_sizes(&sizes)),
                Err(Errno::INVAL | Errno::NOTTY) => break,
                Err(source) => return Err(self.node.failed("VIDIOC_ENUM_FRAMESIZES", source)),
            }
        }
        Ok(found)
    }

    /// Describes one control; none when the driver has not got it.
    ///
    /// # Errors
    /// The driver says something else than that.
    pub fn control(&self, id: u32) -> Result<Option<ControlInfo>, Error> {
        let mut query = v4l2_query_ext_ctrl::new_zeroed();
        query.id = id;
        // SAFETY: the ioctl takes this struct, which holds no address.
        match unsafe { self.node.call(VIDIOC_QUERY_EXT_CTRL, &mut query) } {
            Ok(()) => Ok(Some(control_info(&query))),
            Err(Errno::INVAL) => Ok(None),
            Err(source) => Err(self.node.failed("VIDIOC_QUERY_EXT_CTRL", source)),
        }
    }

    /// All controls, compound ones as well.
    ///
    /// # Errors
    /// The driver says something else than that there are no more.
    pub fn controls(&self) -> Result<Vec<ControlInfo>, Error> {
        let mut found: Vec<ControlInfo> = Vec::new();
        let next = V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND;
        while let Some(control) = self.control(found.last().map_or(0, |last| last.id) | next)? {
            if found.last().is_some_and(|last| last.id >= control.id) {
                let what = format!("control {:#x} again", control.id);
                return Err(self.node.nonsense("VIDIOC_QUERY_EXT_CTRL", what));
            }
            found.push(control);
        }
        Ok(found)
    }

    /// The entries that a menu control has, as bits; none when there is no such control.
    ///
    /// # Errors
    /// The driver refuses to tell.
    pub fn menu(&self, id: u32) -> Result<Option<u64>, Error> {
        let Some(control) = self.control(id)? else {
            return Ok(None);
        };
        let mut entries = 0;
        for index in control.minimum.max(0)..=control.maximum.min(63) {
            let mut entry = v4l2_querymenu::new_zeroed();
            (entry.id, entry.index) = (id, index as u32);
            // SAFETY: the ioctl takes this struct, which holds no address.
            match unsafe { self.node.call(VIDIOC_QUERYMENU, &mut entry) } {
                Ok(()) => entries |= 1 << index,
                Err(Errno::INVAL) => {}
                Err(source) => return Err(self.node.failed("VIDIOC_QUERYMENU", source)),
            }
        }
        Ok(Some(entries))
    }

    /// What a queue can do: `V4L2_BUF_CAP_*`. It must have no buffers.
    ///
    /// # Errors
    /// It has buffers and they are in use.
    pub fn capabilities(&self, queue: Queue) -> Result<u32, Error> {
        let mut buffers = v4l2_requestbuffers::new_zeroed();
        (buffers.r#type, buffers.memory) = (queue.buf_type(), V4L2_MEMORY_MMAP);
        // SAFETY: the ioctl takes this struct, which holds no address.
        unsafe { self.node.call(VIDIOC_REQBUFS, &mut buffers) }
            .map_err(|source| self.node.failed("VIDIOC_REQBUFS", source))?;
        Ok(buffers.capabilities)
    }

    /// Waits until the device has something done, or the time is over.
    ///
    /// # Errors
    /// The wait fails.
    pub fn wait(&self, timeout: Duration) -> Result<Ready, Error> {
        let done = self.node.wait(PollFlags::IN | PollFlags::OUT, timeout)?;
        let broken = done.intersects(PollFlags::ERR | PollFlags::HUP);
        Ok(Ready {
            picture: broken || done.contains(PollFlags::IN),
            input: broken || done.contains(PollFlags::OUT),
        })
    }

    /// The format of a queue.
    ///
    /// # Errors
    /// The driver refuses to tell, or has more than one memory plane.
    pub fn format(&self, queue: Queue) -> Result<Format, Error> {
        let mut format = v4l2_format::new_zeroed();
        format.r#type = queue.buf_type();
        // SAFETY: the ioctl takes this struct, which holds no address for this type of queue.
        unsafe { self.node.call(VIDIOC_G_FMT, &mut format) }
            .map_err(|source| self.node.failed("VIDIOC_G_FMT", source))?;
        self.single_plane(&format)
    }

    /// Sets the format of a queue and returns what the driver made of it.
    ///
    /// # Errors
    /// The queue has buffers and this change needs new ones, or the driver has more than one
    /// memory plane for this format.
    pub fn set_format(&self, queue: Queue, format: Format) -> Result<Format, Error> {
        let mut format = format.to_uapi(queue);
        // SAFETY: the ioctl takes this struct, which holds no address for this type of queue.
        unsafe { self.node.call(VIDIOC_S_FMT, &mut format) }
            .map_err(|source| self.node.failed("VIDIOC_S_FMT", source))?;
        self.single_plane(&format)
    }

    fn single_plane(&self, format: &v4l2_format) -> Result<Format, Error> {
        Format::from_uapi(format)
            .ok_or_else(|| self.node.unsuited("its format has several memory planes"))
    }

    /// Sets controls, for good or in a request.
    ///
    /// # Errors
    /// One of them is refused, which the error names, or all of them.
    pub fn set_controls(
        &self,
        request: Option<&Request>,
        controls: &[Control<'_>],
    ) -> Result<(), Error> {
        // In place: controls are set for each access unit, and nothing is allocated for one.
        let mut rows = [v4l2_ext_control::new_zeroed(); MAX_CONTROLS];
        let Some(used) = rows.get_mut(..controls.len()) else {
            let what = format!("{} controls at once", controls.len());
            return Err(self.node.unsuited(what));
        };
        for (row, control) in used.iter_mut().zip(controls) {
            *row = ext_control(control);
        }
        let mut all = v4l2_ext_controls::new_zeroed();
        all.count = controls.len() as u32;
        all.controls = rows.as_mut_ptr().expose_provenance();
        if let Some(request) = request {
            all.which = V4L2_CTRL_WHICH_REQUEST_VAL;
            all.request_fd = request.as_fd().as_raw_fd();
        }
        // SAFETY: the ioctl takes this struct, which says how many rows lie at its address; the
        // rows hold integers, or address and length of bytes that `controls` borrows. Values are
        // only read when they are set.
        unsafe { self.node.call(VIDIOC_S_EXT_CTRLS, &mut all) }.map_err(|source| Error::Control {
            node: self.node.path().into(),
            control: controls.get(all.error_idx as usize).map(|one| one.id),
            source,
        })
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.node.as_fd()
    }
}

fn ext_control(control: &Control<'_>) -> v4l2_ext_control {
    let (size, value64) = match control.value {
        Value::Integer(value) => (0, i64::from(value)),
        Value::Bytes(bytes) => (bytes.len(), bytes.as_ptr().expose_provenance() as i64),
    };
    v4l2_ext_control {
        id: control.id,
        size: size as u32,
        reserved2: [0],
        value64,
    }
}

fn frame_sizes(sizes: &v4l2_frmsizeenum) -> FrameSizes {
    let range = &sizes.stepwise;
    match sizes.r#type {
        // A single size is a union member of two words.
        V4L2_FRMSIZE_TYPE_DISCRETE => FrameSizes {
            width: (range.min_width, range.min_width, 1),
            height: (range.max_width, range.max_width, 1),
        },
        _ => FrameSizes {
            width: (range.min_width, range.max_width, range.step_width),
            height: (range.min_height, range.max_height, range.step_height),
        },
    }
}

fn control_info(query: &v4l2_query_ext_ctrl) -> ControlInfo {
    ControlInfo {
        id: query.id,
        kind: query.r#type,
        name: text(&query.name),
        minimum: query.minimum,
        maximum: query.maximum,
        default: query.default_value,
        flags: query.flags,
        element_size: query.elem_size,
        elements: query.elems,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_survives_the_way_to_the_kernel_and_back() {
        let format = Format {
            fourcc: V4L2_PIX_FMT_NV12,
            width: 1920,
            height: 1088,
            stride: 1920,
            size: 1920 * 1088 * 3 / 2,
        };
        let uapi = format.to_uapi(Queue::Capture);
        assert_eq!(uapi.r#type, V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE);
        assert_eq!(Format::from_uapi(&uapi), Some(format));
        let mut two = uapi;
        // `num_planes` is the byte after the eight planes.
        two.fmt.as_mut_bytes()[180] = 2;
        assert_eq!(Format::from_uapi(&two), None);
    }

    #[test]
    fn sizes_keep_to_their_steps() {
        let range = v4l2_frmsize_stepwise {
            min_width: 16,
            max_width: 64,
            step_width: 16,
            min_height: 8,
            max_height: 32,
            step_height: 1,
        };
        let mut sizes = v4l2_frmsizeenum::new_zeroed();
        sizes.stepwise = range;
        let rows = [
            (V4L2_FRMSIZE_TYPE_STEPWISE, 32, 9, true),
            (V4L2_FRMSIZE_TYPE_STEPWISE, 33, 9, false),
            (V4L2_FRMSIZE_TYPE_STEPWISE, 80, 9, false),
            (V4L2_FRMSIZE_TYPE_STEPWISE, 16, 7, false),
            (V4L2_FRMSIZE_TYPE_DISCRETE, 16, 64, true),
            (V4L2_FRMSIZE_TYPE_DISCRETE, 16, 32, false),
        ];
        for (kind, width, height, expected) in rows {
            sizes.r#type = kind;
            let holds = frame_sizes(&sizes).holds(width, height);
            assert_eq!(holds, expected, "{kind} {width}x{height}");
        }
    }
}
