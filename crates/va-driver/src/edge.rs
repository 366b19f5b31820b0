//! The border to libva: where a client's pointers become Rust's, panics end, and errors become a
//! `VAStatus`.
//!
//! A pointer of a client is trusted only for what C itself has to trust it for: that what it points
//! to is there when it is not null. How much of it there is stands beside it or follows from the
//! call, and is checked wherever it can be.

use crate::driver::{self, Driver};
use crate::error::Error;
use crate::table::Kind;
use crate::va::backend::{Callback, VADriverContextP};
use crate::va::*;
use std::ffi::CString;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One call of libva's, from its beginning to its status.
///
/// # Safety
/// `context` is null or libva's own, alive for as long as the call lasts.
pub unsafe fn enter(
    context: VADriverContextP,
    call: &'static str,
    body: impl FnOnce(&Arc<Driver>) -> Result<(), Error>,
) -> VAStatus {
    let body = || {
        // SAFETY: the caller's word.
        let driver = unsafe { driver::of(context) }.ok_or(Error::Display)?;
        body(&driver)
    };
    match guarded(body) {
        Ok(()) => VA_STATUS_SUCCESS,
        Err(error) => {
            // SAFETY: the caller's word.
            unsafe { tell(context, call, &error) };
            status(&error)
        }
    }
}

/// Runs what may panic. Every lock is one of `lock`, so what a panic leaves is used as it is.
pub fn guarded<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Error::Panic(text.unwrap_or("of no text").to_owned()))
    })
}

/// The one place where an error becomes a status.
pub fn status(error: &Error) -> VAStatus {
    match error {
        Error::Display => VA_STATUS_ERROR_INVALID_DISPLAY,
        Error::Absent(Kind::Config, _) => VA_STATUS_ERROR_INVALID_CONFIG,
        Error::Absent(Kind::Context, _) => VA_STATUS_ERROR_INVALID_CONTEXT,
        Error::Absent(Kind::Surface, _) => VA_STATUS_ERROR_INVALID_SURFACE,
        Error::Absent(Kind::Buffer, _) => VA_STATUS_ERROR_INVALID_BUFFER,
        Error::Absent(Kind::Image, _) => VA_STATUS_ERROR_INVALID_IMAGE,
        Error::Parameter(_) => VA_STATUS_ERROR_INVALID_PARAMETER,
        Error::Unimplemented => VA_STATUS_ERROR_UNIMPLEMENTED,
        Error::Profile(_) => VA_STATUS_ERROR_UNSUPPORTED_PROFILE,
        Error::Entrypoint(_) => VA_STATUS_ERROR_UNSUPPORTED_ENTRYPOINT,
        Error::Attribute { .. } => VA_STATUS_ERROR_ATTR_NOT_SUPPORTED,
        Error::RtFormat(_) => VA_STATUS_ERROR_UNSUPPORTED_RT_FORMAT,
        Error::ImageFormat(_) => VA_STATUS_ERROR_INVALID_IMAGE_FORMAT,
        Error::BufferKind(_) => VA_STATUS_ERROR_UNSUPPORTED_BUFFERTYPE,
        Error::MemoryType(_) => VA_STATUS_ERROR_UNSUPPORTED_MEMORY_TYPE,
        Error::Size(..) => VA_STATUS_ERROR_RESOLUTION_NOT_SUPPORTED,
        Error::Full(_) => VA_STATUS_ERROR_MAX_NUM_EXCEEDED,
        Error::Memory(_) => VA_STATUS_ERROR_ALLOCATION_FAILED,
        Error::TimedOut => VA_STATUS_ERROR_TIMEDOUT,
        Error::Undecoded(_) | Error::Picture(_) => VA_STATUS_ERROR_DECODING_ERROR,
        Error::NoDecoder
        | Error::Order(_)
        | Error::Device(_)
        | Error::System(..)
        | Error::Panic(_) => VA_STATUS_ERROR_OPERATION_FAILED,
    }
}

/// Who hears of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hears {
    /// The user: something is broken.
    User,
    /// The developer of the client: a call was refused.
    Developer,
    /// Nobody: it is an answer.
    Nobody,
}

