//! Configs: a profile that some decoder has, and the answers to what a client asks of it.

use crate::decoder::{Decoder, Offer};
use crate::driver::Driver;
use crate::error::Error;
use crate::va::drm::{
    VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_2, VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_3,
};
use crate::va::*;
use std::sync::Arc;

/// A profile and who decodes it.
#[derive(Debug)]
pub struct Config {
    /// The profile.
    pub profile: VAProfile,
    /// `V4L2_PIX_FMT_*` of its data.
    pub coded: u32,
    /// The decoders that have it, in the order of their nodes; at least one.
    pub decoders: Vec<Arc<Decoder>>,
}

/// Attributes of a config that have a value.
pub const CONFIG_ATTRIBUTES: usize = 4;
/// Attributes of surfaces.
pub const SURFACE_ATTRIBUTES: usize = 9;

/// Ways of having a surface's memory.
pub const MEMORY_TYPES: u32 = VA_SURFACE_ATTRIB_MEM_TYPE_VA
    | VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_2
    | VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_3;

impl Config {
    /// The profile with an entry point.
    ///
    /// # Errors
    /// No decoder has it.
    pub fn new(driver: &Driver, profile: VAProfile, entry: VAEntrypoint) -> Result<Config, Error> {
        let offers = |decoder: &&Arc<Decoder>| decoder.offer(profile).is_some();
        let decoders: Vec<_> = driver.decoders.iter().filter(offers).cloned().collect();
        let first = decoders.first().and_then(|decoder| decoder.offer(profile));
        let coded = first.ok_or(Error::Profile(profile))?.coded;
        if entry != VAEntrypointVLD {
            return Err(Error::Entrypoint(entry));
        }
        Ok(Config {
            profile,
            coded,
            decoders,
        })
    }

    /// Refuses what a client wants of a config and it has not got.
    ///
    /// # Errors
    /// One of the attributes.
    pub fn check(&self, attributes: &[VAConfigAttrib]) -> Result<(), Error> {
        for asked in attributes {
            let offered = self.attribute(asked.r#type);
            let is_good = match asked.r#type {
                VAConfigAttribRTFormat if asked.value & VA_RT_FORMAT_YUV420 == 0 => {
                    return Err(Error::RtFormat(asked.value));
                }
                VAConfigAttribDecSliceMode => asked.value == offered,
                // Whatever else a client repeats from an answer, or does not care for.
                _ => {
                    offered != VA_ATTRIB_NOT_SUPPORTED
                        || matches!(asked.value, 0 | VA_ATTRIB_NOT_SUPPORTED)
                }
            };
            if !is_good {
                return Err(Error::Attribute {
                    kind: asked.r#type,
                    value: asked.value.into(),
                });
            }
        }
        Ok(())
    }

    /// The value of an attribute, or `VA_ATTRIB_NOT_SUPPORTED`.
    pub fn attribute(&self, kind: VAConfigAttribType) -> u32 {
        let [width, height] = self.bounds();
        match kind {
            VAConfigAttribRTFormat => VA_RT_FORMAT_YUV420,
            VAConfigAttribDecSliceMode => VA_DEC_SLICE_MODE_NORMAL,
            VAConfigAttribMaxPictureWidth => width.1,
            VAConfigAttribMaxPictureHeight => height.1,
            _ => VA_ATTRIB_NOT_SUPPORTED,
        }
    }

    /// All attributes that have a value.
    pub fn attributes(&self) -> [VAConfigAttrib; CONFIG_ATTRIBUTES] {
        [
            VAConfigAttribRTFormat,
            VAConfigAttribDecSliceMode,
            VAConfigAttribMaxPictureWidth,
            VAConfigAttribMaxPictureHeight,
        ]
        .map(|kind| VAConfigAttrib {
            r#type: kind,
            value: self.attribute(kind),
        })
    }

    /// What surfaces for this config can be.
    pub fn surface_attributes(&self) -> [VASurfaceAttrib; SURFACE_ATTRIBUTES] {
        let [width, height] = self.bounds();
        let get = VA_SURFACE_ATTRIB_GETTABLE;
        let set = VA_SURFACE_ATTRIB_SETTABLE;
        let (integer, pointer) = (VAGenericValueTypeInteger, VAGenericValueTypePointer);
        [
            (
                VASurfaceAttribPixelFormat,
                get | set,
                integer,
                VA_FOURCC_NV12,
            ),
            (VASurfaceAttribMinWidth, get, integer, width.0),
            (VASurfaceAttribMaxWidth, get, integer, width.1),
            (VASurfaceAttribMinHeight, get, integer, height.0),
            (VASurfaceAttribMaxHeight, get, integer, height.1),
            (VASurfaceAttribMemoryType, get | set, integer, MEMORY_TYPES),
            (VASurfaceAttribExternalBufferDescriptor, set, pointer, 0),
            (VASurfaceAttribUsageHint, set, integer, 0),
            (VASurfaceAttribDRMFormatModifiers, set, pointer, 0),
        ]
        .map(|(kind, flags, value_type, value)| VASurfaceAttrib {
            r#type: kind,
            flags,
            value: VAGenericValue {
                r#type: value_type,
                _padding0: 0,
                value: value.into(),
            },
        })
    }

    /// The first decoder that takes pictures of a size.
    ///
    /// # Errors
    /// There is none.
    pub fn decoder(&self, size: (u32, u32)) -> Result<&Arc<Decoder>, Error> {
        let takes = |decoder: &&Arc<Decoder>| {
            let offer = decoder.offer(self.profile);
            offer.is_some_and(|offer| offer.takes(size))
        };
        let found = self.decoders.iter().find(takes);
        found.ok_or(Error::Size(size.0, size.1))
    }

    fn offers(&self) -> impl Iterator<Item = &Offer> {
        let decoders = self.decoders.iter();
        decoders.filter_map(|decoder| decoder.offer(self.profile))
    }

    /// Smallest and largest width and height of all its decoders.
    fn bounds(&self) -> [(u32, u32); 2] {
        let mut bounds = self.offers().map(Offer::bounds);
        let first = bounds.next().unwrap_or_default();
        bounds.fold(first, |all, one| {
            [0, 1].map(|side| (all[side].0.min(one[side].0), all[side].1.max(one[side].1)))
        })
    }
}
