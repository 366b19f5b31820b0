//! One stream through a stateless decoder: submit access units, get pictures, never copy one.
//!
//! ```text
//!            input()            submit()             wait()
//!  OUTPUT:   free ──▶ Input ──▶ in flight ──────────▶ free      (its request is made new)
//!  CAPTURE:         Picture ──▶ in flight ──▶ held ──▶ Picture   (held: one of two fields)
//! ```
//!
//! `Input` and `Picture` are the buffers themselves: who has one may touch its bytes, and handing
//! it over in `submit` is how the device gets it, so nobody reads what is being written. Every
//! OUTPUT buffer has one request for life. Nothing blocks but `wait`, which has its time; several
//! sessions in several threads share nothing.

use crate::device::{Control, Device, Format, Queue};
use crate::error::Error;
use crate::find::DecoderNode;
use crate::media::{MediaDevice, Request};
use crate::queue::{Dequeued, Memory, Queued, Timestamp};
use crate::sys::{Kernel, Mapping};
use rustix::event::PollFlags;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a request may stay queued after its buffer came back. Drivers that complete requests by
/// hand do it a moment later; one that takes this long will never do it.
const REQUEST_LAG: Duration = Duration::from_secs(1);

/// What a stream needs.
#[derive(Debug, Clone, Copy)]
pub struct Config<'a> {
    /// `V4L2_PIX_FMT_*` of the access units.
    pub coded: u32,
    /// Coded width in luma samples.
    pub width: u32,
    /// Coded height in luma samples.
    pub height: u32,
    /// Bytes of the longest access unit.
    pub input_size: u32,
    /// Access units in flight.
    pub inputs: u32,
    /// What decides the format of pictures: modes and the headers of the sequence.
    pub controls: &'a [Control<'a>],
    /// `V4L2_PIX_FMT_*` of the pictures.
    pub raw: u32,
    /// Whose memory the pictures are.
    pub memory: Memory,
    /// Pictures to begin with; with memory of the client's, the most that there will be.
    pub pictures: u32,
}

/// An OUTPUT buffer that is free to be filled.
#[derive(Debug)]
pub struct Input {
    session: u64,
    index: u32,
    mapping: Mapping,
    request: Request,
}

impl Input {
    /// The bytes of the buffer, to be filled from the beginning.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the buffer is not queued as long as there is an `Input` of it, so the device does
        // not read it, and the mapping is this buffer's only one.
        unsafe { self.mapping.slice_mut() }
    }
}

/// A CAPTURE buffer that the device does not have.
#[derive(Debug)]
pub struct Picture {
    session: u64,
    index: u32,
    format: Format,
    memory: PictureMemory,
}

#[derive(Debug)]
enum PictureMemory {
    Mapped(Mapping),
    Exported(Mapping),
    Imported { fd: Arc<OwnedFd>, length: u32 },
}

impl Picture {
    /// The buffer's index in the CAPTURE queue.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The format that it had when it was made; a stream may have changed it since.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The picture's bytes; none once it was exported, or when its memory was imported: then others
    /// may write it, and it is copied out of a mapping.
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.memory {
            // SAFETY: the buffer is not queued as long as there is a `Picture` of it, so the device
            // does not write it; the slice ends before the picture can be submitted. It was never
            // exported, so nobody else has it.
            PictureMemory::Mapped(mapping) => Some(unsafe { mapping.slice() }),
            PictureMemory::Exported(_) | PictureMemory::Imported { .. } => None,
        }
    }

    /// The mapping of the device's memory, exported or not.
    pub fn mapping(&self) -> Option<&Mapping> {
        match &self.memory {
            PictureMemory::Mapped(mapping) | PictureMemory::Exported(mapping) => Some(mapping),
            PictureMemory::Imported { .. } => None,
        }
    }

    fn exported(self) -> Picture {
        let memory = match self.memory {
            PictureMemory::Mapped(mapping) => PictureMemory::Exported(mapping),
            other => other,
        };
        Picture { memory, ..self }
    }
}

/// Where an access unit is decoded to.
#[derive(Debug)]
pub enum Target {
    /// Into this picture.
    Picture(Picture),
    /// Into the picture that the access unit before left held: this is the second field.
    Held,
}

