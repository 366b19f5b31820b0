//! Keys of units: a hash over everything that decides a segment's bytes, so that what was made before
//! is found again, by this run or one of another ladder over the same input.
//!
//! What is not in a key must not have a say in the bytes: how many workers there are, what was there
//! already, the other rungs except those whose pictures this one is scaled from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::plan::{Prepared, Reading, Sounding};
use crate::unit::Recipe;
use crate::{Options, Result};

/// Raised when the same input and settings give other bytes than before.
const REVISION: u32 = 2;

/// What the keys of a run have in common, and how each unit's follows.
#[derive(Debug)]
pub struct Keys {
    common: String,
    /// Which build of each encoder there is.
    builds: BTreeMap<String, String>,
}

impl Keys {
    /// The keys of a run; `None` where nobody asks for them or nothing is known of the input.
    pub fn new(
        prepared: &Prepared,
        options: &Options,
        encoders: &[String],
    ) -> Result<Option<Keys>> {
        let identity = match (&options.identity, &prepared.reading) {
            (Some(identity), _) => identity.clone(),
            (None, Reading::File { path, .. }) if options.cached.is_some() => {
                sha256(path).map_err(crate::Error::Sink)?
            }
            _ => return Ok(None),
        };
        let mut builds = BTreeMap::new();
        for encoder in encoders.iter().filter(|encoder| !encoder.is_empty()) {
            if !builds.contains_key(encoder) {
                builds.insert(encoder.clone(), media::encoder_build(encoder)?);
            }
        }
        let tracks = prepared.sound.iter().filter_map(|sound| match sound {
            Sounding::File { stream, .. } => Some(*stream),
            Sounding::Live(_) => None,
        });
        let tracks: Vec<usize> = tracks.collect();
        let plan = &prepared.plan;
        let common = format!(
            "kinora {REVISION}\nlibraries {}\ninput {identity}\ncontainer {:?}\nparts {:?}\n\
             sound {tracks:?}\nfilters {}\npicture {} {:?}\n",
            media::library_version(),
            plan.container,
            plan.part_s,
            prepared.chain.description,
            prepared.nominal,
            prepared.constant_rate,
        );
        Ok(Some(Keys { common, builds }))
    }

    /// The key of a rung's segment. `above` are the sizes of the rungs whose pictures it is scaled
    /// from, biggest first; `quality` is the CRF, where the encoder is steered by one.
    pub fn unit(
        &self,
        recipe: &Recipe,
        above: &[(u32, u32)],
        span: (usize, i64, i64),
        quality: Option<f64>,
    ) -> String {
        if recipe.rung.copied {
            return self.hash(format!("copied {span:?}\n"));
        }
        let build = self.builds.get(&recipe.encoder);
        let build = build.map_or("", String::as_str);
        self.hash(format!(
            "unit {span:?}\nabove {above:?}\nrecipe {recipe:?}\nbuild {build}\nthreads 1\n\
             quality {quality:?}\n"
        ))
    }

    /// The key of a segment of a rendition beside the rungs.
    pub fn beside(
        &self,
        rendition: &str,
        tile: Option<(u32, u32)>,
        span: (usize, i64, i64),
    ) -> String {
        self.hash(format!("beside {rendition} {tile:?}\nunit {span:?}\n"))
    }

    fn hash(&self, own: String) -> String {
        hex(&Sha256::new()
            .chain_update(&self.common)
            .chain_update(own)
            .finalize())
    }
}

/// The SHA-256 of a file, as text.
fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
