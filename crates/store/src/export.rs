//! Graphs out of the store into CAR files: CARv1, one root, depth first, each block once. Others
//! that write in this order (`order=dfs; dups=n` in the trustless gateway specification) write the
//! same bytes.

use std::io::Write;

use cid::Cid;

use crate::{
    Error, Store,
    car::CarWriter,
    dag::{
        walk::{Scope, Walk},
        widen,
    },
};

/// What an export wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exported {
    /// Blocks in the CAR.
    pub blocks: u64,
    /// Bytes of the CAR.
    pub bytes: u64,
}

impl Store {
    /// Writes everything below `root` as a CAR. The output should be buffered. `progress` is told
    /// after each block how many bytes were written. Fails when a block is missing or damaged,
    /// with the CAR cut before it.
    pub fn export(
        &self,
        root: &Cid,
        output: impl Write,
        mut progress: impl FnMut(u64),
    ) -> Result<Exported, Error> {
        let root = widen(root);
        let mut writer = CarWriter::new(output, &[root]).map_err(Error::Sink)?;
        let mut blocks = 0;
        for block in Walk::new(self, &[], root, Scope::All, false) {
            let (cid, bytes) = block?;
            writer.block(&cid, &bytes).map_err(Error::Sink)?;
            blocks += 1;
            progress(writer.written());
        }
        let bytes = writer.written();
        writer.finish().map_err(Error::Sink)?;
        Ok(Exported { blocks, bytes })
    }
}
