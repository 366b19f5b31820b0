//! Buffers: parameters and data on their way to a decoder, and the memory of images.
//!
//! A client makes and destroys some for each picture, so destroyed ones are kept for the next. One
//! that was given to `vaRenderPicture` lives until the end of the picture, whatever the client does
//! with it in the meantime.

use crate::edge::lock;
use crate::error::Error;
use crate::frame::Loan;
use crate::heap::Heap;
use crate::table::{Kind, Table};
use crate::va::*;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// Most bytes of a buffer.
const LARGEST: usize = 256 << 20;
/// Most bytes of destroyed buffers that are kept: some images of a client that copies each picture,
/// and the buffers of some pictures.
const SPARE_BYTES: usize = 64 << 20;
/// Least bytes that are allocated: the parameters of a slice fit, and the data of most, of which a
/// picture may have hundreds.
const SMALLEST: usize = 4096;

/// A buffer.
#[derive(Debug)]
pub struct Buffer {
    kind: VABufferType,
    element: u32,
    count: AtomicU32,
    memory: Memory,
}

/// Where its bytes are.
#[derive(Debug)]
pub enum Memory {
    /// Its own.
    Heap(Heap),
    /// A surface's: the buffer of a derived image.
    Frame(Loan),
}

impl Buffer {
    /// `VA*BufferType`.
    pub fn kind(&self) -> VABufferType {
        self.kind
    }

    /// Bytes of one element.
    pub fn element(&self) -> u32 {
        self.element
    }