/// One access unit.
#[derive(Debug)]
pub struct Submission<'a> {
    /// The buffer that it lies in.
    pub input: Input,
    /// Its length there.
    pub length: usize,
    /// What names its picture among the references of others: unique among those in use.
    pub timestamp: Timestamp,
    /// The controls of this access unit.
    pub controls: &'a [Control<'a>],
    /// Where it is decoded to.
    pub target: Target,
    /// Whether the picture is kept for a second field.
    pub hold: bool,
}

/// An access unit that was not taken, with the buffers that are the caller's again.
#[derive(Debug, thiserror::Error)]
#[error("access unit at {} us", timestamp.micros())]
pub struct Refused {
    /// The access unit's timestamp.
    pub timestamp: Timestamp,
    /// The picture that it should have been decoded into.
    pub picture: Option<Picture>,
    /// Whether the device has the access unit all the same and waits for a picture; `flush` ends
    /// that.
    pub is_waiting: bool,
    /// Why.
    pub source: Error,
}

/// Something that `wait` waited for.
#[derive(Debug)]
pub enum Done {
    /// An access unit was consumed; `input` has its buffer again.
    Input {
        /// The access unit's timestamp.
        timestamp: Timestamp,
        /// Whether it could not be decoded.
        error: bool,
    },
    /// A picture came out.
    Picture {
        /// The picture.
        picture: Picture,
        /// The timestamp of the access unit that began it.
        timestamp: Timestamp,
        /// Whether it could not be decoded; its bytes are anything then.
        error: bool,
    },
}

/// A stream through a decoder.
#[derive(Debug)]
pub struct Session {
    number: u64,
    device: Arc<Device>,
    // Requests belong to it: it stays open as long as they are used.
    media: MediaDevice,
    memory: Memory,
    coded: Format,
    raw: Format,
    free: Vec<Input>,
    inputs: Vec<Option<Input>>,
    pictures: Vec<Option<Picture>>,
}

impl Session {
    /// Opens a decoder and makes it ready for a stream. The pictures are returned beside the
    /// session; with memory of the client's there are none, `import` makes them.
    ///
    /// # Errors
    /// The decoder cannot be opened or does not take this stream.
    pub fn start(
        kernel: &Arc<dyn Kernel>,
        node: &DecoderNode,
        config: &Config<'_>,
    ) -> Result<(Session, Vec<Picture>), Error> {
        let device = Device::open(Arc::clone(kernel), &node.video)?;
        let media = MediaDevice::open(Arc::clone(kernel), &node.media)?;
        Session::on(Arc::new(device), media, config)
    }

    /// Makes a decoder that is open already, and has no buffers, ready for a stream.
    ///
    /// # Errors
    /// The decoder does not take this stream.
    pub fn on(
        device: Arc<Device>,
        media: MediaDevice,
        config: &Config<'_>,
    ) -> Result<(Session, Vec<Picture>), Error> {
        let coded = Format::coded(config.coded, config.width, config.height, config.input_size);
        let coded = set_exactly(&device, Queue::Output, coded)?;
        device.set_controls(None, config.controls)?;
        let raw = Format {
            fourcc: config.raw,
            ..device.format(Queue::Capture)?
        };
        let raw = set_exactly(&device, Queue::Capture, raw)?;

        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let mut session = Session {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            device,
            media,
            memory: config.memory,
            coded,
            raw,
            free: Vec::new(),
            inputs: Vec::new(),
            pictures: Vec::new(),
        };
        let device = &session.device;
        let count = device.request_buffers(Queue::Output, Memory::Mmap, config.inputs)?;
        session.take_inputs(0, count)?;
        let pictures = session.allocate_pictures(config.pictures)?;
        session.device.stream_on(Queue::Output)?;
        session.device.stream_on(Queue::Capture)?;
        Ok((session, pictures))
    }

