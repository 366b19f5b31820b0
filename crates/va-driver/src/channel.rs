//! Channels: pictures on their way to a decoder and back.
//!
//! `vaEndPicture` hands a picture to the decoder and returns; whoever asks for the surface waits.
//! Threads may do both at once: one of those that wait sleeps in `poll` without the lock and alone
//! takes from the decoder what is done, the others sleep until he tells them.
//!
//! The decoder is set up by the first picture, because only that tells what decides over the format
//! of pictures. So the first is prepared beside the OUTPUT buffers, and so is one that finds the
//! decoder stopped or of another size.
//!
//! A channel is a context's, and stays for as long as there are surfaces that it has decoded when
//! the context goes. FFmpeg makes another context when VP9 changes its size, and pictures there refer
//! to those of the one before: V4L2 knows references only where they were decoded, so the context
//! goes on with the channel that has them.

use crate::buffer::{Buffer, Buffers};
use crate::codec::{Codec, Place, Rendered, Surfaces, Target, Unit};
use crate::config::Config;
use crate::decoder::{Decoder, coded_size};
use crate::driver::Driver;
use crate::edge::lock;
use crate::error::Error;
use crate::stream::{Job, Start, Stream};
use crate::surface::{Filled, Outcome, Surface};
use crate::table::Table;
use crate::va::*;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use v4l2::device::{Device, Ready};
use v4l2::media::MediaDevice;
use v4l2::queue::Timestamp;

/// A decoder's nodes, a stream on them, and what the codec keeps of it.
#[derive(Debug)]
pub struct Channel {
    config: Arc<Config>,
    decoder: Arc<Decoder>,
    targets: u32,
    /// A context has it.
    is_owned: AtomicBool,
    pipe: Mutex<Pipe>,
    collected: Condvar,
    /// Pictures that came out whole, and others.
    decoded: AtomicU64,
    failed: AtomicU64,
}

/// What changes of a channel.
#[derive(Debug)]
struct Pipe {
    codec: Codec,
    begun: Option<Begun>,
    /// Kept for the next picture.
    buffers: Vec<Arc<Buffer>>,
    rendered: Vec<Rendered<'static>>,
    /// The decoder's nodes, as long as no stream has them.
    nodes: Option<(Arc<Device>, MediaDevice)>,
    stream: Option<Stream>,
    /// A thread sleeps in `poll`, and nobody else takes anything from the decoder.
    is_polled: bool,
    /// Threads that sleep until that one tells them.
    sleepers: usize,
}

/// How a picture ended.
#[derive(Debug)]
pub enum End {
    /// The decoder has it.
    Submitted,
    /// It refers to pictures of another channel, which is the context's from now on.
    Elsewhere(Arc<Channel>, Begun),
}

/// A picture between `vaBeginPicture` and `vaEndPicture`.
#[derive(Debug)]
pub struct Begun {
    surface: Arc<Surface>,
    id: VASurfaceID,
    buffers: Vec<Arc<Buffer>>,
    /// Why it cannot be decoded, as is said when it ends.
    failure: Option<Error>,
}

type Guard<'a> = MutexGuard<'a, Pipe>;

