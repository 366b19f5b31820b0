//! A client of the driver without libva: it calls the functions that the driver put into the table,
//! over the decoder that `v4l2::fake` is, or those of this machine. For tests and fuzzing; ids, sizes
//! and bytes may be anything, pointers are always right.

pub mod kernels;

use crate::va::backend::{VADriverContext, VADriverContextP, VADriverVTable};
use crate::va::dec::{VAPictureParameterBufferMPEG2, VASliceParameterBufferMPEG2};
use crate::va::drm::*;
use crate::va::*;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ffi::{CStr, c_char, c_int, c_uint};
use std::path::Path;
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::{Arc, Mutex, PoisonError};
use v4l2::fake::{Fake, Habits};
use v4l2::find::DecoderNode;
use v4l2::sys::{Kernel, Linux, Mapping};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// What a call answers.
pub type Answer<T> = Result<T, VAStatus>;

/// An initialised display over a kernel.
pub struct Client<K = Fake> {
    context: Box<VADriverContext>,
    // The driver's table; `context` has its address.
    vtable: Box<VADriverVTable>,
    /// The kernel, that is the decoder where it is a fake.
    pub fake: Arc<K>,
}

// SAFETY: libva lets any thread call with a display, and so does the driver; nothing here is
// written after the display was initialised.
unsafe impl<K: Send + Sync> Send for Client<K> {}
// SAFETY: as above.
unsafe impl<K: Send + Sync> Sync for Client<K> {}

/// What the driver told its user through libva's callbacks.
static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

unsafe extern "C" fn tell(_: VADriverContextP, text: *const c_char) {
    // SAFETY: libva's callbacks are given a text that ends with a zero.
    let text = unsafe { CStr::from_ptr(text) };
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.len() < 1000 {
        told.push(text.to_string_lossy().into_owned());
    }
}

/// Whether the user was told of something that has `part` in it.
pub fn was_told(part: &str) -> bool {
    let told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    told.iter().any(|text| text.contains(part))
}

/// Calls an entry of the table with the display.
macro_rules! call {
    ($client:expr, $entry:ident $(, $argument:expr)*) => {{
        let entry = $client.vtable.$entry.expect("the driver fills the whole table");
        // SAFETY: the display was initialised and outlives the call; what addresses there are among
        // the arguments are those of memory that the caller has, as long as the counts beside them.
        let status = unsafe { entry($client.display() $(, $argument)*) };
        if status == VA_STATUS_SUCCESS { Ok(()) } else { Err(status) }
    }};
}

impl Client {
    /// A display with one decoder.
    ///
    /// # Errors
    /// The driver could not be initialised.
    pub fn new(habits: Habits) -> Answer<Client> {
        let fake = Arc::new(Fake::with(habits));
        let kernel: Arc<dyn Kernel> = Arc::clone(&fake) as Arc<dyn Kernel>;
        Client::over(fake, &kernel, None)
    }

    /// A display with the decoder of a fake, called through another kernel; `only` is what
    /// `KINORA_VA_DEVICE` says.
    ///
    /// # Errors
    /// The driver could not be initialised.
    pub fn over(fake: Arc<Fake>, kernel: &Arc<dyn Kernel>, only: Option<&Path>) -> Answer<Client> {
        let node = DecoderNode {
            media: "/dev/media0".into(),
            video: "/dev/video0".into(),
            driver: "fake".into(),
            model: "fake".into(),
        };
        Client::made(fake, kernel, || vec![node], only)
    }
}

impl Client<Linux> {
    /// A display with the decoders that this machine has.
    ///
    /// # Errors
    /// The driver could not be initialised.
    pub fn of_system() -> Answer<Client<Linux>> {
        Client::of_kernel(Arc::new(Linux))
    }
}

impl<K: Kernel + 'static> Client<K> {
    /// A display with the decoders that this machine has, called through another kernel.
    ///
    /// # Errors
    /// The driver could not be initialised.
    pub fn of_kernel(own: Arc<K>) -> Answer<Client<K>> {
        let kernel: Arc<dyn Kernel> = Arc::clone(&own) as Arc<dyn Kernel>;
        let find = || v4l2::find::decoders(&kernel, Path::new("/"));
        Client::made(own, &kernel, find, None)
    }
}

