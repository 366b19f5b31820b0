//! Images: pictures that a client reads and writes through a buffer. One that is derived of a surface
//! is the surface's memory; one that was made has its own, and parts are copied.

use crate::buffer::Memory;
use crate::copy::{Planes, Position, copy};
use crate::driver::Driver;
use crate::edge::lock;
use crate::error::Error;
use crate::surface::{LARGEST, Surface};
use crate::va::*;
use std::sync::Arc;
use v4l2::sys::Stretch;

/// The formats of images.
pub const FORMATS: [VAImageFormat; 2] = [format(VA_FOURCC_NV12), format(VA_FOURCC_I420)];

const fn format(fourcc: u32) -> VAImageFormat {
    VAImageFormat {
        fourcc,
        byte_order: VA_LSB_FIRST,
        bits_per_pixel: 12,
        depth: 0,
        red_mask: 0,
        green_mask: 0,
        blue_mask: 0,
        alpha_mask: 0,
        va_reserved: [0; 4],
    }
}

/// Strides are multiples of this.
const ALIGNMENT: u32 = 64;

/// An image.
#[derive(Debug)]
pub struct Image {
    image: VAImage,
}

/// Makes an image with memory of its own.
///
/// # Errors
/// The format is not known, or the size impossible.
pub fn create(driver: &Driver, fourcc: u32, size: (u32, u32)) -> Result<VAImage, Error> {
    let (width, height) = size;
    let is_possible = |side| (1..=LARGEST).contains(&side);
    if !is_possible(width) || !is_possible(height) {
        return Err(Error::parameter(format!("an image of {width}x{height}")));
    }
    let stride = width.next_multiple_of(2).next_multiple_of(ALIGNMENT);
    let luma = stride * height;
    let rows = height.div_ceil(2);
    let (count, pitches, offsets) = match fourcc {
        VA_FOURCC_NV12 => (2, [stride, stride, 0], [0, luma, 0]),
        VA_FOURCC_I420 => {
            let half = stride / 2;
            (3, [stride, half, half], [0, luma, luma + half * rows])
        }
        other => return Err(Error::ImageFormat(other)),
    };
    let bytes = luma + stride * rows;
    let buf = driver.buffers.create_image(bytes)?;
    insert(driver, fourcc, size, buf, (count, pitches, offsets, bytes))
}

/// Makes an image of a surface's memory.
///
/// # Errors
/// There is no such surface, or no memory.
pub fn derive(driver: &Driver, id: VASurfaceID) -> Result<VAImage, Error> {
    let surface = driver.surfaces.get(id)?;
    driver.settle(&surface, id)?;
    let memory = driver.memory(&surface, &mut lock(&surface.state))?;
    let layout = *memory.layout();
    let pitches = [layout.luma.1, layout.chroma.1, 0];
    let offsets = [layout.luma.0, layout.chroma.0, 0];
    let buf = driver.buffers.create_derived(memory.lend(), layout.size)?;
    let planes = (2, pitches, offsets, layout.size);
    insert(driver, VA_FOURCC_NV12, surface.size, buf, planes)
}

fn insert(
    driver: &Driver,
    fourcc: u32,
    (width, height): (u32, u32),
    buf: VABufferID,
    (num_planes, pitches, offsets, data_size): (u32, [u32; 3], [u32; 3], u32),
) -> Result<VAImage, Error> {
    let too_large = |_| Error::parameter(format!("an image of {width}x{height}"));
    let mut image = VAImage {
        image_id: VA_INVALID_ID,
        format: format(fourcc),
        buf,
        width: u16::try_from(width).map_err(too_large)?,
        height: u16::try_from(height).map_err(too_large)?,
        data_size,
        num_planes,
        pitches,
        offsets,
        num_palette_entries: 0,
        entry_bytes: 0,
        component_order: [0; 4],
        va_reserved: [0; 4],
    };
    match driver.images.insert(Arc::new(Image { image })) {
        Ok(id) => image.image_id = id,
        Err(error) => {
            driver.buffers.destroy(image.buf)?;
            return Err(error);
        }
    }
    Ok(image)
}

/// Forgets an image and its buffer.
///
/// # Errors
/// There is no such image.
pub fn destroy(driver: &Driver, id: VAImageID) -> Result<(), Error> {
    let image = driver.images.remove(id)?;
    // A client may have destroyed the buffer by itself.
    let _ = driver.buffers.destroy(image.image.buf);
    Ok(())
}

