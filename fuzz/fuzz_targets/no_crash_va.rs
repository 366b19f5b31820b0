//! Any calls of a VA-API client in any order, with ids, sizes and bytes of any kind, through the
//! driver's table of functions and over the decoder that `v4l2::fake` is.
//!
//! The first byte chooses what the decoder is like, the rest are calls. Nothing may crash, and a
//! picture that was exported after it was decoded stays what it was for as long as its descriptor
//! is open, whatever is called in between.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use v4l2::fake::Habits;
use v4l2::sys::Errno;
use va_driver::client::{Client, Part, planes_begin};
use va_driver::va::drm::{
    VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_2, VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_3,
    VADRMPRIMESurfaceDescriptor,
};
use va_driver::va::*;

/// What is left of the input.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*first))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.byte()?) * 3;
        let (first, rest) = self.0.split_at_checked(length.min(self.0.len()))?;
        self.0 = rest;
        Some(first)
    }

    /// One of the ids that there are or were, or anything.
    fn id(&mut self, known: &[u32]) -> Option<u32> {
        match (self.byte()?, known.len()) {
            (byte @ 0..240, 1..) => Some(known[usize::from(byte) % known.len()]),
            _ => self.word(),
        }
    }

    /// A side of a picture: mostly one that can be.
    fn side(&mut self) -> Option<u32> {
        match self.byte()? {
            byte @ 0..250 => Some(16 + u32::from(byte)),
            _ => self.word(),
        }
    }
}

/// What the client has.
struct Stage {
    client: Client,
    configs: Vec<u32>,
    contexts: Vec<u32>,
    surfaces: Vec<u32>,
    buffers: Vec<u32>,
    images: Vec<VAImage>,
    derived: HashSet<u32>,
    /// Surfaces whose memory the client has fixed, or writes by halves.
    shared: HashSet<u32>,
    decoded: HashSet<u32>,
    held: Vec<(VADRMPRIMESurfaceDescriptor, OwnedFd, [[u8; 8]; 2])>,
}

const PROFILES: [VAProfile; 5] = [
    VAProfileMPEG2Main,
    VAProfileH264High,
    VAProfileVP8Version0_3,
    VAProfileVP9Profile0,
    VAProfileNone,
];

const CALLS: [&str; 9] = [
    "S_FMT",
    "REQBUFS",
    "CREATE_BUFS",
    "EXPBUF",
    "QBUF",
    "DQBUF",
    "S_EXT_CTRLS",
    "REQUEST_QUEUE",
    "STREAMON",
];

impl Stage {
    fn new(habits: u8) -> Option<Stage> {
        let habits = Habits {
            imports: habits & 1 == 0,
            holds: habits & 2 == 0,
            adds_buffers: habits & 4 == 0,
            orphans: habits & 8 == 0,
            block: [16, 37][usize::from(habits >> 4 & 1)],
            stride: [64, 1][usize::from(habits >> 5 & 1)],
            tail: [0, 1009][usize::from(habits >> 6 & 1)],
            resizes: habits & 128 == 0,
            removes_buffers: habits & 128 == 0,
            ..Habits::default()
        };
        let client = Client::new(habits).ok()?;
        Some(Stage {
            client,
            configs: Vec::new(),
            contexts: Vec::new(),
            surfaces: Vec::new(),
            buffers: Vec::new(),
            images: Vec::new(),
            derived: HashSet::new(),
            shared: HashSet::new(),
            decoded: HashSet::new(),
            held: Vec::new(),
        })
    }

    fn image(&self, input: &mut Input<'_>) -> Option<u32> {
        let ids: Vec<u32> = self.images.iter().map(|image| image.image_id).collect();
        input.id(&ids)
    }