    fn take_inputs(&mut self, first: u32, count: u32) -> Result<(), Error> {
        let end = first + count;
        if self.inputs.len() < end as usize {
            self.inputs.resize_with(end as usize, || None);
        }
        for index in first..end {
            let input = Input {
                session: self.number,
                index,
                mapping: map(&self.device, Queue::Output, index)?,
                request: self.media.allocate_request()?,
            };
            self.free.push(input);
        }
        Ok(())
    }

    fn allocate_pictures(&mut self, count: u32) -> Result<Vec<Picture>, Error> {
        let device = &self.device;
        let count = device.request_buffers(Queue::Capture, self.memory, count)?;
        self.pictures.resize_with(count as usize, || None);
        match self.memory {
            Memory::Mmap => (0..count).map(|index| self.mapped_picture(index)).collect(),
            Memory::DmaBuf => Ok(Vec::new()),
        }
    }

    fn mapped_picture(&self, index: u32) -> Result<Picture, Error> {
        let mapping = map(&self.device, Queue::Capture, index)?;
        Ok(Picture {
            session: self.number,
            index,
            format: self.raw,
            memory: PictureMemory::Mapped(mapping),
        })
    }

    /// Ends the stream and frees all buffers; the nodes can be used for another one.
    ///
    /// # Errors
    /// The device is gone, or does not free buffers that somebody has.
    pub fn stop(self) -> Result<(Arc<Device>, MediaDevice), Error> {
        let Session {
            device,
            media,
            memory,
            free,
            inputs,
            pictures,
            ..
        } = self;
        device.stream_off(Queue::Output)?;
        device.stream_off(Queue::Capture)?;
        drop((free, inputs, pictures));
        device.request_buffers(Queue::Output, Memory::Mmap, 0)?;
        device.request_buffers(Queue::Capture, memory, 0)?;
        Ok((device, media))
    }

    /// The format of access units, as the driver made it.
    pub fn coded(&self) -> Format {
        self.coded
    }

    /// The format of pictures, as the driver made it.
    pub fn raw(&self) -> Format {
        self.raw
    }

    /// The device, for what a session does not do itself.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// A free OUTPUT buffer, if there is one; `wait` makes them free.
    pub fn input(&mut self) -> Option<Input> {
        self.free.pop()
    }

    /// A free OUTPUT buffer of so many bytes, if there is one.
    pub fn input_of(&mut self, size: usize) -> Option<Input> {
        let fits = |input: &Input| input.mapping.len() >= size;
        let place = self.free.iter().rposition(fits)?;
        Some(self.free.swap_remove(place))
    }

    /// Whether an OUTPUT buffer, free or in flight, has so many bytes.
    pub fn has_input_of(&self, size: usize) -> bool {
        let mut all = self.free.iter().chain(self.inputs.iter().flatten());
        all.any(|input| input.mapping.len() >= size)
    }

    /// Adds an OUTPUT buffer for longer access units, while streaming too.
    ///
    /// # Errors
    /// The driver adds no buffers, or there is no memory.
    pub fn add_input(&mut self, size: u32) -> Result<(), Error> {
        let longer = Format { size, ..self.coded };
        let (first, count) = self
            .device
            .create_buffers(Queue::Output, Memory::Mmap, longer, 1)?;
        self.take_inputs(first, count)
    }

    /// Gives an OUTPUT buffer back unused.
    pub fn release(&mut self, input: Input) {
        if input.session == self.number {
            self.free.push(input);
        }
    }

    /// Makes a picture of somebody else's memory. Each index below the number of pictures is used
    /// by one picture at a time; the same index with the same memory again costs the driver least.
    ///
    /// # Errors
    /// The session was not started for this, or has no such index.
    pub fn import(&self, index: u32, fd: Arc<OwnedFd>, length: u32) -> Result<Picture, Error> {
        if self.memory != Memory::DmaBuf || index as usize >= self.pictures.len() {
            let what = format!("no place for a picture of other memory at index {index}");
            return Err(self.device.node.unsuited(what));
        }
        Ok(Picture {
            session: self.number,
            index,
            format: self.raw,
            memory: PictureMemory::Imported { fd, length },
        })
    }