impl<K: Kernel + 'static> Client<K> {
    /// A display with these decoders, or the one of them whose node is named.
    ///
    /// # Errors
    /// The driver could not be initialised.
    pub fn of_nodes(own: Arc<K>, nodes: &[DecoderNode], only: Option<&Path>) -> Answer<Client<K>> {
        let kernel: Arc<dyn Kernel> = Arc::clone(&own) as Arc<dyn Kernel>;
        Client::made(own, &kernel, || nodes.to_vec(), only)
    }
}

impl<K> Client<K> {
    fn made(
        fake: Arc<K>,
        kernel: &Arc<dyn Kernel>,
        find: impl FnOnce() -> Vec<DecoderNode>,
        only: Option<&Path>,
    ) -> Answer<Client<K>> {
        let zeroes = VADriverVTable::default();
        let mut vtable = Box::new(zeroes);
        let mut context = Box::new(VADriverContext::of(&raw mut *vtable, Some(tell)));
        // SAFETY: the context is alive and has a table; both are boxed, so they stay where they are.
        let status = unsafe { crate::initialise(&raw mut *context, kernel, find, only) };
        if status != VA_STATUS_SUCCESS {
            return Err(status);
        }
        Ok(Client {
            context,
            vtable,
            fake,
        })
    }

    fn display(&self) -> VADriverContextP {
        (&raw const *self.context).cast_mut()
    }

    /// How many entries of the table the driver has left empty.
    pub fn missing_entries(&self) -> usize {
        let bytes = size_of::<VADriverVTable>() - size_of_val(&self.vtable.reserved);
        let start: *const VADriverVTable = &raw const *self.vtable;
        // SAFETY: all of the table but its reserved end is pointers, or nulls where there is none,
        // which are as large as addresses.
        let entries = unsafe {
            std::slice::from_raw_parts(start.cast::<usize>(), bytes / size_of::<usize>())
        };
        entries.iter().filter(|entry| **entry == 0).count()
    }

    /// `vaTerminate`.
    ///
    /// # Errors
    /// The driver's.
    pub fn terminate(&self) -> Answer<()> {
        call!(self, vaTerminate)
    }

    /// `vaQueryConfigProfiles`.
    ///
    /// # Errors
    /// The driver's.
    pub fn profiles(&self) -> Answer<Vec<VAProfile>> {
        let mut profiles = vec![0; self.context.max_profiles as usize];
        let mut count = 0;
        call!(
            self,
            vaQueryConfigProfiles,
            profiles.as_mut_ptr(),
            &raw mut count
        )?;
        profiles.truncate(count as usize);
        Ok(profiles)
    }

    /// `vaQueryConfigEntrypoints`.
    ///
    /// # Errors
    /// The driver's.
    pub fn entry_points(&self, profile: VAProfile) -> Answer<Vec<VAEntrypoint>> {
        let mut entries = vec![0; self.context.max_entrypoints as usize];
        let mut count = 0;
        call!(
            self,
            vaQueryConfigEntrypoints,
            profile,
            entries.as_mut_ptr(),
            &raw mut count
        )?;
        entries.truncate(count as usize);
        Ok(entries)
    }

    /// `vaGetConfigAttributes` of one attribute.
    ///
    /// # Errors
    /// The driver's.
    pub fn attribute(&self, profile: VAProfile, kind: VAConfigAttribType) -> Answer<u32> {
        let mut attribute = VAConfigAttrib {
            r#type: kind,
            value: 0,
        };
        let entry = VAEntrypointVLD;
        call!(
            self,
            vaGetConfigAttributes,
            profile,
            entry,
            &raw mut attribute,
            1
        )?;
        Ok(attribute.value)
    }

