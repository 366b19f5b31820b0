//! libav's log, silenced and kept.
//!
//! libav explains a failure only in its log ("moov atom not found"), and prints it to stderr by
//! default. Here the log is never printed: the last error lines of each thread are kept, and the
//! operation that fails takes them into its error text. Lines from libav's own worker threads are
//! dropped with those threads.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Once;

use ffmpeg_sys_the_third::{AV_LOG_ERROR, AV_LOG_INFO};

/// More lines than this say nothing more; damaged files log one per packet.
const KEPT_LINES: usize = 4;

thread_local! {
    static LINES: RefCell<VecDeque<String>> = const { RefCell::new(VecDeque::new()) };
}

/// Declared again with the argument list as a plain pointer: the binding's `va_list` differs by
/// architecture, but on x86-64 (an array that decays) and on aarch64 (a structure over 16 bytes,
/// passed by reference) what travels is one pointer, which is only handed on.
mod variadic {
    use super::{c_char, c_int, c_void};

    pub type Callback = unsafe extern "C" fn(*mut c_void, c_int, *const c_char, *mut c_void);

    unsafe extern "C" {
        pub fn av_log_set_callback(callback: Option<Callback>);
        pub fn av_log_format_line2(
            context: *mut c_void,
            level: c_int,
            format: *const c_char,
            arguments: *mut c_void,
            line: *mut c_char,
            line_size: c_int,
            print_prefix: *mut c_int,
        ) -> c_int;
    }
}

/// Whether a message says that samples were guessed: missing macroblocks are no error to libavcodec.
///
/// # Safety
/// `format` must be null or a zero-ended string.
unsafe fn tells_of_concealment(format: *const c_char) -> bool {
    // SAFETY: as the caller vouches.
    !format.is_null()
        && unsafe { CStr::from_ptr(format) }
            .to_bytes()
            .starts_with(b"concealing ")
}

/// Takes over libav's log for the whole process; every entry into libav goes through here first.
pub(crate) fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: `keep` has the signature libav calls, never unwinds and lives as long as the
        // program.
        unsafe { variadic::av_log_set_callback(Some(keep)) };
    });
}

/// Forgets what earlier operations logged on this thread.
pub(crate) fn clear() {
    init();
    LINES.with(|lines| {
        if let Ok(mut lines) = lines.try_borrow_mut() {
            lines.clear();
        }
    });
}

/// The lines logged on this thread since [`clear`], oldest first.
pub(crate) fn take() -> Vec<String> {
    LINES.with(|lines| match lines.try_borrow_mut() {
        Ok(mut lines) => lines.drain(..).collect(),
        Err(_) => Vec::new(),
    })
}

/// The kept lines, left in place.
pub(crate) fn peek() -> Vec<String> {
    LINES.with(|lines| match lines.try_borrow() {
        Ok(lines) => lines.iter().cloned().collect(),
        Err(_) => Vec::new(),
    })
}

/// libav's log callback. It may run on any thread, so it touches only that thread's lines.
unsafe extern "C" fn keep(
    context: *mut c_void,
    level: c_int,
    format: *const c_char,
    arguments: *mut c_void,
) {
    // SAFETY: libav's formats are zero-ended strings.
    if level > AV_LOG_ERROR && (level > AV_LOG_INFO || !unsafe { tells_of_concealment(format) }) {
        return;
    }
    let mut line: [c_char; 512] = [0; 512];
    // The prefix holds an address, which would make error texts differ from run to run.
    let mut print_prefix = 0;
    // SAFETY: the arguments are exactly those libav passed to this callback; the line buffer is
    // writable for the length given and comes back ended by a zero byte.
    let text = unsafe {
        variadic::av_log_format_line2(
            context,
            level,
            format,
            arguments,
            line.as_mut_ptr(),
            line.len() as c_int,
            &mut print_prefix,
        );
        CStr::from_ptr(line.as_ptr())
    };
    let text: String = text
        .to_string_lossy()
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.is_empty() {
        return;
    }
    // `try_with`: libav may log while the thread ends, when the lines are already gone.
    let _ = LINES.try_with(|lines| {
        let Ok(mut lines) = lines.try_borrow_mut() else {
            return;
        };
        if lines.contains(&text) {
            return;
        }
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(text);
    });
}