    /// A picture as a dma-buf, which outlives the session.
    ///
    /// # Errors
    /// The memory is not the device's; the picture is lost then.
    pub fn export(&self, picture: Picture) -> Result<(Picture, OwnedFd), Error> {
        if picture.session != self.number {
            return Err(Error::Foreign);
        }
        let fd = self.device.export(Queue::Capture, picture.index)?;
        Ok((picture.exported(), fd))
    }

    /// Hands an access unit to the device. It returns at once; `wait` tells the end.
    ///
    /// # Errors
    /// The access unit was not taken, or, if the error says so, has no picture to go to.
    pub fn submit(&mut self, submission: Submission<'_>) -> Result<(), Box<Refused>> {
        let Submission {
            input,
            length,
            timestamp,
            controls,
            target,
            hold,
        } = submission;
        let picture = match target {
            Target::Picture(picture) => Some(picture),
            Target::Held => None,
        };
        let own = input.session == self.number
            && picture
                .as_ref()
                .is_none_or(|one| one.session == self.number);
        if !own {
            self.release(input);
            return Err(refused(timestamp, picture, Error::Foreign));
        }
        match self.queue_input(&input, length, timestamp, controls, hold) {
            Ok(()) => {
                let index = input.index as usize;
                self.inputs[index] = Some(input);
            }
            Err(error) => {
                // A request that was not queued lets go of all it held, so nothing of it is left.
                let error = input.request.reinit().err().unwrap_or(error);
                self.free.push(input);
                return Err(refused(timestamp, picture, error));
            }
        }
        // The picture comes last: should the request be refused, it would stay in the queue, and
        // the next access unit would be decoded into it.
        match picture {
            None => Ok(()),
            Some(picture) => self.queue_picture(picture).map_err(|(picture, error)| {
                let mut refused = refused(timestamp, Some(picture), error);
                refused.is_waiting = true;
                refused
            }),
        }
    }

    fn queue_input(
        &self,
        input: &Input,
        length: usize,
        timestamp: Timestamp,
        controls: &[Control<'_>],
        hold: bool,
    ) -> Result<(), Error> {
        let size = input.mapping.len();
        let bytes_used = u32::try_from(length).ok().filter(|_| length <= size);
        let bytes_used = bytes_used.ok_or(Error::TooLong {
            length,
            size,
            timestamp: timestamp.micros(),
        })?;
        self.device.set_controls(Some(&input.request), controls)?;
        let queued = Queued {
            bytes_used,
            timestamp,
            hold,
            request: Some(&input.request),
            ..Queued::own(input.index)
        };
        self.device.queue_buffer(Queue::Output, &queued)?;
        input.request.queue()
    }

    fn queue_picture(&mut self, picture: Picture) -> Result<(), (Picture, Error)> {
        let import = match &picture.memory {
            PictureMemory::Mapped(_) | PictureMemory::Exported(_) => None,
            PictureMemory::Imported { fd, length } => Some((fd.as_fd(), *length)),
        };
        let queued = Queued {
            import,
            ..Queued::own(picture.index)
        };
        match self.device.queue_buffer(Queue::Capture, &queued) {
            Ok(()) => {
                let index = picture.index as usize;
                self.pictures[index] = Some(picture);
                Ok(())
            }
            Err(error) => Err((picture, error)),
        }
    }

    /// Whether the device has anything to do.
    pub fn is_busy(&self) -> bool {
        self.inputs.iter().any(Option::is_some)
    }

    /// Waits for the next thing that is done; none when the time is over or there is nothing to
    /// wait for. With no time at all it only looks.
    ///
    /// # Errors
    /// The device is gone or said something impossible.
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<Done>, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(done) = self.take_done()? {
                return Ok(Some(done));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.has_queued() {
                return Ok(None);
            }
            let flags = PollFlags::IN | PollFlags::OUT;
            self.device.node.wait(flags, left)?;
        }
    }

    /// Whether anything is queued that `wait` could wait for.
    pub fn has_queued(&self) -> bool {
        self.is_busy() || self.pictures.iter().any(Option::is_some)
    }

    fn take_done(&mut self) -> Result<Option<Done>, Error> {
        match self.take_picture()? {
            Some(done) => Ok(Some(done)),
            None => self.take_input(),
        }
    }

