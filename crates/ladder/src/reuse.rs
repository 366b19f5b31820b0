//! Units that a cache has, in place of making them.
//!
//! Before anything is read the segments that are there from the first on are delivered as they are;
//! when that is all of them, the input is not even decoded. Behind a gap each unit asks once more when
//! it begins, because only then the sizes are known that its quality follows from.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::cache::{CachedUnit, UnitCache};
use crate::key::Keys;
use crate::pipeline::Wanted;
use crate::plan::{Cuts, Plan, stop_if};
use crate::playlist::PICTURES;
use crate::rate::Rate;
use crate::sample::seconds;
use crate::sink::{Segment, Sink};
use crate::unit::{Finished, Recipe};
use crate::{Error, Result, iframes};

/// Names the units of a run, and asks for those that were made before.
#[derive(Debug)]
pub struct Reuse {
    pub keys: Keys,
    cache: Option<Arc<dyn UnitCache>>,
    /// Size of a thumbnail's tile.
    tile: Option<(u32, u32)>,
}

/// What was delivered of a rendition: segments and bytes.
pub type Delivered = HashMap<String, (u32, u64)>;

impl Reuse {
    pub fn new(keys: Keys, cache: Option<Arc<dyn UnitCache>>, plan: &Plan) -> Reuse {
        let tile = plan.tile;
        Reuse { keys, cache, tile }
    }

    /// The key of a rung's segment.
    pub fn unit_key(
        &self,
        recipes: &[Arc<Recipe>],
        rung: usize,
        span: (usize, i64, i64),
        quality: Option<f64>,
    ) -> String {
        let above = recipes[..rung].iter().map(|recipe| &recipe.rung);
        let above: Vec<(u32, u32)> = above.map(|rung| (rung.width, rung.height)).collect();
        self.keys.unit(&recipes[rung], &above, span, quality)
    }

    /// The key of a segment of a rendition beside the rungs.
    pub fn beside_key(&self, rendition: &str, span: (usize, i64, i64)) -> String {
        let tile = self.tile.filter(|_| rendition == PICTURES);
        self.keys.beside(rendition, tile, span)
    }

    /// The segment of this key, if it was made before.
    pub fn find(&self, rendition: &str, index: usize, key: String) -> Option<Finished> {
        let unit = self.cache.as_ref()?.get(&key)?;
        let CachedUnit {
            start,
            duration,
            codecs,
            init,
            bytes,
        } = unit;
        let segment = Segment {
            rung: rendition.to_string(),
            index: index as u32,
            start,
            duration,
            codecs,
            iframes: iframes::find(&bytes, init.as_deref(), start + duration),
            bytes,
            key,
            ..Segment::default()
        };
        Some(Finished { segment, init })
    }

    /// Delivers the segments that were made before, of each rendition up to the first that was not,
    /// and notes them as not wanted. `rates` are as at the start of the run.
    pub fn deliver(
        &self,
        cuts: &Cuts,
        recipes: &[Arc<Recipe>],
        mut rates: Vec<Option<Rate>>,
        wanted: &mut Wanted,
        sink: &mut dyn Sink,
        cancel: &AtomicBool,
    ) -> Result<Delivered> {
        let mut delivered = Delivered::new();
        if self.cache.is_none() {
            return Ok(delivered);
        }
        let rungs = recipes.len();
        let names: Vec<String> = wanted.names(recipes);
        let mut missing = vec![false; names.len()];
        for (index, &start) in cuts.starts.iter().enumerate() {
            let end = cuts.end_of(index);
            for (at, name) in names.iter().enumerate() {
                stop_if(cancel)?;
                if missing[at] {
                    continue;
                }
                let span = (index, start, end);
                let rate = rates.get_mut(at).and_then(Option::as_mut);
                let quality = rate.and_then(|rate| rate.crf(index));
                let mut bytes = wanted.there(at, index);
                if bytes.is_none() {
                    let key = match at < rungs {
                        true => self.unit_key(recipes, at, span, quality),
                        false => self.beside_key(name, span),
                    };
                    let Some(Finished { segment, init }) = self.find(name, index, key) else {
                        missing[at] = true;
                        continue;
                    };
                    let size = segment.bytes.len() as u64;
                    let made = delivered.entry(name.clone()).or_default();
                    if let (0, Some(init)) = (made.0, init) {
                        sink.init(name, &init).map_err(Error::Sink)?;
                    }
                    *made = (made.0 + 1, made.1 + size);
                    sink.segment(segment).map_err(Error::Sink)?;
                    wanted.note(at, index, size);
                    bytes = Some(size);
                }
                if let (Some(bytes), Some(Some(rate))) = (bytes, rates.get_mut(at)) {
                    rate.settle(index, bytes, seconds(end - start));
                }
            }
        }
        Ok(delivered)
    }
}
