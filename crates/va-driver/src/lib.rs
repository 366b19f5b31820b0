//! `v4l2_request_drv_video.so`: VA-API decoding through V4L2 stateless decoders.
//!
//! libva loads the library and calls `__vaDriverInit_1_0`, which fills libva's table with the
//! functions of `entry`. Each of them goes through `edge`, into one file per kind of object:
//! `config`, `surface`, `context`, `buffer`, `image`, `export`. `codec` makes of VA's parameters what
//! V4L2 wants, `stream` is a context's session with its decoder, `frame` the memory of a picture.

#![allow(non_upper_case_globals, reason = "libva's names are kept in patterns")]

#[cfg(any(test, feature = "client"))]
pub mod client;
pub mod codec;
pub mod va;

mod buffer;
mod channel;
mod config;
mod context;
mod copy;
mod debug;
mod decoder;
mod driver;
mod edge;
mod entry;
mod error;
mod export;
mod frame;
mod heap;
mod image;
mod stream;
mod surface;
mod table;

use crate::driver::Driver;
use crate::error::Error;
use crate::va::backend::VADriverContextP;
use crate::va::{VA_STATUS_SUCCESS, VAStatus};
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::ptr::{NonNull, without_provenance_mut};
use std::sync::Arc;
use v4l2::find::DecoderNode;
use v4l2::sys::{Kernel, Linux};

/// What `vainfo` shows.
const VENDOR: &CStr = c"Kinora V4L2 stateless decoder driver for VA-API";

/// Initialises a display: libva's way in. The lowest name of all is found by every libva.
///
/// # Safety
/// `context` is libva's own and stays until `vaTerminate`; its table of functions has room for
/// those of `va_backend.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vaDriverInit_1_0(context: VADriverContextP) -> VAStatus {
    let device = std::env::var_os("KINORA_VA_DEVICE").map(PathBuf::from);
    let kernel: Arc<dyn Kernel> = Arc::new(Linux);
    let find = || v4l2::find::decoders(&kernel, Path::new("/"));
    // SAFETY: the caller's word.
    unsafe { initialise(context, &kernel, find, device.as_deref()) }
}

/// Initialises a display with the decoders of a kernel; `device` names the one to be used.
///
/// # Safety
/// As of `__vaDriverInit_1_0`.
pub unsafe fn initialise(
    context: VADriverContextP,
    kernel: &Arc<dyn Kernel>,
    find: impl FnOnce() -> Vec<DecoderNode>,
    device: Option<&Path>,
) -> VAStatus {
    let Some(place) = NonNull::new(context) else {
        return edge::status(&Error::Display);
    };
    let made = edge::guarded(|| Driver::new(kernel, find(), device));
    let driver = match made {
        Ok(driver) => driver,
        Err(error) => {
            // SAFETY: the caller's word.
            unsafe { edge::tell(context, "vaInitialize", &error) };
            return edge::status(&error);
        }
    };
    // SAFETY: libva's context is alive and nobody else uses it while its driver is initialised.
    let context = unsafe { &mut *place.as_ptr() };
    let Some(vtable) = NonNull::new(context.vtable) else {
        return edge::status(&Error::Display);
    };
    // libva wants each of these to be above 0, and clients make room for as many answers.
    context.max_profiles = driver.profiles().len().max(1) as i32;
    context.max_entrypoints = 1;
    context.max_attributes = config::CONFIG_ATTRIBUTES as i32;
    context.max_image_formats = image::FORMATS.len() as i32;
    context.max_subpic_formats = 1;
    context.max_display_attributes = 1;
    context.str_vendor = VENDOR.as_ptr();
    context.pDriverData = without_provenance_mut(driver::keep(driver));
    // SAFETY: the table is libva's, of the size that `va_backend.h` says, and nobody else uses it
    // yet.
    entry::fill(unsafe { &mut *vtable.as_ptr() });
    VA_STATUS_SUCCESS
}

#[cfg(test)]
mod tests;