    /// `vaCreateConfig`.
    ///
    /// # Errors
    /// The driver's.
    pub fn config(
        &self,
        profile: VAProfile,
        entry: VAEntrypoint,
        attributes: &mut [VAConfigAttrib],
    ) -> Answer<VAConfigID> {
        let (count, mut id) = (attributes.len() as c_int, 0);
        let attributes = attributes.as_mut_ptr();
        call!(
            self,
            vaCreateConfig,
            profile,
            entry,
            attributes,
            count,
            &raw mut id
        )?;
        Ok(id)
    }

    /// `vaDestroyConfig`.
    ///
    /// # Errors
    /// The driver's.
    pub fn destroy_config(&self, id: VAConfigID) -> Answer<()> {
        call!(self, vaDestroyConfig, id)
    }

    /// `vaQueryConfigAttributes`.
    ///
    /// # Errors
    /// The driver's.
    pub fn config_attributes(&self, id: VAConfigID) -> Answer<Vec<VAConfigAttrib>> {
        let none = VAConfigAttrib {
            r#type: 0,
            value: 0,
        };
        let mut attributes = vec![none; self.context.max_attributes as usize];
        let (mut profile, mut entry, mut count) = (0, 0, 0);
        call!(
            self,
            vaQueryConfigAttributes,
            id,
            &raw mut profile,
            &raw mut entry,
            attributes.as_mut_ptr(),
            &raw mut count
        )?;
        attributes.truncate(count as usize);
        Ok(attributes)
    }

    /// `vaQuerySurfaceAttributes`: how many there are, and as many as there is `room` for.
    ///
    /// # Errors
    /// The driver's.
    pub fn surface_attributes(
        &self,
        id: VAConfigID,
        room: Option<usize>,
    ) -> Answer<Vec<VASurfaceAttrib>> {
        let mut attributes = vec![VASurfaceAttrib::new_zeroed(); room.unwrap_or(0)];
        let mut count = attributes.len() as c_uint;
        let place = room.map_or(null_mut(), |_| attributes.as_mut_ptr());
        call!(self, vaQuerySurfaceAttributes, id, place, &raw mut count)?;
        attributes.resize(count as usize, VASurfaceAttrib::new_zeroed());
        Ok(attributes)
    }

    /// `vaCreateSurfaces`.
    ///
    /// # Errors
    /// The driver's.
    pub fn surfaces(&self, width: u32, height: u32, count: usize) -> Answer<Vec<VASurfaceID>> {
        let mut ids = vec![VA_INVALID_SURFACE; count];
        let format = VA_RT_FORMAT_YUV420;
        call!(
            self,
            vaCreateSurfaces2,
            format,
            width,
            height,
            ids.as_mut_ptr(),
            count as c_uint,
            null_mut(),
            0
        )?;
        Ok(ids)
    }

    /// `vaCreateSurfaces` of memory that there is: `memory` is put into the descriptor unless it
    /// names some already.
    ///
    /// # Errors
    /// The driver's.
    pub fn import(
        &self,
        descriptor: &VADRMPRIMESurfaceDescriptor,
        memory: Option<BorrowedFd<'_>>,
    ) -> Answer<VASurfaceID> {
        let mut descriptor = *descriptor;
        descriptor.objects[0].fd = memory.map_or(-1, |fd| fd.as_raw_fd());
        let address = (&raw mut descriptor).expose_provenance() as u64;
        let attribute = |kind, value_type, value| VASurfaceAttrib {
            r#type: kind,
            flags: VA_SURFACE_ATTRIB_SETTABLE,
            value: VAGenericValue {
                r#type: value_type,
                _padding0: 0,
                value,
            },
        };
        let mut attributes = [
            attribute(
                VASurfaceAttribMemoryType,
                VAGenericValueTypeInteger,
                VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_2.into(),
            ),
            attribute(
                VASurfaceAttribExternalBufferDescriptor,
                VAGenericValueTypePointer,
                address,
            ),
        ];
        let mut id = VA_INVALID_SURFACE;
        call!(
            self,
            vaCreateSurfaces2,
            VA_RT_FORMAT_YUV420,
            descriptor.width.max(1),
            descriptor.height.max(1),
            &raw mut id,
            1,
            attributes.as_mut_ptr(),
            attributes.len() as c_uint
        )?;
        Ok(id)
    }

