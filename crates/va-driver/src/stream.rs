//! A context's session with its decoder: which picture goes to which CAPTURE buffer.
//!
//! A CAPTURE buffer of V4L2 is a slot here. Where the decoder takes memory of others, a slot is only
//! a name under which it knows a frame: the surface's memory goes into it when it is decoded into,
//! and stays there for references until the slot is needed for another frame, the one that was
//! neither target nor reference for the longest. Where the decoder takes none, slots have frames of
//! their own, and a surface borrows one for each decode.
//!
//! Either way a frame that a consumer still holds is left to him (`Frame::is_held`) and the surface
//! gets another one; and a surface whose memory is fixed but does not suit the decoder gets its
//! picture by a copy.

use crate::channel::Channel;
use crate::decoder::Decoder;
use crate::edge::lock;
use crate::error::Error;
use crate::frame::{Frame, Layout};
use crate::surface::{State, Surface};
use std::sync::Arc;
use std::time::{Duration, Instant};
use v4l2::device::{Control, Device, Ready};
use v4l2::media::MediaDevice;
use v4l2::queue::{Memory, Timestamp};
use v4l2::session::{Config, Done, Picture, Session, Submission, Target};
use v4l2::uapi::videodev2::V4L2_PIX_FMT_NV12;

/// Access units that the decoder has at once.
const INPUTS: u32 = 4;
/// CAPTURE buffers that every kernel can have.
const MOST_SLOTS: u32 = 32;
/// Slots beyond those for references: for what is in flight and what waits to be shown.
const MORE_SLOTS: u32 = INPUTS + 2;
/// Most controls of a picture.
const MOST_CONTROLS: usize = 8;
/// A decoder is given up when nothing comes out of it for so long, and then for as long again. Drivers
/// have watchdogs of their own that are much shorter.
const PATIENCE: Duration = Duration::from_secs(5);

/// A session and what it knows of frames.
#[derive(Debug)]
pub struct Stream {
    /// The session.
    pub session: Session,
    /// The size that the decoder was told.
    pub size: (u32, u32),
    layout: Layout,
    imports: bool,
    /// Slots can be added.
    grows: bool,
    /// Slots that a stream needs.
    wanted: u32,
    slots: Vec<Slot>,
    flights: Vec<Flight>,
    /// The picture whose second field may come.
    half: Option<Timestamp>,
    pictures: u64,
    /// When it was first waited in vain for anything to be done. A clock may cost a system call, so it
    /// is not asked before.
    stalled: Option<Instant>,
    known: Known,
}

/// Controls by id, and whether the decoder has them.
#[derive(Debug, Default)]
struct Known(Vec<(u32, bool)>);

/// Those controls of a picture that the decoder has.
struct Chosen<'a> {
    list: [Control<'a>; MOST_CONTROLS],
    length: usize,
}

impl Known {
    fn choose<'a>(
        &mut self,
        device: &Device,
        controls: &[Control<'a>],
    ) -> Result<Chosen<'a>, Error> {
        let mut chosen = Chosen {
            list: [Control::integer(0, 0); MOST_CONTROLS],
            length: 0,
        };
        for control in controls {
            let known = self.0.iter().find(|(id, _)| *id == control.id);
            let has = match known {
                Some((_, has)) => *has,
                None => {
                    let has = device.control(control.id)?.is_some();
                    crate::debug!(
                        "{}: control {:#x}: {}",
                        device.path().display(),
                        control.id,
                        if has { "sent" } else { "left out, it has none" },
                    );
                    self.0.push((control.id, has));
                    has
                }
            };
            if has && chosen.length < MOST_CONTROLS {
                chosen.list[chosen.length] = *control;
                chosen.length += 1;
            }
        }
        Ok(chosen)
    }
}

impl<'a> Chosen<'a> {
    fn all(&self) -> &[Control<'a>] {
        &self.list[..self.length]
    }
}

