//! libva's table of functions: each takes a client's pointers for what they are and calls the object
//! that does the work.
//!
//! Every entry of `va_backend.h` is there. Those that have nothing to do with decoding say that they
//! are not implemented, or that there are none of what they list.

use crate::driver::Driver;
use crate::edge::{Out, enter, list, list_mut};
use crate::error::Error;
use crate::image::Region;
use crate::surface::{LARGEST, Surface};
use crate::table::Kind;
use crate::va::backend::{VADriverContextP, VADriverVTable};
use crate::va::drm::*;
use crate::va::*;
use crate::{config, driver, export, image};
use std::ffi::{c_int, c_short, c_uchar, c_uint, c_ushort, c_void};
use std::ptr::NonNull;
use std::sync::Arc;

/// Writes functions of libva's table, and `fill`, which puts them there.
///
/// What stands in `|driver, a: A, …| body` is run between `edge::enter`'s guards. The body may take
/// it for granted that pointers are what `va_backend.h` says of them, or null.
macro_rules! entries {
    ($($name:ident = |$driver:ident $(, $argument:ident: $type:ty)*| $body:expr;)*) => {
        $(
            #[allow(non_snake_case)]
            unsafe extern "C" fn $name(display: VADriverContextP $(, $argument: $type)*) -> VAStatus {
                let body = |$driver: &Arc<Driver>| -> Result<(), Error> { $body };
                // SAFETY: libva calls with its own context.
                unsafe { enter(display, stringify!($name), body) }
            }
        )*

        /// Puts all functions into libva's table.
        pub fn fill(vtable: &mut VADriverVTable) {
            $(vtable.$name = Some($name);)*
        }
    };
}