    /// `vaDestroySurfaces`.
    ///
    /// # Errors
    /// The driver's.
    pub fn destroy_surfaces(&self, ids: &[VASurfaceID]) -> Answer<()> {
        let mut ids = ids.to_vec();
        call!(
            self,
            vaDestroySurfaces,
            ids.as_mut_ptr(),
            ids.len() as c_int
        )
    }

    /// `vaCreateContext`.
    ///
    /// # Errors
    /// The driver's.
    pub fn context(
        &self,
        config: VAConfigID,
        (width, height): (i32, i32),
        targets: &[VASurfaceID],
    ) -> Answer<VAContextID> {
        let (mut targets, mut id) = (targets.to_vec(), 0);
        let count = targets.len() as c_int;
        let targets = targets.as_mut_ptr();
        call!(
            self,
            vaCreateContext,
            config,
            width,
            height,
            1,
            targets,
            count,
            &raw mut id
        )?;
        Ok(id)
    }

    /// `vaDestroyContext`.
    ///
    /// # Errors
    /// The driver's.
    pub fn destroy_context(&self, id: VAContextID) -> Answer<()> {
        call!(self, vaDestroyContext, id)
    }

    /// `vaCreateBuffer` of elements of `element` bytes, as many as there are whole ones in `bytes`.
    ///
    /// # Errors
    /// The driver's.
    pub fn buffer(
        &self,
        context: VAContextID,
        kind: VABufferType,
        element: usize,
        bytes: &[u8],
    ) -> Answer<VABufferID> {
        let count = (bytes.len() / element.max(1)) as c_uint;
        let (mut bytes, mut id) = (bytes.to_vec(), 0);
        let data = bytes.as_mut_ptr().cast();
        call!(
            self,
            vaCreateBuffer,
            context,
            kind,
            element as c_uint,
            count,
            data,
            &raw mut id
        )?;
        Ok(id)
    }

    /// `vaCreateBuffer` of one element, without a copy here.
    ///
    /// # Errors
    /// The driver's.
    pub fn borrowed_buffer(
        &self,
        context: VAContextID,
        kind: VABufferType,
        bytes: &[u8],
    ) -> Answer<VABufferID> {
        let mut id = 0;
        // The driver only reads them.
        let data = bytes.as_ptr().cast_mut().cast();
        let size = bytes.len() as c_uint;
        call!(
            self,
            vaCreateBuffer,
            context,
            kind,
            size,
            1,
            data,
            &raw mut id
        )?;
        Ok(id)
    }

    /// `vaRenderPicture`, without a copy here.
    ///
    /// # Errors
    /// The driver's.
    pub fn render_borrowed(&self, context: VAContextID, ids: &mut [VABufferID]) -> Answer<()> {
        call!(
            self,
            vaRenderPicture,
            context,
            ids.as_mut_ptr(),
            ids.len() as c_int
        )
    }

    /// `vaCreateBuffer` without data.
    ///
    /// # Errors
    /// The driver's.
    pub fn empty_buffer(
        &self,
        context: VAContextID,
        kind: VABufferType,
        size: u32,
        count: u32,
    ) -> Answer<VABufferID> {
        let mut id = 0;
        call!(
            self,
            vaCreateBuffer,
            context,
            kind,
            size,
            count,
            null_mut(),
            &raw mut id
        )?;
        Ok(id)
    }

    /// `vaBufferSetNumElements`.
    ///
    /// # Errors
    /// The driver's.
    pub fn set_elements(&self, id: VABufferID, count: u32) -> Answer<()> {
        call!(self, vaBufferSetNumElements, id, count)
    }

