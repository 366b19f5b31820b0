//! Graphs out of CAR files into the store.
//!
//! Each block is checked and stored as it comes, in whatever order. Only when all have come are the
//! roots pinned, and only if nothing is missing below them: a pin promises the whole. What an
//! import that failed has left is held by nothing and goes with a collection after its grace.

use std::io::Read;

use bytes::Bytes;
use cid::Cid;

use crate::{
    Error, Store,
    car::CarReader,
    dag::{
        AnyCid, Blocks, narrow,
        walk::{Scope, Walk},
    },
    unixfs::{IDENTITY, RAW},
};

/// What an import does with the roots of the CAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinning<'a> {
    /// Pins each as `car/<its CID>`.
    ByCid,
    /// Pins the one root under this name; of several each as `<name>/<its CID>`.
    Named(&'a str),
    /// Nothing: some blocks may be missing, and all go with a collection unless something holds
    /// them.
    None,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    /// The roots that the CAR names.
    pub roots: Vec<Cid>,
    /// Blocks in it.
    pub blocks: u64,
    /// Of these, how many the store did not have.
    pub new: u64,
    /// Bytes of the CAR.
    pub bytes: u64,
    /// The pins that were set.
    pub pins: Vec<String>,
}

impl Store {
    /// Stores the blocks of a CAR and pins its roots. The input should be buffered. `progress` is
    /// told after each block how many bytes of the CAR were read.
    pub fn import(
        &self,
        car: impl Read,
        pinning: Pinning<'_>,
        mut progress: impl FnMut(u64),
    ) -> Result<Imported, Error> {
        // Until the roots are pinned nothing else holds what came.
        let _lease = self.lease()?;
        let mut reader = CarReader::new(car)?;
        let mut imported = Imported::default();
        while let Some(block) = reader.next().transpose()? {
            imported.blocks += 1;
            imported.new += u64::from(self.put_block(&block.cid, block.bytes)?);
            progress(reader.offset());
        }
        imported.bytes = reader.offset();
        let roots = reader.roots();
        for root in roots {
            self.check_whole(root, pinning)?;
        }
        // A root that carries its content needs nobody to hold it.
        imported.roots = roots
            .iter()
            .filter(|root| root.hash().code() != IDENTITY)
            .filter_map(narrow)
            .collect();
        imported.pins = self.pin_roots(&imported.roots, pinning)?;
        Ok(imported)
    }

    fn check_whole(&self, root: &AnyCid, pinning: Pinning<'_>) -> Result<(), Error> {
        if pinning == Pinning::None {
            return Ok(());
        }
        for block in Walk::new(Shape(self), &[], *root, Scope::All, false) {
            match block {
                Ok(_) => {}
                Err(Error::Missing { cid }) => {
                    return Err(Error::Incomplete {
                        root: root.to_string(),
                        missing: cid,
                    });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn pin_roots(&self, roots: &[Cid], pinning: Pinning<'_>) -> Result<Vec<String>, Error> {
        let name = |root: &Cid| match pinning {
            Pinning::None => None,
            Pinning::ByCid => Some(format!("car/{root}")),
            Pinning::Named(name) if roots.len() == 1 => Some(name.to_owned()),
            Pinning::Named(name) => Some(format!("{name}/{root}")),
        };
        let mut pins = Vec::new();
        for root in roots {
            if let Some(name) = name(root) {
                self.pin(&name, root)?;
                pins.push(name);
            }
        }
        Ok(pins)
    }
}

/// The store's blocks to somebody who follows links: of leaves it is enough that they are there.
struct Shape<'a>(&'a Store);

impl Blocks for Shape<'_> {
    fn block(&self, cid: &AnyCid) -> Result<Option<Bytes>, Error> {
        match narrow(cid) {
            Some(leaf) if leaf.codec() == RAW && leaf.hash().code() != IDENTITY => {
                Ok(self.0.stat(&leaf)?.map(|_| Bytes::new()))
            }
            _ => self.0.block(cid),
        }
    }
}