/// A CAPTURE buffer.
#[derive(Debug, Default)]
struct Slot {
    /// The buffer, where it has memory of its own and the decoder has it not.
    picture: Option<Picture>,
    frame: Option<Arc<Frame>>,
    /// Least bytes of a frame.
    size: u32,
    /// The last picture that it was target or reference of.
    used: u64,
    timestamp: Option<Timestamp>,
}

/// A picture that the decoder has.
#[derive(Debug)]
struct Flight {
    slot: usize,
    number: u64,
    timestamp: Timestamp,
    surface: Arc<Surface>,
    has_failed: bool,
}

/// What a stream begins with.
#[derive(Debug)]
pub struct Start<'a> {
    /// `V4L2_PIX_FMT_*`.
    pub coded: u32,
    /// Coded samples and rows.
    pub size: (u32, u32),
    /// Bytes of the first picture's data.
    pub room: usize,
    /// Pictures that are referred to at most.
    pub references: u32,
    /// Surfaces that the client has named.
    pub targets: u32,
    /// What decides the format of pictures.
    pub controls: &'a [Control<'a>],
}

/// A picture to be decoded.
#[derive(Debug)]
pub struct Job<'a> {
    /// Its data.
    pub input: v4l2::session::Input,
    /// Bytes of them.
    pub length: usize,
    /// What names it.
    pub timestamp: Timestamp,
    /// Its controls.
    pub controls: &'a [Control<'a>],
    /// Where it goes: a slot, or where its first field went.
    pub slot: Option<usize>,
    /// Whether a second field may come.
    pub hold: bool,
}

impl Stream {
    /// Makes a decoder ready.
    ///
    /// # Errors
    /// It does not take this stream.
    pub fn start(
        decoder: &Decoder,
        (device, media): (Arc<Device>, MediaDevice),
        start: &Start<'_>,
    ) -> Result<Stream, Error> {
        let mut known = Known::default();
        let controls = known.choose(&device, start.controls)?;
        let wanted = start.references + MORE_SLOTS;
        let memory = if decoder.imports {
            Memory::DmaBuf
        } else {
            Memory::Mmap
        };
        let pictures = match (decoder.adds_buffers, memory) {
            (true, _) => wanted,
            (false, Memory::DmaBuf) => MOST_SLOTS,
            (false, Memory::Mmap) => (start.targets + MORE_SLOTS).clamp(wanted, MOST_SLOTS),
        };
        let (width, height) = start.size;
        let usual = width as usize * height as usize * 3 / 4 + (64 << 10);
        let config = Config {
            coded: start.coded,
            width,
            height,
            input_size: u32::try_from(start.room.max(usual)).unwrap_or(u32::MAX),
            inputs: INPUTS,
            controls: controls.all(),
            raw: V4L2_PIX_FMT_NV12,
            memory,
            pictures,
        };
        let (session, pictures) = Session::on(device, media, &config)?;
        let mut stream = Stream {
            size: start.size,
            layout: Layout::of(session.raw()),
            session,
            imports: decoder.imports,
            grows: decoder.adds_buffers,
            wanted,
            slots: Vec::with_capacity(MOST_SLOTS as usize),
            flights: Vec::with_capacity(MOST_SLOTS as usize),
            half: None,
            pictures: 0,
            stalled: None,
            known,
        };
        stream.take_slots(pictures)?;
        crate::debug!(
            "{}: {}x{}, pictures {:?}, {} slots",
            decoder.path().display(),
            width,
            height,
            stream.layout,
            stream.slots.len(),
        );
        Ok(stream)
    }

    /// Ends the stream; its nodes can be used again.
    ///
    /// # Errors
    /// The device is gone, or keeps buffers that somebody has.
    pub fn stop(self) -> Result<(Arc<Device>, MediaDevice), Error> {
        let Stream { session, slots, .. } = self;
        drop(slots);
        Ok(session.stop()?)
    }