    /// `vaBufferInfo`: type, bytes of an element, elements.
    ///
    /// # Errors
    /// The driver's.
    pub fn buffer_info(&self, id: VABufferID) -> Answer<(VABufferType, u32, u32)> {
        let (mut kind, mut size, mut count) = (0, 0, 0);
        call!(
            self,
            vaBufferInfo,
            id,
            &raw mut kind,
            &raw mut size,
            &raw mut count
        )?;
        Ok((kind, size, count))
    }

    /// The bytes of a buffer, changed by `body` while it is mapped.
    ///
    /// # Errors
    /// The driver's.
    pub fn mapped<T>(&self, id: VABufferID, body: impl FnOnce(&mut [u8]) -> T) -> Answer<T> {
        let (_, size, count) = self.buffer_info(id)?;
        let mut address = null_mut();
        call!(self, vaMapBuffer, id, &raw mut address)?;
        let length = size as usize * count as usize;
        // SAFETY: the driver says that the buffer is mapped there and has so many bytes; nobody
        // else uses them.
        let bytes = unsafe { std::slice::from_raw_parts_mut(address.cast::<u8>(), length) };
        let result = body(bytes);
        call!(self, vaUnmapBuffer, id)?;
        Ok(result)
    }

    /// `vaDestroyBuffer`.
    ///
    /// # Errors
    /// The driver's.
    pub fn destroy_buffer(&self, id: VABufferID) -> Answer<()> {
        call!(self, vaDestroyBuffer, id)
    }

    /// `vaBeginPicture`.
    ///
    /// # Errors
    /// The driver's.
    pub fn begin(&self, context: VAContextID, surface: VASurfaceID) -> Answer<()> {
        call!(self, vaBeginPicture, context, surface)
    }

    /// `vaRenderPicture`.
    ///
    /// # Errors
    /// The driver's.
    pub fn render(&self, context: VAContextID, buffers: &[VABufferID]) -> Answer<()> {
        let mut buffers = buffers.to_vec();
        let count = buffers.len() as c_int;
        call!(self, vaRenderPicture, context, buffers.as_mut_ptr(), count)
    }

    /// `vaEndPicture`.
    ///
    /// # Errors
    /// The driver's.
    pub fn end(&self, context: VAContextID) -> Answer<()> {
        call!(self, vaEndPicture, context)
    }

    /// `vaSyncSurface`.
    ///
    /// # Errors
    /// The driver's.
    pub fn sync(&self, surface: VASurfaceID) -> Answer<()> {
        call!(self, vaSyncSurface, surface)
    }

    /// `vaSyncSurface2`.
    ///
    /// # Errors
    /// The driver's.
    pub fn sync_for(&self, surface: VASurfaceID, nanos: u64) -> Answer<()> {
        call!(self, vaSyncSurface2, surface, nanos)
    }

    /// `vaSyncBuffer`.
    ///
    /// # Errors
    /// The driver's.
    pub fn sync_buffer(&self, buffer: VABufferID) -> Answer<()> {
        call!(self, vaSyncBuffer, buffer, 1)
    }

    /// `vaQuerySurfaceStatus`.
    ///
    /// # Errors
    /// The driver's.
    pub fn status(&self, surface: VASurfaceID) -> Answer<VASurfaceStatus> {
        let mut status = 0;
        call!(self, vaQuerySurfaceStatus, surface, &raw mut status)?;
        Ok(status)
    }

    /// `vaQuerySurfaceError`: the status of the first record.
    ///
    /// # Errors
    /// The driver's.
    pub fn surface_error(&self, surface: VASurfaceID) -> Answer<i32> {
        let mut info = null_mut();
        let status = VA_STATUS_ERROR_DECODING_ERROR;
        call!(self, vaQuerySurfaceError, surface, status, &raw mut info)?;
        // SAFETY: the driver gives the address of at least one record.
        Ok(unsafe { info.cast::<VASurfaceDecodeMBErrors>().read() }.status)
    }

