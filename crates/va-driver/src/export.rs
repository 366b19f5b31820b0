//! Surfaces as dma-bufs, out and in.

use crate::driver::Driver;
use crate::edge::lock;
use crate::error::Error;
use crate::frame::{Frame, Layout, is_same};
use crate::surface::{LARGEST, Surface};
use crate::va::drm::*;
use crate::va::*;
use rustix::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};

/// Describes a surface and gives a descriptor of its memory away; does not wait for the picture.
///
/// # Errors
/// There is no such surface, no memory, or no such way of sharing it.
pub fn export(
    driver: &Driver,
    id: VASurfaceID,
    memory_type: u32,
    flags: u32,
) -> Result<VADRMPRIMESurfaceDescriptor, Error> {
    if !is_prime(memory_type) {
        return Err(Error::MemoryType(memory_type));
    }
    let composed = flags & VA_EXPORT_SURFACE_COMPOSED_LAYERS != 0;
    if composed && flags & VA_EXPORT_SURFACE_SEPARATE_LAYERS != 0 {
        return Err(Error::parameter("layers both composed and separate"));
    }
    let surface = driver.surfaces.get(id)?;
    let mut state = lock(&surface.state);
    let memory = driver.memory(&surface, &mut state)?;
    let fd = memory.hand_out()?;
    // Shown from now on without being exported again, whatever is decoded into it.
    state.is_pinned |= state.filled.is_none();
    drop(state);
    let layout = memory.layout();
    let mut descriptor = VADRMPRIMESurfaceDescriptor {
        fourcc: VA_FOURCC_NV12,
        width: surface.size.0,
        height: surface.size.1,
        num_objects: 1,
        objects: [NO_OBJECT; 4],
        num_layers: if composed { 1 } else { 2 },
        layers: [NO_LAYER; 4],
        _padding0: 0,
    };
    let planes = [layout.luma, layout.chroma];
    if composed {
        descriptor.layers[0] = layer(NV12, &planes);
    } else {
        descriptor.layers[0] = layer(R8, &planes[..1]);
        descriptor.layers[1] = layer(GR88, &planes[1..]);
    }
    descriptor.objects[0] = Object {
        fd: fd.into_raw_fd(),
        size: layout.size,
        drm_format_modifier: LINEAR,
    };
    Ok(descriptor)
}

/// Whether a memory type is one of the two that are described by layers.
pub fn is_prime(memory_type: u32) -> bool {
    matches!(
        memory_type,
        VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_2 | VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_3
    )
}

const NO_OBJECT: Object = Object {
    fd: 0,
    size: 0,
    drm_format_modifier: 0,
};

const NO_LAYER: Layer = Layer {
    drm_format: 0,
    num_planes: 0,
    object_index: [0; 4],
    offset: [0; 4],
    pitch: [0; 4],
};

fn layer(drm_format: u32, planes: &[(u32, u32)]) -> Layer {
    let mut layer = Layer {
        drm_format,
        num_planes: planes.len() as u32,
        ..NO_LAYER
    };
    for (at, (offset, pitch)) in planes.iter().enumerate() {
        (layer.offset[at], layer.pitch[at]) = (*offset, *pitch);
    }
    layer
}

/// A surface of memory that a client describes. The client keeps its descriptor.
///
/// # Errors
/// It is no NV12 in one linear piece, or does not lie in the memory.
pub fn import(descriptor: &VADRMPRIMESurfaceDescriptor) -> Result<Surface, Error> {
    let (planes, objects) = planes(descriptor)?;
    let [fd, other] = [
        object(descriptor, objects[0])?,
        object(descriptor, objects[1])?,
    ];
    // Chromium gives each plane a descriptor, of the same memory.
    if !is_same(fd.as_fd(), other.as_fd()) {
        return Err(Error::parameter("an imported surface of several memories"));
    }
    // What the client says of the size is not believed: a mapping beyond it would be a crash.
    let size = rustix::fs::seek(&fd, rustix::fs::SeekFrom::End(0))
        .map_err(|source| Error::parameter(format!("the size of an imported surface: {source}")))?;
    let layout = Layout {
        luma: planes[0],
        chroma: planes[1],
        size: u32::try_from(size).unwrap_or(u32::MAX),
    };
    let (width, height) = (descriptor.width, descriptor.height);
    let is_possible = |side| (1..=LARGEST).contains(&side);
    if !is_possible(width) || !is_possible(height) || !layout.holds(width, height) {
        let what = format!("an imported surface of {width}x{height} as {layout:?}");
        return Err(Error::parameter(what));
    }
    Ok(Surface::imported((width, height), Frame::new(fd, layout)))
}

/// A descriptor of our own for one of an imported surface's objects.
fn object(descriptor: &VADRMPRIMESurfaceDescriptor, index: u32) -> Result<OwnedFd, Error> {
    let objects = descriptor
        .objects
        .iter()
        .take(descriptor.num_objects as usize);
    let object = objects.clone().nth(index as usize);
    let object = object.ok_or(Error::parameter("an imported surface of no memory"))?;
    if !matches!(object.drm_format_modifier, LINEAR | INVALID) {
        let modifier = object.drm_format_modifier;
        let what = format!("an imported surface of modifier {modifier:#x}");
        return Err(Error::parameter(what));
    }
    if object.fd < 0 {
        return Err(Error::parameter("an imported surface without a descriptor"));
    }
    // SAFETY: the client lends the descriptor for the call, as VA-API has it; one that is closed
    // fails to be duplicated.
    let fd = unsafe { BorrowedFd::borrow_raw(object.fd) };
    rustix::io::fcntl_dupfd_cloexec(fd, 0)
        .map_err(|source| Error::parameter(format!("an imported descriptor: {source}")))
}

/// Offset and pitch of a plane.
type Plane = (u32, u32);

/// Luma and chroma, however they are put into layers, and the objects that they lie in.
fn planes(descriptor: &VADRMPRIMESurfaceDescriptor) -> Result<([Plane; 2], [u32; 2]), Error> {
    let [first, second, ..] = &descriptor.layers;
    let plane = |layer: &Layer, at: usize| (layer.offset[at], layer.pitch[at]);
    let index = |layer: &Layer, at: usize| layer.object_index[at];
    if descriptor.fourcc != VA_FOURCC_NV12 {
        return Err(Error::parameter("an imported surface that is not NV12"));
    }
    match (descriptor.num_layers, first.num_planes, second.num_planes) {
        (1, 2, _) => Ok((
            [plane(first, 0), plane(first, 1)],
            [index(first, 0), index(first, 1)],
        )),
        (2, 1, 1) => Ok((
            [plane(first, 0), plane(second, 0)],
            [index(first, 0), index(second, 0)],
        )),
        _ => Err(Error::parameter(
            "an imported surface whose layers are not NV12's",
        )),
    }
}