impl Channel {
    /// A channel for pictures of about this size; what they are really is said by each.
    ///
    /// # Errors
    /// No decoder takes them, or it cannot be opened.
    pub fn new(config: &Arc<Config>, size: (u32, u32), targets: u32) -> Result<Channel, Error> {
        let decoder = Arc::clone(config.decoder(size)?);
        let codec = Codec::new(config.profile).ok_or(Error::Profile(config.profile))?;
        let nodes = decoder.open()?;
        let pipe = Pipe {
            codec,
            begun: None,
            buffers: Vec::new(),
            rendered: Vec::new(),
            nodes: Some(nodes),
            stream: None,
            is_polled: false,
            sleepers: 0,
        };
        crate::debug!(
            "a channel of profile {}, {}x{}, on {} ({})",
            config.profile,
            size.0,
            size.1,
            decoder.path().display(),
            decoder.driver(),
        );
        Ok(Channel {
            config: Arc::clone(config),
            decoder,
            targets,
            is_owned: AtomicBool::new(true),
            pipe: Mutex::new(pipe),
            collected: Condvar::new(),
            decoded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    /// Begins a picture.
    pub fn begin(&self, surface: Arc<Surface>, id: VASurfaceID) {
        let mut pipe = lock(&self.pipe);
        // A client that gave a picture up begins the next without ending it.
        if let Some(begun) = pipe.begun.take() {
            crate::debug!("the picture of surface {:#x} was never ended", begun.id);
        }
        let buffers = std::mem::take(&mut pipe.buffers);
        pipe.begun = Some(Begun {
            surface,
            id,
            buffers,
            failure: None,
        });
    }

    /// Adds buffers to the picture, or what is wrong with them.
    ///
    /// # Errors
    /// No picture has begun.
    pub fn render(&self, buffers: &Buffers, ids: &[VABufferID]) -> Result<(), Error> {
        let mut pipe = lock(&self.pipe);
        let begun = pipe.begun.as_mut().ok_or(NOT_BEGUN)?;
        buffers.each(ids, |buffer| match buffer {
            Ok(buffer) => begun.buffers.push(buffer),
            Err(error) if begun.failure.is_none() => begun.failure = Some(error),
            Err(_) => {}
        });
        Ok(())
    }

    /// Takes over the picture that has begun in another channel.
    pub fn take_over(&self, begun: Begun) {
        lock(&self.pipe).begun = Some(begun);
    }

    /// Hands the picture to the decoder.
    ///
    /// # Errors
    /// It cannot be decoded; the next picture is not affected by that.
    pub fn end(self: &Arc<Self>, driver: &Driver) -> Result<End, Error> {
        let mut pipe = lock(&self.pipe);
        let mut begun = pipe.begun.take().ok_or(NOT_BEGUN)?;
        let (mut pipe, done) = match begun.failure.take() {
            Some(failure) => (pipe, Err(failure)),
            None => self.decode(pipe, &driver.surfaces, &begun),
        };
        if let Ok(Some(other)) = done {
            return Ok(End::Elsewhere(other, begun));
        }
        for buffer in begun.buffers.drain(..) {
            driver.buffers.give_back(buffer);
        }
        pipe.buffers = begun.buffers;
        if done.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        done.map(|_| End::Submitted)
    }

    /// Decodes a picture, or says which channel has what it refers to.
    fn decode<'a>(
        self: &'a Arc<Self>,
        pipe: Guard<'a>,
        surfaces: &Table<Surface>,
        begun: &Begun,
    ) -> (Guard<'a>, Result<Option<Arc<Channel>>, Error>) {
        let surface = &begun.surface;
        // A decode into the same surface that is on its way comes first: its picture may be the
        // first field of this one, or the surface was given up.
        let (mut pipe, waited) = self.wait_while(pipe, None, |stream| {
            let pending = surface.decoded_in(self);
            stream.is_filling(surface) && !pending.is_some_and(|first| stream.is_half(first))
        });
        if let Err(error) = waited {
            return (pipe, Err(error));
        }
        let mut rendered: Vec<Rendered<'_>> = again(std::mem::take(&mut pipe.rendered));
        for buffer in &begun.buffers {
            rendered.push(Rendered {
                kind: buffer.kind(),
                element: buffer.element() as usize,
                // SAFETY: between `vaRenderPicture` and the end of `vaEndPicture` buffers belong to
                // the driver, by VA-API. A client that writes all the same gets a wrong picture:
                // what is read here is checked where it is used, and copied once.
                bytes: unsafe { buffer.bytes() },
            });
        }
        let is_new = pipe.stream.is_none() && self.decoded.load(Ordering::Relaxed) == 0;
        let lookup = Lookup::new(surfaces, self, is_new);
        let target = Target {
            surface: begun.id,
            fresh: fresh(),
        };
        let (mut pipe, done) = self.prepare_and_submit(pipe, surface, &rendered, &target, &lookup);
        pipe.rendered = again(rendered);
        (pipe, done)
    }

    fn prepare_and_submit<'a>(
        self: &'a Arc<Self>,
        pipe: Guard<'a>,
        surface: &Arc<Surface>,
        rendered: &[Rendered<'_>],
        target: &Target,
        lookup: &Lookup<'_>,
    ) -> (Guard<'a>, Result<Option<Arc<Channel>>, Error>) {
        let room = pipe.codec.room(rendered);
        let (mut pipe, input) = self.free_input(pipe, room);
        let mut input = match input {
            Ok(input) => input,
            Err(error) => return (pipe, Err(error)),
        };
        let mut beside = Vec::new();
        let bytes = match &mut input {
            Some(input) => input.bytes_mut(),
            None => {
                beside.resize(room, 0);
                &mut beside[..]
            }
        };
        let prepared = pipe.codec.prepare(rendered, target, lookup, bytes);
        if let Some(other) = lookup.elsewhere.take() {
            return (pipe, Ok(Some(other)));
        }
        let unit = match prepared {
            Ok(unit) => unit,
            Err(refusal) => {
                if let (Some(input), Some(stream)) = (input, &mut pipe.stream) {
                    stream.session.release(input);
                }
                return (pipe, Err(refusal.into()));
            }
        };
        if let Some(error) = self.misfit(surface, unit.size) {
            if let (Some(input), Some(stream)) = (input, &mut pipe.stream) {
                stream.session.release(input);
            }
            return (pipe, Err(error));
        }
        let size = coded_size(self.config.coded, unit.size);
        let is_ready = pipe
            .stream
            .as_ref()
            .is_some_and(|stream| stream.size == size);
        if let (false, Some(own)) = (is_ready, &mut input) {
            beside.clear();
            beside.extend_from_slice(&own.bytes_mut()[..unit.length]);
        }
        let input = match input {
            Some(input) if is_ready => input,
            other => {
                if let (Some(input), Some(stream)) = (other, &mut pipe.stream) {
                    stream.session.release(input);
                }
                let (guard, readied) = self.ready(pipe, size, room);
                pipe = guard;
                match readied {
                    Ok(mut input) => {
                        input.bytes_mut()[..unit.length].copy_from_slice(&beside[..unit.length]);
                        input
                    }
                    Err(error) => return (pipe, Err(error)),
                }
            }
        };
        let (mut pipe, waited) = self.make_room(pipe, surface, unit.place);
        let done = match (waited, &mut pipe.stream) {
            (Ok(()), _) => {
                let done = self.submit(&mut pipe, surface, unit, input, lookup);
                done.map(|()| None)
            }
            (Err(error), stream) => {
                if let Some(stream) = stream {
                    stream.session.release(input);
                }
                Err(error)
            }
        };
        (pipe, done)
    }

    /// Why a surface does not take a picture, if it does not: FFmpeg goes on with the surfaces that
    /// it has when VP8 becomes larger, and shows what lies beyond them. What codecs of macroblocks
    /// have more than a surface may be cropped.
    fn misfit(&self, surface: &Surface, size: (u32, u32)) -> Option<Error> {
        let (width, height) = surface.size;
        let is_exact = coded_size(self.config.coded, (1, 1)) == (1, 1);
        let fits = size.0 <= width && size.1 <= height;
        let text = || format!("a picture of {size:?} in a surface of {width}x{height}");
        (is_exact && !fits).then(|| Error::parameter(text()))
    }

    /// Waits until a surface can be decoded into.
    fn make_room<'a>(
        &'a self,
        mut pipe: Guard<'a>,
        surface: &Arc<Surface>,
        place: Place,
    ) -> (Guard<'a>, Result<(), Error>) {
        if place == Place::SecondField {
            return (pipe, Ok(()));
        }
        // A first field of this surface that was given up is still in the decoder.
        let released = match &mut pipe.stream {
            Some(stream) if stream.is_filling(surface) => stream.release_half(),
            _ => Ok(()),
        };
        let (pipe, waited) = self.wait_while(pipe, None, |stream| {
            stream.is_filling(surface) || !stream.is_idle() && !stream.has_room(surface)
        });
        (pipe, released.and(waited))
    }

    /// An OUTPUT buffer for data of a length, if there is a stream.
    fn free_input<'a>(
        &'a self,
        mut pipe: Guard<'a>,
        room: usize,
    ) -> (Guard<'a>, Result<Option<v4l2::session::Input>, Error>) {
        let Some(stream) = &mut pipe.stream else {
            return (pipe, Ok(None));
        };
        if !stream.session.has_input_of(room) {
            // Twice of what is needed, in whole pages: longer ones will follow.
            let longer = (room * 2).next_multiple_of(64 << 10);
            let added = stream
                .session
                .add_input(u32::try_from(longer).unwrap_or(u32::MAX));
            if let Err(error) = added {
                crate::debug!("no OUTPUT buffer of {longer} bytes can be added: {error}");
                let (mut pipe, idle) = self.wait_while(pipe, None, |stream| !stream.is_idle());
                pipe.stop(self);
                return (pipe, idle.map(|()| None));
            }
        }
        if let Some(input) = stream.session.input_of(room) {
            return (pipe, Ok(Some(input)));
        }
        let mut found = None;
        let (pipe, waited) = self.wait_while(pipe, None, |stream| {
            found = stream.session.input_of(room);
            found.is_none()
        });
        (pipe, waited.map(|()| found))
    }