fn hears(error: &Error) -> Hears {
    match error {
        Error::NoDecoder
        | Error::Device(_)
        | Error::System(..)
        | Error::Memory(_)
        | Error::Panic(_) => Hears::User,
        // Clients ask for these to learn what there is.
        Error::Unimplemented
        | Error::Profile(_)
        | Error::Entrypoint(_)
        | Error::Full(_)
        | Error::TimedOut => Hears::Nobody,
        _ => Hears::Developer,
    }
}

/// Says through libva's callbacks why a call failed.
///
/// # Safety
/// As in `enter`.
pub unsafe fn tell(context: VADriverContextP, call: &str, error: &Error) {
    let text = chain(call, error);
    crate::debug!("{text}");
    let Ok(text) = CString::new(text) else {
        return;
    };
    // SAFETY: libva's context is alive, the caller's word; the callbacks are libva's own, set
    // before the driver was initialised, and take a text that ends with a zero.
    unsafe {
        let callback: Option<Callback> = match (NonNull::new(context), hears(error)) {
            (None, _) | (_, Hears::Nobody) => None,
            (Some(context), Hears::User) => (*context.as_ptr()).error_callback,
            (Some(context), Hears::Developer) => (*context.as_ptr()).info_callback,
        };
        if let Some(callback) = callback {
            callback(context, text.as_ptr());
        }
    }
}

fn chain(call: &str, error: &Error) -> String {
    let mut text = format!("kinora: {call}: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text.push('\n');
    text
}

/// Locks. A thread that panicked inside left a state that is still one of memory safety, and the
/// panic itself was told.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place that a client wants something written to.
#[derive(Debug)]
pub struct Out<'a, T> {
    place: NonNull<T>,
    lives: PhantomData<&'a mut T>,
}

impl<T> Out<'_, T> {
    /// # Safety
    /// A `T` can be written to `place` if that is not null.
    ///
    /// # Errors
    /// It is null.
    pub unsafe fn new(place: *mut T) -> Result<Self, Error> {
        let place = NonNull::new(place).ok_or(Error::parameter("a pointer is null"))?;
        Ok(Out {
            place,
            lives: PhantomData,
        })
    }

    /// Writes it.
    pub fn set(&mut self, value: T) {
        // SAFETY: `new` was told that there is room; nothing is asked of the alignment.
        unsafe { self.place.write_unaligned(value) }
    }
}

/// An array of a client's.
///
/// # Safety
/// `start` is null or points to `count` values that nobody writes during the call.
///
/// # Errors
/// It is null and not empty, badly aligned, or longer than anything.
pub unsafe fn list<'a, T>(start: *const T, count: impl TryInto<usize>) -> Result<&'a [T], Error> {
    let count = checked(start, count)?;
    if count == 0 {
        return Ok(&[]);
    }
    // SAFETY: `checked` says that it is neither null nor misaligned, the caller the rest.
    Ok(unsafe { std::slice::from_raw_parts(start, count) })
}

/// An array of a client's that is written.
///
/// # Safety
/// `start` is null or points to `count` values that nobody else uses during the call.
///
/// # Errors
/// As of `list`.
pub unsafe fn list_mut<'a, T>(
    start: *mut T,
    count: impl TryInto<usize>,
) -> Result<&'a mut [T], Error> {
    let count = checked(start, count)?;
    if count == 0 {
        return Ok(&mut []);
    }
    // SAFETY: `checked` says that it is neither null nor misaligned, the caller the rest.
    Ok(unsafe { std::slice::from_raw_parts_mut(start, count) })
}

fn checked<T>(start: *const T, count: impl TryInto<usize>) -> Result<usize, Error> {
    let count = count.try_into().ok();
    let count = count.filter(|count| *count <= MOST_LISTED);
    let count = count.ok_or(Error::parameter("a list has an impossible length"))?;
    if count > 0 && (start.is_null() || !start.is_aligned()) {
        return Err(Error::parameter("a list is nowhere"));
    }
    Ok(count)
}

/// No list that libva knows is longer.
const MOST_LISTED: usize = 1 << 20;
