//! The decoders of this machine: what they say they decode, and memory that they can decode into.

use crate::codec;
use crate::edge::lock;
use crate::error::Error;
use crate::frame::{Frame, Layout};
use crate::va::*;
use rustix::io::Errno;
use std::path::Path;
use std::sync::{Arc, Mutex};
use v4l2::device::{Device, Format, FrameSizes, Queue, profile_menu};
use v4l2::find::DecoderNode;
use v4l2::media::MediaDevice;
use v4l2::queue::Memory;
use v4l2::sys::Kernel;
use v4l2::uapi::controls::{h264::*, mpeg2::*, vp8::*, vp9::*};
use v4l2::uapi::videodev2::*;

/// A profile, the entry of its codec's menu that a decoder must have if it has the menu, and the
/// pictures that its streams refer to at most.
#[rustfmt::skip]
const PROFILES: &[(VAProfile, i64, u32)] = &[
    (VAProfileMPEG2Simple, V4L2_MPEG_VIDEO_MPEG2_PROFILE_SIMPLE as i64, 2),
    (VAProfileMPEG2Main, V4L2_MPEG_VIDEO_MPEG2_PROFILE_MAIN as i64, 2),
    (VAProfileH264ConstrainedBaseline, V4L2_MPEG_VIDEO_H264_PROFILE_CONSTRAINED_BASELINE as i64, 16),
    (VAProfileH264Main, V4L2_MPEG_VIDEO_H264_PROFILE_MAIN as i64, 16),
    (VAProfileH264High, V4L2_MPEG_VIDEO_H264_PROFILE_HIGH as i64, 16),
    (VAProfileVP8Version0_3, V4L2_MPEG_VIDEO_VP8_PROFILE_0 as i64, 3),
    (VAProfileVP9Profile0, V4L2_MPEG_VIDEO_VP9_PROFILE_0 as i64, 8),
];

/// Frame sizes of a driver that does not tell any.
const ANY_SIZE: FrameSizes = FrameSizes {
    width: (16, 4096, 1),
    height: (16, 4096, 1),
};

/// A profile that a decoder has.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The profile.
    pub profile: VAProfile,
    /// `V4L2_PIX_FMT_*` of its data.
    pub coded: u32,
    /// Pictures that its streams refer to at most.
    pub references: u32,
    /// The sizes.
    pub sizes: Vec<FrameSizes>,
}

impl Offer {
    /// Whether pictures of this size are decoded.
    pub fn takes(&self, (width, height): (u32, u32)) -> bool {
        let mut sizes = self.sizes.iter();
        sizes.any(|sizes| sizes.holds(width, height))
    }

    /// Smallest and largest width and height.
    pub fn bounds(&self) -> [(u32, u32); 2] {
        let of = |side: fn(&FrameSizes) -> (u32, u32, u32)| {
            let least = self.sizes.iter().map(|sizes| side(sizes).0).min();
            let most = self.sizes.iter().map(|sizes| side(sizes).1).max();
            (least.unwrap_or(0), most.unwrap_or(0))
        };
        [of(|sizes| sizes.width), of(|sizes| sizes.height)]
    }
}

/// The size that a decoder is told for pictures of a size: MPEG-2 and H.264 code whole macroblocks.
pub fn coded_size(coded: u32, (width, height): (u32, u32)) -> (u32, u32) {
    match coded {
        V4L2_PIX_FMT_MPEG2_SLICE | V4L2_PIX_FMT_H264_SLICE => {
            (width.next_multiple_of(16), height.next_multiple_of(16))
        }
        _ => (width, height),
    }
}

/// One decoder.
#[derive(Debug)]
pub struct Decoder {
    kernel: Arc<dyn Kernel>,
    node: DecoderNode,
    /// What it decodes.
    pub offers: Vec<Offer>,
    /// A picture can wait for its second field in the decoder.
    pub holds: bool,
    /// It decodes into memory that it has not allocated itself.
    pub imports: bool,
    /// Buffers can be added to those that it has.
    pub adds_buffers: bool,
    /// The node on which memory is allocated; it never decodes.
    donor: Mutex<Option<Device>>,
}