    /// Makes the decoder ready for pictures of a size; the codec has prepared the first of them.
    fn ready<'a>(
        &'a self,
        pipe: Guard<'a>,
        size: (u32, u32),
        room: usize,
    ) -> (Guard<'a>, Result<v4l2::session::Input, Error>) {
        let (mut pipe, idle) = self.wait_while(pipe, None, |stream| !stream.is_idle());
        let input = idle.and_then(|()| pipe.ready(self, size, room));
        (pipe, input)
    }

    fn submit(
        self: &Arc<Self>,
        pipe: &mut Pipe,
        surface: &Arc<Surface>,
        unit: Unit,
        input: v4l2::session::Input,
        lookup: &Lookup<'_>,
    ) -> Result<(), Error> {
        let Pipe { codec, stream, .. } = pipe;
        let stream = stream
            .as_mut()
            .ok_or(Error::Order("the decoder is stopped"))?;
        stream.refer(lookup.found());
        let is_held = unit.place == Place::SecondField && stream.is_half(unit.timestamp);
        let mut slot = None;
        if !is_held {
            let mut state = lock(&surface.state);
            // The second field of a picture that the decoder has let go of goes where the first is.
            let first = state.filled.as_ref().filter(|filled| {
                unit.place == Place::SecondField && filled.timestamp == unit.timestamp
            });
            let first = first.and_then(|filled| stream.slot_of(&filled.frame));
            let placed = match first {
                Some(first) => Ok(first),
                None => stream.place(&self.decoder, self.config.coded, &mut state),
            };
            let (place, frame) = match placed {
                Ok(placed) => placed,
                Err(error) => {
                    drop(state);
                    stream.session.release(input);
                    return Err(error);
                }
            };
            state.filled = Some(Filled {
                channel: Arc::clone(self),
                timestamp: unit.timestamp,
                frame,
                outcome: Outcome::Pending,
            });
            slot = Some(place);
        }
        let controls = codec.controls();
        let job = Job {
            input,
            length: unit.length,
            timestamp: unit.timestamp,
            controls: &controls,
            slot,
            hold: unit.place == Place::FirstField && self.decoder.holds,
        };
        let done = stream.submit(self, job, surface);
        if done.is_err() {
            surface.done(self, unit.timestamp, true);
        }
        done
    }

    /// Notes the end of a decode.
    pub fn done(&self, surface: &Surface, timestamp: Timestamp, has_failed: bool) {
        let count = if has_failed {
            &self.failed
        } else {
            &self.decoded
        };
        count.fetch_add(1, Ordering::Relaxed);
        surface.done(self, timestamp, has_failed);
    }

    /// Waits until a decode is done; false when the time is over first.
    ///
    /// # Errors
    /// The device is gone.
    pub fn wait_for(&self, timestamp: Timestamp, deadline: Option<Instant>) -> Result<bool, Error> {
        let mut pipe = lock(&self.pipe);
        let half = pipe
            .stream
            .as_mut()
            .filter(|stream| stream.is_half(timestamp));
        if let Some(stream) = half {
            // Whoever looks at a picture after its first field wants it as it is.
            stream.release_half()?;
        }
        let (_pipe, waited) = self.wait_while(pipe, deadline, |stream| stream.has(timestamp));
        match waited {
            Err(Error::TimedOut) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Takes from the decoder what is done, if nobody else does.
    pub fn look(&self) {
        let mut pipe = lock(&self.pipe);
        let device = pipe.device();
        if let (false, Some(device)) = (pipe.is_polled, device) {
            let mut ready = device.wait(Duration::ZERO);
            while ready.as_ref().is_ok_and(|ready| !ready.is_none()) {
                pipe.collect(self, ready);
                ready = device.wait(Duration::ZERO);
            }
            self.tell(&pipe);
        }
    }

    /// Waits as long as something is so of the stream; without one nothing is.
    fn wait_while<'a>(
        &'a self,
        mut pipe: Guard<'a>,
        deadline: Option<Instant>,
        mut is_so: impl FnMut(&mut Stream) -> bool,
    ) -> (Guard<'a>, Result<(), Error>) {
        let mut has_slept = false;
        loop {
            let Some(stream) = pipe.stream.as_mut() else {
                return (pipe, Ok(()));
            };
            if !is_so(stream) {
                return (pipe, Ok(()));
            }
            let patience = stream.patience();
            if patience.is_zero() || !stream.session.has_queued() {
                let path = self.decoder.path().display();
                crate::debug!("{path}: no picture comes any more");
                stream.give_up(self);
                let is_over = !is_so(stream);
                let lost = Error::Order("the decoder does not answer");
                return (pipe, is_over.then_some(()).ok_or(lost));
            }
            // With no time at all it is looked once.
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if has_slept && left.is_some_and(|left| left.is_zero()) {
                return (pipe, Err(Error::TimedOut));
            }
            has_slept = true;
            pipe = self.sleep(pipe, left.map_or(patience, |left| left.min(patience)));
        }
    }

    /// Sleeps until the decoder has something done, or another thread has taken it.
    fn sleep<'a>(&'a self, mut pipe: Guard<'a>, time: Duration) -> Guard<'a> {
        let (false, Some(device)) = (pipe.is_polled, pipe.device()) else {
            pipe.sleepers += 1;
            let slept = self.collected.wait_timeout(pipe, time);
            pipe = slept.unwrap_or_else(PoisonError::into_inner).0;
            pipe.sleepers -= 1;
            return pipe;
        };
        pipe.is_polled = true;
        drop(pipe);
        let ready = device.wait(time);
        let mut pipe = lock(&self.pipe);
        pipe.is_polled = false;
        pipe.collect(self, ready);
        self.tell(&pipe);
        pipe
    }

    /// Tells those who sleep that something was collected, if there are any: telling nobody costs a
    /// system call too.
    fn tell(&self, pipe: &Pipe) {
        if pipe.sleepers > 0 {
            self.collected.notify_all();
        }
    }

    /// Takes the channel for a context, if none has it.
    fn claim(&self) -> bool {
        !self.is_owned.swap(true, Ordering::AcqRel)
    }

    /// Lets the context go: what is in flight is decoded yet. Surfaces keep their pictures, and the
    /// channel with them, for whoever refers to those.
    pub fn release(&self, buffers: &Buffers) {
        let mut pipe = lock(&self.pipe);
        for buffer in pipe
            .begun
            .take()
            .into_iter()
            .flat_map(|begun| begun.buffers)
        {
            buffers.give_back(buffer);
        }
        if let Some(stream) = &mut pipe.stream {
            if stream.has_half() {
                let _ = stream.release_half();
            }
        }
        let (_pipe, _) = self.wait_while(pipe, None, |stream| !stream.is_idle());
        crate::debug!(
            "a context ends on {}: {} pictures decoded, {} not",
            self.decoder.path().display(),
            self.decoded.load(Ordering::Relaxed),
            self.failed.load(Ordering::Relaxed),
        );
        self.is_owned.store(false, Ordering::Release);
    }
}

