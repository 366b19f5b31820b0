//! The byte source of an input: one open file that libav reads through callbacks of ours.
//!
//! libav never sees a path, so it has nothing to open by itself. The same object answers libav's
//! question whether to go on, and remembers what the media asked to open beside itself. A live
//! source (`live`) is read by libav itself and has only this answer from here.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ffmpeg_sys_the_third as sys;

use crate::error::{Result, out_of_memory};

/// Large enough that a 4K picture takes few reads, small enough for a board.
const BUFFER_BYTES: c_int = 256 * 1024;

/// What the callbacks share. Boxed, so that its address is fixed while libav holds it.
pub(crate) struct Source {
    /// None where libav reads from an address.
    file: Option<File>,
    size: u64,
    /// The longest that one call may take.
    patience: Option<Duration>,
    /// Raised by whoever wants calls to end at once.
    stop: Option<Arc<AtomicBool>>,
    deadline: Option<Instant>,
    /// Whether a call was cut off.
    pub expired: bool,
    /// The system's reason for a failed read.
    pub failure: Option<io::Error>,
    /// What the media asked to open, first request only.
    pub refused: Option<String>,
}

impl Source {
    pub fn new(file: File, size: u64, patience: Option<Duration>) -> Box<Self> {
        Box::new(Self {
            file: Some(file),
            size,
            patience,
            stop: None,
            deadline: None,
            expired: false,
            failure: None,
            refused: None,
        })
    }

    /// Of an input that libav reads by itself.
    pub fn of_address(patience: Duration, stop: Arc<AtomicBool>) -> Box<Self> {
        Box::new(Self {
            file: None,
            size: 0,
            patience: Some(patience),
            stop: Some(stop),
            deadline: None,
            expired: false,
            failure: None,
            refused: None,
        })
    }

    /// Sets the longest that one call may take.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = Some(patience);
    }

    /// Starts the clock of the next call into libav.
    pub fn restart_clock(&mut self) {
        self.expired = false;
        self.deadline = self
            .patience
            .and_then(|patience| Instant::now().checked_add(patience));
    }

    /// Reads at a place of the file without moving libav's own.
    pub fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let none = || io::Error::from(io::ErrorKind::Unsupported);
        let file = self.file.as_ref().ok_or_else(none)?;
        file.read_exact_at(buffer, position)
    }

    pub fn patience(&self) -> Option<Duration> {
        self.patience
    }

    fn is_late(&mut self) -> bool {
        let late = self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline);
        self.expired |= late;
        late || self.stopped()
    }

    /// Whether somebody wants calls to end.
    pub fn stopped(&self) -> bool {
        let stop = self.stop.as_ref();
        stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }
}

/// libav's buffered reader over a [`Source`].
pub(crate) struct Reader {
    context: *mut sys::AVIOContext,
    /// Freed after `context`, which points to it.
    source: *mut Source,
}

impl Reader {
    /// For an input that libav reads by itself: no reader, only the answers.
    pub fn detached(source: Box<Source>) -> Self {
        Self {
            context: ptr::null_mut(),
            source: Box::into_raw(source),
        }
    }

    pub fn new(source: Box<Source>, subject: &Arc<str>) -> Result<Self> {
        let source = Box::into_raw(source);
        let mut reader = Self {
            context: ptr::null_mut(),
            source,
        };
        let no_memory = || out_of_memory(subject, "allocating a read buffer");
        // SAFETY: allocates; null is checked before use. The buffer passes to the context.
        unsafe {
            let buffer = sys::av_malloc(BUFFER_BYTES as usize);
            if buffer.is_null() {
                return Err(no_memory());
            }
            reader.context = sys::avio_alloc_context(
                buffer.cast(),
                BUFFER_BYTES,
                0,
                source.cast(),
                Some(read_packet),
                None,
                Some(seek),
            );
            if reader.context.is_null() {
                sys::av_free(buffer);
                return Err(no_memory());
            }
        }
        Ok(reader)
    }

    pub fn context(&self) -> *mut sys::AVIOContext {
        self.context
    }

    /// The address that libav's callbacks are given.
    pub fn opaque(&self) -> *mut c_void {
        self.source.cast()
    }