    /// `vaQueryImageFormats`.
    ///
    /// # Errors
    /// The driver's.
    pub fn image_formats(&self) -> Answer<Vec<u32>> {
        let mut formats =
            vec![VAImageFormat::new_zeroed(); self.context.max_image_formats as usize];
        let mut count = 0;
        call!(
            self,
            vaQueryImageFormats,
            formats.as_mut_ptr(),
            &raw mut count
        )?;
        formats.truncate(count as usize);
        Ok(formats.iter().map(|format| format.fourcc).collect())
    }

    /// `vaCreateImage`.
    ///
    /// # Errors
    /// The driver's.
    pub fn image(&self, fourcc: u32, width: i32, height: i32) -> Answer<VAImage> {
        let mut format = VAImageFormat::new_zeroed();
        format.fourcc = fourcc;
        let mut image = VAImage::new_zeroed();
        call!(
            self,
            vaCreateImage,
            &raw mut format,
            width,
            height,
            &raw mut image
        )?;
        Ok(image)
    }

    /// `vaDeriveImage`.
    ///
    /// # Errors
    /// The driver's.
    pub fn derive(&self, surface: VASurfaceID) -> Answer<VAImage> {
        let mut image = VAImage::new_zeroed();
        call!(self, vaDeriveImage, surface, &raw mut image)?;
        Ok(image)
    }

    /// `vaDestroyImage`.
    ///
    /// # Errors
    /// The driver's.
    pub fn destroy_image(&self, id: VAImageID) -> Answer<()> {
        call!(self, vaDestroyImage, id)
    }

    /// `vaGetImage`.
    ///
    /// # Errors
    /// The driver's.
    pub fn get_image(
        &self,
        surface: VASurfaceID,
        (x, y): (i32, i32),
        (width, height): (u32, u32),
        image: VAImageID,
    ) -> Answer<()> {
        call!(self, vaGetImage, surface, x, y, width, height, image)
    }

    /// `vaPutImage` without scaling.
    ///
    /// # Errors
    /// The driver's.
    pub fn put_image(
        &self,
        surface: VASurfaceID,
        image: VAImageID,
        (from_x, from_y): (i32, i32),
        (width, height): (u32, u32),
        (x, y): (i32, i32),
    ) -> Answer<()> {
        call!(
            self, vaPutImage, surface, image, from_x, from_y, width, height, x, y, width, height
        )
    }

    /// `vaExportSurfaceHandle`: the description and the memory's descriptor.
    ///
    /// # Errors
    /// The driver's.
    pub fn export(
        &self,
        surface: VASurfaceID,
        memory_type: u32,
        flags: u32,
    ) -> Answer<(VADRMPRIMESurfaceDescriptor, OwnedFd)> {
        // The larger of the two structs has room for either.
        let mut described = VADRMPRIME3SurfaceDescriptor::new_zeroed();
        let place = (&raw mut described).cast();
        call!(
            self,
            vaExportSurfaceHandle,
            surface,
            memory_type,
            flags,
            place
        )?;
        let bytes = described.as_bytes();
        let (described, _) = v4l2::from_bytes::<VADRMPRIMESurfaceDescriptor>(bytes)
            .expect("the smaller struct is at the beginning");
        // SAFETY: the driver has just given it away.
        let fd = unsafe { OwnedFd::from_raw_fd(described.objects[0].fd) };
        Ok((described, fd))
    }

    /// Decodes one MPEG-2 P picture, predicted from what a surface holds.
    ///
    /// # Errors
    /// The first call that failed.
    pub fn predict(
        &self,
        context: VAContextID,
        (surface, from): (VASurfaceID, VASurfaceID),
        size: (u16, u16),
        data: &[u8],
    ) -> Answer<()> {
        let buffers = self.picture_buffers(context, (size, Part::Frame), data)?;
        self.mapped(buffers[0], |bytes| {
            let picture = VAPictureParameterBufferMPEG2::mut_from_bytes(bytes);
            let picture = picture.expect("it is one of those");
            picture.picture_coding_type = 2;
            picture.forward_reference_picture = from;
        })?;
        self.begin(context, surface)?;
        self.render(context, &buffers)?;
        self.end(context)
    }