/// A timestamp that nothing has in this process: channels that go from one context to another meet
/// those of others in no codec.
fn fresh() -> Timestamp {
    static CLOCK: AtomicU64 = AtomicU64::new(1);
    Timestamp::from_micros(CLOCK.fetch_add(1, Ordering::Relaxed))
}

impl Pipe {
    /// The node that can be waited for.
    fn device(&self) -> Option<Arc<Device>> {
        let stream = self.stream.as_ref()?;
        Some(Arc::clone(stream.session.device()))
    }

    /// Takes what is done. A device that is gone takes its stream with it; the next picture begins
    /// another one.
    fn collect(&mut self, channel: &Channel, ready: Result<Ready, v4l2::Error>) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let collected = match ready {
            Ok(ready) => stream.collect(channel, ready),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = collected {
            let source = std::error::Error::source(&error);
            crate::debug!(
                "{error}: {}",
                source.map_or_else(String::new, ToString::to_string)
            );
            stream.give_up(channel);
            self.stream = None;
        }
    }

    /// Stops the stream and keeps its nodes, if they let go of it.
    fn stop(&mut self, channel: &Channel) {
        if let Some(mut stream) = self.stream.take() {
            stream.give_up(channel);
            self.nodes = stream
                .stop()
                .inspect_err(|error| crate::debug!("{error}"))
                .ok();
        }
    }