    fn take_slots(&mut self, pictures: Vec<Picture>) -> Result<(), Error> {
        let size = self.layout.size;
        let places = self.session.places() as usize;
        self.slots.resize_with(places, || Slot {
            size,
            ..Slot::default()
        });
        for picture in pictures {
            let (picture, fd) = self.session.export(picture)?;
            let slot = &mut self.slots[picture.index() as usize];
            slot.frame = Some(Arc::new(Frame::new(fd, self.layout)));
            slot.picture = Some(picture);
        }
        Ok(())
    }

    /// Goes on with pictures of another size. Nothing may be in flight.
    ///
    /// # Errors
    /// The decoder does not do that without being started anew.
    pub fn resize(&mut self, size: (u32, u32)) -> Result<(), Error> {
        self.half = None;
        // Slots are added when they are needed; those there are take larger frames as well.
        let count = if self.imports { 0 } else { MORE_SLOTS };
        let pictures = self.session.resize(size.0, size.1, count)?;
        self.layout = Layout::of(self.session.raw());
        self.size = size;
        self.take_slots(pictures)?;
        if self.has_slots_enough() || self.session.removes_places() {
            return Ok(());
        }
        Err(NO_SLOT)
    }

    /// Whether there are as many slots for frames of this size as a stream needs, or will be.
    fn has_slots_enough(&self) -> bool {
        let fits = |slot: &&Slot| slot.size <= self.layout.size;
        let fitting = self.slots.iter().filter(fits).count() as u32;
        let more = if self.grows {
            MOST_SLOTS.saturating_sub(self.slots.len() as u32)
        } else {
            0
        };
        fitting + more >= self.wanted
    }

