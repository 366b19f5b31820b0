//! A display: the decoders of the machine and all objects that a client has made.
//!
//! libva's context holds the number of a display, not its address: a call that comes after
//! `vaTerminate`, or beside it, finds nothing or something whole.

use crate::buffer::Buffers;
use crate::config::Config;
use crate::context::Context;
use crate::decoder::Decoder;
use crate::edge::lock;
use crate::error::Error;
use crate::frame::Frame;
use crate::image::Image;
use crate::surface::{State, Surface};
use crate::table::{Kind, Table};
use crate::va::backend::VADriverContextP;
use crate::va::*;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use v4l2::find::DecoderNode;
use v4l2::sys::Kernel;

/// A display.
#[derive(Debug)]
pub struct Driver {
    /// What decodes here.
    pub decoders: Vec<Arc<Decoder>>,
    /// Configs by id.
    pub configs: Table<Config>,
    /// Contexts by id.
    pub contexts: Table<Context>,
    /// Surfaces by id.
    pub surfaces: Table<Surface>,
    /// Buffers by id.
    pub buffers: Buffers,
    /// Images by id.
    pub images: Table<Image>,
    /// The last config that was made: surfaces that get memory before they are decoded into are
    /// most likely for that.
    recent: Mutex<Option<Arc<Config>>>,
}

/// All displays of the process by their numbers, of which none comes twice.
static DISPLAYS: Mutex<Vec<(usize, Arc<Driver>)>> = Mutex::new(Vec::new());

/// The display of one of libva's contexts.
///
/// # Safety
/// `context` is null or libva's own, alive for as long as the call lasts.
pub unsafe fn of(context: VADriverContextP) -> Option<Arc<Driver>> {
    let context = NonNull::new(context)?;
    // SAFETY: the caller's word.
    let number = unsafe { (*context.as_ptr()).pDriverData }.addr();
    let displays = lock(&DISPLAYS);
    let found = displays.iter().find(|(own, _)| *own == number);
    found.map(|(_, driver)| Arc::clone(driver))
}

/// Keeps a display and numbers it.
pub fn keep(driver: Driver) -> usize {
    static NUMBERS: AtomicUsize = AtomicUsize::new(1);
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    lock(&DISPLAYS).push((number, Arc::new(driver)));
    number
}

/// Forgets a display: no call finds it any more.
pub fn forget(driver: &Arc<Driver>) {
    lock(&DISPLAYS).retain(|(_, own)| !Arc::ptr_eq(own, driver));
}

impl Driver {
    /// A display of those decoders that answer; `only` names the video or the media node of the
    /// one to be used.
    ///
    /// # Errors
    /// There is none: libva then tries another driver.
    pub fn new(
        kernel: &Arc<dyn Kernel>,
        nodes: Vec<DecoderNode>,
        only: Option<&Path>,
    ) -> Result<Driver, Error> {
        let is_wanted =
            |node: &DecoderNode| only.is_none_or(|only| node.video == only || node.media == only);
        let mut decoders = Vec::new();
        for node in nodes.into_iter().filter(is_wanted) {
            let path = node.video.clone();
            match Decoder::probe(kernel, node) {
                Ok(decoder) if decoder.offers.is_empty() => {
                    crate::debug!("{}: nothing that VA-API carries", path.display());
                }
                Ok(decoder) => decoders.push(Arc::new(decoder)),
                // A decoder whose daemon is away, or that belongs to somebody else.
                Err(error) => crate::debug!("{}: {error:?}", path.display()),
            }
        }
        if decoders.is_empty() {
            return Err(Error::NoDecoder);
        }
        Ok(Driver {
            decoders,
            configs: Table::new(Kind::Config),
            contexts: Table::new(Kind::Context),
            surfaces: Table::new(Kind::Surface),
            buffers: Buffers::default(),
            images: Table::new(Kind::Image),
            recent: Mutex::new(None),
        })
    }

    /// All profiles that something decodes, each once.
    pub fn profiles(&self) -> Vec<VAProfile> {
        let all = self.decoders.iter().flat_map(|decoder| decoder.profiles());
        let mut profiles: Vec<VAProfile> = all.collect();
        profiles.sort_unstable();
        profiles.dedup();
        profiles
    }

    /// Makes a config.
    ///
    /// # Errors
    /// No decoder has it.
    pub fn create_config(
        &self,
        profile: VAProfile,
        entry: VAEntrypoint,
        attributes: &[VAConfigAttrib],
    ) -> Result<VAConfigID, Error> {
        let config = Arc::new(Config::new(self, profile, entry)?);
        config.check(attributes)?;
        let id = self.configs.insert(Arc::clone(&config))?;
        *lock(&self.recent) = Some(config);
        Ok(id)
    }

