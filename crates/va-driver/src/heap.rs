//! Bytes that a client may write whenever it has them mapped.

use crate::error::Error;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::Deref;
use std::ptr::NonNull;
use v4l2::sys::Stretch;

/// Where clients expect a mapped buffer to begin.
const ALIGNMENT: usize = 64;

/// Memory of this process that a client is given the address of; never of no bytes.
#[derive(Debug)]
pub struct Heap {
    memory: Stretch,
    layout: Layout,
}

impl Heap {
    /// So many bytes, all zero.
    ///
    /// # Errors
    /// There is no memory for them.
    pub fn new(length: usize) -> Result<Heap, Error> {
        let layout = Layout::from_size_align(length.max(1), ALIGNMENT);
        let layout = layout.map_err(|_| Error::Memory(length))?;
        // SAFETY: the layout is not of no bytes.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start).ok_or(Error::Memory(length))?;
        // SAFETY: it has just been allocated, and stays so until this is dropped.
        let memory = unsafe { Stretch::new(start, layout.size()) };
        Ok(Heap { memory, layout })
    }

    /// Makes the first bytes zero.
    pub fn clear(&mut self, length: usize) {
        let length = length.min(self.len());
        // SAFETY: nobody else uses the bytes: `self` is exclusive, and a client has not been given
        // their address yet, or no more.
        let all = unsafe { self.memory.slice_mut() };
        all[..length].fill(0);
    }
}

impl Deref for Heap {
    type Target = Stretch;

    fn deref(&self) -> &Stretch {
        &self.memory
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: it was allocated by `new` with this layout, and no slice outlives `self`.
        unsafe { dealloc(self.memory.address().as_ptr(), self.layout) }
    }
}