    fn ready(
        &mut self,
        channel: &Channel,
        size: (u32, u32),
        room: usize,
    ) -> Result<v4l2::session::Input, Error> {
        if let Some(stream) = &mut self.stream {
            let from = stream.size;
            match stream.resize(size) {
                Ok(()) => crate::debug!("from {from:?} to {size:?}"),
                Err(error) => {
                    crate::debug!("from {from:?} to {size:?} by starting anew: {error}");
                    self.stop(channel);
                }
            }
        }
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let nodes = match self.nodes.take() {
                    Some(nodes) => nodes,
                    None => channel.decoder.open()?,
                };
                let offer = channel.decoder.offer(channel.config.profile);
                let offer = offer.ok_or(Error::Profile(channel.config.profile))?;
                let start = Start {
                    coded: channel.config.coded,
                    size,
                    room,
                    references: offer.references,
                    targets: channel.targets,
                    controls: &self.codec.start_controls(),
                };
                let stream = Stream::start(&channel.decoder, nodes, &start)?;
                self.stream.insert(stream)
            }
        };
        if !stream.session.has_input_of(room) {
            stream
                .session
                .add_input(u32::try_from(room).unwrap_or(u32::MAX))?;
        }
        stream.session.input_of(room).ok_or(Error::Memory(room))
    }
}

