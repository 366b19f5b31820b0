//! libav's option dictionaries: string pairs given to an open call, which leaves the unknown ones.

use std::ffi::{CStr, CString};
use std::ptr;

use ffmpeg_sys_the_third as sys;

/// An owned dictionary.
pub(crate) struct Dictionary(*mut sys::AVDictionary);

impl Dictionary {
    pub fn new() -> Self {
        Self(ptr::null_mut())
    }

    /// Pairs with a zero byte inside cannot be options and are dropped.
    pub fn set(&mut self, key: &str, value: &str) {
        let (Ok(key), Ok(value)) = (CString::new(key), CString::new(value)) else {
            return;
        };
        // SAFETY: the dictionary is ours; both strings are ended by a zero byte and copied.
        unsafe { sys::av_dict_set(&mut self.0, key.as_ptr(), value.as_ptr(), 0) };
    }

    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut dictionary = Self::new();
        for (key, value) in pairs {
            dictionary.set(key, value);
        }
        dictionary
    }

    /// For the open calls that take what they know and leave the rest.
    pub fn as_mut_ptr(&mut self) -> *mut *mut sys::AVDictionary {
        &mut self.0
    }

    /// The first key left over after an open call: an option nobody knew.
    pub fn first_key(&self) -> Option<String> {
        // SAFETY: the dictionary is ours (or null, which is an empty one); an entry lives as long
        // as the dictionary and its key is a zero-ended string.
        unsafe { entry(self.0, c"", sys::AV_DICT_IGNORE_SUFFIX).map(|(key, _)| key) }
    }
}

impl Drop for Dictionary {
    fn drop(&mut self) {
        // SAFETY: the dictionary is ours and freed only here; null is allowed.
        unsafe { sys::av_dict_free(&mut self.0) };
    }
}

/// The first entry of a borrowed dictionary that matches `key`.
///
/// # Safety
/// `dictionary` must be null or a live dictionary that nobody changes during the call.
pub(crate) unsafe fn entry(
    dictionary: *const sys::AVDictionary,
    key: &CStr,
    flags: libc::c_int,
) -> Option<(String, String)> {
    // SAFETY: the caller vouches for the dictionary; entries hold zero-ended strings.
    unsafe {
        let entry = sys::av_dict_get(dictionary, key.as_ptr(), ptr::null(), flags).as_ref()?;
        let text = |s: *const libc::c_char| CStr::from_ptr(s).to_string_lossy().into_owned();
        Some((text(entry.key), text(entry.value)))
    }
}