    /// A picture that is done, if there is one; `Device::wait` tells without a call in vain.
    ///
    /// # Errors
    /// The device is gone or said something impossible.
    pub fn take_picture(&mut self) -> Result<Option<Done>, Error> {
        if self.pictures.iter().all(Option::is_none) {
            return Ok(None);
        }
        let done = self.device.dequeue_buffer(Queue::Capture, self.memory)?;
        done.map(|done| self.picture_done(&done)).transpose()
    }

    /// An access unit that was consumed, if there is one.
    ///
    /// # Errors
    /// The device is gone or said something impossible.
    pub fn take_input(&mut self) -> Result<Option<Done>, Error> {
        if !self.is_busy() {
            return Ok(None);
        }
        let done = self.device.dequeue_buffer(Queue::Output, Memory::Mmap)?;
        done.map(|done| self.input_done(&done)).transpose()
    }

    fn picture_done(&mut self, done: &Dequeued) -> Result<Done, Error> {
        let slot = self.pictures.get_mut(done.index as usize);
        let picture = slot.and_then(Option::take);
        let picture = picture.ok_or_else(|| self.never_queued("CAPTURE", done))?;
        Ok(Done::Picture {
            picture,
            timestamp: done.timestamp,
            error: done.error,
        })
    }

    fn input_done(&mut self, done: &Dequeued) -> Result<Done, Error> {
        let slot = self.inputs.get_mut(done.index as usize);
        let input = slot.and_then(Option::take);
        let input = input.ok_or_else(|| self.never_queued("OUTPUT", done))?;
        renew(&input.request)?;
        self.free.push(input);
        Ok(Done::Input {
            timestamp: done.timestamp,
            error: done.error,
        })
    }

    fn never_queued(&self, queue: &str, done: &Dequeued) -> Error {
        let what = format!(
            "{queue} buffer {} at {} us, which was not queued",
            done.index,
            done.timestamp.micros()
        );
        self.device.node.nonsense("VIDIOC_DQBUF", what)
    }

    /// Throws away whatever is in flight, for a seek; returns the pictures that were.
    ///
    /// # Errors
    /// The device is gone.
    pub fn flush(&mut self) -> Result<Vec<Picture>, Error> {
        self.device.stream_off(Queue::Output)?;
        self.device.stream_off(Queue::Capture)?;
        for slot in &mut self.inputs {
            if let Some(input) = slot.take() {
                renew(&input.request)?;
                self.free.push(input);
            }
        }
        let pictures = self.pictures.iter_mut().filter_map(Option::take).collect();
        self.device.stream_on(Queue::Output)?;
        self.device.stream_on(Queue::Capture)?;
        Ok(pictures)
    }

    /// Adds pictures, while streaming too; with memory of the client's, places for them, of which
    /// `places` then tells more.
    ///
    /// # Errors
    /// There is no memory.
    pub fn add_pictures(&mut self, count: u32) -> Result<Vec<Picture>, Error> {
        let device = &self.device;
        let (first, count) = device.create_buffers(Queue::Capture, self.memory, self.raw, count)?;
        let end = first + count;
        if self.pictures.len() < end as usize {
            self.pictures.resize_with(end as usize, || None);
        }
        match self.memory {
            Memory::Mmap => (first..end)
                .map(|index| self.mapped_picture(index))
                .collect(),
            Memory::DmaBuf => Ok(Vec::new()),
        }
    }

    /// How many places there are for pictures.
    pub fn places(&self) -> u32 {
        self.pictures.len() as u32
    }

    /// Whether places can be taken away.
    pub fn removes_places(&self) -> bool {
        // Of none, any index does.
        let none = self.device.remove_buffers(Queue::Capture, 0, 0);
        none.is_ok()
    }

    /// Takes a place for a picture away from the device; the next one that is added gets its index.
    ///
    /// # Errors
    /// The picture is in flight, or the kernel is older than Linux 6.10.
    pub fn remove_place(&mut self, index: u32) -> Result<(), Error> {
        self.device.remove_buffers(Queue::Capture, index, 1)
    }