    /// Elements in use.
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// Its memory.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    fn capacity(&self) -> usize {
        match &self.memory {
            Memory::Heap(heap) => heap.len(),
            Memory::Frame(_) => 0,
        }
    }

    fn length(&self) -> usize {
        self.element as usize * self.count() as usize
    }

    /// Its elements, for a decoder.
    ///
    /// # Safety
    /// The client does not write them as long as the slice is used.
    pub unsafe fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Heap(heap) => {
                // SAFETY: the caller's word.
                let all = unsafe { heap.slice() };
                &all[..self.length().min(all.len())]
            }
            Memory::Frame(_) => &[],
        }
    }

    /// Sets how many elements are in use.
    ///
    /// # Errors
    /// They do not fit.
    pub fn set_count(&self, count: u32) -> Result<(), Error> {
        let length = length(self.element, count)?;
        match &self.memory {
            Memory::Heap(heap) if length <= heap.len() => {
                self.count.store(count, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(Error::parameter(
                "more elements than the buffer was made for",
            )),
        }
    }

    /// Where the bytes are, for the client.
    ///
    /// # Errors
    /// They cannot be mapped.
    pub fn map(&self) -> Result<NonNull<u8>, Error> {
        match &self.memory {
            Memory::Heap(heap) => Ok(heap.address()),
            Memory::Frame(loan) => {
                let mapping = loan.frame().mapping()?;
                loan.frame().sync(true);
                Ok(mapping.address())
            }
        }
    }

    /// Notes that the client is done with them.
    pub fn unmap(&self) {
        if let Memory::Frame(loan) = &self.memory {
            loan.frame().sync(false);
        }
    }
}

fn length(element: u32, count: u32) -> Result<usize, Error> {
    let length = (element as usize).checked_mul(count as usize);
    let length = length.filter(|length| *length <= LARGEST);
    length.ok_or(Error::parameter("a buffer of an impossible size"))
}

/// All buffers of a display.
#[derive(Debug)]
pub struct Buffers {
    table: Table<Buffer>,
    spare: Mutex<Spare>,
}

/// Buffers that nobody has.
#[derive(Debug, Default)]
struct Spare {
    /// By the power of two that their bytes are.
    sizes: [Vec<Arc<Buffer>>; LARGEST.ilog2() as usize + 1],
    bytes: usize,
}

/// How many powers of two a buffer may be larger than it needs to be.
const LARGER: usize = 2;

impl Spare {
    fn take(&mut self, size: usize) -> Option<Arc<Buffer>> {
        let power = size.ilog2() as usize;
        let mut suitable = self.sizes.iter_mut().skip(power).take(1 + LARGER);
        let found = suitable.find_map(Vec::pop)?;
        self.bytes -= found.capacity();
        Some(found)
    }

    fn keep(&mut self, buffer: Arc<Buffer>) {
        let size = buffer.capacity();
        if self.bytes + size <= SPARE_BYTES {
            self.bytes += size;
            self.sizes[size.ilog2() as usize].push(buffer);
        }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Buffers {
            table: Table::new(Kind::Buffer),
            spare: Mutex::default(),
        }
    }
}

impl Buffers {
    /// Makes a buffer, of `data` or of zeroes.
    ///
    /// # Errors
    /// Decoding has no use for it, or there is no memory.
    pub fn create(
        &self,
        kind: VABufferType,
        element: u32,
        count: u32,
        data: Option<&[u8]>,
    ) -> Result<VABufferID, Error> {
        let is_known = matches!(
            kind,
            VAPictureParameterBufferType
                | VAIQMatrixBufferType
                | VASliceParameterBufferType
                | VASliceDataBufferType
                | VAProbabilityBufferType
        );
        if !is_known {
            return Err(Error::BufferKind(kind));
        }
        let length = length(element, count)?;
        let mut buffer = self.unused(length)?;
        let made = Arc::get_mut(&mut buffer).ok_or(Error::Memory(length))?;
        (made.kind, made.element) = (kind, element);
        *made.count.get_mut() = count;
        if let Memory::Heap(heap) = &mut made.memory {
            match data {
                Some(data) if heap.write(0, data) => {}
                Some(_) => return Err(Error::Memory(length)),
                None => heap.clear(length),
            }
        }
        self.table.insert(buffer)
    }

    /// A buffer for an image's own memory, of any content.
    ///
    /// # Errors
    /// There is no memory, or there are too many.
    pub fn create_image(&self, size: u32) -> Result<VABufferID, Error> {
        let mut buffer = self.unused(size as usize)?;
        let made = Arc::get_mut(&mut buffer).ok_or(Error::Memory(size as usize))?;
        (made.kind, made.element) = (VAImageBufferType, size);
        *made.count.get_mut() = 1;
        self.table.insert(buffer)
    }

    /// A buffer that is a surface's memory.
    ///
    /// # Errors
    /// There are too many.
    pub fn create_derived(&self, loan: Loan, size: u32) -> Result<VABufferID, Error> {
        let buffer = Buffer {
            kind: VAImageBufferType,
            element: size,
            count: AtomicU32::new(1),
            memory: Memory::Frame(loan),
        };
        self.table.insert(Arc::new(buffer))
    }

    /// A buffer of at least so many bytes that nobody has.
    fn unused(&self, length: usize) -> Result<Arc<Buffer>, Error> {
        let size = length.next_power_of_two().max(SMALLEST);
        if let Some(spare) = lock(&self.spare).take(size) {
            return Ok(spare);
        }
        Ok(Arc::new(Buffer::of(Heap::new(size)?)))
    }

    /// A buffer by id.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, id: VABufferID) -> Result<Arc<Buffer>, Error> {
        self.table.get(id)
    }

    /// Buffers by id, one after the other.
    pub fn each(&self, ids: &[VABufferID], take: impl FnMut(Result<Arc<Buffer>, Error>)) {
        self.table.each(ids, take);
    }

    /// Forgets a buffer.
    ///
    /// # Errors
    /// There is none.
    pub fn destroy(&self, id: VABufferID) -> Result<(), Error> {
        let buffer = self.table.remove(id)?;
        self.give_back(buffer);
        Ok(())
    }

    /// Keeps the memory of a buffer that nobody has any more.
    pub fn give_back(&self, buffer: Arc<Buffer>) {
        let is_worth_it = match &buffer.memory {
            Memory::Heap(_) => Arc::strong_count(&buffer) == 1,
            Memory::Frame(_) => false,
        };
        if !is_worth_it {
            return;
        }
        lock(&self.spare).keep(buffer);
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.table.clear();
        *lock(&self.spare) = Spare::default();
    }
}

impl Buffer {
    fn of(heap: Heap) -> Buffer {
        Buffer {
            kind: VAPictureParameterBufferType,
            element: 0,
            count: AtomicU32::new(0),
            memory: Memory::Heap(heap),
        }
    }
}