    pub fn source(&mut self) -> &mut Source {
        // SAFETY: made by `Box::into_raw`, freed only in drop. libav touches it only from inside
        // calls that its owner makes on this thread, and none is under way while `self` is
        // borrowed.
        unsafe { &mut *self.source }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // SAFETY: both are ours alone and freed only here; the buffer may have been replaced by
        // libav, so the context's own is the one to free. Nothing calls back any more.
        unsafe {
            if !self.context.is_null() {
                sys::av_freep((&raw mut (*self.context).buffer).cast());
                sys::avio_context_free(&mut self.context);
            }
            drop(Box::from_raw(self.source));
        }
    }
}

/// libav wants bytes.
unsafe extern "C" fn read_packet(opaque: *mut c_void, buffer: *mut u8, size: c_int) -> c_int {
    // SAFETY: `opaque` is the `Source` given to the context, alive and used by this call alone.
    let source = unsafe { &mut *opaque.cast::<Source>() };
    if source.is_late() {
        return sys::AVERROR_EXIT;
    }
    let (Ok(length), Some(file)) = (usize::try_from(size), &source.file) else {
        return sys::AVERROR(libc::EINVAL);
    };
    if length == 0 {
        return 0;
    }
    loop {
        // Not through a slice, which would have to be written first: at the end of the file libav
        // goes on using what the buffer held.
        // SAFETY: libav gives `size` writable bytes, which nothing else uses during the call; the
        // kernel writes at most as many, and the descriptor is open as long as its file.
        let count = unsafe { libc::read(file.as_raw_fd(), buffer.cast(), length) };
        match c_int::try_from(count) {
            Ok(0) => return sys::AVERROR_EOF,
            Ok(count @ 1..) => return count,
            _ => {}
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            let code = error.raw_os_error().unwrap_or(libc::EIO);
            source.failure = Some(error);
            return sys::AVERROR(code);
        }
    }
}

/// libav wants to be elsewhere, or to know the size.
unsafe extern "C" fn seek(opaque: *mut c_void, offset: i64, whence: c_int) -> i64 {
    // SAFETY: `opaque` is the `Source` given to the context, alive and used by this call alone.
    let source = unsafe { &mut *opaque.cast::<Source>() };
    let invalid = i64::from(sys::AVERROR(libc::EINVAL));
    let target = match whence & !sys::AVSEEK_FORCE {
        sys::AVSEEK_SIZE => return i64::try_from(source.size).unwrap_or(i64::MAX),
        libc::SEEK_SET => match u64::try_from(offset) {
            Ok(offset) => SeekFrom::Start(offset),
            Err(_) => return invalid,
        },
        libc::SEEK_CUR => SeekFrom::Current(offset),
        libc::SEEK_END => SeekFrom::End(offset),
        _ => return invalid,
    };
    let Some(file) = &mut source.file else {
        return invalid;
    };
    match file.seek(target) {
        Ok(position) => i64::try_from(position).unwrap_or(i64::MAX),
        Err(error) => -i64::from(error.raw_os_error().unwrap_or(libc::EIO)),
    }
}

/// libav asks whether to give up: 1 means yes. After a refusal there is nothing to wait for,
/// though a live playlist would be loaded again and again.
pub(crate) unsafe extern "C" fn interrupt(opaque: *mut c_void) -> c_int {
    // SAFETY: `opaque` is the `Source` of the input whose call is under way on this thread.
    let source = unsafe { &mut *opaque.cast::<Source>() };
    c_int::from(source.refused.is_some() || source.is_late())
}

/// A demuxer wants to open another file or address: refused, and remembered for the error.
pub(crate) unsafe extern "C" fn refuse_open(
    context: *mut sys::AVFormatContext,
    opened: *mut *mut sys::AVIOContext,
    url: *const c_char,
    _flags: c_int,
    _options: *mut *mut sys::AVDictionary,
) -> c_int {
    // SAFETY: libav passes a live context, whose interrupt callback is ours or, in a context that
    // a demuxer nested, a copy of it; a place for the result; and a zero-ended string.
    unsafe {
        *opened = ptr::null_mut();
        let callback = (*context).interrupt_callback;
        let is_ours = callback.callback.is_some_and(|f| {
            ptr::fn_addr_eq(f, interrupt as unsafe extern "C" fn(*mut c_void) -> c_int)
        });
        if is_ours && !url.is_null() {
            let source = &mut *callback.opaque.cast::<Source>();
            let url = CStr::from_ptr(url).to_string_lossy();
            source
                .refused
                .get_or_insert_with(|| url.chars().flat_map(printable).collect());
        }
    }
    sys::AVERROR(libc::EPERM)
}

fn printable(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_default());
    let plain = (!c.is_control()).then_some(c);
    escaped.into_iter().flatten().chain(plain)
}