    /// Whether nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.flights.is_empty()
    }

    /// Whether a picture is in flight.
    pub fn has(&self, timestamp: Timestamp) -> bool {
        let mut flights = self.flights.iter();
        flights.any(|flight| flight.timestamp == timestamp)
    }

    /// Whether a surface is being decoded into.
    pub fn is_filling(&self, surface: &Arc<Surface>) -> bool {
        let mut flights = self.flights.iter();
        flights.any(|flight| Arc::ptr_eq(&flight.surface, surface))
    }

    /// Whether the first field of a picture waits in the decoder for the second.
    pub fn is_half(&self, timestamp: Timestamp) -> bool {
        self.half == Some(timestamp)
    }

    /// Whether some picture waits so.
    pub fn has_half(&self) -> bool {
        self.half.is_some()
    }

    /// Begins a picture: `timestamp`s are those of its references, which keep their slots.
    pub fn refer(&mut self, references: impl Iterator<Item = Timestamp>) {
        self.pictures += 1;
        for reference in references {
            for slot in &mut self.slots {
                if slot.timestamp == Some(reference) {
                    slot.used = self.pictures;
                }
            }
        }
    }

    /// The slot and the frame that a surface is decoded into, which the surface has from then on.
    ///
    /// # Errors
    /// There is no memory, or more pictures are referred to than the decoder has buffers.
    pub fn place(
        &mut self,
        decoder: &Decoder,
        coded: u32,
        state: &mut State,
    ) -> Result<(usize, Arc<Frame>), Error> {
        if self.imports {
            let frame = self.frame_of(decoder, coded, state)?;
            let slot = self.slot_for(&frame)?;
            self.slots[slot].frame = Some(Arc::clone(&frame));
            return Ok((slot, frame));
        }
        let slot = self.own_slot(state)?;
        let frame = self.slots[slot].frame.clone().ok_or(NO_SLOT)?;
        if !state.is_pinned {
            let before = state.memory.replace(Arc::clone(&frame));
            if let Some(before) = before.filter(|before| !Arc::ptr_eq(before, &frame)) {
                before.give_up();
            }
        }
        Ok((slot, frame))
    }

    /// The slot under which the decoder knows a frame, if it can be given to it.
    pub fn slot_of(&self, frame: &Arc<Frame>) -> Option<(usize, Arc<Frame>)> {
        let place = self.place_of(frame)?;
        let is_here = self.imports || self.slots[place].picture.is_some();
        is_here.then(|| (place, Arc::clone(frame)))
    }

    fn place_of(&self, frame: &Arc<Frame>) -> Option<usize> {
        let is_it = |own: &Arc<Frame>| Arc::ptr_eq(own, frame);
        let mut slots = self.slots.iter();
        slots.position(|slot| slot.frame.as_ref().is_some_and(is_it))
    }

    /// The memory that a surface is decoded into, which is the surface's own if that suits.
    fn frame_of(
        &self,
        decoder: &Decoder,
        coded: u32,
        state: &mut State,
    ) -> Result<Arc<Frame>, Error> {
        let suits = |frame: &Arc<Frame>| self.layout.suits(frame.layout());
        if let Some(memory) = &state.memory {
            if suits(memory) && (state.is_pinned || !memory.is_held()) {
                return Ok(Arc::clone(memory));
            }
            if !suits(memory) {
                crate::debug!("{:?} does not suit {:?}", memory.layout(), self.layout);
            }
        }
        if state.is_pinned {
            // What was decoded into the last time is seen by nobody.
            let before = state.filled.as_ref().map(|filled| &filled.frame);
            if let Some(before) = before.filter(|before| suits(before) && !before.is_held()) {
                return Ok(Arc::clone(before));
            }
        }
        let frame = Arc::new(decoder.allocate(coded, self.size)?);
        if !suits(&frame) {
            return Err(Error::parameter(
                "the decoder's memory does not suit itself",
            ));
        }
        if !state.is_pinned {
            state.memory = Some(Arc::clone(&frame));
        }
        Ok(frame)
    }

    /// The slot under which the decoder knows a frame, or one for it to be known by.
    fn slot_for(&mut self, frame: &Arc<Frame>) -> Result<usize, Error> {
        if let Some(place) = self.place_of(frame) {
            return Ok(place);
        }
        let size = frame.layout().size;
        let may_take = |slot: &Slot| slot.size <= size && self.may_leave(slot);
        let is_unused = |slot: &Slot| {
            let others = |own| Arc::strong_count(own) > 1;
            may_take(slot) && !slot.frame.as_ref().is_some_and(others)
        };
        if let Some(place) = self.slots.iter().position(is_unused) {
            return Ok(place);
        }
        if let Some(place) = self.grow()? {
            return Ok(place);
        }
        let slots = self.slots.iter().enumerate();
        let taken = slots.filter(|(_, slot)| slot.size <= size && self.may_leave(slot));
        let oldest = taken.min_by_key(|(_, slot)| slot.used);
        match oldest {
            Some((place, _)) => Ok(place),
            None => self.exchange(),
        }
    }

    /// Exchanges a slot that wants larger frames, of a stream that has become smaller, for one that
    /// takes those of now.
    fn exchange(&mut self) -> Result<usize, Error> {
        let slots = self.slots.iter().enumerate();
        let larger = slots.filter(|(_, slot)| self.may_leave(slot));
        let oldest = larger.min_by_key(|(_, slot)| slot.used);
        let (place, _) = oldest.ok_or(NO_SLOT)?;
        self.session.remove_place(place as u32)?;
        self.slots[place] = Slot {
            size: u32::MAX,
            ..Slot::default()
        };
        self.session.add_pictures(1)?;
        self.slots[place].size = self.layout.size;
        Ok(place)
    }

    /// Whether a slot's frame may leave it: neither the picture that is being placed nor one that the
    /// decoder still has is decoded into it or refers to it.
    fn may_leave(&self, slot: &Slot) -> bool {
        let oldest = self.flights.iter().map(|flight| flight.number).min();
        slot.used < oldest.unwrap_or(self.pictures)
    }

    /// Whether there is a slot for a surface without waiting for pictures that the decoder has.
    pub fn has_room(&self, surface: &Surface) -> bool {
        if self.grows && (self.slots.len() as u32) < MOST_SLOTS {
            return true;
        }
        let state = lock(&surface.state);
        let mut slots = self.slots.iter();
        if self.imports {
            let memory = state.memory.as_ref();
            slots.any(|slot| {
                let is_own = |own| memory.is_some_and(|memory| Arc::ptr_eq(own, memory));
                self.may_leave(slot) || slot.frame.as_ref().is_some_and(is_own)
            })
        } else {
            slots.any(|slot| slot.picture.is_some())
        }
    }

    /// A slot that has memory of its own: the surface's, or one that no surface has.
    fn own_slot(&mut self, state: &State) -> Result<usize, Error> {
        let here = |frame: &Arc<Frame>| {
            let is_usable = self.layout.suits(frame.layout()) && !frame.is_held();
            let found = self.slot_of(frame).filter(|_| is_usable);
            found.map(|(place, _)| place)
        };
        let mut own = [
            state.memory.as_ref(),
            state.filled.as_ref().map(|filled| &filled.frame),
        ]
        .into_iter()
        .flatten();
        if let Some(place) = own.find_map(here) {
            return Ok(place);
        }
        // A frame that was exported is not given to another surface when its own was destroyed: its
        // consumer may have it still.
        let is_free = |slot: &Slot| {
            let frame = slot.frame.as_ref();
            let is_own = |own: &Arc<Frame>| Arc::strong_count(own) == 1;
            let is_seen = |own: &Arc<Frame>| own.was_handed_out() || own.is_held();
            slot.picture.is_some() && frame.is_some_and(|own| is_own(own) && !is_seen(own))
        };
        let mut slots = self.slots.iter().enumerate();
        let suits = |slot: &Slot| {
            slot.frame
                .as_ref()
                .is_some_and(|own| self.layout.suits(own.layout()))
        };
        let free = slots.find(|(_, slot)| is_free(slot) && suits(slot));
        match free {
            Some((place, _)) => Ok(place),
            None => self.grow()?.ok_or(NO_SLOT),
        }
    }

    /// Adds a slot, if the decoder has one more.
    fn grow(&mut self) -> Result<Option<usize>, Error> {
        let place = self.slots.len();
        if !self.grows || place as u32 >= MOST_SLOTS {
            return Ok(None);
        }
        match self.session.add_pictures(1) {
            Ok(pictures) => {
                self.take_slots(pictures)?;
                Ok((self.slots.len() > place).then_some(place))
            }
            Err(error) => {
                crate::debug!("no more slots than {place}: {error}");
                self.grows = false;
                Ok(None)
            }
        }
    }

    /// Hands a picture to the decoder.
    ///
    /// # Errors
    /// It was not taken; nothing of it is left in the decoder.
    pub fn submit(
        &mut self,
        channel: &Channel,
        job: Job<'_>,
        surface: &Arc<Surface>,
    ) -> Result<(), Error> {
        let Job {
            input,
            length,
            timestamp,
            controls,
            slot,
            hold,
        } = job;
        let device = Arc::clone(self.session.device());
        let chosen = self.known.choose(&device, controls);
        let ready = chosen.and_then(|controls| match slot {
            None => Ok((controls, Target::Held)),
            Some(slot) => Ok((controls, Target::Picture(self.picture(slot)?))),
        });
        let (controls, target) = match ready {
            Ok(ready) => ready,
            Err(error) => {
                self.session.release(input);
                return Err(error);
            }
        };
        if self.flights.is_empty() {
            self.stalled = None;
        }
        let submission = Submission {
            input,
            length,
            timestamp,
            controls: controls.all(),
            target,
            hold,
        };
        if let Err(refused) = self.session.submit(submission) {
            let refused = *refused;
            if let Some((slot, picture)) = slot.zip(refused.picture) {
                self.take_back(slot, picture);
            }
            if refused.is_waiting {
                self.give_up(channel);
            }
            return Err(refused.source.into());
        }
        self.half = hold.then_some(timestamp);
        if let Some(slot) = slot {
            (self.slots[slot].used, self.slots[slot].timestamp) = (self.pictures, Some(timestamp));
            self.flights.push(Flight {
                slot,
                number: self.pictures,
                timestamp,
                surface: Arc::clone(surface),
                has_failed: false,
            });
        }
        Ok(())
    }

    /// The buffer of a slot, for the decoder.
    fn picture(&mut self, place: usize) -> Result<Picture, Error> {
        let slot = &mut self.slots[place];
        if !self.imports {
            return slot.picture.take().ok_or(NO_SLOT);
        }
        let frame = slot.frame.as_ref().ok_or(NO_SLOT)?;
        let (fd, size) = (Arc::clone(frame.fd()), frame.layout().size);
        Ok(self.session.import(place as u32, fd, size)?)
    }

    fn take_back(&mut self, place: usize, picture: Picture) {
        if !self.imports {
            self.slots[place].picture = Some(picture);
        }
    }

    /// Takes from the decoder what it has said to be done, one buffer of each queue at most.
    ///
    /// # Errors
    /// The device is gone.
    pub fn collect(&mut self, channel: &Channel, ready: Ready) -> Result<(), Error> {
        let picture = if ready.picture {
            self.session.take_picture()?
        } else {
            None
        };
        let input = if ready.input {
            self.session.take_input()?
        } else {
            None
        };
        if picture.is_some() || input.is_some() {
            self.stalled = None;
        } else {
            self.stalled.get_or_insert_with(Instant::now);
        }
        if let Some(Done::Input {
            timestamp,
            error: true,
        }) = input
        {
            self.fail(timestamp);
        }
        if let Some(Done::Picture { picture, error, .. }) = picture {
            self.picture_done(channel, picture, error);
        }
        Ok(())
    }

    fn picture_done(&mut self, channel: &Channel, picture: Picture, error: bool) {
        let slot = picture.index() as usize;
        self.take_back(slot, picture);
        let mut flights = self.flights.iter();
        let Some(place) = flights.position(|flight| flight.slot == slot) else {
            return;
        };
        let flight = self.flights.remove(place);
        if self.half == Some(flight.timestamp) {
            self.half = None;
        }
        let has_failed = error || flight.has_failed;
        channel.done(&flight.surface, flight.timestamp, has_failed);
    }

    fn fail(&mut self, timestamp: Timestamp) {
        let mut flights = self.flights.iter_mut();
        if let Some(flight) = flights.find(|flight| flight.timestamp == timestamp) {
            flight.has_failed = true;
        }
    }

    /// Tells the decoder that no second field comes for the picture that waits for one.
    ///
    /// # Errors
    /// The decoder cannot be told.
    pub fn release_half(&mut self) -> Result<(), Error> {
        self.half = None;
        Ok(self.session.device().flush_held()?)
    }

    /// How long the decoder may still take to be done with anything.
    pub fn patience(&self) -> Duration {
        self.stalled.map_or(PATIENCE, |since| {
            (since + PATIENCE).saturating_duration_since(Instant::now())
        })
    }

    /// Gives up everything that is in flight.
    pub fn give_up(&mut self, channel: &Channel) {
        self.half = None;
        match self.session.flush() {
            Ok(pictures) => {
                for picture in pictures {
                    let slot = picture.index() as usize;
                    self.take_back(slot, picture);
                }
            }
            Err(error) => crate::debug!("flush: {error}"),
        }
        for flight in self.flights.drain(..) {
            channel.done(&flight.surface, flight.timestamp, true);
        }
    }
}

const NO_SLOT: Error = Error::Order("the decoder has no buffer left for a picture");