    /// One call, or a few that belong together; none at the end of the input.
    fn call(&mut self, input: &mut Input<'_>) -> Option<()> {
        let client = &self.client;
        match input.byte()? % 28 {
            0 => {
                let profile = PROFILES[usize::from(input.byte()?) % PROFILES.len()];
                let entry = u32::from(input.byte()? % 8 != 0);
                self.configs.extend(client.config(profile, entry, &mut []));
            }
            1 => {
                let _ = client.destroy_config(input.id(&self.configs)?);
            }
            2 => {
                let config = input.id(&self.configs)?;
                let size = (input.side()? as i32, input.side()? as i32);
                let targets = &self.surfaces[..self.surfaces.len().min(4)];
                self.contexts.extend(client.context(config, size, targets));
            }
            3 => {
                let _ = client.destroy_context(input.id(&self.contexts)?);
            }
            4 => {
                let size = (input.side()?, input.side()?);
                let count = usize::from(input.byte()? % 20);
                let made = client.surfaces(size.0, size.1, count);
                self.surfaces.extend(made.unwrap_or_default());
            }
            5 => {
                let _ = client.destroy_surfaces(&[input.id(&self.surfaces)?]);
            }
            6 | 7 => {
                let context = input.id(&self.contexts)?;
                let kind = u32::from(input.byte()? % 15);
                let element = usize::from(input.byte()?);
                self.buffers
                    .extend(client.buffer(context, kind, element, input.bytes()?));
            }
            8 => {
                let context = input.id(&self.contexts)?;
                let kind = u32::from(input.byte()? % 15);
                let (size, count) = (input.word()? >> 8, input.word()? >> 24);
                // Gigabytes are refused, megabytes only cost time.
                if size < 1 << 12 || size > 1 << 23 {
                    self.buffers
                        .extend(client.empty_buffer(context, kind, size, count));
                }
            }
            9 => {
                let _ = client.set_elements(input.id(&self.buffers)?, input.word()?);
            }
            10 => {
                let (byte, id) = (input.byte()?, input.id(&self.buffers)?);
                // A buffer of no number that is known may be a surface.
                let is_own = self.buffers.contains(&id);
                let _ = client.mapped(id, |bytes| match bytes.first_mut() {
                    Some(first) if is_own => *first = byte,
                    _ => {}
                });
            }
            11 => {
                let _ = client.destroy_buffer(input.id(&self.buffers)?);
            }
            12 => {
                let surface = input.id(&self.surfaces)?;
                self.shared.insert(surface);
                let _ = client.begin(input.id(&self.contexts)?, surface);
            }
            13 => {
                let buffers = [input.id(&self.buffers)?, input.id(&self.buffers)?];
                let _ = client.render(input.id(&self.contexts)?, &buffers);
            }
            14 => {
                let _ = client.end(input.id(&self.contexts)?);
            }
            15..=18 => {
                let (context, surface) = (input.id(&self.contexts)?, input.id(&self.surfaces)?);
                let size = (input.byte()?.into(), input.byte()?.into());
                let part = [Part::Frame, Part::Frame, Part::First, Part::Second];
                let part = part[usize::from(input.byte()? % 4)];
                let mut data = vec![0, 0, 1, 1];
                data.extend_from_slice(input.bytes()?);
                data.resize(data.len().max(8), 7);
                if part != Part::Frame {
                    self.shared.insert(surface);
                }
                let done = client.decode(context, surface, (size, part), &data);
                // What a picture is that could not be decoded, nobody says.
                self.decoded.remove(&surface);
                if done.is_ok() && client.sync(surface).is_ok() {
                    self.decoded.insert(surface);
                }
            }
            19 => {
                let _ = client.sync_for(input.id(&self.surfaces)?, input.byte()?.into());
                let _ = client.status(input.id(&self.surfaces)?);
                let _ = client.surface_error(input.id(&self.surfaces)?);
            }
            20 => {
                let fourcc = [VA_FOURCC_NV12, VA_FOURCC_I420, 5][usize::from(input.byte()? % 3)];
                let size = (input.side()? as i32, input.side()? as i32);
                if size.0.checked_mul(size.1).is_none_or(|area| area < 1 << 20) {
                    self.images.extend(client.image(fourcc, size.0, size.1));
                }
            }
            21 => {
                let derived = client.derive(input.id(&self.surfaces)?);
                self.derived
                    .extend(derived.iter().map(|image| image.image_id));
                self.images.extend(derived);
            }
            22 => {
                let _ = client.destroy_image(self.image(input)?);
            }
            23 => {
                let (surface, image) = (input.id(&self.surfaces)?, self.image(input)?);
                let at = (
                    (input.side()? as i32).wrapping_sub(16),
                    (input.side()? as i32).wrapping_sub(16),
                );
                let size = (input.side()?, input.side()?);
                // An image derived of a surface is its picture: the client itself writes there.
                if self.derived.contains(&image) {
                    self.held.clear();
                }
                let _ = client.get_image(surface, at, size, image);
            }
            24 => {
                let (surface, image) = (input.id(&self.surfaces)?, self.image(input)?);
                let at = (
                    (input.side()? as i32).wrapping_sub(16),
                    (input.side()? as i32).wrapping_sub(16),
                );
                let size = (input.side()?, input.side()?);
                let _ = client.put_image(surface, image, (0, 0), size, at);
            }
            25 => self.export(input)?,
            26 => self.import(input)?,
            _ => {
                let call = CALLS[usize::from(input.byte()?) % CALLS.len()];
                let errors = [5, 12, 16, 22].map(Errno::from_raw_os_error);
                client
                    .fake
                    .refuse(call, errors[usize::from(input.byte()? % 4)]);
            }
        }
        Some(())
    }

    fn export(&mut self, input: &mut Input<'_>) -> Option<()> {
        let surface = input.id(&self.surfaces)?;
        let memory_types = [
            VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_2,
            VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_3,
            VA_SURFACE_ATTRIB_MEM_TYPE_VA,
        ];
        let memory_type = memory_types[usize::from(input.byte()? % 3)];
        let flags = u32::from(input.byte()?);
        let Ok((described, fd)) = self.client.export(surface, memory_type, flags) else {
            return Some(());
        };
        if !self.decoded.contains(&surface) {
            self.shared.insert(surface);
        }
        let _ = self.client.sync(surface);
        if !self.shared.contains(&surface) {
            let begin = planes_begin(&described, &fd);
            self.held.push((described, fd, begin));
        }
        Some(())
    }

    fn import(&mut self, input: &mut Input<'_>) -> Option<()> {
        let Some((described, fd, _)) = self.held.pop() else {
            return Some(());
        };
        let mut described = described;
        match input.byte()? % 8 {
            0 => described.width = input.word()?,
            1 => described.height = input.word()?,
            2 => described.layers[0].pitch[0] = input.word()?,
            3 => described.layers[0].offset[1] = input.word()?,
            4 => described.num_layers = input.word()?,
            _ => {}
        }
        let imported = self.client.import(&described, Some(fd.as_fd()));
        if let Ok(surface) = imported {
            self.shared.insert(surface);
            self.surfaces.push(surface);
        }
        // Whoever has the same memory as well is no longer its only owner.
        self.held.clear();
        self.shared.extend(&self.surfaces);
        Some(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let Some(mut stage) = input.byte().and_then(Stage::new) else {
        return;
    };
    while stage.call(&mut input).is_some() {}
    let Stage { client, held, .. } = stage;
    let check = |held: &[(VADRMPRIMESurfaceDescriptor, OwnedFd, [[u8; 8]; 2])]| {
        for (described, fd, begin) in held {
            assert_eq!(
                planes_begin(described, fd),
                *begin,
                "a held picture was overwritten"
            );
        }
    };
    check(&held);
    drop(client);
    check(&held);
});