const NOT_BEGUN: Error = Error::Order("no picture has begun");

/// Makes an empty list of what lived shorter of a list whose memory is used again.
fn again<'a>(mut list: Vec<Rendered<'_>>) -> Vec<Rendered<'a>> {
    list.clear();
    // The standard library keeps the memory when it turns a list into another of the same kind.
    list.into_iter()
        .map(|_| unreachable!("the list is empty"))
        .collect()
}

/// What surfaces hold, for the codec, and which of them it has asked for.
struct Lookup<'a> {
    surfaces: &'a Table<Surface>,
    channel: &'a Channel,
    found: [Cell<Option<Timestamp>>; MOST_FOUND],
    next: Cell<usize>,
    /// Nothing was decoded here yet, so a channel that no context has can be taken instead.
    is_new: bool,
    elsewhere: Cell<Option<Arc<Channel>>>,
}

/// More references than any codec has.
const MOST_FOUND: usize = 32;

impl<'a> Lookup<'a> {
    fn new(surfaces: &'a Table<Surface>, channel: &'a Channel, is_new: bool) -> Lookup<'a> {
        Lookup {
            surfaces,
            channel,
            found: [const { Cell::new(None) }; MOST_FOUND],
            next: Cell::new(0),
            is_new,
            elsewhere: Cell::new(None),
        }
    }

    fn found(&self) -> impl Iterator<Item = Timestamp> {
        self.found.iter().filter_map(Cell::get)
    }

    /// Takes the channel that a reference was decoded in, if no context has it and it decodes the
    /// same.
    fn look_elsewhere(&self, surface: &Surface) {
        let taken = self.elsewhere.take();
        let found = taken.or_else(|| {
            let other = surface.channel()?;
            let is_same = other.config.profile == self.channel.config.profile
                && Arc::ptr_eq(&other.decoder, &self.channel.decoder);
            (is_same && other.claim()).then_some(other)
        });
        self.elsewhere.set(found);
    }
}

impl Surfaces for Lookup<'_> {
    fn decoded(&self, surface: VASurfaceID) -> Option<Timestamp> {
        let surface = self.surfaces.get(surface).ok()?;
        let Some(found) = surface.decoded_in(self.channel) else {
            if self.is_new {
                self.look_elsewhere(&surface);
            }
            return None;
        };
        let is_new = self.found().all(|other| other != found);
        if let Some(place) = self.found.get(self.next.get()).filter(|_| is_new) {
            place.set(Some(found));
            self.next.set(self.next.get() + 1);
        }
        Some(found)
    }
}