    /// Decodes one MPEG-2 I picture of one slice whose data are `data`.
    ///
    /// # Errors
    /// The first call that failed.
    pub fn decode(
        &self,
        context: VAContextID,
        surface: VASurfaceID,
        (size, part): ((u16, u16), Part),
        data: &[u8],
    ) -> Answer<()> {
        let buffers = self.picture_buffers(context, (size, part), data)?;
        self.begin(context, surface)?;
        let rendered = self.render(context, &buffers);
        // As clients do: nothing is kept until the picture ends.
        for buffer in &buffers {
            self.destroy_buffer(*buffer)?;
        }
        rendered?;
        self.end(context)
    }

    /// The buffers of such a picture.
    ///
    /// # Errors
    /// The first call that failed.
    pub fn picture_buffers(
        &self,
        context: VAContextID,
        ((width, height), part): ((u16, u16), Part),
        data: &[u8],
    ) -> Answer<[VABufferID; 3]> {
        let mut picture = VAPictureParameterBufferMPEG2::new_zeroed();
        (picture.horizontal_size, picture.vertical_size) = (width, height);
        picture.forward_reference_picture = VA_INVALID_SURFACE;
        picture.backward_reference_picture = VA_INVALID_SURFACE;
        picture.picture_coding_type = 1;
        picture.f_code = 0xffff;
        picture.picture_coding_extension = part.extension();
        let mut slice = VASliceParameterBufferMPEG2::new_zeroed();
        slice.slice_data_size = data.len() as u32;
        slice.quantiser_scale_code = 1;
        let picture = picture.as_bytes();
        let slice = slice.as_bytes();
        Ok([
            self.buffer(
                context,
                VAPictureParameterBufferType,
                picture.len(),
                picture,
            )?,
            self.buffer(context, VASliceParameterBufferType, slice.len(), slice)?,
            self.buffer(context, VASliceDataBufferType, data.len(), data)?,
        ])
    }
}

impl<K> Drop for Client<K> {
    fn drop(&mut self) {
        let _ = self.terminate();
    }
}

/// What of a frame an MPEG-2 picture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Frame,
    /// The top field, which comes first.
    First,
    /// The bottom field, after it.
    Second,
}

impl Part {
    /// `picture_coding_extension`: from the lowest bit on `intra_dc_precision`, two bits of
    /// `picture_structure`, then flags.
    fn extension(self) -> u32 {
        let (frame_pred_frame_dct, progressive_frame, is_first_field) = (1 << 5, 1 << 11, 1 << 12);
        match self {
            Part::Frame => 3 << 2 | frame_pred_frame_dct | progressive_frame | is_first_field,
            Part::First => 1 << 2 | is_first_field,
            Part::Second => 2 << 2,
        }
    }
}

/// The first bytes of each plane of an exported surface.
pub fn planes_begin(described: &VADRMPRIMESurfaceDescriptor, fd: &OwnedFd) -> [[u8; 8]; 2] {
    let size = described.objects[0].size as usize;
    let mapping = Mapping::new(fd, size, 0).expect("an exported surface can be mapped");
    let second = &described.layers[(described.num_layers - 1) as usize];
    let chroma = second.offset[(second.num_planes - 1) as usize];
    [described.layers[0].offset[0], chroma].map(|offset| {
        let mut bytes = [0; 8];
        assert!(mapping.read(offset as usize, &mut bytes));
        bytes
    })
}

impl VADriverContext {
    /// What libva gives a driver to be initialised.
    fn of(vtable: *mut VADriverVTable, callback: Option<crate::va::backend::Callback>) -> Self {
        // SAFETY: every field is an integer or a pointer, or a function that may be null.
        let mut context: VADriverContext = unsafe { std::mem::zeroed() };
        context.pDriverData = without_provenance_mut(0);
        context.vtable = vtable;
        (context.error_callback, context.info_callback) = (callback, callback);
        context
    }
}

impl Default for VADriverVTable {
    fn default() -> Self {
        // SAFETY: every field is a function that may be null, or a reserved integer.
        unsafe { std::mem::zeroed() }
    }
}