entries! {
    vaQueryConfigProfiles = |driver, profiles: *mut VAProfile, count: *mut c_int| {
        let found = driver.profiles();
        // SAFETY: libva has told the client to make room for `max_profiles`.
        let (room, mut out) = unsafe { (list_mut(profiles, found.len())?, Out::new(count)?) };
        room.copy_from_slice(&found);
        out.set(found.len() as c_int);
        Ok(())
    };

    vaQueryConfigEntrypoints = |driver, profile: VAProfile, entries: *mut VAEntrypoint, count: *mut c_int| {
        if !driver.profiles().contains(&profile) {
            return Err(Error::Profile(profile));
        }
        // SAFETY: there is room for `max_entrypoints`.
        let (mut entry, mut out) = unsafe { (Out::new(entries)?, Out::new(count)?) };
        entry.set(VAEntrypointVLD);
        out.set(1);
        Ok(())
    };

    vaGetConfigAttributes = |driver, profile: VAProfile, entry: VAEntrypoint, attributes: *mut VAConfigAttrib, count: c_int| {
        let config = config::Config::new(driver, profile, entry)?;
        // SAFETY: the client's own array.
        for attribute in unsafe { list_mut(attributes, count)? } {
            attribute.value = config.attribute(attribute.r#type);
        }
        Ok(())
    };

    vaCreateConfig = |driver, profile: VAProfile, entry: VAEntrypoint, attributes: *mut VAConfigAttrib, count: c_int, id: *mut VAConfigID| {
        // SAFETY: the client's own array, and place for the id.
        let (attributes, mut id) = unsafe { (list(attributes, count)?, Out::new(id)?) };
        id.set(driver.create_config(profile, entry, attributes)?);
        Ok(())
    };

    vaDestroyConfig = |driver, id: VAConfigID| driver.configs.remove(id).map(drop);

    vaQueryConfigAttributes = |driver, id: VAConfigID, profile: *mut VAProfile, entry: *mut VAEntrypoint, attributes: *mut VAConfigAttrib, count: *mut c_int| {
        let config = driver.configs.get(id)?;
        let own = config.attributes();
        // SAFETY: there is room for `max_attributes`.
        unsafe {
            Out::new(profile)?.set(config.profile);
            Out::new(entry)?.set(VAEntrypointVLD);
            list_mut(attributes, own.len())?.copy_from_slice(&own);
            Out::new(count)?.set(own.len() as c_int);
        }
        Ok(())
    };

    vaQuerySurfaceAttributes = |driver, id: VAConfigID, attributes: *mut VASurfaceAttrib, count: *mut c_uint| {
        let own = driver.configs.get(id)?.surface_attributes();
        let asked = NonNull::new(count).ok_or(Error::parameter("no count of attributes"))?;
        // SAFETY: the client says there how many it has room for.
        let (room, mut out) = unsafe { (asked.read_unaligned() as usize, Out::new(count)?) };
        out.set(own.len() as c_uint);
        if attributes.is_null() {
            return Ok(());
        }
        if room < own.len() {
            return Err(Error::Full(Kind::Surface));
        }
        // SAFETY: as the client says.
        unsafe { list_mut(attributes, own.len())?.copy_from_slice(&own) };
        Ok(())
    };

    vaCreateSurfaces = |driver, width: c_int, height: c_int, format: c_int, count: c_int, ids: *mut VASurfaceID| {
        // SAFETY: the client's own array.
        let ids = unsafe { list_mut(ids, count)? };
        create_surfaces(driver, format as u32, (width as u32, height as u32), ids, &[])
    };

    vaCreateSurfaces2 = |driver, format: c_uint, width: c_uint, height: c_uint, ids: *mut VASurfaceID, count: c_uint, attributes: *mut VASurfaceAttrib, attribute_count: c_uint| {
        // SAFETY: the client's own arrays.
        let (ids, attributes) = unsafe { (list_mut(ids, count)?, list(attributes, attribute_count)?) };
        create_surfaces(driver, format, (width, height), ids, attributes)
    };

    vaDestroySurfaces = |driver, ids: *mut VASurfaceID, count: c_int| {
        // SAFETY: the client's own array.
        let ids = unsafe { list(ids, count)? };
        // What can be destroyed is, whatever stands beside it.
        let results = ids.iter().map(|id| driver.surfaces.remove(*id).map(drop));
        results.fold(Ok(()), Result::and)
    };

    vaCreateContext = |driver, config: VAConfigID, width: c_int, height: c_int, _flag: c_int, targets: *mut VASurfaceID, count: c_int, id: *mut VAContextID| {
        // SAFETY: the client's own array, and place for the id.
        let (targets, mut id) = unsafe { (list(targets, count)?, Out::new(id)?) };
        id.set(driver.create_context(config, (width, height), targets)?);
        Ok(())
    };

    vaDestroyContext = |driver, id: VAContextID| driver.destroy_context(id);

    vaCreateBuffer = |driver, context: VAContextID, kind: VABufferType, size: c_uint, count: c_uint, data: *mut c_void, id: *mut VABufferID| {
        driver.contexts.check(context)?;
        let length = size.checked_mul(count).ok_or(Error::parameter("a buffer of an impossible size"))?;
        // SAFETY: the client says that it gives as many bytes, if any, and place for the id.
        let (data, mut id) = unsafe {
            let bytes = NonNull::new(data.cast::<u8>());
            let bytes = bytes.map(|start| std::slice::from_raw_parts(start.as_ptr(), length as usize));
            (bytes, Out::new(id)?)
        };
        id.set(driver.buffers.create(kind, size, count, data)?);
        Ok(())
    };

    vaBufferSetNumElements = |driver, id: VABufferID, count: c_uint| {
        driver.buffers.get(id)?.set_count(count)
    };

    vaMapBuffer = |driver, id: VABufferID, address: *mut *mut c_void| {
        // SAFETY: the client's own place for an address.
        let mut out = unsafe { Out::new(address)? };
        out.set(driver.buffers.get(id)?.map()?.as_ptr().cast());
        Ok(())
    };

    vaMapBuffer2 = |driver, id: VABufferID, address: *mut *mut c_void, _flags: u32| {
        // SAFETY: the client's own place for an address.
        let mut out = unsafe { Out::new(address)? };
        out.set(driver.buffers.get(id)?.map()?.as_ptr().cast());
        Ok(())
    };

    vaUnmapBuffer = |driver, id: VABufferID| {
        driver.buffers.get(id)?.unmap();
        Ok(())
    };

    vaDestroyBuffer = |driver, id: VABufferID| driver.buffers.destroy(id);

    vaBufferInfo = |driver, id: VABufferID, kind: *mut VABufferType, size: *mut c_uint, count: *mut c_uint| {
        let buffer = driver.buffers.get(id)?;
        // SAFETY: the client's own places.
        unsafe {
            Out::new(kind)?.set(buffer.kind());
            Out::new(size)?.set(buffer.element());
            Out::new(count)?.set(buffer.count());
        }
        Ok(())
    };

    vaBeginPicture = |driver, context: VAContextID, target: VASurfaceID| {
        let context = driver.contexts.get(context)?;
        context.begin(driver.surfaces.get(target)?, target);
        Ok(())
    };

    vaRenderPicture = |driver, context: VAContextID, ids: *mut VABufferID, count: c_int| {
        let context = driver.contexts.get(context)?;
        // SAFETY: the client's own array.
        let ids = unsafe { list(ids, count)? };
        // What is wrong with one of them is said when the picture ends: none is given to the decoder
        // without it.
        context.render(&driver.buffers, ids)
    };

    vaEndPicture = |driver, context: VAContextID| driver.contexts.get(context)?.end(driver);

    vaSyncSurface = |driver, id: VASurfaceID| driver.sync(id, VA_TIMEOUT_INFINITE);

    vaSyncSurface2 = |driver, id: VASurfaceID, timeout_ns: u64| driver.sync(id, timeout_ns);

    // A decoder has taken what it needs of a buffer when `vaEndPicture` returns.
    vaSyncBuffer = |driver, id: VABufferID, _timeout_ns: u64| driver.buffers.get(id).map(drop);

    vaQuerySurfaceStatus = |driver, id: VASurfaceID, status: *mut VASurfaceStatus| {
        // SAFETY: the client's own place.
        let mut out = unsafe { Out::new(status)? };
        out.set(driver.status(id)?);
        Ok(())
    };

    vaQuerySurfaceError = |driver, id: VASurfaceID, _status: VAStatus, info: *mut *mut c_void| {
        driver.surfaces.get(id)?;
        // SAFETY: the client's own place.
        let mut out = unsafe { Out::new(info)? };
        out.set((&raw const NO_DETAILS).cast_mut().cast());
        Ok(())
    };

    vaQueryImageFormats = |_driver, formats: *mut VAImageFormat, count: *mut c_int| {
        let own = image::FORMATS;
        // SAFETY: there is room for `max_image_formats`.
        unsafe {
            list_mut(formats, own.len())?.copy_from_slice(&own);
            Out::new(count)?.set(own.len() as c_int);
        }
        Ok(())
    };

    vaCreateImage = |driver, format: *mut VAImageFormat, width: c_int, height: c_int, out: *mut VAImage| {
        // SAFETY: the client's own format, and place for the image.
        let (format, mut out) = unsafe { (list(format, 1)?, Out::new(out)?) };
        let fourcc = format.first().map_or(0, |format| format.fourcc);
        out.set(image::create(driver, fourcc, (width as u32, height as u32))?);
        Ok(())
    };

    vaDeriveImage = |driver, surface: VASurfaceID, out: *mut VAImage| {
        // SAFETY: the client's own place for the image.
        let mut out = unsafe { Out::new(out)? };
        out.set(image::derive(driver, surface)?);
        Ok(())
    };

    vaDestroyImage = |driver, id: VAImageID| image::destroy(driver, id);

    vaGetImage = |driver, surface: VASurfaceID, x: c_int, y: c_int, width: c_uint, height: c_uint, id: VAImageID| {
        let region = Region { at: (x, y), size: (width, height) };
        image::get(driver, surface, region, id)
    };

    vaPutImage = |driver, surface: VASurfaceID, id: VAImageID, from_x: c_int, from_y: c_int, from_width: c_uint, from_height: c_uint, x: c_int, y: c_int, width: c_uint, height: c_uint| {
        let from = Region { at: (from_x, from_y), size: (from_width, from_height) };
        let to = Region { at: (x, y), size: (width, height) };
        image::put(driver, surface, id, from, to)
    };

    vaExportSurfaceHandle = |driver, id: VASurfaceID, memory_type: u32, flags: u32, out: *mut c_void| {
        let place = NonNull::new(out).ok_or(Error::parameter("no place for a descriptor"))?;
        let described = export::export(driver, id, memory_type, flags)?;
        // SAFETY: the client says by the memory type which of the two it has made room for.
        unsafe {
            if memory_type == VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_3 {
                Out::new(place.as_ptr().cast())?.set(with_flags(&described));
            } else {
                Out::new(place.as_ptr().cast())?.set(described);
            }
        }
        Ok(())
    };

    // There are no subpictures and no attributes of displays.
    vaQuerySubpictureFormats = |_driver, _formats: *mut VAImageFormat, _flags: *mut c_uint, count: *mut c_uint| {
        // SAFETY: the client's own place.
        unsafe { Out::new(count)?.set(0) };
        Ok(())
    };

    vaQueryDisplayAttributes = |_driver, _attributes: *mut c_void, count: *mut c_int| {
        // SAFETY: the client's own place.
        unsafe { Out::new(count)?.set(0) };
        Ok(())
    };

    vaGetDisplayAttributes = |_driver, _attributes: *mut c_void, _count: c_int| Err(Error::Unimplemented);
    vaSetDisplayAttributes = |_driver, _attributes: *mut c_void, _count: c_int| Err(Error::Unimplemented);
    vaPutSurface = |_driver, _surface: VASurfaceID, _draw: *mut c_void, _x: c_short, _y: c_short, _width: c_ushort, _height: c_ushort, _to_x: c_short, _to_y: c_short, _to_width: c_ushort, _to_height: c_ushort, _clips: *mut c_void, _clip_count: c_uint, _flags: c_uint| Err(Error::Unimplemented);
    vaSetImagePalette = |_driver, _image: VAImageID, _palette: *mut c_uchar| Err(Error::Unimplemented);
    vaCreateSubpicture = |_driver, _image: VAImageID, _id: *mut VASubpictureID| Err(Error::Unimplemented);
    vaDestroySubpicture = |_driver, _id: VASubpictureID| Err(Error::Unimplemented);
    vaSetSubpictureImage = |_driver, _id: VASubpictureID, _image: VAImageID| Err(Error::Unimplemented);
    vaSetSubpictureChromakey = |_driver, _id: VASubpictureID, _min: c_uint, _max: c_uint, _mask: c_uint| Err(Error::Unimplemented);
    vaSetSubpictureGlobalAlpha = |_driver, _id: VASubpictureID, _alpha: f32| Err(Error::Unimplemented);
    vaAssociateSubpicture = |_driver, _id: VASubpictureID, _surfaces: *mut VASurfaceID, _count: c_int, _x: c_short, _y: c_short, _width: c_ushort, _height: c_ushort, _to_x: c_short, _to_y: c_short, _to_width: c_ushort, _to_height: c_ushort, _flags: c_uint| Err(Error::Unimplemented);
    vaDeassociateSubpicture = |_driver, _id: VASubpictureID, _surfaces: *mut VASurfaceID, _count: c_int| Err(Error::Unimplemented);
    vaLockSurface = |_driver, _surface: VASurfaceID, _fourcc: *mut c_uint, _luma: *mut c_uint, _u: *mut c_uint, _v: *mut c_uint, _luma_offset: *mut c_uint, _u_offset: *mut c_uint, _v_offset: *mut c_uint, _name: *mut c_uint, _buffer: *mut *mut c_void| Err(Error::Unimplemented);
    vaUnlockSurface = |_driver, _surface: VASurfaceID| Err(Error::Unimplemented);
    vaGetSurfaceAttributes = |_driver, _config: VAConfigID, _attributes: *mut VASurfaceAttrib, _count: c_uint| Err(Error::Unimplemented);
    vaAcquireBufferHandle = |_driver, _buffer: VABufferID, _info: *mut c_void| Err(Error::Unimplemented);
    vaReleaseBufferHandle = |_driver, _buffer: VABufferID| Err(Error::Unimplemented);
    vaCreateMFContext = |_driver, _id: *mut VAMFContextID| Err(Error::Unimplemented);
    vaMFAddContext = |_driver, _id: VAMFContextID, _context: VAContextID| Err(Error::Unimplemented);
    vaMFReleaseContext = |_driver, _id: VAMFContextID, _context: VAContextID| Err(Error::Unimplemented);
    vaMFSubmit = |_driver, _id: VAMFContextID, _contexts: *mut VAContextID, _count: c_int| Err(Error::Unimplemented);
    vaCreateBuffer2 = |_driver, _context: VAContextID, _kind: VABufferType, _width: c_uint, _height: c_uint, _unit: *mut c_uint, _pitch: *mut c_uint, _id: *mut VABufferID| Err(Error::Unimplemented);
    vaQueryProcessingRate = |_driver, _config: VAConfigID, _parameters: *mut c_void, _rate: *mut c_uint| Err(Error::Unimplemented);
    vaCopy = |_driver, _to: *mut c_void, _from: *mut c_void, _option: c_uint| Err(Error::Unimplemented);

    vaTerminate = |driver| {
        driver::forget(driver);
        driver.finish();
        Ok(())
    };
}

/// The list of damaged macroblocks that `vaQuerySurfaceError` gives: its end.
static NO_DETAILS: VASurfaceDecodeMBErrors = VASurfaceDecodeMBErrors {
    status: -1,
    start_mb: 0,
    end_mb: 0,
    decode_error_type: 0,
    num_mb: 0,
    va_reserved: [0; 3],
};

fn with_flags(described: &VADRMPRIMESurfaceDescriptor) -> VADRMPRIME3SurfaceDescriptor {
    VADRMPRIME3SurfaceDescriptor {
        fourcc: described.fourcc,
        width: described.width,
        height: described.height,
        num_objects: described.num_objects,
        objects: described.objects,
        num_layers: described.num_layers,
        layers: described.layers,
        flags: 0,
        reserved: [0; 7],
        _padding0: 0,
    }
}

fn create_surfaces(
    driver: &Driver,
    format: u32,
    (width, height): (u32, u32),
    ids: &mut [VASurfaceID],
    attributes: &[VASurfaceAttrib],
) -> Result<(), Error> {
    if format != VA_RT_FORMAT_YUV420 {
        return Err(Error::RtFormat(format));
    }
    let is_possible = |side| (1..=LARGEST).contains(&side);
    if !is_possible(width) || !is_possible(height) {
        return Err(Error::Size(width, height));
    }
    let wanted = Wanted::of(attributes)?;
    for place in 0..ids.len() {
        let made = wanted.surface(place, (width, height));
        match made.and_then(|surface| driver.surfaces.insert(Arc::new(surface))) {
            Ok(id) => ids[place] = id,
            Err(error) => {
                // All of them or none.
                for id in &ids[..place] {
                    driver.surfaces.remove(*id)?;
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

/// What a client wants of new surfaces.
#[derive(Debug)]
struct Wanted {
    memory: u32,
    descriptors: Option<NonNull<c_void>>,
}

impl Wanted {
    fn of(attributes: &[VASurfaceAttrib]) -> Result<Wanted, Error> {
        let mut wanted = Wanted {
            memory: VA_SURFACE_ATTRIB_MEM_TYPE_VA,
            descriptors: None,
        };
        for attribute in attributes {
            let value = attribute.value.value;
            let (integer, address) = (value as u32, value as usize);
            let refused = Error::Attribute {
                kind: attribute.r#type,
                value,
            };
            match attribute.r#type {
                VASurfaceAttribPixelFormat if integer == VA_FOURCC_NV12 => {}
                VASurfaceAttribMemoryType => wanted.memory = integer,
                VASurfaceAttribExternalBufferDescriptor => {
                    let place = std::ptr::with_exposed_provenance_mut::<c_void>(address);
                    wanted.descriptors = NonNull::new(place);
                }
                VASurfaceAttribUsageHint | VASurfaceAttribNone => {}
                VASurfaceAttribDRMFormatModifiers => {
                    let list = std::ptr::with_exposed_provenance(address);
                    // SAFETY: the client gives the address of such a list with this attribute.
                    if !unsafe { takes_linear(list)? } {
                        return Err(refused);
                    }
                }
                // Sizes that a client repeats from an answer.
                VASurfaceAttribMinWidth
                | VASurfaceAttribMaxWidth
                | VASurfaceAttribMinHeight
                | VASurfaceAttribMaxHeight => {}
                _ => return Err(refused),
            }
        }
        let is_known =
            wanted.memory == VA_SURFACE_ATTRIB_MEM_TYPE_VA || export::is_prime(wanted.memory);
        if !is_known {
            return Err(Error::MemoryType(wanted.memory));
        }
        Ok(wanted)
    }

    fn surface(&self, place: usize, size: (u32, u32)) -> Result<Surface, Error> {
        if self.memory == VA_SURFACE_ATTRIB_MEM_TYPE_VA {
            return Ok(Surface::new(size));
        }
        let start = self
            .descriptors
            .ok_or(Error::parameter("memory of no descriptor"))?;
        // SAFETY: the client says by the memory type what it gives the address of, one for each
        // surface; the larger struct begins like the smaller one.
        let descriptor = unsafe {
            let is_larger = self.memory == VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_3;
            let step = if is_larger {
                size_of::<VADRMPRIME3SurfaceDescriptor>()
            } else {
                size_of::<VADRMPRIMESurfaceDescriptor>()
            };
            let descriptor = start.as_ptr().byte_add(place * step);
            descriptor
                .cast::<VADRMPRIMESurfaceDescriptor>()
                .read_unaligned()
        };
        export::import(&descriptor)
    }
}

/// Whether a list of modifiers has the one that there is.
///
/// # Safety
/// `list` is null, or a list of modifiers that is as long as it says.
unsafe fn takes_linear(modifiers: *const VADRMFormatModifierList) -> Result<bool, Error> {
    // SAFETY: the caller's word.
    let lists = unsafe { list(modifiers, 1)? };
    let Some(given) = lists.first() else {
        return Ok(false);
    };
    let start = std::ptr::with_exposed_provenance::<u64>(given.modifiers);
    // SAFETY: the caller's word.
    let modifiers = unsafe { list(start, given.num_modifiers)? };
    Ok(modifiers.contains(&LINEAR))
}