/// A region: where it begins and what it has.
#[derive(Debug, Clone, Copy)]
pub struct Region {
    /// The upper left sample.
    pub at: (i32, i32),
    /// Samples and rows.
    pub size: (u32, u32),
}

impl Region {
    /// Where it begins, if it lies in a picture of `size`.
    fn within(&self, size: (u32, u32), of: &str) -> Result<Position, Error> {
        let side = |start: i32, length: u32, all: u32| {
            let start = u32::try_from(start).ok()?;
            let end = start.checked_add(length)?;
            (end <= all).then_some(start)
        };
        let x = side(self.at.0, self.size.0, size.0);
        let y = side(self.at.1, self.size.1, size.1);
        let outside = || Error::parameter(format!("{self:?} is not in {of} of {size:?}"));
        x.zip(y).ok_or_else(outside)
    }
}

/// Copies a region of a surface to the upper left of an image. Where a stream became smaller in the
/// middle, the surface's memory may be smaller than the surface; what is there is copied.
///
/// # Errors
/// It lies outside of one of them, or the surface has no picture.
pub fn get(
    driver: &Driver,
    id: VASurfaceID,
    region: Region,
    image: VAImageID,
) -> Result<(), Error> {
    let (surface, image) = (driver.surfaces.get(id)?, driver.images.get(image)?);
    let at = region.within(surface.size, "a surface")?;
    let whole = Region {
        at: (0, 0),
        ..region
    };
    let to = whole.within(image.size(), "an image")?;
    driver.settle(&surface, id)?;
    let memory = driver.memory(&surface, &mut lock(&surface.state))?;
    let (columns, rows) = memory.layout().extent();
    let size = (
        region.size.0.min(columns.saturating_sub(at.0)),
        region.size.1.min(rows.saturating_sub(at.1)),
    );
    memory.sync(true);
    let done = memory
        .planes()
        .and_then(|planes| image.with_planes(driver, |own| copy(&planes, at, own, to, size)));
    memory.sync(false);
    done
}

/// Copies a region of an image to a region of a surface of the same size.
///
/// # Errors
/// One of them lies outside, or they differ in size.
pub fn put(
    driver: &Driver,
    id: VASurfaceID,
    image: VAImageID,
    from: Region,
    to: Region,
) -> Result<(), Error> {
    let (surface, image) = (driver.surfaces.get(id)?, driver.images.get(image)?);
    if from.size != to.size {
        return Err(Error::parameter("vaPutImage does not scale"));
    }
    let source = from.within(image.size(), "an image")?;
    let target = to.within(surface.size, "a surface")?;
    driver.settle(&surface, id)?;
    let memory = writable(driver, &surface)?;
    memory.sync(true);
    let done = memory.planes().and_then(|planes| {
        image.with_planes(driver, |own| copy(own, source, &planes, target, from.size))
    });
    memory.sync(false);
    done
}

/// The memory of a surface, to be written by the client: another one with the same picture where a
/// consumer still looks at it.
fn writable(driver: &Driver, surface: &Surface) -> Result<Arc<crate::frame::Frame>, Error> {
    let mut state = lock(&surface.state);
    let memory = driver.memory(surface, &mut state)?;
    if state.is_pinned || !memory.is_held() {
        return Ok(memory);
    }
    let other = Arc::new(driver.allocate(surface.size)?);
    surface.copy(&memory, &other)?;
    state.memory = Some(Arc::clone(&other));
    Ok(other)
}

impl Image {
    fn size(&self) -> (u32, u32) {
        (self.image.width.into(), self.image.height.into())
    }

    /// Lends the image's planes.
    fn with_planes(
        &self,
        driver: &Driver,
        body: impl FnOnce(&Planes<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let buffer = driver.buffers.get(self.image.buf)?;
        let memory: &Stretch = match buffer.memory() {
            Memory::Heap(heap) => heap,
            Memory::Frame(loan) => loan.frame().mapping()?,
        };
        let place = |plane: usize| {
            let (offset, pitch) = (self.image.offsets[plane], self.image.pitches[plane]);
            (offset as usize, pitch as usize)
        };
        body(&Planes {
            memory,
            fourcc: self.image.format.fourcc,
            places: [0, 1, 2].map(place),
        })
    }
}