    /// Makes a context; `targets` are surfaces that there must be.
    ///
    /// # Errors
    /// One of the ids, the size, or the decoder.
    pub fn create_context(
        &self,
        config: VAConfigID,
        size: (i32, i32),
        targets: &[VASurfaceID],
    ) -> Result<VAContextID, Error> {
        let config = self.configs.get(config)?;
        for target in targets {
            self.surfaces.get(*target)?;
        }
        let side = |side: i32| u32::try_from(side).ok().filter(|side| *side > 0);
        let impossible = || Error::parameter(format!("a context of {}x{}", size.0, size.1));
        let size = side(size.0).zip(side(size.1)).ok_or_else(impossible)?;
        let context = Context::new(&config, size, targets.len() as u32)?;
        self.contexts.insert(Arc::new(context))
    }

    /// Ends a context.
    ///
    /// # Errors
    /// There is none.
    pub fn destroy_context(&self, id: VAContextID) -> Result<(), Error> {
        self.contexts.remove(id)?.finish(&self.buffers);
        Ok(())
    }

    /// Memory for a surface of a size that nothing was decoded into yet.
    ///
    /// # Errors
    /// There is none.
    pub fn allocate(&self, size: (u32, u32)) -> Result<Frame, Error> {
        let recent = lock(&self.recent).clone();
        let recent = recent.and_then(|config| {
            let decoder = config.decoder(size).ok()?;
            Some((Arc::clone(decoder), config.coded))
        });
        let any = || {
            let decoder = self.decoders.first()?;
            Some((Arc::clone(decoder), decoder.offers.first()?.coded))
        };
        let (decoder, coded) = recent.or_else(any).ok_or(Error::Size(size.0, size.1))?;
        let frame = decoder.allocate(coded, size)?;
        if frame.layout().holds(size.0, size.1) {
            Ok(frame)
        } else {
            Err(Error::Size(size.0, size.1))
        }
    }

    /// The memory of a surface; it gets some if it has none yet.
    ///
    /// # Errors
    /// There is none.
    pub fn memory(&self, surface: &Surface, state: &mut State) -> Result<Arc<Frame>, Error> {
        if let Some(memory) = &state.memory {
            return Ok(Arc::clone(memory));
        }
        let memory = Arc::new(self.allocate(surface.size)?);
        state.memory = Some(Arc::clone(&memory));
        Ok(memory)
    }

    /// Waits for the picture of a surface, at most until the time is over.
    ///
    /// # Errors
    /// The time is over, or there is no picture.
    pub fn sync(&self, id: VASurfaceID, timeout_ns: u64) -> Result<(), Error> {
        let surface = self.surfaces.get(id)?;
        let time = Duration::from_nanos(timeout_ns);
        let deadline = (timeout_ns != VA_TIMEOUT_INFINITE).then(|| Instant::now() + time);
        let pending = surface.pending();
        if let Some((context, timestamp)) = pending {
            if !context.wait_for(timestamp, deadline)? {
                return Err(Error::TimedOut);
            }
        }
        if surface.show()? {
            Ok(())
        } else {
            Err(Error::Undecoded(id))
        }
    }

    /// Waits for what is on its way to a surface, good or bad: its memory can be used then.
    ///
    /// # Errors
    /// The decoder does not answer.
    pub fn settle(&self, surface: &Surface, id: VASurfaceID) -> Result<(), Error> {
        if let Some((context, timestamp)) = surface.pending() {
            crate::debug!("surface {id:#x} is used before it was waited for");
            context.wait_for(timestamp, None)?;
        }
        surface.show()?;
        Ok(())
    }

    /// Whether a surface is being decoded into.
    ///
    /// # Errors
    /// There is no such surface.
    pub fn status(&self, id: VASurfaceID) -> Result<VASurfaceStatus, Error> {
        let surface = self.surfaces.get(id)?;
        if let Some((context, _)) = surface.pending() {
            context.look();
        }
        Ok(match surface.pending() {
            Some(_) => VASurfaceRendering,
            None => VASurfaceReady,
        })
    }

    /// Ends everything.
    pub fn finish(&self) {
        for context in self.contexts.clear() {
            context.finish(&self.buffers);
        }
        self.images.clear();
        self.buffers.clear();
        self.surfaces.clear();
        self.configs.clear();
    }
}