impl Decoder {
    /// Asks a decoder what it can do.
    ///
    /// # Errors
    /// It cannot be opened, or does not answer as decoders do.
    pub fn probe(kernel: &Arc<dyn Kernel>, node: DecoderNode) -> Result<Decoder, Error> {
        let device = Device::open(Arc::clone(kernel), &node.video)?;
        let coded = device.formats(Queue::Output)?;
        let mut offers = Vec::new();
        for (profile, entry, references) in PROFILES {
            let Some(coded) = codec::coded(*profile).filter(|one| coded.contains(one)) else {
                continue;
            };
            let menu = match profile_menu(coded) {
                Some(id) => device.menu(id)?,
                None => None,
            };
            let has_profile = menu.is_none_or(|entries| entries & 1 << entry != 0);
            if !has_profile || !gives_nv12(&device, coded)? {
                continue;
            }
            let mut sizes = device.frame_sizes(coded)?;
            if sizes.is_empty() {
                sizes.push(ANY_SIZE);
            }
            offers.push(Offer {
                profile: *profile,
                coded,
                references: *references,
                sizes,
            });
        }
        let holds = device.capabilities(Queue::Output)?;
        let imports = device.capabilities(Queue::Capture)?;
        let raw = device.format(Queue::Capture);
        let adds = raw.and_then(|raw| device.create_buffers(Queue::Capture, Memory::Mmap, raw, 0));
        let decoder = Decoder {
            kernel: Arc::clone(kernel),
            node,
            offers,
            holds: holds & V4L2_BUF_CAP_SUPPORTS_M2M_HOLD_CAPTURE_BUF != 0,
            imports: imports & V4L2_BUF_CAP_SUPPORTS_DMABUF != 0,
            adds_buffers: adds.is_ok(),
            donor: Mutex::new(Some(device)),
        };
        crate::debug!(
            "{} ({}): profiles {:?}, second fields {}, memory of others {}, adding buffers {}",
            decoder.path().display(),
            decoder.node.driver,
            decoder.profiles().collect::<Vec<_>>(),
            decoder.holds,
            decoder.imports,
            decoder.adds_buffers,
        );
        Ok(decoder)
    }

    /// The video node's path.
    pub fn path(&self) -> &Path {
        &self.node.video
    }

    /// The driver's name.
    pub fn driver(&self) -> &str {
        &self.node.driver
    }

    /// The profiles that it decodes.
    pub fn profiles(&self) -> impl Iterator<Item = VAProfile> {
        self.offers.iter().map(|offer| offer.profile)
    }

    /// What it says of a profile.
    pub fn offer(&self, profile: VAProfile) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.profile == profile)
    }

    /// Opens its nodes for a stream.
    ///
    /// # Errors
    /// They cannot be opened.
    pub fn open(&self) -> Result<(Arc<Device>, MediaDevice), Error> {
        let device = Device::open(Arc::clone(&self.kernel), &self.node.video)?;
        let media = MediaDevice::open(Arc::clone(&self.kernel), &self.node.media)?;
        Ok((Arc::new(device), media))
    }

    /// Memory for a picture of a coded format, allocated by the decoder itself, so that it can
    /// decode into it. It belongs to no stream and outlives them all.
    ///
    /// # Errors
    /// The decoder has none, or does not take the size.
    pub fn allocate(&self, coded: u32, size: (u32, u32)) -> Result<Frame, Error> {
        let mut donor = lock(&self.donor);
        if let Some(device) = &*donor {
            match donate(device, coded, size) {
                // A daemon that was away, or a driver that frees no buffers that are exported:
                // a node that is opened anew has neither behind it.
                Err(error) if is_worn(&error) => *donor = None,
                done => return Ok(done?),
            }
        }
        let device = Device::open(Arc::clone(&self.kernel), &self.node.video)?;
        let frame = donate(&device, coded, size)?;
        *donor = Some(device);
        Ok(frame)
    }
}

fn is_worn(error: &v4l2::Error) -> bool {
    matches!(error.errno(), Some(Errno::NODEV | Errno::BUSY | Errno::IO))
}

fn donate(device: &Device, coded: u32, (width, height): (u32, u32)) -> Result<Frame, v4l2::Error> {
    let (width, height) = coded_size(coded, (width, height));
    let bytes = width.saturating_mul(height);
    device.set_format(Queue::Output, Format::coded(coded, width, height, bytes))?;
    let raw = Format {
        fourcc: V4L2_PIX_FMT_NV12,
        ..device.format(Queue::Capture)?
    };
    let raw = device.set_format(Queue::Capture, raw)?;
    device.request_buffers(Queue::Capture, Memory::Mmap, 1)?;
    let length = device.place(Queue::Capture, 0)?.length;
    let fd = device.export(Queue::Capture, 0)?;
    // The memory stays, the dma-buf holds it. Drivers of kernels before 4.20 refuse; the next frame
    // then finds the device busy and opens it anew.
    let freed = device.request_buffers(Queue::Capture, Memory::Mmap, 0);
    if let Err(error) = freed {
        crate::debug!("{}: {error}", device.path().display());
    }
    let layout = Layout {
        size: length,
        ..Layout::of(raw)
    };
    Ok(Frame::new(fd, layout))
}

/// Whether the pictures of a coded format can be had as NV12.
fn gives_nv12(device: &Device, coded: u32) -> Result<bool, Error> {
    let asked = Format::coded(coded, 640, 480, 640 * 480);
    match device.set_format(Queue::Output, asked) {
        Ok(set) if set.fourcc == coded => {}
        _ => return Ok(false),
    }
    Ok(device.formats(Queue::Capture)?.contains(&V4L2_PIX_FMT_NV12))
}