    /// Takes a picture away from the device, which then refers to it no longer.
    ///
    /// # Errors
    /// The kernel is older than Linux 6.10.
    pub fn remove_picture(&mut self, picture: Picture) -> Result<(), Error> {
        if picture.session != self.number {
            return Err(Error::Foreign);
        }
        let index = picture.index;
        drop(picture);
        self.device.remove_buffers(Queue::Capture, index, 1)
    }

    /// Goes on with pictures of another size, as VP9 does between key frames. Nothing may be in
    /// flight. The pictures so far stay for references; new ones of the new size are returned.
    ///
    /// Where pictures follow the size of OUTPUT, as with `kinora_dec`, that is set as well. Most
    /// drivers refuse it as long as there are pictures of the size before: there the frame's own
    /// control tells.
    ///
    /// # Errors
    /// The driver takes no other size while it has pictures.
    pub fn resize(&mut self, width: u32, height: u32, count: u32) -> Result<Vec<Picture>, Error> {
        let asked = Format {
            width,
            height,
            stride: 0,
            size: 0,
            ..self.raw
        };
        self.device.stream_off(Queue::Capture)?;
        let coded = Format {
            width,
            height,
            ..self.coded
        };
        match self.device.set_format(Queue::Output, coded) {
            Ok(coded) => self.coded = coded,
            Err(error) if error.errno() == Some(Errno::BUSY) => {}
            Err(error) => return Err(error),
        }
        self.raw = set_exactly(&self.device, Queue::Capture, asked)?;
        let pictures = self.add_pictures(count)?;
        self.device.stream_on(Queue::Capture)?;
        Ok(pictures)
    }
}

impl AsFd for Session {
    /// The video node: readable when a picture is done, writable when an access unit is.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

fn refused(timestamp: Timestamp, picture: Option<Picture>, source: Error) -> Box<Refused> {
    Box::new(Refused {
        timestamp,
        picture,
        is_waiting: false,
        source,
    })
}

/// Makes a request as good as new once it is completed.
fn renew(request: &Request) -> Result<(), Error> {
    match request.reinit() {
        Err(error) if error.errno() == Some(Errno::BUSY) => {
            request.wait(REQUEST_LAG)?;
            request.reinit()
        }
        other => other,
    }
}

fn map(device: &Device, queue: Queue, index: u32) -> Result<Mapping, Error> {
    let place = device.place(queue, index)?;
    Mapping::new(device, place.length as usize, place.offset.into())
        .map_err(|source| device.node.failed("mmap", source))
}

/// Sets a format of which the driver may change all but the fourcc, and the size of which it may
/// only raise.
fn set_exactly(device: &Device, queue: Queue, asked: Format) -> Result<Format, Error> {
    let set = device.set_format(queue, asked)?;
    let suits =
        set.fourcc == asked.fourcc && set.width >= asked.width && set.height >= asked.height;
    suits.then_some(set).ok_or_else(|| {
        let name = |format: &Format| {
            let code = format.fourcc.to_le_bytes();
            let code = String::from_utf8_lossy(&code).into_owned();
            format!("{code} {}x{}", format.width, format.height)
        };
        let what = format!(
            "{queue:?} does not take {}, but {}",
            name(&asked),
            name(&set)
        );
        device.node.unsuited(what)
    })
}

/// A decoder of this machine for a coded format and a size.
///
/// # Errors
/// A decoder that could be opened refuses to say what it decodes.
pub fn find_decoder(
    kernel: &Arc<dyn Kernel>,
    root: &Path,
    coded: u32,
    width: u32,
    height: u32,
) -> Result<Option<DecoderNode>, Error> {
    for node in crate::find::decoders(kernel, root) {
        // A node whose daemon is away, or that is of another kind, cannot be opened; the next may.
        let Ok(device) = Device::open(Arc::clone(kernel), &node.video) else {
            continue;
        };
        let sizes = device.frame_sizes(coded)?;
        let fits = sizes.is_empty() || sizes.iter().any(|sizes| sizes.holds(width, height));
        if fits && device.formats(Queue::Output)?.contains(&coded) {
            return Ok(Some(node));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
